"""Slices in batches through a scorer, the next batch being prepared meanwhile."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch

from anomalib_zsad.scoring.scores import SliceScorer, SliceScores
from anomalib_zsad.volumes.slice_stack import SliceStack


class ScoredBatch(NamedTuple):
    """A batch of slices and what was answered.

    Attributes:
        indices: The slices.
        images: Their images (n, 3, H, W).
        blank: Blank slices met on the way.
        answer: Of the scorer; `None` where the batch is empty.
    """

    indices: list[int]
    images: torch.Tensor
    blank: list[int]
    answer: SliceScores | None


def score_stack(
    stack: SliceStack, scorer: SliceScorer, batch_size: int, *, score_blank: bool = False
) -> Iterator[ScoredBatch]:
    """Score all slices in batches; the next one is prepared while the scorer works.

    Args:
        stack: The slices.
        scorer: The model.
        batch_size: Slices at a time.
        score_blank: Let the model score blank slices too.

    Raises:
        ValueError: If the scorer's answers are no scores.
    """
    batches = stack.batches(batch_size, skip_blank=not score_blank)
    with ThreadPoolExecutor(1, thread_name_prefix="slices") as ahead:
        coming = ahead.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = ahead.submit(next, batches, None)
            indices, images, blank = batch
            answer = scorer(images) if indices else None
            if answer is not None:
                answer.check(len(indices), stack.shape)
            yield ScoredBatch(indices, images, blank, answer)
