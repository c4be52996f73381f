"""One volume, once through the model: slices, map, lesions, and the pixels of the table of slices."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.evaluation.volumes.candidates import LIMIT, find_candidates
from anomalib_zsad.evaluation.volumes.cases import NamedCase
from anomalib_zsad.evaluation.volumes.dice import dice_curve
from anomalib_zsad.evaluation.volumes.lesions import match_lesions, number_lesions, voxel_volume
from anomalib_zsad.evaluation.volumes.regions import Regions, dynamic_regions, floor_of, regions_from
from anomalib_zsad.evaluation.volumes.volume_record import Marks, Slices, VolumeRecord
from anomalib_zsad.metrics.region_weights import region_weights
from anomalib_zsad.metrics.score_summary import append, condense, merge, summarise
from anomalib_zsad.scoring.scores import SliceScorer
from anomalib_zsad.screening.options import VolumeOptions
from anomalib_zsad.screening.volume_pass import ScoredBatch, VolumeScores, check_population, cut_slices, pass_over
from anomalib_zsad.volumes.datasets.masks import read_masks
from anomalib_zsad.volumes.datasets.slice_cache import SliceOptions, read_case
from anomalib_zsad.volumes.reading.loading import images_of
from anomalib_zsad.volumes.slice_stack import SliceStack

CELLS = 1 << 12
"""Cells of the summary of a volume's pixels that is kept."""


@dataclass(frozen=True)
class Setup:
    """How a volume is scored.

    Attributes:
        scorer: The model.
        slices: How volumes are read.
        options: How they are screened.
        rule: With the calibration, if there is one.
        resize_mask: Brings a boolean mask (h, w) to the height and width of the model's maps, for the table.
    """

    scorer: SliceScorer
    slices: SliceOptions
    options: VolumeOptions
    rule: DecisionRule
    resize_mask: Callable[[torch.Tensor, tuple[int, int]], torch.Tensor]

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
        return None if self.rule.calibration is None else self.rule.mask_threshold


def score_case(named: NamedCase, setup: Setup) -> VolumeRecord:
    """Read a case, score its slices, and keep what the figures are made of.

    Raises:
        SeriesRefusedError: If it cannot be read truthfully, or is unlike the volumes calibrated on.
        ValueError: If its mask lies on another grid, the plane cannot be cut, or the model's answers are no scores.
    """
    started = time.perf_counter()
    volume = read_case(named.case, setup.slices)
    mask = read_masks(named.case.masks, volume, setup.slices.mask_labels, setup.slices.nifti_affine)
    stack = cut_slices(volume, setup.options)
    check_population(setup.rule.calibration, stack)
    keeper = _Keeper(stack, mask, setup.resize_mask)
    scores = pass_over(stack, setup.scorer, setup.options, keeper.keep)
    heat, pixels = keeper.heat, keeper.pixels()
    volume.release_voxels()
    candidates = find_candidates(heat)
    lesions, hits = match_lesions(mask, heat, candidates)
    return VolumeRecord(
        name=named.name,
        patient=named.patient,
        images=named.images or images_of(volume),
        modality=volume.modality,
        window=stack.window.name,
        score=scores.volume_score,
        score_std=scores.volume_std,
        map_max=float(heat.max()),
        slices=_slices(scores, keeper.with_lesion),
        lesions=lesions,
        voxel_mm3=voxel_volume(volume),
        candidates=candidates,
        hits=hits,
        dice=dice_curve(heat, mask),
        pixels=pixels,
        marks=_marks(heat, mask, setup.mask_threshold),
        regions=_regions(heat, mask, floor_of(heat, stack.axis, _seen(scores, heat.shape[stack.axis])), setup),
        seconds=round(time.perf_counter() - started, 3),
    )


def _seen(scores: VolumeScores, count: int) -> NDArray[np.bool_]:
    """Which slices of a volume the model saw, shape (count,)."""
    seen = np.zeros(count, bool)
    seen[scores.index[~scores.blank]] = True
    return seen


def _regions(heat: NDArray[np.float32], mask: NDArray[np.bool_], floor: float, setup: Setup) -> dict[str, Regions]:
    """What the map shows, by its own heights, and from the calibrated threshold on where there is one."""
    lesions, _ = number_lesions(mask)
    made = {"dynamic": dynamic_regions(heat, floor, lesions)}
    if setup.mask_threshold is not None:
        made["calibrated"] = regions_from(heat, setup.mask_threshold, lesions)
    return made


def _slices(scores: VolumeScores, with_lesion: NDArray[np.bool_]) -> Slices:
    return Slices(scores.index, scores.score, scores.std, with_lesion[scores.index], scores.blank)


class _Keeper:
    """What is kept of a volume while its slices pass: its map, and the summary of their pixels.

    Args:
        stack: The slices.
        mask: Lesions on the volume's grid.
        resize: Brings a boolean mask (h, w) to the height and width of the model's maps.
    """

    def __init__(self, stack: SliceStack, mask: NDArray[np.bool_], resize: Callable[..., torch.Tensor]) -> None:
        self.heat = np.zeros(stack.volume.shape, np.float32, order="F")
        self._moved = np.moveaxis(self.heat, stack.axis, 0)
        self._stack = stack
        self._pixels = _PixelSummary(stack, mask, resize)
        self.with_lesion: NDArray[np.bool_] = np.asarray(np.moveaxis(mask, stack.axis, 0).any(axis=(1, 2)))

    def keep(self, batch: ScoredBatch) -> None:
        """Take a batch."""
        self._pixels.blank += [index for index in batch.blank if self.with_lesion[index]]
        if batch.answer is None:
            return
        for place, index in enumerate(batch.indices):
            self._moved[index] = self._stack.to_plane(batch.answer.anomaly_map[place].numpy())
        own = batch.answer.model_map
        self._pixels.add(batch.indices, batch.answer.anomaly_map if own is None else own)

    def pixels(self) -> NDArray[np.float64]:
        """The summary of all pixels, bounded, shape (rows, 4)."""
        return self._pixels.condensed()


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
        return self.resize(torch.from_numpy(lesion), (self._shape[-2], self._shape[-1]))

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
