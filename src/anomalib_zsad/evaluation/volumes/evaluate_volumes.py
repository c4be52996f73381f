"""All volumes of a set through the model, one after the other: resumable, and no case stops the others."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.evaluation.results import CategoryResult, Run, defined, fingerprint, take_stored
from anomalib_zsad.evaluation.volumes.cases import Failure, Inventory, NamedCase, VolumeSource
from anomalib_zsad.evaluation.volumes.lesion_rules import LesionRules
from anomalib_zsad.evaluation.volumes.score_case import Setup, score_case
from anomalib_zsad.evaluation.volumes.volume_record import VolumeRecord
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet
from anomalib_zsad.metrics import IMAGE_METRICS, PIXEL_METRICS, ImageMetrics, curves
from anomalib_zsad.metrics.score_summary import append
from anomalib_zsad.scoring.build import scorer_of
from anomalib_zsad.volumes.faults import Fault, Finding, refuse
from anomalib_zsad.volumes.guard import guarded


class NoVolumeError(ValueError):
    """Not one volume of a set could be evaluated."""


@dataclass(frozen=True)
class RecordStore:
    """Records of volumes in files of a folder, so that a volume that is done is not scored again.

    Attributes:
        folder: Where they are.
        decided_by: What decides them all: model, settings, calibration.
        overwrite: Score again what was made by something else, instead of refusing.
    """

    folder: Path
    decided_by: Any
    overwrite: bool = False

    def load(self, named: NamedCase) -> VolumeRecord | None:
        """The record of an earlier run, or none.

        Raises:
            ForeignResultsError: If it was made by something else, or is damaged.
        """
        path, decided_by = self._path(named), self._fingerprint(named)
        record = take_stored(path, decided_by, VolumeRecord.load, overwrite=self.overwrite)
        return None if record is None else replace(record, patient=named.patient)  # which may be told otherwise now

    def save(self, named: NamedCase, record: VolumeRecord) -> None:
        """Keep a record.

        Raises:
            OSError: If it cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        record.save(self._path(named), self._fingerprint(named))

    def _path(self, named: NamedCase) -> Path:
        return self.folder / f"{named.name}.npz"

    def _fingerprint(self, named: NamedCase) -> str:
        return fingerprint([self.decided_by, named.name, named.masks, named.case.volume_index])


def make_setup(
    source: VolumeSource,
    module: Any,
    batch_size: int,
    rule: DecisionRule,
    resize_mask: Callable[[torch.Tensor, tuple[int, int]], torch.Tensor],
    class_name: str | None = None,
) -> Setup:
    """How the volumes of a source are scored by a Lightning module, as it is now (its noise included)."""
    device = next((str(tensor.device) for tensor in module.model.buffers()), "cpu")
    scorer = scorer_of(module, device, source.class_name() or class_name)
    return Setup(scorer, *source.options(batch_size), rule, resize_mask)


def evaluate_volumes(
    inventory: Inventory,
    setup: Setup,
    store: RecordStore,
    *,
    target: str,
    category: str,
    run: Run,
    lesion_rules: LesionRules | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[VolumeSet, bool]:
    """Score the volumes of a set, or take them from an earlier run.

    Args:
        inventory: The cases.
        setup: Model and settings.
        store: Where records are kept.
        target: Name of the set, for the record.
        category: Name of the category, for the record.
        run: The run, for the record.
        lesion_rules: Which further figures of lesions there are; `None` for none. Nothing is scored again for others.
        progress: Told that one more volume is done.

    Returns:
        The set, and whether all of it was found done.

    Raises:
        NoVolumeError: If not one volume could be read and scored.
        ForeignResultsError: If the store holds records of something else.
        OSError: If a record cannot be written.
    """
    records, failures, scored = [], list(inventory.failures), 0
    for named in inventory.cases:
        record = store.load(named)
        if record is None:
            scored += 1
            answer = _attempt(named, setup)
            if isinstance(answer, Failure):
                failures.append(answer)
            else:
                store.save(named, answer)
                record = answer
        if record is not None:
            records.append(record)
        progress(1)
    if not records:
        raise NoVolumeError(_nothing(inventory, failures))
    whole = VolumeSet(
        target,
        category,
        run,
        tuple(records),
        tuple(failures),
        inventory.unlabelled,
        rule=setup.rule,
        lesion_rules=lesion_rules or LesionRules(),
        sources={named.name: named.case.name for named in inventory.cases},
        owners={named.name: (named.patient, named.case.patient) for named in inventory.cases},
        class_name=str(setup.scorer.describe().get("class_name") or ""),
    )
    return whole, scored == 0


def _nothing(inventory: Inventory, failures: list[Failure]) -> str:
    if failures:
        reasons = list(dict.fromkeys(failure.reason for failure in failures))
        return f"none of the {len(failures)} volumes could be read and scored: {'; '.join(reasons[:3])}"
    return (
        f"none of the {inventory.unlabelled} volumes has a mask, so there is nothing to evaluate against; a volume "
        "without lesions needs an empty mask"
    )


def _attempt(named: NamedCase, setup: Setup) -> VolumeRecord | Failure:
    """The record of a case, or why there is none."""
    made = guarded(lambda: _record(named, setup))
    return Failure(named.name, made.message, named.case.name) if isinstance(made, Finding) else made


def _record(named: NamedCase, setup: Setup) -> VolumeRecord:
    """The record of a case; this package's own errors are told in full, but for names of files.

    Raises:
        SeriesRefusedError: If there is none.
    """
    try:
        return score_case(named, setup)
    except ValueError as error:
        reason = str(error)
        for path in (*named.case.masks, named.case.image):
            reason = reason.replace(str(path), "...").replace(path.name, "...")
        refuse(Fault.FAILED, reason)


def table_row(volumes: VolumeSet) -> CategoryResult:
    """The row of the table of slices, from the same pass: the model's answers for slices as for any images."""
    image = ImageMetrics()
    scores, abnormal = volumes.slices.scores, volumes.slices.abnormal
    image.update(torch.from_numpy(scores), torch.from_numpy(abnormal))
    summaries: list[torch.Tensor] = []
    for record in volumes.records:
        if len(record.pixels):
            summaries = append(summaries, torch.from_numpy(record.pixels))
    reached = curves.running_sums(torch.cat(summaries) if summaries else torch.zeros(0, 4, dtype=torch.float64))
    pixel = (curves.auroc(reached), curves.average_precision(reached), curves.f1_max(reached), curves.aupro(reached))
    values = {**image.compute(), **dict(zip(PIXEL_METRICS, pixel, strict=True))}
    metrics = {name: defined(value) for name, value in values.items()}
    count = int(abnormal.sum())
    return CategoryResult(
        target=volumes.target,
        category=volumes.category,
        run=volumes.run,
        metrics=metrics,
        images=len(abnormal),
        abnormal=count,
        masked=count,
        seconds=round(sum(record.seconds for record in volumes.records), 3),
        notes=tuple(_notes(volumes, metrics)),
        class_names=(volumes.class_name,) if volumes.class_name else (),
        few=volumes.slices.few,
        scores=tuple(scores.tolist()),
        labels=tuple(abnormal.tolist()),
        units=tuple(map(str, volumes.slices.patient.tolist())),
    )


def _notes(volumes: VolumeSet, metrics: dict[str, float | None]) -> list[str]:
    notes = []
    if volumes.failures:
        notes.append(f"{len(volumes.failures)} of {volumes.found} volumes failed and are not in the figures")
    if volumes.unlabelled:
        notes.append(f"{volumes.unlabelled} volumes without a mask were left out")
    if any(metrics[name] is None for name in IMAGE_METRICS):
        kind = "abnormal" if volumes.slices.abnormal.all() else "normal"
        notes.append(f"image metrics not defined: only {kind} images")
    if any(metrics[name] is None for name in PIXEL_METRICS):
        notes.append("pixel metrics not defined: pixels of one class only")
    return notes
