"""How images are inspected."""

from dataclasses import dataclass, field

from anomalib_zsad.calibration.decision_rule import DecisionRule


@dataclass(frozen=True)
class InspectionOptions:
    """An inspection.

    Attributes:
        rule: How scores become decisions.
        batch_size: Images scored at a time.
        pages: Write report.html.
        pictures: How many images get pictures there, those with the highest scores.
        resume: Go on with an interrupted run in the same output folder.
        progress: Show a progress bar where standard error is a terminal.
    """

    rule: DecisionRule = field(default_factory=lambda: DecisionRule("images"))
    batch_size: int = 8
    pages: bool = True
    pictures: int = 400
    resume: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.pictures < 1:
            raise ValueError("batch size and number of pictures are at least 1")
