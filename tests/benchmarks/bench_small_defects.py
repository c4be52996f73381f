"""What tiles find that a squeezed picture does not, on a sheet of real magnetic tiles, of which few have a blowhole.

    python tests/benchmarks/bench_small_defects.py --data ../shared/data/magnetic_tile --checkpoint model.ckpt

The sheet is laid of crops of 192 x 192 pixels at native resolution. Each crop is ranked by the map's highest pixel in
it: from the whole sheet squeezed into the model's square, and from tiles of several sizes; once of all its pixels, and
once without those near its edge, since the seam between two photographs is no part of a magnetic tile and looks like a
fault to a model that sees it in full size.
"""

import argparse
import random
import statistics
from pathlib import Path

import numpy as np
import torch
from measuring import row
from PIL import Image
from sklearn.metrics import roc_auc_score

from anomalib_zsad.scoring.build import build_scorer
from anomalib_zsad.scoring.image_scorer import ModelImageScorer
from anomalib_zsad.scoring.tile_options import TileOptions

SIDE = 192
# A mask's pixels above it are the defect: others hold small numbers.
MARKED = 127
LARGEST = 1500
# Pixels from a cell's edge that count as its seam.
SEAM = 16


def crops(data: Path, kind: str) -> list[np.ndarray]:
    """Crops of pictures of a kind, around the defect where it is small, else in the middle."""
    found = []
    for path in sorted((data / kind).rglob("*.jpg")):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        if min(pixels.shape[:2]) < SIDE:
            continue
        centre, known = np.array(pixels.shape[:2]) / 2, path.with_suffix(".png")
        if known.is_file() and (mask := np.asarray(Image.open(known).convert("L")) > MARKED).any():
            if mask.sum() > LARGEST:
                continue
            centre = np.argwhere(mask).mean(0)
        top, left = (int(np.clip(c - SIDE / 2, 0, n - SIDE)) for c, n in zip(centre, pixels.shape, strict=False))
        found.append(pixels[top : top + SIDE, left : left + SIDE])
    return found


def sheet_of(
    normal: list[np.ndarray], abnormal: list[np.ndarray], cells: tuple[int, int], defects: int, seed: int
) -> tuple[np.ndarray, list[bool]]:
    """A sheet, and for each of its cells whether it has a defect."""
    chance = random.Random(seed)  # noqa: S311 - the same sheets every time
    rows, columns = cells
    labels = [True] * defects + [False] * (rows * columns - defects)
    chance.shuffle(labels)
    holes = iter(chance.sample(abnormal, defects))
    chosen = [next(holes) if label else chance.choice(normal) for label in labels]
    lines = [np.concatenate(chosen[line * columns : (line + 1) * columns], axis=1) for line in range(rows)]
    return np.concatenate(lines), labels


def judged(heat: torch.Tensor, labels: list[bool], seam: int) -> tuple[float, int]:
    """AUROC of the cells by their highest pixel, and how many of those with a defect are among as many highest ones."""
    cells = heat.unfold(0, SIDE, SIDE).unfold(1, SIDE, SIDE)[..., seam : SIDE - seam, seam : SIDE - seam]
    peaks, truth = cells.amax((-2, -1)).flatten().numpy(), np.array(labels)
    first = np.argsort(-peaks, kind="stable")[: truth.sum()]
    return float(roc_auc_score(truth, peaks)), int(truth[first].sum())


def main() -> None:
    """Print rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--cells", type=int, nargs=2, default=(8, 10), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--defects", type=int, default=12)
    parser.add_argument("--sheets", type=int, default=5, help="how many, each laid anew")
    parser.add_argument("--tiles", type=int, nargs="+", default=(192, 384, 768), help="sides of tiles, in pixels")
    parser.add_argument("--keep", type=Path, help="where to write the first sheet")
    arguments = parser.parse_args()
    normal, abnormal = crops(arguments.data, "MT_Free"), crops(arguments.data, "MT_Blowhole")
    defects = min(arguments.defects, len(abnormal))
    sheets = [sheet_of(normal, abnormal, arguments.cells, defects, seed) for seed in range(arguments.sheets)]
    if arguments.keep:
        Image.fromarray(sheets[0][0]).save(arguments.keep)
    for side in (None, *arguments.tiles):
        tiles = TileOptions() if side is None else TileOptions(side)
        built = build_scorer(arguments.checkpoint, device="cpu", class_name="magnetic tile", tiles=tiles)
        scorer = ModelImageScorer(built)
        found: dict[int, list[tuple[float, int]]] = {0: [], SEAM: []}
        for sheet, labels in sheets:
            picture = torch.from_numpy(sheet.astype(np.float32) / 255).permute(2, 0, 1)
            heat = scorer(scorer.prepare(picture)[None]).anomaly_map
            heat = torch.nn.functional.interpolate(heat[None], sheet.shape[:2], mode="bilinear")[0, 0]
            for seam, answers in found.items():
                answers.append(judged(heat, labels, seam))
        for seam, answers in found.items():
            areas, among = zip(*answers, strict=True)
            name = "whole" if side is None else f"tiles of {side}"
            details = {"lowest": min(areas), "highest": max(areas), "defects": defects, "cells": len(labels)}
            what = (
                f"{len(sheets)} sheets of {sheet.shape[1]} x {sheet.shape[0]}, {name}, seams {'out' if seam else 'in'}"
            )
            details["among_the_first"] = statistics.mean(among)
            row(what, statistics.mean(areas), "AUROC of cells with a blowhole", **details)


if __name__ == "__main__":
    main()
