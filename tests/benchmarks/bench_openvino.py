"""The OpenVINO export beside torch and R on the same CPU, both types: python tests/benchmarks/bench_openvino.py"""

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

import openvino
import torch
from measuring import (
    BACKBONE,
    BOUNDS,
    BOUNDS_STAR,
    DTYPES,
    METHODS,
    SIDE,
    TOWER_FLOPS,
    best_matrix_product,
    build,
    images,
    medians,
    reference,
    row,
)

import anomalib_zsad

HINTS = {"float32": "f32", "bfloat16": "bf16"}


def export(method: str, folder: Path) -> Path:
    """Export a model with random weights, with pre- and post-processing as anomalib does."""
    from anomalib.engine import Engine

    torch.manual_seed(0)
    module = getattr(anomalib_zsad, method)(backbone=BACKBONE, pretrained=None)
    engine = Engine(default_root_dir=folder, logger=False)
    return Path(engine.export(module, "openvino", export_root=folder, input_size=(SIDE, SIDE)))


@torch.inference_mode()
def compare(method: str, path: Path, repeats: int, dtypes: Iterable[str]) -> None:
    """Rows of one method."""
    for dtype in dtypes:
        threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
        compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": HINTS[dtype], **threads})
        model, image, raw = build(method, dtype), images(1, dtype), images(1).sigmoid().numpy()
        encode = reference(dtype)
        peaks: list[float] = []
        variants = {
            "R": lambda e=encode, x=image: e(x),
            "torch": lambda m=model, x=image: m(x, "object"),
            "openvino": lambda c=compiled, x=raw: c(x),
            "peak": lambda d=dtype, p=peaks: p.append(best_matrix_product(d)),
        }
        found = medians(variants, repeats)
        what = f"{method}, {dtype}, batch 1, OpenVINO {openvino.__version__.split('-')[0]}"
        row(what, found["openvino"] * max(peaks) / TOWER_FLOPS, "R*", *BOUNDS_STAR.get((method, dtype), ("", "")))
        row(f"{method}, {dtype}, batch 1, torch", found["torch"] * max(peaks) / TOWER_FLOPS, "R*")
        row(what, found["openvino"] / found["torch"], "of torch's time", "", "1.00", seconds=found["openvino"])
        row(what, found["openvino"] / found["R"], "R", *BOUNDS[method, dtype], R_seconds=found["R"])
        del compiled, model, encode


def main() -> None:
    """Print rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=[*DTYPES], help="one type; the other takes minutes where it is emulated")
    arguments = parser.parse_args()
    types = [arguments.only] if arguments.only else list(DTYPES)
    for method in METHODS:
        with tempfile.TemporaryDirectory() as folder:
            compare(method, export(method, Path(folder)), arguments.repeats, types)


if __name__ == "__main__":
    main()
