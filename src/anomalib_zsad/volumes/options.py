"""How volumes are read, windowed and cut: options alone, without what reads, so that they are light to import."""

import re
from dataclasses import dataclass, field
from typing import Literal

from anomalib_zsad.volumes.faults import Fault, Finding, refuse
from anomalib_zsad.volumes.uid_pseudonyms import hash_uids_of

AffineChoice = Literal["sform", "qform"]
Plane = Literal["native", "axial", "coronal", "sagittal"]
Channels = Literal["repeat", "neighbours"]
MapType = Literal["uint8", "int16", "float32"]

# Width and level in HU.
CT_PRESETS: dict[str, tuple[float, float]] = {
    "brain": (80, 40),
    "subdural": (200, 75),
    "liver": (150, 30),
    "lung": (1500, -600),
    "bone": (2000, 300),
    "mediastinum": (350, 50),
}


@dataclass(frozen=True)
class SizeBudget:
    """What an untrusted header or archive may make this program allocate.

    Attributes:
        volume_bytes: Largest volume, as float32 voxels in memory, in bytes.
        archive_bytes: Largest sum of unpacked members of one archive, in bytes.
        archive_members: Largest number of members of one archive.
        expansion: Largest ratio of unpacked to packed bytes of one archive member over 10 MB.
    """

    volume_bytes: int = 4 << 30
    archive_bytes: int = 32 << 30
    archive_members: int = 200_000
    expansion: int = 500

    def check_volume(self, voxels: int, what: str) -> None:
        """Refuse a volume that is larger than the budget.

        Args:
            voxels: Number of voxels that the header claims.
            what: What claims it, for the message.

        Raises:
            SeriesRefusedError: If float32 voxels would take more than `volume_bytes`.
        """
        if voxels * 4 > self.volume_bytes:
            refuse(
                Fault.TOO_LARGE,
                f"{what} claims {voxels:,} voxels, {voxels * 4 / 2**30:.1f} GiB in memory; the budget is "
                f"{self.volume_bytes / 2**30:.1f} GiB. Raise --max-volume-gib if the claim is true.",
            )


@dataclass(frozen=True)
class ReadingOptions:
    """How to read.

    Attributes:
        mode: `volume`, or `2d` to take images that are no volume one by one instead of refusing them.
        modality: CT or MR for files that do not say (NIfTI); `auto` leaves it unknown.
        nifti_affine: Which transform to trust where qform and sform disagree; `None` refuses those files.
        volume_index: Which volume to take, from 0, of a NIfTI file with more than three axes, or of a DICOM series that
            was split (by time, echo and the like). `None` refuses those files, and takes all of those series' volumes.
        select: `NAME=VALUE` of the volumes to take of DICOM series that were split, such as `time=1`, `echo=4.9`,
            `component=magnitude`, and `kind=original` (or `derived`, `adc`, `phase` and so on) of any DICOM series.
        hash_uids: Tell stable pseudonyms in the place of UIDs, but in DICOM objects, which must refer to their source.
        budget: Limits on what headers may claim.
    """

    mode: Literal["volume", "2d"] = "volume"
    modality: Literal["auto", "CT", "MR"] = "auto"
    nifti_affine: AffineChoice | None = None
    volume_index: int | None = None
    select: tuple[str, ...] = ()
    hash_uids: bool = False
    budget: SizeBudget = field(default_factory=SizeBudget)

    def __post_init__(self) -> None:
        for wanted in self.select:
            if not re.fullmatch(r"[a-z-]+=[^=]+", wanted):
                raise ValueError(f"--select takes NAME=VALUE, such as time=1 or kind=original, not {wanted!r}")

    def told(self, finding: Finding) -> Finding:
        """The finding as outputs tell it: without UIDs where they are not to be told."""
        return hash_uids_of(finding) if self.hash_uids else finding


def check_window(window: str) -> str:
    """The argument itself, if it names a window.

    Args:
        window: `auto`, `percentile`, a CT preset, or `WIDTH/LEVEL`, such as `80/40`.

    Raises:
        ValueError: If it does not.
    """
    if window not in ("auto", "percentile", *CT_PRESETS) and custom_window(window) is None:
        presets = ", ".join(CT_PRESETS)
        raise ValueError(f"unknown window {window!r}; choose auto, percentile, {presets}, or WIDTH/LEVEL such as 80/40")
    return window


def custom_window(window: str) -> tuple[float, float] | None:
    """Width and level of `WIDTH/LEVEL`; `None` if it is not of this form."""
    number = r"-?\d+(?:\.\d+)?"
    match = re.fullmatch(rf"({number})/({number})", window)
    if match is None or float(match[1]) <= 0:
        return None
    return float(match[1]), float(match[2])
