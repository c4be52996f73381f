"""What tiles of a large picture cost beside as many images of the model's size: python tests/benchmarks/bench_tiles.py

A picture of 4,096 x 3,072 pixels, demo backbone. Batches of bare images alternate with pictures of so many tiles.
"""

import argparse

import torch
from measuring import medians, memory, row

from anomalib_zsad.models.components.windows import window_starts
from anomalib_zsad.scoring.build import build_scorer
from anomalib_zsad.scoring.engine_options import EngineOptions
from anomalib_zsad.scoring.image_scorer import ModelImageScorer
from anomalib_zsad.scoring.tile_options import TileOptions

BATCH = 8


@torch.inference_mode()
def main() -> None:
    """Print rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=(3072, 4096), metavar=("H", "W"))
    parser.add_argument("--engine", default="torch", choices=["torch", "openvino", "onnxruntime"])
    parser.add_argument("--model", default="CoPS")
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    engine = EngineOptions(arguments.engine)
    whole = build_scorer(None, arguments.model, {"backbone": "demo"}, "cpu", engine=engine)
    side = int(whole.describe()["image_size"])
    tiles = TileOptions(side, 0.25, BATCH)
    tiled = ModelImageScorer(
        build_scorer(None, arguments.model, {"backbone": "demo"}, "cpu", engine=engine, tiles=tiles)
    )
    picture = torch.rand(3, *arguments.size, generator=torch.Generator().manual_seed(0))
    count = 1
    for length in arguments.size:
        count *= len(window_starts(length, side, 0.25))
    batch = torch.rand(BATCH, 3, side, side)

    def bare() -> None:
        for start in range(0, count, BATCH):
            whole.predict(batch[: min(BATCH, count - start)])

    before = memory("VmRSS")
    found = medians({"bare": bare, "tiles": lambda: tiled(tiled.prepare(picture)[None])}, arguments.repeats)
    share = found["tiles"] / found["bare"]
    details = {"tiles": count, "ms_a_tile": 1000 * found["tiles"] / count, "grown_by_mib": memory("VmHWM") - before}
    what = f"tiles of {arguments.size[1]} x {arguments.size[0]}, {arguments.model}, demo backbone, {arguments.engine}"
    row(what, share, "of tiles x the cost of one", "1.05", **details)


if __name__ == "__main__":
    main()
