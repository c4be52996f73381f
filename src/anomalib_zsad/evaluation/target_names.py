"""How a data set is written on a command line; light, so that a command can look before anything is loaded."""

import json
import re
from pathlib import Path
from typing import Any


def split_datamodule(specification: str) -> tuple[str, Path, dict[str, Any]] | None:
    """Class, root and further arguments of `DATAMODULE:ROOT[?KEY=VALUE&...]`; none if it is not of this form.

    Raises:
        ValueError: An argument is no `KEY=VALUE`.
    """
    module = re.fullmatch(r"([A-Za-z][\w.]+):(.+)", specification)  # one letter would be a drive
    if not module or Path(specification).exists():
        return None
    root, _, query = module[2].partition("?")
    return module[1], Path(root), parse_arguments(query)


def parse_arguments(query: str) -> dict[str, Any]:
    """`a=1&b=x` as arguments; values are JSON where they can be, else text.

    Raises:
        ValueError: A part is no `KEY=VALUE`.
    """
    arguments: dict[str, Any] = {}
    for pair in filter(None, query.split("&")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} is no KEY=VALUE")
        try:
            arguments[key] = json.loads(value)
        except json.JSONDecodeError:
            arguments[key] = value
    return arguments
