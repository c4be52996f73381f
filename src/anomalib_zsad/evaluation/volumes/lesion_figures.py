"""Figures of lesions found: by places that a map points to, by regions that overlap them, and panoptic quality."""

from dataclasses import replace
from typing import Literal

import numpy as np

from anomalib_zsad.evaluation.figure import Figure, not_defined, share
from anomalib_zsad.evaluation.volumes.average_precision import average_precision, precision_interval
from anomalib_zsad.evaluation.volumes.froc import RATES, FrocCurve
from anomalib_zsad.evaluation.volumes.overlap_matching import PanopticCounts, panoptic_counts
from anomalib_zsad.evaluation.volumes.set_marks import SetMarks
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet

NO_LESIONS = "there is no lesion"
_NOTHING_TO_PAIR = "there is neither a region nor a lesion"
_NO_PAIR = "no region shares more than half with a lesion"
_CUT = "a volume has more marks than are kept: what is below the last one known counts as not found"


def rate_name(rate: float) -> str:
    """A number of false positives per volume as text: 1/8, 1/4, 1/2, 1, 2, ..."""
    return f"1/{1 / rate:g}" if rate < 1 else f"{rate:g}"


def point_figures(volumes: VolumeSet) -> dict[str, Figure]:
    """FROC and average precision of the places that maps point to."""
    return {**_froc_figures(volumes.froc), "average precision": _precision(volumes, volumes.marks)}


def overlap_figures(volumes: VolumeSet, kind: Literal["iou", "dice"]) -> dict[str, Figure]:
    """The same of regions, which find the lesions that they overlap enough.

    Args:
        volumes: The set.
        kind: What overlap is.
    """
    marks = volumes.overlap_marks(kind)
    precision = _precision(volumes, marks)
    if precision.value is not None:
        rules = volumes.lesion_rules
        told = f"{_REGIONS[rules.lesion_regions]}; a lesion is found from an overlap of {rules.min_overlap:g} on"
        precision = replace(precision, note="; ".join(part for part in (told, precision.note) if part))
    return {"average precision": precision, **_froc_figures(marks.froc())}


_REGIONS = {
    "dynamic": "regions as PI-CAI makes them of a map",
    "calibrated": "regions from the calibrated threshold on",
}


def panoptic_figures(volumes: VolumeSet) -> dict[str, Figure]:
    """Panoptic quality and its two factors, of all volumes together."""
    source = volumes.lesion_rules.lesion_regions
    parts = [panoptic_counts(record.regions[source], record.lesions.voxels) for record in volumes.records]
    total = sum(parts, PanopticCounts())
    told = f"{_REGIONS[source]}; pairs {total.pairs}, false regions {total.false}, missed lesions {total.missed}"
    quality, recognition, segmentation = total.quality, total.recognition_quality, total.segmentation_quality
    return {
        "panoptic quality": not_defined(_NOTHING_TO_PAIR) if quality is None else Figure(quality, note=told),
        "recognition quality": not_defined(_NOTHING_TO_PAIR) if recognition is None else Figure(recognition),
        "segmentation quality": not_defined(_NO_PAIR) if segmentation is None else Figure(segmentation),
    }


def _froc_figures(curve: FrocCurve) -> dict[str, Figure]:
    result = {}
    for rate in RATES:
        name = f"lesions found at {rate_name(rate)} false positive{'s' * (rate != 1)} per volume"
        if not curve.lesions:
            result[name] = not_defined(NO_LESIONS)
        elif not curve.reaches(rate):
            result[name] = not_defined("a volume has more candidates than are kept; the curve ends before this rate")
        else:
            place = curve.place(rate)
            threshold = float(curve.thresholds[place])
            note = f"false positives per volume reached: {curve.false_positives[place]:.3g}"
            at = None if np.isinf(threshold) else threshold
            result[name] = share(int(curve.found[place]), curve.lesions, interval=False, threshold=at, note=note)
    mean = curve.mean_sensitivity
    reason = NO_LESIONS if not curve.lesions else "the curve ends before the last rate"
    result["mean over these rates"] = not_defined(reason) if mean is None else Figure(mean)
    return result


def _precision(volumes: VolumeSet, marks: SetMarks) -> Figure:
    """Average precision with its interval, which needs as many patients with lesions as every percentage."""
    if not len(marks.lesion_scores):
        return not_defined(NO_LESIONS)
    value = float(average_precision(marks)[0])
    note = "" if marks.lowest is None else _CUT
    if volumes.few_abnormal:
        return Figure(value, note=note)
    low, high = precision_interval(marks, volumes.volumes)
    return Figure(value, low, high, note=note)
