"""What a part of an inspection leaves for the whole, beside its journal."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from typing_extensions import Self

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.inspection.find_images import FoundImages
from anomalib_zsad.inspection.inspection_outputs import Told
from anomalib_zsad.inspection.options import InspectionOptions
from anomalib_zsad.outputs.atomic import write_text

_PLAN, _CALIBRATION = ".inspection-part.json", ".inspection-calibration.json"


@dataclass(frozen=True)
class PartPlan:
    """A part of an inspection.

    Attributes:
        number: Its number, from 0.
        count: How many parts there are.
        digest: Of the names of all images of all parts.
        location: The folder that was inspected.
        device: What the model ran on.
        own_scale: Whether scores are on a scale of the model's own.
        skipped: How many files of which kind were not looked at; the first part tells.
        unreadable: Why folders could not be read, by name; the first part tells.
    """

    number: int
    count: int
    digest: str
    location: str
    device: str | None
    own_scale: bool
    skipped: Mapping[str, int]
    unreadable: Mapping[str, str]

    @classmethod
    def of(cls, everything: FoundImages, found: FoundImages, told: Told, options: InspectionOptions) -> Self:
        """The plan of a part.

        Args:
            everything: What all parts are to do.
            found: What this part is to do.
            told: What its outputs say.
            options: How.
        """
        part, names = options.part, "\0".join(name for name, _ in everything.images)
        digest = hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()
        location, own_scale = str(told.location), options.rule.own_scale
        skipped, unreadable = dict(found.skipped), dict(found.unreadable)
        return cls(part.number, part.count, digest, location, told.device, own_scale, skipped, unreadable)

    def save(self, folder: Path, calibration: Calibration | None) -> None:
        """Write it, and the calibration that was in use, by which drift is told over all parts.

        Raises:
            OSError: If it cannot be written.
        """
        write_text(folder / _PLAN, json.dumps(asdict(self), indent=2) + "\n")
        if calibration is not None:
            calibration.save(folder / _CALIBRATION, overwrite=True)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """The plan in a folder; `None` if there is none."""
        try:
            return cls(**json.loads((folder / _PLAN).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def calibration_of(folder: Path) -> Calibration | None:
    """The calibration that a part left; `None` without one.

    Raises:
        ValueError: If the file is no whole calibration.
    """
    path = folder / _CALIBRATION
    return Calibration.load(path) if path.is_file() else None
