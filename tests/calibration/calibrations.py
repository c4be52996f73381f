"""Calibrations for tests."""

from typing import Any

import numpy as np

from anomalib_zsad.calibration import Calibration

FINGERPRINT = {
    "model": {"model": "BrightSpot", "class_name": "brain", "constants": {"num_samples": 10}},
    "screening": {"window": "auto", "plane": "native", "top_k": 5},
}


def of_volumes(units: int = 30, seed: int = 0, **changes: Any) -> Calibration:
    """A calibration of so many patients, one or two volumes of up to nine slices each."""
    random = np.random.default_rng(seed)
    volumes, slices, masks = [], [], []
    for _ in range(units):
        number = random.integers(1, 3)
        volumes.append(tuple(random.random(number).astype(np.float32).tolist()))
        slices.append(tuple(random.random(random.integers(3, 10)).astype(np.float32).tolist()))
        masks.append(tuple(random.random(number).astype(np.float32).tolist()))
    settings: dict[str, Any] = {
        "kind": "volumes",
        "scores": {"volume": tuple(volumes), "slice": tuple(slices), "mask": tuple(masks)},
        "fingerprint": FINGERPRINT,
        "population": {"modality": {"CT": units}, "window": {"brain": units}},
        "left_out": {"no-position-or-orientation": 2},
        "cases": ("series-0123456789", "images-0123456789"),
    }
    return Calibration(**{**settings, **changes})


def of_images(units: int = 30, seed: int = 0, **changes: Any) -> Calibration:
    """A calibration of so many images."""
    values = np.random.default_rng(seed).random((2, units)).astype(np.float32)
    scores = {
        level: tuple((float(score),) for score in own) for level, own in zip(("image", "mask"), values, strict=True)
    }
    return Calibration(**{"kind": "images", "scores": scores, "fingerprint": FINGERPRINT, **changes})
