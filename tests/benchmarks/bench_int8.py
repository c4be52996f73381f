"""int8 beside float32 by OpenVINO, in time and memory: python tests/benchmarks/bench_int8.py [--backbone demo].

The model has random weights: what int8 changes in its answers means nothing, and time and memory do not depend on it.
Accuracy control may bring layers back to float32; how many steps it took is not told by NNCF, the file's size is.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import openvino
from measuring import BACKBONE, METHODS, medians, memory, on_disk, peak_of_an_answer, row
from PIL import Image

from anomalib_zsad.calibration.fingerprint import describe_model
from anomalib_zsad.scoring.engines.graphs import graph_of
from anomalib_zsad.scoring.engines.int8 import int8_graph, read_report
from anomalib_zsad.scoring.engines.pictures import find_pictures
from anomalib_zsad.scoring.engines.runtimes import load
from anomalib_zsad.scoring.trained_model import trained_model


def write_pictures(folder: Path, count: int) -> Path:
    """Smooth random pictures, on which scales are chosen."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        coarse = Image.fromarray(generator.integers(0, 255, (12, 12, 3), np.uint8))
        coarse.resize((518, 518), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def compare(method: str, checkpoint: Path, backbone: str, folder: Path, pictures: int, repeats: int) -> None:
    """Rows of one method."""
    shown, cache = write_pictures(folder / method, pictures), folder / "cache"
    module = trained_model(method, checkpoint).eval()
    side, prepare = module.model.backbone.image_size, module.pre_processor.transform
    floating = graph_of(module, describe_model(module), "object", "openvino", cache)
    del module
    started = time.perf_counter()
    coarse = int8_graph(floating, find_pictures(shown), prepare, cache, side)
    making, report = time.perf_counter() - started, read_report(coarse)
    image = np.random.default_rng(1).normal(size=(1, 3, side, side)).astype(np.float32)
    runtimes = {"float32": load(floating, "openvino"), "int8": load(coarse, "openvino", "int8")}
    found = medians({name: lambda r=runtime: r(image) for name, runtime in runtimes.items()}, repeats)
    del runtimes
    sizes = {name: path.with_suffix(".bin").stat().st_size for name, path in (("float32", floating), ("int8", coarse))}
    what = f"{method}, {backbone}, int8 by OpenVINO {openvino.__version__.split('-')[0]}"
    details = {"seconds": found, "made_in_seconds": making, "bytes": sizes, "report": report}
    row(what, found["int8"] / found["float32"], "of float32's time", "0.55", "0.40", **details)
    given = {"engine": "openvino", "engine_cache": str(cache)}
    for more, bounds in (({}, ("2.51", "2.14")), ({"precision": "int8", "int8_images": str(shown)}, ("1.49", "1.12"))):
        before, highest = peak_of_an_answer(checkpoint, **given, **more)
        what = f"{method}, {backbone}, {more.get('precision', 'float32')} by OpenVINO, peak memory"
        row(what, highest / 1024, "GiB", *bounds, imports_mib=before)


def main() -> None:
    """Print rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default=BACKBONE)
    parser.add_argument("--pictures", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    arguments = parser.parse_args()
    memory("VmRSS")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for method, checkpoint in on_disk(arguments.methods, arguments.backbone, folder).items():
            compare(method, checkpoint, arguments.backbone, folder, arguments.pictures, arguments.repeats)


if __name__ == "__main__":
    main()
