"""One volume, once through the model: slices, map, lesions, and the pixels of the table of slices."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_zsad.evaluation.volumes.candidates import LIMIT, find_candidates
from anomalib_zsad.evaluation.volumes.cases import NamedCase
from anomalib_zsad.evaluation.volumes.dice import dice_curve
from anomalib_zsad.evaluation.volumes.lesions import match_lesions, voxel_volume
from anomalib_zsad.evaluation.volumes.volume_record import Marks, Slices, VolumeRecord
from anomalib_zsad.metrics.region_weights import region_weights
from anomalib_zsad.metrics.score_summary import append, condense, merge, summarise
from anomalib_zsad.scoring.scores import SliceScores
from anomalib_zsad.screening.calibrate_volumes import images_of
from anomalib_zsad.screening.decisions import DecisionRule
from anomalib_zsad.screening.options import VolumeOptions
from anomalib_zsad.screening.screen_volume import mean_of_top
from anomalib_zsad.volumes.datasets.masks import read_masks
from anomalib_zsad.volumes.datasets.slice_cache import SliceOptions, read_case
from anomalib_zsad.volumes.slice_stack import SliceStack
from anomalib_zsad.volumes.windowing import choose_window

CELLS = 1 << 12
"""Cells of the summary of a volume's pixels that is kept."""


class VolumeScorer(Protocol):
    """A model whose answer is needed twice: at its own size for the table, on the slices' pixels for readers."""

    def predict(self, images: torch.Tensor) -> Any:
        """The answer for images in [0, 1], shape (n, 3, H, W), with `anomaly_map` of shape (n, 1, side, side)."""
        ...

    def on_slices(self, answer: Any, shape: torch.Size) -> SliceScores:
        """The answer on the pixels of the slices, on the CPU."""
        ...

    def describe(self) -> dict[str, Any]:
        """What made the scores."""
        ...


@dataclass(frozen=True)
class Setup:
    """How a volume is scored.

    Attributes:
        scorer: The model.
        slices: How volumes are read.
        options: How they are screened.
        rule: With the calibration, if there is one.
        resize_mask: Brings a boolean mask (h, w) to the side of the model's maps, for the table.
    """

    scorer: VolumeScorer
    slices: SliceOptions
    options: VolumeOptions
    rule: DecisionRule
    resize_mask: Callable[[torch.Tensor, int], torch.Tensor]

    def decided_by(self) -> dict[str, Any]:
        """What of it decides scores, in JSON's types, beside the model's weights and the calibration."""
        options = {name: value for name, value in asdict(self.options).items() if name != "batch_size"}
        return {
            "class_name": self.scorer.describe().get("class_name"),
            "slices": asdict(self.slices),
            "options": options,
            "candidates": LIMIT,
            "cells": CELLS,
        }

    @property
    def mask_threshold(self) -> float | None:
        """From which value on a voxel is marked; `None` without a calibration."""
        return None if self.rule.calibration is None else self.rule.thresholds(0.5).mask


def score_case(named: NamedCase, setup: Setup) -> VolumeRecord:
    """Read a case, score its slices, and keep what the figures are made of.

    Raises:
        SeriesRefusedError: If it cannot be read truthfully, or is unlike the volumes calibrated on.
        ValueError: If its mask lies on another grid, the plane cannot be cut, or the model's answers are no scores.
    """
    started = time.perf_counter()
    volume = read_case(named.case, setup.slices)
    mask = read_masks(named.case.masks, volume, setup.slices.mask_labels, setup.slices.nifti_affine)
    window, _ = choose_window(volume, setup.options.window)
    stack = SliceStack(volume, window, setup.options.plane, setup.options.channels, crop=setup.options.crop)
    setup.rule.check(volume, stack)
    heat = np.zeros(volume.shape, np.float32, order="F")
    slices, pixels = _score_slices(stack, mask, heat, setup)
    volume.release_voxels()
    candidates = find_candidates(heat)
    lesions, hits = match_lesions(mask, heat, candidates)
    score, deviation = volume_score(slices, setup.options.top_k)
    return VolumeRecord(
        name=named.name,
        patient=named.patient,
        images=named.images or images_of(volume),
        modality=volume.modality,
        window=window.name,
        score=score,
        score_std=deviation,
        map_max=float(heat.max()),
        slices=slices,
        lesions=lesions,
        voxel_mm3=voxel_volume(volume),
        candidates=candidates,
        hits=hits,
        dice=dice_curve(heat, mask),
        pixels=pixels,
        marks=_marks(heat, mask, setup.mask_threshold),
        seconds=round(time.perf_counter() - started, 3),
    )


def volume_score(slices: Slices, top_k: int) -> tuple[float, float | None]:
    """The volume's score as screening gives it, and the mean deviation of the slices behind it."""
    best = np.argsort(-slices.score, kind="stable")[:top_k]
    deviations = slices.std[best].astype(np.float64)
    deviations = deviations[~np.isnan(deviations)]
    return mean_of_top(slices.score.tolist(), top_k), float(np.mean(deviations)) if len(deviations) else None


def _score_slices(
    stack: SliceStack, mask: NDArray[np.bool_], heat: NDArray[np.float32], setup: Setup
) -> tuple[Slices, NDArray[np.float64]]:
    """Score all slices and fill in the map; slices, and the summary of their pixels."""
    moved = np.moveaxis(heat, stack.axis, 0)
    with_lesion: NDArray[np.bool_] = np.asarray(np.moveaxis(mask, stack.axis, 0).any(axis=(1, 2)))
    rows: list[tuple[int, float, float, bool, bool]] = []
    pixels = _PixelSummary(stack, mask, setup.resize_mask)
    for indices, images, blank in stack.batches(setup.options.batch_size, skip_blank=not setup.options.score_blank):
        rows += [(index, 0.0, np.nan, bool(with_lesion[index]), True) for index in blank]
        pixels.blank += [index for index in blank if with_lesion[index]]
        if indices:
            answer = setup.scorer.predict(images)
            scores = setup.scorer.on_slices(answer, images.shape[-2:])
            scores.check(len(indices), stack.shape)
            deviations = np.full(len(indices), np.nan) if scores.score_std is None else scores.score_std.numpy()
            for place, index in enumerate(indices):
                moved[index] = stack.to_plane(scores.anomaly_map[place].numpy())
                row = (float(scores.score[place]), float(deviations[place]))
                rows.append((index, *row, bool(with_lesion[index]), False))
            pixels.add(indices, answer.anomaly_map.float().squeeze(1))
    numbers, values, spreads, abnormal, blanks = zip(*sorted(rows), strict=True)
    slices = Slices(
        np.array(numbers, np.int64),
        np.array(values, np.float32),
        np.array(spreads, np.float32),
        np.array(abnormal, bool),
        np.array(blanks, bool),
    )
    return slices, pixels.condensed()


class _PixelSummary:
    """Pixels of slices at the size of the model's maps, as the table of slices has them for any images."""

    def __init__(self, stack: SliceStack, mask: NDArray[np.bool_], resize: Callable[..., torch.Tensor]) -> None:
        self.stack, self.mask, self.resize = stack, mask, resize
        self.blank: list[int] = []
        self._shape: tuple[int, ...] = ()
        self._summaries: list[torch.Tensor] = []

    def add(self, indices: list[int], maps: torch.Tensor) -> None:
        """Take maps (n, side, side) of slices.

        Raises:
            ValueError: If the masks were not brought to their size.
        """
        self._shape = tuple(maps.shape[1:])
        masks = torch.stack([self._resized(index) for index in indices])
        if masks.shape != maps.shape:
            raise ValueError(f"masks of the shape {tuple(masks.shape)} do not fit maps of {tuple(maps.shape)}")
        weights = region_weights(masks).flatten()
        self._summaries = append(self._summaries, summarise(maps.flatten().cpu(), masks.flatten(), weights))

    def _resized(self, index: int) -> torch.Tensor:
        lesion = np.ascontiguousarray(self.stack.grid_image(self.mask, index))
        return self.resize(torch.from_numpy(lesion), self._shape[-1])

    def condensed(self) -> NDArray[np.float64]:
        """The summary of all, bounded, shape (rows, 4)."""
        if self.blank and self._shape:  # blank slices with a lesion: nothing is marked there
            self.add(self.blank, torch.zeros(len(self.blank), *self._shape))
        if not self._summaries:
            return np.zeros((0, 4))
        return condense(merge(self._summaries), CELLS).numpy()


def _marks(heat: NDArray[np.float32], mask: NDArray[np.bool_], threshold: float | None) -> Marks | None:
    """What the map shows from a threshold on."""
    from scipy import ndimage

    if threshold is None:
        return None
    shown = heat >= np.float32(threshold)
    labels, regions = ndimage.label(shown.T, np.ones((3, 3, 3), bool))
    touched = np.unique(labels.T[mask])
    return Marks(
        threshold=threshold,
        voxels=int(shown.sum()),
        hits=int((shown & mask).sum()),
        regions=int(regions),
        false_regions=int(regions - np.count_nonzero(touched)),
    )
