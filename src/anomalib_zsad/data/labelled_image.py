"""One image file with what is known of it, whatever layout or list it was found in."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LabelledImage:
    """One image of a set.

    Attributes:
        image_path: File of the image.
        abnormal: Whether the image shows an anomaly.
        class_name: What the image shows, for the prompts.
        mask_path: File of the mask, or none: for a normal image that is an empty mask, for an abnormal one an unknown.
        kind: Kind of anomaly ("scratch"), or "good".
        split: "train" for the training part of a set that has one, else "test".
    """

    image_path: Path
    abnormal: bool
    class_name: str = ""
    mask_path: Path | None = None
    kind: str = ""
    split: str = "test"
