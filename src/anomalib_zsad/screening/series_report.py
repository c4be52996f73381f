"""The machine-readable report of one series."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from anomalib_zsad.outputs.versions import versions
from anomalib_zsad.volumes.writing.dicom_seg import PATIENT_MODULE

if TYPE_CHECKING:
    from anomalib_zsad.screening.decisions import DecisionRule
    from anomalib_zsad.screening.options import VolumeOptions
    from anomalib_zsad.screening.screen_volume import VolumeResult
    from anomalib_zsad.volumes.slice_stack import SliceStack
    from anomalib_zsad.volumes.volume import Volume


def volume_report(
    volume: "Volume",
    stack: "SliceStack",
    result: "VolumeResult",
    options: "VolumeOptions",
    rule: "DecisionRule",
    model: dict[str, Any],
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Everything that is needed to understand and repeat the screening of one series; no patient data."""
    return {
        "format": 1,
        "statement": rule.statement,
        "calibrated": rule.calibration is not None,
        "calibration": rule.report(result.thresholds),
        **facts,
        "series_instance_uid": volume.series_instance_uid or None,
        "study_instance_uid": volume.study_instance_uid or None,
        "modality": volume.modality or None,
        "units": volume.units.value,
        "geometry": _geometry(volume),
        "plane": {"asked": options.plane, "nearest": stack.plane, "voxel_axis": stack.axis},
        "channels": options.channels,
        "crop": _crop(stack) if options.crop else None,
        "window": result.window.as_dict(),
        "thresholds": asdict(result.thresholds),
        "uncertainty": rule.uncertainty,
        "model": model,
        "result": {
            "volume_score": result.score,
            "volume_score_std": result.score_std,
            "volume_p_value": result.p_value,
            "volume_decision": result.decision,
            "volume_score_is": f"mean of the {len(result.top_slices)} highest slice scores",
            "top_slices": result.top_slices,
            "slices": len(result.rows),
            "flagged_slices": result.flagged,
            "uncertain_slices": result.uncertain,
            "blank_slices": sum(row.blank for row in result.rows),
            "findings": _findings(result),
            "slots_without_slice": [index for index, source in enumerate(volume.slices) if source is None],
        },
        "warnings": [finding.as_dict() for finding in volume.findings],
        "files": result.files,
        "privacy": _privacy(result),
        "versions": versions(),
        "seconds": {name: round(value, 3) for name, value in {**facts.get("seconds", {}), **result.seconds}.items()},
    }


def report_text(report: dict[str, Any]) -> str:
    """The report as JSON text."""
    return json.dumps(report, indent=2, allow_nan=False) + "\n"


def _geometry(volume: "Volume") -> dict[str, Any]:
    return {
        "shape": list(volume.shape),
        "known": volume.geometry_known,
        "spacing_mm": list(volume.spacing) if volume.spacing else None,
        "affine_ras_mm": volume.affine.tolist() if volume.geometry_known else None,
        "evenly_spaced": volume.regular,
        "slice_axis": volume.native_axis,
    }


def _findings(result: "VolumeResult") -> dict[str, Any] | None:
    """Connected regions of the lesion map, all of them together; each is in findings.csv."""
    if result.regions is None:
        return None
    regions = result.regions
    together = {"voxels": regions.voxels, "volume_mm3": regions.volume_mm3}
    return {"count": regions.count, "listed": len(regions.listed), **together}


def _crop(stack: "SliceStack") -> dict[str, list[int]]:
    rows, columns = stack.box.rows, stack.box.columns
    return {"rows": [rows.start, rows.stop], "columns": [columns.start, columns.stop]}


def _privacy(result: "VolumeResult") -> str:
    if "lesions_seg.dcm" in result.files:
        return (
            f"lesions_seg.dcm carries the source's patient module ({', '.join(PATIENT_MODULE)}), as a DICOM SEG must. "
            "The other files carry UIDs but no names, IDs or dates. Text burned into pictures is not removed."
        )
    return "The files carry UIDs but no names, IDs or dates. Text burned into pictures is not removed."
