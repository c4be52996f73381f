"""Reports for readers: JSON, Markdown, CSV of volumes and of lesions, pictures; each appears whole or not at all."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anomalib_zsad.evaluation.figure import Figure
from anomalib_zsad.evaluation.results import fingerprint
from anomalib_zsad.evaluation.volumes.curve_pictures import pictures
from anomalib_zsad.evaluation.volumes.definitions import DEFINITIONS, GROUPS, definition
from anomalib_zsad.evaluation.volumes.figures import (
    Figures,
    RecallRow,
    counts,
    figures,
    recall_by_size,
)
from anomalib_zsad.evaluation.volumes.froc import FrocCurve
from anomalib_zsad.evaluation.volumes.rows import lesions_csv, volumes_csv
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet
from anomalib_zsad.outputs.atomic import write_bytes, write_text

NOT_ENTERED = (
    "Volumes that failed are in no figure but these counts: nothing is known of what the model would have said."
)


def write_readers(
    folder: Path, sets: Sequence[VolumeSet], provenance: Mapping[str, Any], *, source_names: bool = False
) -> list[Path]:
    """Write readers.json, readers.md, volumes.csv, lesions.csv, and the curves in a folder for each set and run.

    Args:
        folder: The output folder, which exists.
        sets: The scored volumes.
        provenance: What made the figures.
        source_names: Put the names of cases in the data set, which may hold patient data, into volumes.csv.

    Returns:
        The files.
    """
    described = []
    curves: list[Path] = []
    for one in sets:
        place = Path("curves") / curve_folder(one)
        (folder / place).mkdir(parents=True, exist_ok=True)
        drawn = pictures(one)
        for name, content in drawn.items():
            write_bytes(folder / place / name, content)
        names = [(place / name).as_posix() for name in drawn]
        curves += [folder / name for name in names]
        described.append((one, figures(one), recall_by_size(one), names))
    record = {
        "provenance": dict(provenance),
        "definitions": {**DEFINITIONS, "failures": NOT_ENTERED},
        "sets": [_as_json(*parts) for parts in described],
    }
    notice = provenance.get("notice", "")
    texts = {
        "readers.json": json.dumps(record, indent=1, allow_nan=False, default=str) + "\n",
        "readers.md": "\n".join(line for parts in described for line in _markdown(*parts, notice)),
        "volumes.csv": volumes_csv(sets, source_names=source_names),
        "lesions.csv": lesions_csv(sets),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [*(folder / name for name in texts), *curves]


def curve_folder(volumes: VolumeSet) -> str:
    """Name of the folder with the curves of a set and run."""
    names = [volumes.target, volumes.category, volumes.run.checkpoint.rpartition(".")[0], f"seed{volumes.run.seed}"]
    plain = "-".join(re.sub(r"[^A-Za-z0-9._]", "_", name) for name in names if name)
    # Different names may reduce to the same one: a digest keeps them apart.
    return f"{plain[:80]}-{fingerprint([*names, volumes.run.checkpoint])[:6]}"


def title(volumes: VolumeSet) -> str:
    """Which set and which run."""
    run = volumes.run
    return f"{volumes.target} / {volumes.category}, {run.checkpoint or 'untrained'}, seed {run.seed}"


def _as_json(volumes: VolumeSet, values: Figures, recall: Sequence[RecallRow], curves: Sequence[str]) -> dict[str, Any]:
    rule = volumes.rule
    return {
        "target": volumes.target,
        "category": volumes.category,
        **asdict(volumes.run),
        "counts": counts(volumes),
        "figures": {group: {name: asdict(one) for name, one in part.items()} for group, part in values.items()},
        "recall_by_size": [asdict(row) for row in recall],
        "froc": _froc(volumes.froc),
        "lesion_rules": asdict(volumes.lesion_rules),
        "froc_by_overlap": {
            kind: _froc(volumes.overlap_marks(kind).froc())
            for kind in volumes.lesion_rules.lesion_figures
            if kind != "panoptic"
        },
        "calibrated": rule.calibration is not None,
        "calibration": rule.report(),
        "failures": [{"volume": failure.volume, "reason": failure.reason} for failure in volumes.failures],
        "curves": list(curves),
    }


def _froc(curve: FrocCurve) -> dict[str, Any]:
    return {
        "false_positives_per_volume": curve.false_positives.tolist(),
        "share_of_lesions": curve.sensitivity.tolist() if curve.lesions else None,
        "complete": curve.complete,
    }


def _markdown(
    volumes: VolumeSet, values: Figures, recall: Sequence[RecallRow], curves: Sequence[str], notice: str
) -> list[str]:
    lines = [f"# For readers: {title(volumes)}", "", *([f"**{notice}**", ""] if notice else [])]
    lines += [f"{volumes.rule.statement}", ""]
    lines += [
        "| | count |",
        "| --- | ---: |",
        *(f"| {name} | {count} |" for name, count in counts(volumes).items()),
        "",
    ]
    lines += [NOT_ENTERED, ""] if volumes.failures else []
    lines += [f"- {failure.volume}: {failure.reason}" for failure in volumes.failures]
    lines += [""] if volumes.failures else []
    for group, part in values.items():
        lines += [f"## {GROUPS[group]}", "", "| figure | value | threshold | remarks |", "| --- | --- | ---: | --- |"]
        lines += [f"| {name} | {one.text()} | {_threshold(one)} | {one.remark} |" for name, one in part.items()]
        meanings = {_short(name): definition(name) for name in part}
        lines += ["", *(f"- {name}: {meaning}" for name, meaning in meanings.items()), ""]
    lines += _recall_table(recall)
    lines += [f"![{Path(name).stem}]({name})" for name in curves]
    return [*lines, ""]


def _short(name: str) -> str:
    return "lesions found" if name.startswith("lesions found at") else name


def _recall_table(recall: Sequence[RecallRow]) -> list[str]:
    rules = list(recall[0].recall)
    lines = ["## Lesions found by size", ""]
    if not rules:
        return [*lines, "Not defined: there is no lesion, or the curve ends before 1 false positive per volume.", ""]
    lines += [f"| diameter | lesions | {' | '.join(rules)} |", f"| --- | ---: |{' --- |' * len(rules)}"]
    for row in recall:
        lines.append(f"| {row.size} | {row.lesions} | {' | '.join(row.recall[rule].text() for rule in rules)} |")
    return [
        *lines,
        "",
        "The diameter is that of a sphere of the lesion's volume.",
        "Pointed to: a mark lies in the lesion. Touched: a marked voxel lies in it.",
        "",
    ]


def _threshold(figure: Figure) -> str:
    return "" if figure.threshold is None else f"{figure.threshold:.4f}"
