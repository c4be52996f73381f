"""Options that fill the fields of a dataclass: names, types, choices and defaults are the field's own."""

import argparse
import types
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Options = TypeVar("Options")


def add_options(
    group: "argparse._ArgumentGroup", options: type, helps: dict[str, str], **flags: tuple[str, ...]
) -> None:
    """Add an option for each of some fields.

    A field `top_k` becomes `--top-k`; a truth value that is true by default becomes `--no-...`; a tuple takes several
    values; choices are those of a `Literal`.

    Args:
        group: Where to.
        options: The dataclass.
        helps: What each field does, by its name; the default is added.
        flags: Other spellings of some fields' options, such as `output_types=("-ot", "--output-type")`.
    """
    known = {field.name: field for field in fields(options)}
    hints = get_type_hints(options)
    for name, text in helps.items():
        spelled = flags.get(name) or (flag_of(known[name]),)
        group.add_argument(*spelled, **_keywords(known[name], hints[name], text))


def flag_of(field: "Field[Any]") -> str:
    """The option of a field that has no other spelling."""
    dashed = field.name.replace("_", "-")
    return f"--no-{dashed}" if field.default is True else f"--{dashed}"


def default_of(field: "Field[Any]") -> Any:
    """The default of a field."""
    if field.default is MISSING and field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def _keywords(field: "Field[Any]", hint: Any, text: str) -> dict[str, Any]:
    default = default_of(field)
    if isinstance(default, bool):
        return {"dest": field.name, "action": "store_false" if default else "store_true", "help": text}
    keywords: dict[str, Any] = {"dest": field.name, "default": default}
    kind = _without_none(hint)
    if get_origin(kind) is tuple:
        keywords["nargs"] = "+"
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        keywords["choices"] = list(get_args(kind))
        if "nargs" in keywords:  # the choices would stand in the help four times
            keywords["metavar"] = "NAME"
            text = f"{text}: {', '.join(get_args(kind))}"
    elif kind is str and "nargs" in keywords:
        keywords["metavar"] = "TEXT"
    elif kind in (int, float, Path):
        keywords["type"] = kind
        keywords["metavar"] = {int: "N", float: "X", Path: "FILE"}[kind]
    shown = " ".join(map(str, default)) if isinstance(default, tuple | list) else default
    keywords["help"] = text if default in (None, (), "") else f"{text} (default: {shown})"
    return keywords


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def fill(options: type[Options], args: argparse.Namespace, **others: Any) -> Options:
    """The dataclass, from those of its fields that the command has, and others.

    Raises:
        ValueError: If a value makes no sense.
    """
    given = {field.name: getattr(args, field.name) for field in fields(options) if hasattr(args, field.name)}  # type: ignore[arg-type]
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return options(**{**given, **others})
