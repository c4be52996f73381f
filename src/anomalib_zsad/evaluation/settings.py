"""How a model is evaluated."""

from dataclasses import dataclass, field
from typing import Literal

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.evaluation.volumes.lesion_rules import LesionRules

ProtocolName = Literal["deployable", "paper"]


@dataclass(frozen=True)
class Settings:
    """How to evaluate.

    Attributes:
        protocols: Names of the protocols.
        seeds: Seeds of the model's noise.
        batch_size: Images at a time; it does not change the answers.
        num_workers: Processes that read images.
        allow_overlap: Evaluate on categories that the model was trained on, with a note in the table.
        resume: Go on with an earlier evaluation in the same output folder.
        overwrite: Compute again what another run left in the output folder.
        calibration: Scores of normal cases that scores are judged by, under the protocol `deployable`.
        false_alarm_rate: Share of normal cases that may be flagged with a calibration.
        class_name: What images show that bring no name of their own; `None` for the model's.
        lesions: Of volumes, which further figures of lesions are made.

    Raises:
        ValueError: If a number makes no sense.
    """

    protocols: tuple[ProtocolName, ...] = ("deployable",)
    seeds: tuple[int, ...] = (0,)
    batch_size: int = 8
    num_workers: int = 0
    allow_overlap: bool = False
    resume: bool = False
    overwrite: bool = False
    calibration: Calibration | None = None
    false_alarm_rate: float = 0.05
    class_name: str | None = None
    lesions: LesionRules = field(default_factory=LesionRules)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.num_workers < 0:
            raise ValueError(
                f"the batch size is at least 1 and the number of workers at least 0, not {self.batch_size} and "
                f"{self.num_workers}"
            )
        if self.lesions.lesion_regions == "calibrated" and self.calibration is None:
            raise ValueError("calibrated regions of lesions need a --calibration; without one they are dynamic")
