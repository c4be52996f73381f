"""One pass of a volume through a model: the same for screening, calibration and evaluation."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.scoring.scores import SliceScorer, SliceScores
from anomalib_zsad.screening.options import VolumeOptions
from anomalib_zsad.volumes.faults import Fault, refuse
from anomalib_zsad.volumes.slice_stack import SliceStack
from anomalib_zsad.volumes.volume import Volume
from anomalib_zsad.volumes.windowing import choose_window


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


@dataclass(frozen=True)
class VolumeScores:
    """Scores of the n slices of a volume in their order, and of the volume.

    Attributes:
        index: Along the plane's voxel axis, shape (n,).
        score: Of the model; 0 for blank slices, which it does not see, float32, shape (n,).
        std: Standard deviation of the score over the sampled prompts, NaN where there is none, float32, shape (n,).
        blank: Whether a slice is constant, shape (n,).
        map_max: Highest value of the whole map.
        top: Slices behind the volume's score, best first.
    """

    index: NDArray[np.int64]
    score: NDArray[np.float32]
    std: NDArray[np.float32]
    blank: NDArray[np.bool_]
    map_max: float
    top: tuple[int, ...]

    @property
    def volume_score(self) -> float:
        """Mean of the highest slice scores; 0 without any. In float32, like the scores of slices."""
        best = np.sort(self.score)[::-1][: len(self.top)]
        return float(np.float32(np.mean(best.astype(np.float64)))) if len(best) else 0.0

    @property
    def volume_std(self) -> float | None:
        """Mean of these slices' standard deviations; `None` if the model has none.

        The same sampled prompts are used for every slice, so their errors do not average out.
        """
        deviations = self.std[np.isin(self.index, self.top) & ~np.isnan(self.std)].astype(np.float64)
        return float(np.mean(deviations)) if len(deviations) else None

    @property
    def all_blank(self) -> bool:
        """Whether the model has seen no slice."""
        return bool(self.blank.all())


def cut_slices(volume: Volume, options: VolumeOptions) -> SliceStack:
    """The slices of a volume as they are shown to the model; warnings about the window join the volume's findings.

    Raises:
        SeriesRefusedError: If the plane cannot be cut from this volume.
    """
    window, findings = choose_window(volume, options.window)
    volume.findings.extend(findings)
    try:
        return SliceStack(volume, window, options.plane, options.channels, crop=options.crop)
    except ValueError as error:
        refuse(Fault.NO_GEOMETRY, str(error))


def population_of(stack: SliceStack) -> dict[str, str]:
    """What a volume must have in common with those calibrated on: modality, kind of window, plane of its slices."""
    return {"modality": stack.volume.modality, "window": stack.window.name, "plane": stack.plane}


def check_population(calibration: Calibration | None, stack: SliceStack) -> None:
    """Refuse a volume that is unlike those calibrated on: p-values would mean nothing.

    Raises:
        SeriesRefusedError: If it is; says how.
    """
    reason = "" if calibration is None else calibration.unlike(**population_of(stack))
    if reason:
        refuse(
            Fault.CALIBRATION,
            f"unlike the volumes calibrated on: {reason}; calibrate on such volumes, or screen without calibration",
        )


def pass_over(
    stack: SliceStack,
    scorer: SliceScorer,
    options: VolumeOptions,
    keep: Callable[[ScoredBatch], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
) -> VolumeScores:
    """Score all slices of a volume; the next batch is prepared, and the last one kept, while the model is at work.

    Args:
        stack: The slices.
        scorer: The model.
        options: How volumes are screened.
        keep: Takes each batch, in order, in a thread of its own; at most one batch waits for it.
        advance: Told how many slices more are done.

    Raises:
        ValueError: If the scorer's answers are no scores.
    """
    gathered = _Gathered()
    with ThreadPoolExecutor(1, thread_name_prefix="keep") as keeper:
        kept: Future[None] | None = None
        for batch in _score(stack, scorer, options):
            if kept is not None:
                kept.result()
            kept = keeper.submit(keep, batch)
            gathered.add(batch)
            advance(len(batch.indices) + len(batch.blank))
        if kept is not None:
            kept.result()
    return gathered.scores(options.top_k)


def _score(stack: SliceStack, scorer: SliceScorer, options: VolumeOptions) -> Iterator[ScoredBatch]:
    batches = stack.batches(options.batch_size, skip_blank=not options.score_blank)
    with ThreadPoolExecutor(1, thread_name_prefix="slices") as ahead:
        coming = ahead.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = ahead.submit(next, batches, None)
            indices, images, blank = batch
            answer = scorer(stack.padded(images)) if indices else None
            if answer is not None:
                answer.check(len(indices), stack.padded_shape)
                answer = _unpadded(stack, answer)
            yield ScoredBatch(indices, images, blank, answer)


def _unpadded(stack: SliceStack, answer: SliceScores) -> SliceScores:
    """The answer with maps of the slices alone; the model's own map is that of the padded ones."""
    if stack.padded_shape == stack.shape:
        return answer
    own = answer.anomaly_map if answer.model_map is None else answer.model_map
    deviations = None if answer.map_std is None else stack.unpadded(answer.map_std)
    return replace(answer, anomaly_map=stack.unpadded(answer.anomaly_map), map_std=deviations, model_map=own)


class _Gathered:
    """Scores of slices so far: index, score, deviation, and whether it is blank."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, float, float, bool]] = []
        self._map_max = 0.0

    def add(self, batch: ScoredBatch) -> None:
        self._rows += [(index, 0.0, np.nan, True) for index in batch.blank]
        if batch.answer is None:
            return
        answer = batch.answer
        deviations = [np.nan] * len(batch.indices) if answer.score_std is None else answer.score_std.tolist()
        scored = zip(batch.indices, answer.score.tolist(), deviations, strict=True)
        self._rows += [(index, score, deviation, False) for index, score, deviation in scored]
        self._map_max = max(self._map_max, float(answer.anomaly_map.max()))

    def scores(self, top_k: int) -> VolumeScores:
        rows = sorted(self._rows)
        index, score, std, blank = zip(*rows, strict=True) if rows else ((), (), (), ())
        scores = np.array(score, np.float32)
        numbers = np.array(index, np.int64)
        top = tuple(int(number) for number in numbers[np.argsort(-scores, kind="stable")[:top_k]])
        return VolumeScores(numbers, scores, np.array(std, np.float32), np.array(blank, bool), self._map_max, top)
