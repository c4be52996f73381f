"""How a model is evaluated."""

from collections.abc import Sequence
from dataclasses import dataclass

from anomalib_zsad.calibration import Calibration


@dataclass(frozen=True)
class Settings:
    """How to evaluate.

    Attributes:
        protocols: Names of the protocols.
        seeds: Seeds of the model's noise.
        batch_size: Images at a time.
        num_workers: Processes that read images.
        allow_overlap: Evaluate on categories that the model was trained on, with a note in the table.
        overwrite: Compute again what another run left in the output folder.
        calibration: Scores of normal cases that scores are judged by, under the protocol `deployable`.
        false_alarm_rate: Share of normal cases that may be flagged with a calibration.
    """

    protocols: Sequence[str] = ("deployable",)
    seeds: Sequence[int] = (0,)
    batch_size: int = 1
    num_workers: int = 0
    allow_overlap: bool = False
    overwrite: bool = False
    calibration: Calibration | None = None
    false_alarm_rate: float = 0.05
