"""Make one inspection of its parts, without their model and their images: of the journals that they left."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.calibration.drift import DriftOptions
from anomalib_zsad.inspection import journal as journals
from anomalib_zsad.inspection.drift_over_images import drift_over
from anomalib_zsad.inspection.find_images import FoundImages
from anomalib_zsad.inspection.inspect_images import Inspection
from anomalib_zsad.inspection.inspection_outputs import Told, shown_of, write_outputs
from anomalib_zsad.inspection.journal import Journal
from anomalib_zsad.inspection.options import ImageReading, InspectionOptions
from anomalib_zsad.inspection.parts import PartPlan, calibration_of
from anomalib_zsad.outputs.disk_errors import disk_errors
from anomalib_zsad.outputs.output_folder import OutputInUseError, RunFolder, read_run
from anomalib_zsad.records.image_records import ImageRecord, by_score


def merge_parts(sources: Sequence[Path], output: Path, *, resume: bool = False) -> tuple[Inspection, InspectionOptions]:
    """Merge the output folders of all parts of an inspection; they stay as they are.

    Args:
        sources: Output folders of `inspect`, one of each part, in any order.
        output: A new or empty folder, or with `resume` that of an earlier merge.
        resume: Merge anew what an earlier merge left.

    Returns:
        What the inspection of all images would have returned and been asked for.

    Raises:
        ValueError: If a part is missing, given twice, not finished, or has seen other images.
        OutputInUseError: If a folder is no output of `inspect`, or was made with other settings.
        DiskError: If the output cannot be written.
    """
    settings, plans = _common_settings(sources), _plans_of(sources)
    first = plans[0]
    options = _options_of(settings, first, sources)
    told = Told(settings, first.device, first.skipped, Path(first.location))
    with RunFolder(output, "inspect", settings, source=None, resume=resume), disk_errors():
        journals.join([source / journals.NAME for source in sources], output / journals.NAME)
        journal = Journal(output / journals.NAME)
        try:
            shown = shown_of(options)
            records = [ImageRecord(name, reason=reason) for name, reason in first.unreadable.items()]
            for known in journal.done.values():
                records.append(known.record)
                if known.has_pictures and known.record.score is not None:
                    shown.add(known.record.image, known.record.score, known.place)
            records = by_score(records)
            drift = drift_over(records, options, journal.changed)
            write_outputs(output, records, journal, shown, options, told, drift)
            journal.finish(records)
        finally:
            journal.close()
    found = FoundImages([(record.image, Path()) for record in records], dict(first.unreadable))
    found.skipped.update(first.skipped)
    return Inspection(records, found, drift), options


def _common_settings(sources: Sequence[Path]) -> dict[str, Any]:
    """The settings of all, without what makes them parts.

    Raises:
        OutputInUseError: If they differ, or a folder is no output of `inspect`.
    """
    runs = [read_run(path) for path in sources]
    kept = [{name: value for name, value in run["settings"].items() if name != "part"} for run in runs]
    for path, run, settings in zip(sources, runs, kept, strict=True):
        if run["command"] != "inspect":
            raise OutputInUseError(f"{path} is an output of {run['command']}, and {sources[0]} one of inspect")
        differing = [name for name in kept[0] | settings if settings.get(name) != kept[0].get(name)]
        if differing:
            raise OutputInUseError(
                f"{path} and {sources[0]} were inspected with different settings ({', '.join(differing)})"
            )
    return kept[0]


def _plans_of(sources: Sequence[Path]) -> list[PartPlan]:
    """The plans of all parts, in their order.

    Raises:
        ValueError: If they are not all parts of one inspection, each once and finished.
    """
    plans: dict[int, PartPlan] = {}
    for path in sources:
        plan = PartPlan.load(path)
        if plan is None or not journals.is_finished(path / journals.NAME):
            raise ValueError(f"{path} holds no finished part of an inspection (inspect --num-parts); resume it first")
        first = next(iter(plans.values()), plan)
        if plan.count != first.count or plan.number in plans:
            message = f"is part {plan.number} of {plan.count}, and another folder is one of {first.count}"
            raise ValueError(f"{path} {'is a part given twice' if plan.count == first.count else message}")
        if plan.digest != first.digest:
            raise ValueError(f"{path} has seen other images than {sources[0]}: the input changed; resume both parts")
        plans[plan.number] = plan
    missing = sorted(set(range(first.count)) - plans.keys())
    if missing:
        told = ", ".join(map(str, missing))
        raise ValueError(f"of {first.count} parts {len(missing)} are missing: {told}; give their folders as well")
    return [plans[number] for number in sorted(plans)]


def _options_of(settings: Mapping[str, Any], plan: PartPlan, sources: Sequence[Path]) -> InspectionOptions:
    """How the parts were inspected.

    Raises:
        ValueError: If the calibration that was in use is gone.
    """
    decisions, drift, reading = settings["decisions"], dict(settings["drift"]), settings["reading"]
    calibration = None
    if decisions["calibration"] is not None:
        calibration = calibration_of(sources[0])
        if calibration is None or calibration.sha256 != decisions["calibration"]:
            raise ValueError(f"{sources[0]} lacks the calibration that was in use; resume this part")
    rate = {} if decisions["false_alarm_rate"] is None else {"false_alarm_rate": decisions["false_alarm_rate"]}
    rule = DecisionRule(
        "images",
        calibration,
        threshold=decisions["threshold"],
        uncertainty=decisions["uncertainty"],
        own_scale=plan.own_scale,
        **rate,
    )
    order = drift.pop("order")
    asked: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in reading.items()
    }
    return InspectionOptions(
        rule,
        pages=settings["pages"],
        pictures=settings["pictures"],
        reading=ImageReading(**asked),
        drift=DriftOptions(**drift),
        drift_order=order,
    )
