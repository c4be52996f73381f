"""A calibration of images, as a model uses it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomalib_zsad.calibration.calibration import Calibration
from anomalib_zsad.calibration.decision_rule import DecisionRule, Judgement
from anomalib_zsad.calibration.fingerprint import CalibrationMismatchError, image_fingerprint


@dataclass(frozen=True, eq=False)
class ImageCalibration:
    """A calibration of images at a false-alarm rate.

    Attributes:
        calibration: The calibration.
        rule: By which scores become decisions: a score is flagged exactly where its p-value is at most the rate.
    """

    calibration: Calibration
    rule: DecisionRule

    @classmethod
    def load(cls, path: str | Path, rate: float) -> "ImageCalibration":
        """Read a calibration file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no calibration, one of volumes, or the rate is not between 0 and 1.
            TooFewNormalsError: If the calibration has too few images for the rate.
        """
        calibration = Calibration.load(path)
        if calibration.kind != "images":
            raise ValueError(
                f"{path} is a calibration of {calibration.kind}, which `anomalib-zsad screen` uses; a model of images "
                "needs one that `anomalib-zsad calibrate` made of images"
            )
        return cls(calibration, DecisionRule("images", calibration, rate))

    @property
    def image_threshold(self) -> float:
        """From this score on an image is flagged."""
        return self.calibration.threshold("image", self.rule.false_alarm_rate)

    @property
    def mask_threshold(self) -> float:
        """From this value on a pixel is marked: at most the rate's share of normal images shows any."""
        return self.rule.mask_threshold

    @property
    def class_name(self) -> str:
        """What the images show that it was made of."""
        return str(self.calibration.fingerprint["model.class_name"])

    def check(self, module: Any) -> None:
        """Make sure that it was made with this model as it is.

        Raises:
            CalibrationMismatchError: If not; names what differs.
        """
        self.calibration.check(image_fingerprint(module, self.class_name))

    def judge(self, scores: Tensor, class_names: Sequence[str]) -> list[Judgement]:
        """Judge image scores (n,).

        Raises:
            CalibrationMismatchError: If an image shows something else than those calibrated on.
        """
        self.check_names(class_names)
        return self.rule.judge("image", scores.detach().float().cpu().numpy())

    def check_names(self, class_names: Sequence[str]) -> None:
        """Make sure that images show what it was made of.

        Raises:
            CalibrationMismatchError: If one does not.
        """
        other = next((name for name in class_names if name != self.class_name), None)
        if other is not None:
            raise CalibrationMismatchError(
                f"the calibration does not fit: class_name was {self.class_name!r} and is {other!r} now. Normal images "
                "of one thing say nothing about another: calibrate on each by itself"
            )

    def p_values(self, scores: Tensor, class_names: Sequence[str]) -> Tensor:
        """Conformal p-values of image scores (n,); see `judge`."""
        values = [one.p_value for one in self.judge(scores, class_names)]
        return torch.tensor(values, dtype=torch.float32, device=scores.device)


def below(threshold: float) -> float:
    """The float32 number just below a threshold: what is greater than it reaches the threshold."""
    return float(np.nextafter(np.float32(threshold), np.float32(-np.inf), dtype=np.float32))
