"""Scored volumes of one set in one run, and their figures for readers."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.evaluation.results import Run
from anomalib_zsad.evaluation.volumes.bootstrap import FEWEST_PATIENTS, Clusters, area_interval
from anomalib_zsad.evaluation.volumes.cases import Failure
from anomalib_zsad.evaluation.volumes.froc import FrocCurve
from anomalib_zsad.evaluation.volumes.lesion_rules import LesionRules
from anomalib_zsad.evaluation.volumes.roc import RocCurve, roc_curve
from anomalib_zsad.evaluation.volumes.set_marks import SetMarks, overlap_marks, point_marks
from anomalib_zsad.evaluation.volumes.volume_record import VolumeRecord


@dataclass(frozen=True)
class VolumeSet:
    """Volumes of one category, one model and seed.

    Attributes:
        target, category: Which set.
        run: Which model, protocol and seed.
        records: The volumes that were scored.
        failures: Those that could not be read or scored.
        unlabelled: How many were left out because they have no mask.
        rule: With the calibration, if there is one.
        owners: Pseudonym of each volume's patient, and what the data set calls him or her, by pseudonym of the volume.
        class_name: What was said of the slices, in prompts; empty if the scorer does not say.
        lesion_rules: Which further figures of lesions there are.
        sources: Name in the data set of each volume, by pseudonym; may hold patient data.
    """

    target: str
    category: str
    run: Run
    records: tuple[VolumeRecord, ...]
    failures: tuple[Failure, ...] = ()
    unlabelled: int = 0
    rule: DecisionRule = field(default_factory=lambda: DecisionRule("volumes"))
    lesion_rules: LesionRules = field(default_factory=LesionRules)
    sources: dict[str, str] = field(default_factory=dict)
    owners: dict[str, tuple[str, str]] = field(default_factory=dict)
    class_name: str = ""

    @cached_property
    def volumes(self) -> Clusters:
        """Volume scores with labels, by patient."""
        return Clusters.of(
            np.array([record.score for record in self.records]),
            np.array([record.abnormal for record in self.records], bool),
            [record.patient for record in self.records],
        )

    @cached_property
    def slices(self) -> Clusters:
        """Slice scores with labels, by patient; without blank slices that show no lesion."""
        chosen = [record.slices.counted for record in self.records]
        parts = [(r.slices.score[c], r.slices.abnormal[c]) for r, c in zip(self.records, chosen, strict=True)]
        patients = [record.patient for record, c in zip(self.records, chosen, strict=True) for _ in range(int(c.sum()))]
        scores, abnormal = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return Clusters.of(scores, abnormal, patients)

    @cached_property
    def volume_curve(self) -> RocCurve:
        """ROC of the volumes."""
        return roc_curve(self.volumes.scores, self.volumes.abnormal)

    @cached_property
    def slice_curve(self) -> RocCurve:
        """ROC of the slices."""
        return roc_curve(self.slices.scores, self.slices.abnormal)

    @cached_property
    def volume_interval(self) -> tuple[tuple[float, float] | None, str]:
        """95 % interval of the area under the volumes' curve, and what must be said of it."""
        return area_interval(self.volumes)

    @cached_property
    def slice_interval(self) -> tuple[tuple[float, float] | None, str]:
        """The same for slices."""
        return area_interval(self.slices)

    @cached_property
    def marks(self) -> SetMarks:
        """Places that the maps point to, against the lesions."""
        return point_marks(self.records, self.volumes.patient)

    def overlap_marks(self, kind: Literal["iou", "dice"]) -> SetMarks:
        """Regions that the maps show, against the lesions, by the set's rules.

        Args:
            kind: What overlap is.
        """
        rules = self.lesion_rules
        return overlap_marks(self.records, self.volumes.patient, kind, rules.min_overlap, rules.lesion_regions)

    @cached_property
    def froc(self) -> FrocCurve:
        """Free-response ROC of the lesions."""
        return self.marks.froc()

    @cached_property
    def few_abnormal(self) -> str:
        """Why percentages of lesions would say too little; empty where there are enough patients with lesions."""
        return self._few(abnormal=True)

    @cached_property
    def few_normal(self) -> str:
        """Why percentages of volumes without a lesion would say too little; empty where there are enough patients."""
        return self._few(abnormal=False)

    def _few(self, *, abnormal: bool) -> str:
        patients = len({record.patient for record in self.records if record.abnormal == abnormal})
        kind = "with" if abnormal else "without"
        enough = patients >= FEWEST_PATIENTS
        return "" if enough else f"patients {kind} a lesion: {patients} (percentages need {FEWEST_PATIENTS})"

    @property
    def patients(self) -> int:
        """How many patients the scored volumes are of."""
        return len({record.patient for record in self.records})

    @property
    def found(self) -> int:
        """How many volumes there are to evaluate: scored and failed."""
        return len(self.records) + len(self.failures)
