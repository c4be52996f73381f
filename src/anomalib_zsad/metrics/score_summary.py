"""A bounded summary of scored samples, from which every ranking metric can be computed.

A *summary* is a float64 tensor of shape (n, 4). Each row stands for samples that share one place in the ranking:
its score, how many normal and how many abnormal samples it stands for, and their total *region weight* (for the
per-region overlap, see `regions.py`). Rows are sorted by descending score.

Uniform bins over [0, 1] fail for zero-shot scores, which often lie in a sliver of that interval. Here the cells
follow the data: rows are merged only where they hold, together, less than one cell's share of the normal samples, of
the abnormal samples and of the region weight, and, counted from the top, of the logarithm of the number of normal
samples. The last one matters for precision: among pixels few are abnormal, so that the first false alarms weigh as
much as all abnormal pixels together. Whatever the distribution, one merge therefore moves no point of any curve by
more than `1 / CELLS` of its axis.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

CELLS = 1 << 16
"""Cells of a summary; a summary has at most about twice as many rows, 4 MiB."""

MERGE_FACTOR = 4
"""How many summaries of similar size are merged into one; more means fewer merges and more memory."""

SCORE, NORMAL, ABNORMAL, REGION = range(4)


def summarise(scores: Tensor, abnormal: Tensor, region_weights: Tensor | None = None) -> Tensor:
    """Summarise raw samples.

    Args:
        scores: floating point, shape (n,); any range, only their order matters.
        abnormal: boolean, shape (n,).
        region_weights: shape (n,), zero where a sample is normal; none means zero everywhere.

    Returns:
        The summary, float64, shape (rows, 4), sorted by descending score.

    Raises:
        ValueError: if a score is not a number.
    """
    scores = scores.float() if scores.dtype in {torch.float16, torch.bfloat16} else scores
    if torch.isnan(scores).any():
        raise ValueError(
            f"{int(torch.isnan(scores).sum())} of {scores.numel()} scores are not a number; no metric is defined"
        )
    if scores.device.type == "mps":  # float64, which counts need, does not exist there
        scores = scores.cpu()
    points = torch.zeros(scores.numel(), 4, dtype=torch.float64, device=scores.device)
    order = _descending(scores)
    is_abnormal = abnormal.to(scores.device)[order]
    points[:, SCORE] = scores[order]
    points[:, ABNORMAL] = is_abnormal
    points[:, NORMAL] = ~is_abnormal
    if region_weights is not None:
        points[:, REGION] = region_weights.to(scores.device)[order]
    return condense(points)


def merge(summaries: Sequence[Tensor]) -> Tensor:
    """One summary of all the samples that several summaries stand for."""
    return condense(sort(torch.cat(list(summaries))))


def sort(points: Tensor) -> Tensor:
    """Rows of `points` (n, 4) by descending score."""
    return points[_descending(points[:, SCORE])]


def _descending(values: Tensor) -> Tensor:
    """Indices that sort (n,) from the highest down; on a CPU NumPy is several times as fast as torch."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.argsort(values.numpy())[::-1].copy())
    return torch.argsort(values, descending=True)


def join_ties(points: Tensor) -> Tensor:
    """One row for each distinct score; `points` (n, 4) are sorted."""
    return _rows_between(points, points[:, NORMAL:].cumsum(0), _ends_of_ties(points))


def condense(points: Tensor, cells: int | None = None) -> Tensor:
    """Merge neighbouring rows of `points` (n, 4), which are sorted, until about `cells` (`CELLS`) remain.

    Up to that many distinct scores nothing is lost: the summary is exact.
    """
    cells = CELLS if cells is None else cells
    reached = points[:, NORMAL:].cumsum(0)
    last = _ends_of_ties(points)
    if len(last) > cells:
        cell = (_position(reached[last]) * cells).clamp(max=cells - 1).long()
        # A row that alone crosses a cell's border (many ties) must not be merged with light neighbours: the pair (cell
        # before it, cell after it) is its own.
        cell[1:] += cell[:-1].clone()
        last = last[_ends_of_runs(cell)]
    return _rows_between(points, reached, last)


def _ends_of_ties(points: Tensor) -> Tensor:
    """Index of the last row of each distinct score."""
    return _ends_of_runs(points[:, SCORE]).nonzero().squeeze(1)


def _ends_of_runs(values: Tensor) -> Tensor:
    """Whether a value (n,) differs from the next one; the last does."""
    ends = torch.ones(len(values), dtype=torch.bool, device=values.device)
    torch.ne(values[1:], values[:-1], out=ends[:-1])
    return ends


def _position(reached: Tensor) -> Tensor:
    """Where each row lies on a common axis of [0, 1] that all the curves share; `reached` (n, 3) are running sums."""
    totals = reached[-1].clamp(min=torch.finfo(torch.float64).tiny)
    position = torch.log1p(reached[:, 0]) / torch.log1p(totals[0]).clamp(min=1.0)
    return position.add_(reached @ totals.reciprocal()).div_(4)


def _rows_between(points: Tensor, reached: Tensor, last: Tensor) -> Tensor:
    """Merge runs of rows that end at the indices `last`; a run takes the score of its middle row.

    The score is a member's and not a mean, so that equal scores stay equal and ties stay ties.
    """
    if len(last) == len(points):
        return points
    reached = reached[last]
    first = torch.zeros_like(last)
    first[1:] = last[:-1] + 1
    merged = torch.empty(len(last), 4, dtype=points.dtype, device=points.device)
    merged[:, SCORE] = points[(first + last) // 2, SCORE]
    merged[0, NORMAL:] = reached[0]
    merged[1:, NORMAL:] = reached[1:] - reached[:-1]
    return merged


def append(summaries: list[Tensor], new: Tensor) -> list[Tensor]:
    """Add a summary to a list of summaries, merging those of similar size.

    After K additions of similar size at most `3 log4(K) + 3` summaries remain and no sample has passed through more
    than `log4(K) + 1` merges, so that both the memory and the error grow with the logarithm of K only.
    """
    summaries = [*summaries, new.to(summaries[0].device) if summaries else new]
    while len(summaries) >= MERGE_FACTOR and _size(summaries[-MERGE_FACTOR]) < MERGE_FACTOR * _size(summaries[-1]):
        summaries = [*summaries[:-MERGE_FACTOR], merge(summaries[-MERGE_FACTOR:])]
    return summaries


def _size(summary: Tensor) -> float:
    """How many samples a summary stands for."""
    return float(summary[:, [NORMAL, ABNORMAL]].sum())
