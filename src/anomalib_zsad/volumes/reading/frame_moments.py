"""What may tell two frames at one position apart: component, b-value, time, echo, acquisition and the like."""

from collections.abc import Iterator

import pydicom
from pydicom.dataset import Dataset

from anomalib_zsad.volumes.reading.tag_values import find, first_item, integer, number, numbers

Moment = tuple[str, float | str | tuple[float, ...]]
"""Name and value."""

# (group, element) of vendors' private b-values: Siemens, GE, Philips, United Imaging.
_PRIVATE_B_VALUES = ((0x0019, 0x100C), (0x0043, 0x1039), (0x2001, 0x1003), (0x0065, 0x1009))
# And of gradient directions: Siemens in one element, GE and Philips in three.
_PRIVATE_DIRECTION = (0x0019, 0x100E)
_PRIVATE_DIRECTIONS = (
    ((0x0019, 0x10BB), (0x0019, 0x10BC), (0x0019, 0x10BD)),
    ((0x2005, 0x10B0), (0x2005, 0x10B1), (0x2005, 0x10B2)),
)


def moments_of(groups: list[Dataset], component: str, image_type: tuple[str, ...]) -> Iterator[Moment]:
    """What the header says that may tell frames apart, the most telling first.

    Args:
        groups: Functional groups of the frame, and the data set last.
        component: Of a complex image, or empty.
        image_type: ImageType, or the frame's type.
    """
    b_value = number(find(groups, "MRDiffusionSequence", "DiffusionBValue"))
    if b_value is None:
        b_value = _private_b_value(groups[-1])
    candidates: list[tuple[str, float | str | tuple[float, ...] | None]] = [
        ("component", component or None),
        ("b-value", b_value),
        ("time", number(find(groups, "FrameContentSequence", "TemporalPositionIndex"))),
        ("time", number(find(groups, "", "TemporalPositionIdentifier"))),
        ("echo", number(find(groups, "MREchoSequence", "EffectiveEchoTime"))),
        ("echo", number(find(groups, "", "EchoTime"))),
        ("inversion", number(find(groups, "", "InversionTime"))),
        ("acquisition", number(find(groups, "", "AcquisitionNumber"))),
        ("trigger", number(find(groups, "", "TriggerTime"))),
        ("phase", number(find(groups, "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"))),
        ("direction", _direction(groups)),
        ("type", "-".join(image_type[2:]) or None),
    ]
    yield from ((name, value) for name, value in candidates if value is not None)


def order_of(groups: list[Dataset], instance_number: int | None) -> Iterator[tuple[str, float]]:
    """Clocks by which frames at one position follow each other, the most trustworthy first.

    Acquisition times differ from slice to slice, so they tell time points apart by their order only. The instance
    number does so where the header says how many time points there are.
    """
    for name, keyword in (("phase", "TriggerTime"), ("time", "AcquisitionTime"), ("time", "AcquisitionDateTime")):
        value = number(find(groups, "FrameContentSequence", keyword))
        if value is None:
            value = number(find(groups, "", keyword))
        if value is not None:
            yield f"{name} by {keyword}", value
    if instance_number is not None and (integer(groups[-1].get("NumberOfTemporalPositions")) or 1) > 1:
        yield "time by InstanceNumber", float(instance_number)


def _private_b_value(dataset: Dataset) -> float | None:
    for tag in _PRIVATE_B_VALUES:
        if tag in dataset:
            value = dataset[tag].value
            if isinstance(value, bytes):
                value = value.decode("ascii", "ignore").split("\\")[0].strip()
            if isinstance(value, (list, tuple, pydicom.multival.MultiValue)):
                value = value[0] if len(value) else None
            found = number(value)
            if found is not None:
                # Quirk of GE's (0043,1039): a billion is added to the b-value in some software versions.
                return found % 1e6 if found >= 1e9 else found
    return None


def _direction(groups: list[Dataset]) -> tuple[float, ...] | None:
    """Gradient direction, rounded; `None` where it is not given."""
    for group in groups:
        diffusion = first_item(group, "MRDiffusionSequence")
        place = diffusion or group
        direction = first_item(place, "DiffusionGradientDirectionSequence") or place
        found = numbers(direction.get("DiffusionGradientOrientation"), 3)
        if found:
            return tuple(round(part, 3) for part in found)
    dataset = groups[-1]
    if _PRIVATE_DIRECTION in dataset:
        found = numbers(dataset[_PRIVATE_DIRECTION].value, 3)
        if found:
            return tuple(round(part, 3) for part in found)
    for tags in _PRIVATE_DIRECTIONS:
        if all(tag in dataset for tag in tags):
            parts = [number(dataset[tag].value) for tag in tags]
            if None not in parts:
                return tuple(round(part, 3) for part in parts if part is not None)
    return None
