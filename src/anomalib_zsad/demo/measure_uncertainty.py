"""`python -m anomalib_zsad.demo.measure_uncertainty`: whether the spread over prompts tells where a model errs.

New pieces of the sample set's unseen categories are drawn: normal ones to calibrate on, others to judge.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from anomalib_zsad.calibration.conformal import NormalScores
from anomalib_zsad.calibration.uncertainty import Certainty, certainty
from anomalib_zsad.data.sample_set import UNSEEN_CATEGORIES
from anomalib_zsad.demo.draw_sample_set import CATEGORIES, draw_piece
from anomalib_zsad.outputs.terminal import console

# Numbers of pieces, far from those of the sample set.
_NORMAL, _ABNORMAL = 1000, 5000
_BATCH = 8


@dataclass(frozen=True)
class Judged:
    """One category at one false-alarm rate.

    Attributes:
        false_alarms: Share of new normal pieces that are flagged.
        found: Share of abnormal pieces that are flagged.
        certainty: Wrong decisions by certainty.
    """

    false_alarms: float
    found: float
    certainty: Certainty


def judge_category(module: Any, category: str, pieces: int, rate: float, factor: float = 1.0) -> Judged:
    """Calibrate on new normal pieces of a category and judge twice as many normal ones, and as many abnormal ones.

    Args:
        module: The model, in evaluation mode.
        category: One of the sample set's.
        pieces: Normal pieces to calibrate on.
        rate: The false-alarm rate.
        factor: See `anomalib_zsad.calibration.uncertainty.is_uncertain`.
    """
    kinds = CATEGORIES[category].kinds
    groups: list[list[tuple[int, str | None]]] = [
        [(_NORMAL + number, None) for number in range(pieces)],
        [(_NORMAL + number, None) for number in range(pieces, 3 * pieces)],
        [(_ABNORMAL + number, kinds[number % len(kinds)]) for number in range(pieces)],
    ]
    (known, _), (normal, normal_std), (abnormal, abnormal_std) = (_score(module, category, group) for group in groups)
    threshold = NormalScores.of([[score] for score in known]).threshold(rate)
    scores, deviations = np.concatenate([normal, abnormal]), np.concatenate([normal_std, abnormal_std])
    truth = np.arange(len(scores)) >= len(normal)
    return Judged(
        float((normal >= threshold).mean()),
        float((abnormal >= threshold).mean()),
        certainty(scores, deviations, truth, threshold, factor),
    )


@torch.inference_mode()
def _score(
    module: Any, category: str, pieces: Sequence[tuple[int, str | None]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores of drawn pieces, and their deviations."""
    scores, deviations = [], []
    for start in range(0, len(pieces), _BATCH):
        pictures = [draw_piece(category, number, kind).picture for number, kind in pieces[start : start + _BATCH]]
        images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        answer = module.model(module.pre_processor.transform(images), [category.replace("_", " ")] * len(images))
        scores.append(answer.pred_score.float().numpy())
        deviations.append(answer.score_std.float().numpy())
    return np.concatenate(scores), np.concatenate(deviations)


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge all unseen categories and print the table."""
    import anomalib_zsad

    parser = argparse.ArgumentParser(prog="python -m anomalib_zsad.demo.measure_uncertainty", description=__doc__)
    parser.add_argument("--model", choices=["BayesPFL", "CoPS"], default="BayesPFL")
    parser.add_argument("--checkpoint", type=Path, required=True, help="as `make demo` trains it")
    parser.add_argument("--pieces", type=int, default=100, help="normal pieces to calibrate on, of each category")
    parser.add_argument("--rate", type=float, default=0.05, help="false-alarm rate")
    parser.add_argument("--factor", type=float, default=1.0, help="standard deviations that make a score uncertain")
    options = parser.parse_args(arguments)
    module = getattr(anomalib_zsad, options.model)(backbone="demo", checkpoint=str(options.checkpoint)).eval()
    table = Table("category", "false alarms", "found", "errors, certain", "errors, uncertain", "errors, nearest")
    total = Certainty(0, 0, 0, 0, 0)
    for category in UNSEEN_CATEGORIES:
        judged = judge_category(module, category, options.pieces, options.rate, options.factor)
        total += judged.certainty
        table.add_row(
            category,
            f"{100 * judged.false_alarms:.1f} %",
            f"{100 * judged.found:.1f} %",
            *certainty_cells(judged.certainty),
        )
    table.add_row("together", "", "", *certainty_cells(total))
    console().print(table)
    return 0


def certainty_cells(found: Certainty) -> list[str]:
    """Shares of wrong decisions, with counts."""
    counts = (
        (found.certain_errors, found.certain),
        (found.uncertain_errors, found.uncertain),
        (found.nearest_errors, found.uncertain),
    )
    return [f"{100 * errors / of:.1f} % ({errors} of {of})" if of else "none" for errors, of in counts]


if __name__ == "__main__":
    sys.exit(main())
