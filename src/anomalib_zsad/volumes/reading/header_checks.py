"""What the headers of a series say that makes it no volume, its numbers absurd, or calls for a warning."""

import math

import numpy as np

from anomalib_zsad.volumes.faults import Fault, Finding, refuse, warn
from anomalib_zsad.volumes.input_files import FileSource
from anomalib_zsad.volumes.reading.dicom_files import has_foreign_preamble
from anomalib_zsad.volumes.reading.dicom_headers import Frame
from anomalib_zsad.volumes.reading.dicom_pixels import is_hounsfield
from anomalib_zsad.volumes.reading.image_kinds import KINDS

OFFER_2D = "Use --mode 2d to score its images one by one, without millimetres."

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_NUCLEAR_MEDICINE = "1.2.840.10008.5.1.4.1.1.20"
# Far beyond any scanner, far below what float32 and the NIfTI header of an output can hold.
_LARGEST_VALUE = 1e30
_MOST_BITS = 64
_LARGEST_POSITION = 1e6
_LARGEST_SPACING = 1e4
_SMALLEST_SPACING = 1e-6


def check_rescale(frames: list[Frame]) -> None:
    """Refuse a modality rescale that makes values without meaning.

    Raises:
        SeriesRefusedError: Naming it.
    """
    for frame in frames:
        if not 1 <= frame.bits_stored <= _MOST_BITS:
            refuse(Fault.ABSURD_NUMBERS, f"pixels of {frame.bits_stored} bits, beyond anything real", uids([frame]))
        if frame.has_lookup_table:
            continue
        if frame.slope == 0 or not math.isfinite(frame.slope) or not math.isfinite(frame.intercept):
            message = f"rescale slope {frame.slope}, intercept {frame.intercept}: values would be meaningless"
            refuse(Fault.RESCALE, message, uids([frame]))
        largest = abs(frame.slope) * 2.0**frame.bits_stored + abs(frame.intercept)
        if largest > _LARGEST_VALUE:
            message = f"rescale slope {frame.slope:g} and intercept {frame.intercept:g} make values up to {largest:g}"
            refuse(Fault.ABSURD_NUMBERS, f"{message}, beyond anything real", uids([frame]))


def check_places(frames: list[Frame], files: tuple[FileSource, ...]) -> None:
    """Refuse positions, spacings and directions beyond anything real: no true affine could be made of them.

    Raises:
        SeriesRefusedError: Naming the number.
    """
    for frame in frames:
        reason = ""
        sizes = [*(frame.spacing or ()), *([frame.thickness] if frame.thickness else [])]
        far = max(map(abs, frame.position or (0.0,)))
        odd = next((size for size in sizes if size and not _SMALLEST_SPACING < abs(size) < _LARGEST_SPACING), None)
        lengths = [float(np.linalg.norm(part)) for part in _directions(frame)]
        if far > _LARGEST_POSITION:
            reason = f"an image position of {far:g} mm"
        elif odd is not None:
            reason = f"a pixel spacing or slice thickness of {odd:g} mm"
        elif any(abs(length - 1) > 0.05 for length in lengths):
            reason = f"direction cosines of length {max(lengths, key=lambda length: abs(length - 1)):g} instead of 1"
        if reason:
            message = f"{reason} is beyond anything real: the header is damaged"
            refuse(Fault.ABSURD_NUMBERS, message, uids([frame]), (files[frame.file].name,))


def _directions(frame: Frame) -> list[tuple[float, ...]]:
    return [frame.orientation[:3], frame.orientation[3:]] if frame.orientation else []


def notes_of(frames: list[Frame], files: tuple[FileSource, ...]) -> list[Finding]:
    """Warnings that hold for the series as a whole."""
    notes = []
    if any(not frame.sop_class_uid or not frame.frame_of_reference_uid for frame in frames):
        missing = "SOP class UID" if any(not frame.sop_class_uid for frame in frames) else "frame of reference UID"
        notes.append(warn(Fault.MISSING_UIDS, f"no {missing}: scored, but no DICOM SEG can refer to it"))
    if any(frame.photometric == "MONOCHROME1" for frame in frames):
        text = "Hounsfield units, kept as they are" if is_hounsfield(frames[0]) else "inverted, so that high is bright"
        notes.append(warn(Fault.MONOCHROME1, f"MONOCHROME1: values are {text}"))
    if len({frame.signed for frame in frames}) > 1:
        notes.append(warn(Fault.MIXED_SIGN, "signed and unsigned pixels in one series: rescaled file by file"))
    if any(frame.lossy for frame in frames):
        notes.append(warn(Fault.LOSSY, "the pixels were compressed with loss"))
    if any(frame.burned_in for frame in frames):
        notes.append(warn(Fault.BURNED_IN, "BurnedInAnnotation is YES: previews may show text about the patient"))
    numbers = [
        frame.instance_number for frame in frames if frame.index is None and not (frame.tile and frame.tile.number)
    ]
    if None in numbers or len(set(numbers)) < len(numbers):
        notes.append(warn(Fault.INSTANCE_NUMBERS, "instance numbers are missing or repeated: sorted by position"))
    if any(has_foreign_preamble(file) for file in files[:1]):
        notes.append(warn(Fault.PREAMBLE, "the file's preamble is not empty (it may be another format): not copied"))
    tiled = [frame for frame in frames if frame.tile is not None]
    if tiled:
        message = f"mosaics: {len(tiled)} slices are taken out of {len({frame.file for frame in tiled})} image(s)"
        notes.append(warn(Fault.TILED_SLICES, f"{message} by their private header; no DICOM SEG can refer to them"))
    return notes


def note_kinds(frames: list[Frame]) -> list[Finding]:
    """A warning about each kind of frames that are no plain pictures."""
    kinds = dict.fromkeys(frame.kind for frame in frames if frame.kind != "original")
    return [
        warn(Fault.DERIVED, f"{KINDS[kind]}, as the header says, not a plain picture (kind={kind})") for kind in kinds
    ]


def check_volume_like(frames: list[Frame], files: tuple[FileSource, ...]) -> None:
    """Refuse, as a volume, what has colour or no geometry.

    Raises:
        SeriesRefusedError: Offering the 2D mode.
    """
    names = tuple(file.name for file in files[:1])
    colour = [frame for frame in frames if not frame.photometric.startswith("MONOCHROME")]
    if colour or is_screenshot(frames[0]):
        what = f"{colour[0].photometric} image" if colour else "ultrasound or secondary capture"
        message = f"{what}: not a volume, and text may be burned into the picture. {OFFER_2D}"
        refuse(Fault.COLOUR, message, uids(frames[:1]), names)
    if frames[0].sop_class_uid == _NUCLEAR_MEDICINE and any(frame.index is not None for frame in frames):
        message = (
            f"a nuclear medicine image of {len(frames)} frames, whose places are not given one by one: not a volume"
        )
        refuse(Fault.MULTI_FRAME, f"{message}. Convert it to NIfTI, or {OFFER_2D[0].lower()}{OFFER_2D[1:]}", (), names)
    placed = [frame for frame in frames if frame.position and frame.orientation and frame.spacing]
    if len(placed) < len(frames) or any(min(frame.spacing or (0,)) <= 0 for frame in frames):
        lacking = next((frame for frame in frames if frame not in placed), frames[0])
        fault = Fault.NO_GEOMETRY
        message = f"{len(frames) - len(placed)} of {len(frames)} images have no position, orientation or pixel spacing"
        refuse(fault, f"{message}: not a volume. {OFFER_2D}", uids([lacking]), (files[lacking.file].name,))
    if any(np.linalg.norm(np.cross(frame.orientation[:3], frame.orientation[3:])) < 0.5 for frame in placed):  # type: ignore[index]
        refuse(Fault.NO_GEOMETRY, f"the orientation's rows and columns are parallel: not a volume. {OFFER_2D}")


def is_screenshot(frame: Frame) -> bool:
    """Whether an image is ultrasound or a secondary capture."""
    return frame.modality == "US" or frame.sop_class_uid.startswith(_SECONDARY_CAPTURE)


def uids(frames: list[Frame]) -> tuple[str, ...]:
    """SOP instance UIDs, each once."""
    return tuple(dict.fromkeys(frame.sop_instance_uid for frame in frames if frame.sop_instance_uid))
