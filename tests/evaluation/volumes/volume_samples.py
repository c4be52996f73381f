"""Volumes, scorers and records whose figures can be worked out by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.demo.phantoms import make_phantom, write_nifti, write_phantom
from anomalib_zsad.evaluation.results import Run
from anomalib_zsad.evaluation.volumes.candidates import find_candidates
from anomalib_zsad.evaluation.volumes.dice import dice_curve
from anomalib_zsad.evaluation.volumes.lesions import match_lesions, number_lesions
from anomalib_zsad.evaluation.volumes.regions import dynamic_regions, floor_of, regions_from
from anomalib_zsad.evaluation.volumes.score_case import Setup
from anomalib_zsad.evaluation.volumes.volume_record import Marks, Slices, VolumeRecord
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet
from anomalib_zsad.scoring.scores import SliceScores
from anomalib_zsad.screening.options import VolumeOptions
from anomalib_zsad.screening.volume_pass import VolumeScores
from anomalib_zsad.volumes.datasets.slice_cache import SliceOptions

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


class BrightScorer:
    """The map is the grey level, the score its maximum; deviations are a tenth of the score."""

    def __init__(self, fail_on: int | None = None, error: Exception | None = None) -> None:
        self.calls = 0
        self.fail_on, self.error = fail_on, error

    def __call__(self, images: torch.Tensor) -> SliceScores:
        self.calls += 1
        if self.fail_on is not None and self.calls == self.fail_on:
            raise self.error or RuntimeError("SECRET^NAME is quoted by this error")
        maps = images[:, 1].clone()
        scores = maps.flatten(1).amax(1)
        return SliceScores(scores, maps, 0.1 * scores, model_map=maps)

    def describe(self) -> dict[str, Any]:
        return {"model": "Bright", "class_name": "thing", "device": "cpu"}


def same(mask: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Masks are as large as the maps already."""
    assert tuple(mask.shape) == tuple(shape)
    return mask


def bright_setup(scorer: BrightScorer | None = None, calibration: Calibration | None = None, **slices: Any) -> Setup:
    """Setup with a window that leaves values 0 to 1000 as they are, divided by 1000."""
    options = SliceOptions(**{"window": "1000/500", **slices})
    volumes = VolumeOptions(window=options.window, plane=options.plane, crop=options.crop, batch_size=4)
    return Setup(scorer or BrightScorer(), options, volumes, DecisionRule("volumes", calibration, 0.05), same)


def write_case(root: Path, name: str, voxels: np.ndarray, mask: np.ndarray | None, affine: np.ndarray = AFFINE) -> None:
    """A NIfTI image and its mask in the plain layout."""
    write_nifti(root / "images" / f"{name}.nii.gz", voxels.astype(np.int16), affine)
    if mask is not None:
        write_nifti(root / "masks" / f"{name}.nii.gz", mask.astype(np.uint8), affine)


def write_phantoms(root: Path, lesions: int, normals: int) -> Path:
    """MR phantoms in the plain layout."""
    for number in range(lesions):
        write_phantom(make_phantom("brain_mr", 100 + number, lesion=True), root)
    for number in range(normals):
        write_phantom(make_phantom("brain_mr", 300 + number, lesion=False), root)
    return root


def flat_calibration(level: float = 0.5, units: int = 40, cases: Sequence[str] = ()) -> Calibration:
    """Forty normal patients with scores spread evenly from 0 to `level`."""
    scores = tuple((float(value),) for value in np.linspace(0, level, units, dtype=np.float32))
    return Calibration("volumes", dict.fromkeys(("volume", "slice", "mask"), scores), {}, cases=tuple(cases))


def record(
    name: str,
    heat: np.ndarray,
    mask: np.ndarray,
    *,
    patient: str | None = None,
    voxel_mm3: float | None = 1.0,
    threshold: float | None = None,
) -> VolumeRecord:
    """A record of a map and a mask, (X, Y, Z) each; a slice's score is the maximum of its map."""
    heat = np.asfortranarray(heat, np.float32)
    mask = np.asfortranarray(mask, bool)
    slices = Slices(
        np.arange(heat.shape[2]),
        heat.max(axis=(0, 1)),
        np.full(heat.shape[2], np.nan, np.float32),
        mask.any(axis=(0, 1)),
        np.zeros(heat.shape[2], bool),
    )
    candidates = find_candidates(heat)
    lesions, hits = match_lesions(mask, heat, candidates)
    top = (int(slices.score.argmax()),)
    scores = VolumeScores(slices.index, slices.score, slices.std, slices.blank, float(heat.max()), top)
    shown = heat >= np.float32(2.0 if threshold is None else threshold)
    marks = None if threshold is None else Marks(threshold, int(shown.sum()), int((shown & mask).sum()), 0, 0)
    numbers, _ = number_lesions(mask)
    regions = {"dynamic": dynamic_regions(heat, floor_of(heat, 2, np.ones(heat.shape[2], bool)), numbers)}
    if threshold is not None:
        regions["calibrated"] = regions_from(heat, threshold, numbers)
    return VolumeRecord(
        name=name,
        patient=patient or name,
        images=name,
        modality="MR",
        window="custom",
        score=scores.volume_score,
        score_std=scores.volume_std,
        map_max=float(heat.max()),
        slices=slices,
        lesions=lesions,
        voxel_mm3=voxel_mm3,
        candidates=candidates,
        hits=hits,
        dice=dice_curve(heat, mask),
        pixels=np.zeros((0, 4)),
        marks=marks,
        seconds=0.0,
        regions=regions,
    )


def simulated_set(count: int, seed: int, calibration: Calibration | None = None, shift: float = 0.15) -> VolumeSet:
    """Volumes of noise, half of them with two lesions of different size, which are brighter by `shift` on average."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    rule = DecisionRule("volumes", calibration, 0.05)
    threshold = rule.mask_threshold if calibration is not None else None
    records = []
    for number in range(count):
        heat = gaussian_filter(random.standard_normal((24, 24, 8)), (2, 2, 0.5))
        heat = 0.35 + 0.06 * heat / heat.std()
        mask = np.zeros(heat.shape, bool)
        if number % 2:
            mask[4:8, 4:8, 2:4] = mask[14:21, 14:21, 3:6] = True
            heat[mask] += shift * random.uniform(0.3, 1.7)
        records.append(record(f"v{number}", np.clip(heat, 0, 1), mask, voxel_mm3=8.0, threshold=threshold))
    return VolumeSet("set", "brain", Run("deployable", "", 0), tuple(records), rule=rule)
