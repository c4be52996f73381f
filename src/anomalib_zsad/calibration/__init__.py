"""Calibration: what a score means, learned from normal data, with a guarantee on false alarms for finite samples."""

from anomalib_zsad.calibration.calibration import MINIMUM_UNITS, Calibration, CalibrationFileError
from anomalib_zsad.calibration.conformal import TooFewNormalsError, benjamini_hochberg, normals_needed
from anomalib_zsad.calibration.fingerprint import CalibrationMismatchError, image_fingerprint

__all__ = [
    "MINIMUM_UNITS",
    "Calibration",
    "CalibrationFileError",
    "CalibrationMismatchError",
    "TooFewNormalsError",
    "benjamini_hochberg",
    "image_fingerprint",
    "normals_needed",
]
