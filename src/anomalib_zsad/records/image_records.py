"""One record for each image, and the file they go to."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Literal

from anomalib_zsad.calibration.decision_rule import Decision
from anomalib_zsad.outputs.csv_tables import table_text

ImageDecision = Decision | Literal["unreadable"]


@dataclass(frozen=True)
class ImageRecord:
    """What a model says of one image file.

    Attributes:
        image: Path below the inspected folder, with forward slashes.
        width: In pixels.
        height: In pixels.
        score: In [0, 1].
        score_std: Standard deviation over the sampled prompts.
        p_value: Conformal p-value; `None` without a calibration.
        flagged: Whether the score reaches the threshold; with a calibration, what its false-alarm rate is about.
            `None`, like the decision, where neither a threshold was chosen nor a calibration given.
        decision: As `flagged` says, or `uncertain` where the threshold lies within the score's spread over the sampled
            prompts, or `unreadable`.
        map_max: Largest value of the map.
        peak_x: Column of that value, in pixels of the image, from the left.
        peak_y: Row of it, from the top.
        area_share: Share of the map that reaches the threshold of pixels.
        reason: Why the image could not be read.
        turned: Whether the picture was turned or mirrored as its EXIF orientation says; sizes and the peak's place are
            those of the picture as it is shown.
        truth: What folder names or masks say of it; `None` where they do not.
        brightness: Mean grey value, in [0, 1].
        sharpness: Standard deviation of the Laplacian of the grey values.
    """

    image: str
    width: int | None = None
    height: int | None = None
    score: float | None = None
    score_std: float | None = None
    p_value: float | None = None
    flagged: bool | None = None
    decision: ImageDecision | None = "unreadable"
    map_max: float | None = None
    peak_x: float | None = None
    peak_y: float | None = None
    area_share: float | None = None
    reason: str = ""
    turned: bool | None = None
    truth: Literal["normal", "abnormal"] | None = None
    brightness: float | None = None
    sharpness: float | None = None


def by_score(records: Iterable[ImageRecord]) -> list[ImageRecord]:
    """Highest score first; unreadable ones last; equals by name."""
    return sorted(records, key=lambda record: (record.score is None, -(record.score or 0.0), record.image))


def records_csv(records: Iterable[ImageRecord]) -> str:
    """The records as CSV with a header; nothing for `None`, `true` and `false` for booleans."""
    return table_text([field.name for field in fields(ImageRecord)], (asdict(one).values() for one in records))
