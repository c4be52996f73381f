"""int8 beside float32 by OpenVINO, in time and memory: python tests/benchmarks/bench_int8.py [--backbone demo].

The model has random weights: what int8 changes in its answers means nothing, and time and memory do not depend on it.
Accuracy control may bring layers back to float32; how many steps it took is not told by NNCF, the file's size is.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import openvino
import torch
from measuring import BACKBONE, METHODS, medians, memory, row
from PIL import Image

import anomalib_zsad
from anomalib_zsad.calibration.fingerprint import describe_model
from anomalib_zsad.scoring.engines.graphs import graph_of
from anomalib_zsad.scoring.engines.int8 import int8_graph, read_report
from anomalib_zsad.scoring.engines.pictures import find_pictures
from anomalib_zsad.scoring.engines.runtimes import load

CHILD = """
import sys, numpy as np
sys.path.insert(0, sys.argv[4])
from measuring import memory
from anomalib_zsad.scoring.engines.runtimes import load
from pathlib import Path
before = memory("VmRSS")
side = int(sys.argv[3])
load(Path(sys.argv[1]), "openvino", sys.argv[2])(np.zeros((1, 3, side, side), np.float32))
print(before, memory("VmHWM"))
"""


def write_pictures(folder: Path, count: int) -> Path:
    """Smooth random pictures, on which scales are chosen."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        coarse = Image.fromarray(generator.integers(0, 255, (12, 12, 3), np.uint8))
        coarse.resize((518, 518), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def peak(path: Path, precision: str, side: int) -> tuple[float, float]:
    """Memory of a process before and at its peak, in MiB, which loads a model and answers one image."""
    command = [sys.executable, "-c", CHILD, str(path), precision, str(side), sys.path[0]]
    before, highest = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-2:]
    return float(before), float(highest)


def compare(method: str, backbone: str, folder: Path, pictures: int, repeats: int) -> None:
    """Rows of one method."""
    torch.manual_seed(0)
    demo = backbone == "demo"
    module = getattr(anomalib_zsad, method)(backbone=backbone, **({} if demo else {"pretrained": None})).eval()
    side, prepare = module.model.backbone.image_size, module.pre_processor.transform
    floating = graph_of(module, describe_model(module), "object", "openvino", folder / "cache")
    del module
    started = time.perf_counter()
    coarse = int8_graph(floating, find_pictures(write_pictures(folder / method, pictures)), prepare, folder / "cache")
    making, report = time.perf_counter() - started, read_report(coarse)
    image = np.random.default_rng(1).normal(size=(1, 3, side, side)).astype(np.float32)
    runtimes = {"float32": load(floating, "openvino"), "int8": load(coarse, "openvino", "int8")}
    found = medians({name: lambda r=runtime: r(image) for name, runtime in runtimes.items()}, repeats)
    del runtimes
    sizes = {name: path.with_suffix(".bin").stat().st_size for name, path in (("float32", floating), ("int8", coarse))}
    what = f"{method}, {backbone}, int8 by OpenVINO {openvino.__version__.split('-')[0]}"
    details = {"seconds": found, "made_in_seconds": making, "bytes": sizes, "report": report}
    row(what, found["int8"] / found["float32"], "of float32's time", "0.55", "0.40", **details)
    for precision, path, bounds in (("float32", floating, ("2.51", "2.14")), ("int8", coarse, ("1.49", "1.12"))):
        before, highest = peak(path, precision, side)
        row(f"{method}, {backbone}, {precision}, peak memory", highest / 1024, "GiB", *bounds, before_mib=before)


def main() -> None:
    """Print rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default=BACKBONE)
    parser.add_argument("--pictures", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    arguments = parser.parse_args()
    memory("VmRSS")
    for method in arguments.methods:
        with tempfile.TemporaryDirectory() as folder:
            compare(method, arguments.backbone, Path(folder), arguments.pictures, arguments.repeats)


if __name__ == "__main__":
    main()
