"""From an evaluation to its page: tables, figures for readers with their curves, failures, and hardest cases."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anomalib_zsad.evaluation.result_tables import Row, table_cells
from anomalib_zsad.evaluation.strata.strata_report import strata_tables
from anomalib_zsad.evaluation.strata.stratum import Stratum
from anomalib_zsad.evaluation.volumes.definitions import GROUPS, definition
from anomalib_zsad.evaluation.volumes.figures import counts, figures, recall_by_size, recall_threshold
from anomalib_zsad.evaluation.volumes.readers_report import curve_folder, title
from anomalib_zsad.evaluation.volumes.volume_record import VolumeRecord
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet
from anomalib_zsad.pages import series_page
from anomalib_zsad.pages.evaluation_page import EvaluatedSet, EvaluationPage, FigureLine, HardCase

_LISTED = 10
_CURVES = {
    "slice_roc.png": "ROC of slices",
    "volume_roc.png": "ROC of volumes",
    "froc.png": "FROC: lesions found over false positives",
    "recall_by_size.png": "Lesions found, by size",
    "dice.png": "Dice over the threshold",
}


def write_page(
    folder: Path,
    heading: str,
    backbone: str,
    rows: Sequence[Row],
    sets: Sequence[VolumeSet],
    provenance: Mapping[str, Any],
    files: Sequence[Path],
    screened: Path | None = None,
    strata: Sequence[Stratum] = (),
) -> Path:
    """Write `report.html` beside the other reports of an evaluation, whose curves are there already.

    Args:
        folder: The output folder.
        heading: Method and checkpoints.
        backbone: Name of the backbone.
        rows: Of the table.
        sets: Scored volumes.
        provenance: What made the figures.
        files: What was written before.
        screened: Output folder of a screening of the same volumes, whose pages are linked; `None` for none.
        strata: Of what was evaluated.

    Returns:
        The file.

    Raises:
        OSError: If it cannot be written.
    """
    headings, cells = table_cells(rows)
    page = EvaluationPage(
        title=heading,
        backbone=backbone,
        headings=headings,
        rows=cells,
        notes=[f"{row.target} / {row.category} ({row.protocol}): {note}" for row in rows for note in row.notes],
        sets=[_evaluated(folder, one, screened) for one in sets],
        strata=strata_tables(strata),
        provenance={name: value for name, value in provenance.items() if name != "protocols"},
        files=[file.name for file in files if file.parent == folder],
    )
    return page.write(folder)


def _evaluated(folder: Path, volumes: VolumeSet, screened: Path | None) -> EvaluatedSet:
    place = folder / "curves" / curve_folder(volumes)
    groups = {
        GROUPS[group]: [
            FigureLine(name, one.text(), one.threshold, one.remark, definition(name)) for name, one in part.items()
        ]
        for group, part in figures(volumes).items()
    }
    recall = recall_by_size(volumes)
    table = [["diameter", "lesions", *recall[0].recall]]
    table += [
        [row.size, str(row.lesions), *(one.text() for one in row.recall.values())] for row in recall if row.lesions
    ]
    abnormal = sorted((one for one in volumes.records if one.abnormal), key=lambda one: one.score)
    normal = sorted((one for one in volumes.records if not one.abnormal), key=lambda one: -one.score)
    return EvaluatedSet(
        title=title(volumes),
        statement=volumes.rule.statement,
        calibrated=volumes.rule.calibration is not None,
        counts=counts(volumes),
        groups=groups,
        recall=table,
        curves={name: (place / file).read_bytes() for file, name in _CURVES.items() if not _few(volumes, file)},
        failures=[(failure.volume, failure.reason) for failure in volumes.failures],
        missed=[_case(volumes, one, folder, screened) for one in abnormal[:_LISTED]],
        alarms=[_case(volumes, one, folder, screened) for one in normal[:_LISTED]],
    )


def _few(volumes: VolumeSet, file: str) -> bool:
    """Whether there are too few patients for a curve, so that its picture only says why there is none."""
    members = {"slice_roc.png": volumes.slices.few, "volume_roc.png": volumes.volumes.few}
    return bool(members.get(file, volumes.few_abnormal))


def _case(volumes: VolumeSet, record: VolumeRecord, folder: Path, screened: Path | None) -> HardCase:
    """What is hard about a volume, and where to look: at the highest of its slices with a lesion, or of all."""
    slices = record.slices
    chosen = slices.abnormal if record.abnormal else ~slices.blank
    scores = np.where(chosen, slices.score, -1)
    place = int(slices.index[int(scores.argmax())])
    rank = 1 + sum(other.score > record.score for other in volumes.records)
    if record.abnormal:
        higher = sum(other.score > record.score for other in volumes.records if not other.abnormal)
        told = f"{higher} volumes without a lesion score higher{_lesions_missed(volumes, record)}"
    else:
        lower = sum(other.score < record.score for other in volumes.records if other.abnormal)
        told = f"{lower} volumes with a lesion score lower"
    return HardCase(record.name, record.score, rank, place, told, _link(record.name, place, folder, screened))


def _lesions_missed(volumes: VolumeSet, record: VolumeRecord) -> str:
    """How many lesions no mark lies in, at one false positive per volume."""
    threshold = recall_threshold(volumes)
    if threshold is None:
        return ""
    found = int((record.lesions.scores >= threshold).sum())
    return f"; {found} of {len(record.lesions)} lesions pointed to at 1 false positive per volume"


def _link(name: str, place: int, folder: Path, screened: Path | None) -> str:
    page = None if screened is None else screened / name / series_page.NAME
    if page is None or not page.is_file():
        return ""
    return f"{Path(os.path.relpath(page.resolve(), folder.resolve())).as_posix()}#slice={place}"
