"""Whose a file is, by its name: the regular expression of `--patient`."""

import re


def patient_expression(text: str) -> re.Pattern[str]:
    """The regular expression that finds a patient in a name.

    Raises:
        ValueError: If it is none, or has no group.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"the patient expression {text!r} is no regular expression: {error}") from error
    if not pattern.groups:
        raise ValueError(f"the patient expression {text!r} has no group in parentheses, which is to be the patient")
    return pattern


def patient_in(name: str, pattern: re.Pattern[str]) -> str | None:
    """The patient in a name: the expression's first group; `None` where it finds none, or nothing in it."""
    match = pattern.search(name)
    return match[1] or None if match else None
