"""What a class name must be; nothing heavy is imported here."""

from typing import Any


def check_class_name(name: Any) -> str:
    """Return a class name as it came, or raise if it is none.

    Raises:
        TypeError: If the name is not a string.
        ValueError: If the name is empty.
    """
    if not isinstance(name, str):
        raise TypeError(f"class_name must be a string, got {name!r}. Give the category's name, such as 'metal_nut'.")
    if not name.strip():
        raise ValueError(f"class_name is empty ({name!r}). Give the category's name, or leave the field out.")
    return name
