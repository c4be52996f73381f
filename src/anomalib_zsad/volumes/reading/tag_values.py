"""Values of DICOM tags as plain numbers, codes and UIDs; what is none of these is `None` or empty, never an error."""

import math
import re
from typing import Any

from pydicom.dataset import Dataset

_CODE = r"[A-Z0-9_ ]{1,16}"


def find(groups: list[Dataset], sequence: str, keyword: str) -> Any:
    """The first value of `keyword` in `sequence` of any group, or in a group itself."""
    for group in groups:
        item = first_item(group, sequence) if sequence else None
        value = item.get(keyword) if item is not None else group.get(keyword)
        if value is not None and value != "":
            return value
    return None


def first_item(dataset: Dataset, keyword: str) -> Dataset | None:
    """The first item of a sequence, if there is one."""
    sequence = dataset.get(keyword)
    return sequence[0] if sequence else None


def numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers, or `None`."""
    try:
        found = tuple(float(part) for part in value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if len(found) == count and all(math.isfinite(part) for part in found) else None


def number(value: Any) -> float | None:
    """A finite number, or `None`."""
    found = number_or_nan(value)
    return found if math.isfinite(found) else None


def number_or_nan(value: Any) -> float:
    """A number, infinite ones included; NaN for what is none, and for digits beyond any float."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def integer(value: Any) -> int | None:
    """A whole number, or `None`."""
    found = number(value)
    return None if found is None else int(found)


def uid(dataset: Dataset, keyword: str) -> str:
    """A UID, or an empty string where it is missing or is no UID (PS3.5, 9.1): free text must not pass as one."""
    value = str(dataset.get(keyword) or "")
    return value if re.fullmatch(r"[0-9.]{1,64}", value) else ""


def code(value: Any) -> str:
    """A coded string (capitals, digits, spaces, underscores), or an empty one."""
    text = str(value or "").strip()
    return text if re.fullmatch(_CODE, text) else ""


def codes(value: Any) -> tuple[str, ...]:
    """The parts of a coded string of several values; parts that are no codes are left out."""
    parts = [value] if isinstance(value, str) else (value or ())
    return tuple(filter(None, (code(part) for part in parts)))
