"""A processing module of mercure: one task is a folder of DICOM files and a task.json, the answer a folder of objects.

mercure (https://mercure-imaging.org) starts a module for each task that its rules choose, with `MERCURE_IN_DIR` and
`MERCURE_OUT_DIR` in the environment, sends on what DICOM files the module leaves at the top of the latter, keeps its
`result.json`, and takes an exit code other than 0 for a failure, after which it sends nothing.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from anomalib_zsad.network.targets import DeliveryError, FolderTarget
from anomalib_zsad.node.rules import ModelSettings, Rule, screening_rule
from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.outputs.disk_errors import DiskError
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.records.run_summary import DONE, REFUSED, WARNED, RunEntry
from anomalib_zsad.scoring.scores import SliceScorer
from anomalib_zsad.screening.screen import screen
from anomalib_zsad.volumes.reading.series_tags import WITHOUT_PIXELS

TASK, RESULT = "task.json", "result.json"
_OUTPUTS = ["dicom_seg", "structured_report"]


def task_settings(folder: Path) -> dict[str, Any]:
    """The module's settings of a task: `process`, `settings` in its task.json; empty where the task has none.

    Args:
        folder: What `MERCURE_IN_DIR` names.

    Raises:
        ValueError: If there is no task, or it is none that can be read.
    """
    path = folder / TASK
    try:
        process = json.loads(path.read_text(encoding="utf-8"))["process"]
        settings = process.get("settings") or {}
    except FileNotFoundError:
        raise ValueError(f"there is no {TASK} in {folder}: mercure writes one for every task") from None
    except (UnicodeDecodeError, ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"{TASK} is no task of mercure with one processing step") from None
    if not isinstance(settings, dict):
        raise ValueError(f"the settings in {TASK} are a mapping, not {type(settings).__name__}")
    return settings


def task_rule(settings: Mapping[str, Any], folder: Path) -> Rule:
    """How the series of a task are screened.

    Args:
        settings: Keys as below `screen` in configs/node.yaml; `output_types` is SEG and structured report by default.
        folder: Where paths in the settings begin.

    Raises:
        ValueError: If a setting is not known, makes no sense, or asks for results that are no DICOM.
        FileNotFoundError: If a file that the settings name is not there.
    """
    given = {"output_types": _OUTPUTS, "pages": False, "previews": 0, **settings}
    rule = screening_rule("mercure", given, folder)
    if "nifti" in rule.screening.volume.output_types:
        raise ValueError("output_types: mercure sends DICOM objects alone, which nifti is not")
    return rule


def process_task(source: Path, target: Path, rule: Rule, build: Callable[[ModelSettings], SliceScorer]) -> ExitCode:
    """Screen the series of a task.

    One that cannot be screened stops no other: it is named in `result.json`, with the reason. Originals are not
    copied: mercure adds them where its rule retains them.

    Args:
        source: What `MERCURE_IN_DIR` names.
        target: What `MERCURE_OUT_DIR` names; gets objects, named by their UIDs, and `result.json`.
        rule: How.
        build: How the model is built.

    Returns:
        `DONE` if something was screened, or there was nothing to screen; `ALL_REFUSED` if what there was is refused, or
        has no pixels, as a file that was cut off; that of `screen` if it came to no end.

    Raises:
        DiskError: If results cannot be written.
        CalibrationMismatchError: If the calibration was made with another model or other settings.
    """
    with tempfile.TemporaryDirectory(prefix="anomalib-zsad-") as work:
        options = replace(rule.screening, resume=False)
        code, entries = screen(source, Path(work) / "out", build(rule.model or ModelSettings()), options)
        if code in (ExitCode.DISK, ExitCode.INTERRUPTED, ExitCode.TERMINATED):
            return code
        try:
            FolderTarget(target).send(sorted((Path(work) / "out").rglob("*.dcm")))
        except DeliveryError as error:
            raise DiskError(str(error)) from error
    result = _result(entries, calibrated=rule.screening.rule.calibration is not None)
    write_text(target / RESULT, json.dumps(result, indent=2))
    done = any(entry.status in (DONE, WARNED) for entry in entries)
    refused = any(entry.status == REFUSED or entry.reason == WITHOUT_PIXELS for entry in entries)
    return ExitCode.DONE if done or not refused else ExitCode.ALL_REFUSED


def _result(entries: Sequence[RunEntry], *, calibrated: bool) -> dict[str, Any]:
    """What mercure keeps and tells: pseudonyms, no patient data. A message is asked for where something is abnormal."""
    others = Counter((entry.status, entry.reason) for entry in entries if not entry.series)
    entries = [entry for entry in entries if entry.series]
    series = [
        {
            "series": entry.series,
            "status": entry.status,
            "reason": entry.reason,
            "slices": entry.slices,
            "flagged_slices": entry.flagged_slices if calibrated else None,
            "score": entry.volume_score,
            "p_value": entry.volume_p_value,
            "decision": entry.volume_decision,
        }
        for entry in entries
    ]
    abnormal = [entry.series for entry in entries if entry.volume_decision == "abnormal"]
    said = "no calibration, no decision"
    if calibrated:
        said = f"{len(abnormal)} of {len(entries)} series above the threshold"
    return {
        "statement": "For research use only, not for diagnosis.",
        "series": series,
        "other_files": [
            {"status": status, "reason": reason, "times": times} for (status, reason), times in others.items()
        ],
        "__mercure_notification": {
            "text": f"anomalib-zsad: {said}. For research use only, not for diagnosis.",
            "requested": bool(abnormal),
        },
    }
