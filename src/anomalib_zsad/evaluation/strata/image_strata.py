"""Strata of images: ranking, and what a calibration flags, within each."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.calibration.decision_rule import reaches
from anomalib_zsad.evaluation.figure import Figure, counts_only, not_defined, share
from anomalib_zsad.evaluation.results import CategoryResult
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.evaluation.strata.strata_table import StrataTable, endings_of, ordered
from anomalib_zsad.evaluation.strata.stratum import Stratum
from anomalib_zsad.evaluation.volumes.bootstrap import FEWEST_PATIENTS, Clusters, area_interval
from anomalib_zsad.evaluation.volumes.roc import area, roc_curve


def image_strata(result: CategoryResult, table: StrataTable, settings: Settings) -> list[Stratum]:
    """The strata of the images of a category, column by column, values in alphabetical order.

    Args:
        result: With the names of its images.
        table: What says where each belongs.
        settings: With the calibration, if there is one.

    Raises:
        ValueError: If a row names several images.
    """
    told = _told(result, table)
    scores, truth = np.array(result.scores), np.array(result.labels, bool)
    units = np.array(result.units, dtype=str)
    found = []
    for place, column in enumerate(table.columns):
        values = np.array([row[place] for row in told], dtype=str)
        for value in ordered(values.tolist()):
            chosen = values == value
            members = Clusters.of(scores[chosen], truth[chosen], units[chosen].tolist())
            figures = dict(_figures(members, settings, result.run.protocol))
            made = Stratum(result.target, result.category, result.run, column, value, _counts(members), figures)
            found.append(made)
    return found


def _told(result: CategoryResult, table: StrataTable) -> list[tuple[str, ...]]:
    """What the table says of each image."""
    if table.key == "patient":
        return [table.find([unit]) for unit in result.units]
    if table.key != "image":
        return [table.find([])] * len(result.names)
    others = endings_of(result.names)
    return [table.find_image(name, others) for name in result.names]


def _counts(members: Clusters) -> dict[str, int]:
    abnormal = int(members.abnormal.sum())
    counts = {"images": len(members.scores), "abnormal": abnormal, "normal": len(members.scores) - abnormal}
    return counts if members.patients == len(members.scores) else {**counts, "patients": members.patients}


def _figures(members: Clusters, settings: Settings, protocol: str) -> Iterator[tuple[str, Figure]]:
    yield "image AUROC", _auroc(members)
    calibration = settings.calibration
    if calibration is None or protocol != "deployable" or "image" not in calibration.levels:
        return
    threshold = calibration.threshold("image", settings.false_alarm_rate)
    flagged = reaches(members.scores.astype(np.float32), threshold)
    for kind, chosen in (("normal", ~members.abnormal), ("abnormal", members.abnormal)):
        yield f"{kind} images flagged by their score", _flagged(members, flagged, chosen, threshold, kind)


def _auroc(members: Clusters) -> Figure:
    curve = roc_curve(members.scores, members.abnormal)
    value = area(curve)
    if value is None:
        return not_defined(curve.lacking)
    if members.few:
        return counts_only(Figure(value), _few(members))
    interval, note = area_interval(members)
    low, high = interval or (None, None)
    return Figure(value, low, high, note=note)


def _few(members: Clusters) -> str:
    """Why people see counts alone, in words for images, which may have no patients."""
    normal, abnormal = (int((members.per_patient(part) > 0).sum()) for part in (~members.abnormal, members.abnormal))
    unit = "images" if members.patients == len(members.scores) else "patients"
    return f"{unit}: {abnormal} abnormal, {normal} normal (percentages need {FEWEST_PATIENTS} of each)"


def _flagged(
    members: Clusters, flagged: NDArray[np.bool_], chosen: NDArray[np.bool_], threshold: float | None, kind: str
) -> Figure:
    total, units = int(chosen.sum()), int((members.per_patient(chosen) > 0).sum())
    if not total:
        return not_defined(f"there is no {kind} image")
    alone = units == total
    note = "" if alone else "no interval: the images of a patient are not independent"
    made = share(int((flagged & chosen).sum()), total, interval=alone, threshold=threshold, note=note)
    if units >= FEWEST_PATIENTS:
        return made
    return counts_only(made, f"{'images' if alone else 'patients'}: {units} (percentages need {FEWEST_PATIENTS})")
