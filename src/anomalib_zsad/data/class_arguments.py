"""Arguments of classes that were written as text: checked before the class is built, so that errors are plain."""

import inspect
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser

__all__ = ["checked_arguments"]


def checked_arguments(cls: type, given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Arguments of a class, each of the type that its constructor names.

    Args:
        cls: The class. An argument without a type, or of one that only a type checker knows, takes anything.
        given: Values by name, as JSON has them: whole numbers pass for floats, lists for tuples.
        prefix: What stands before a name where it was written, such as `--model.`.

    Returns:
        The values, converted.

    Raises:
        ValueError: If the class has no such argument, or a value is of another type; says which are to be had.
    """
    parameters = inspect.signature(cls).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        unknown = [name for name in given if name not in parameters]
        if unknown:
            raise ValueError(f"{cls.__name__} has no argument {', '.join(unknown)}; it has {', '.join(parameters)}")
    hints = _hints(cls)
    return {
        name: _converted(cls, prefix + name, value, hints[name]) if name in hints else value
        for name, value in given.items()
    }


def _hints(cls: type) -> dict[str, Any]:
    """Types of a constructor's arguments; none where they name what only type checkers import."""
    try:
        return get_type_hints(cls.__init__)  # type: ignore[misc]
    except NameError:
        return {}


def _converted(cls: type, name: str, value: Any, hint: Any) -> Any:
    try:
        return _of_type(hint, value)
    except ArgumentError as error:
        advice = f"""; as text it is written '"{value}"'""" if _could_be_text(hint, value) else ""
        raise ValueError(f"{name} of {cls.__name__} must be {_words(hint)}, and is {value!r}{advice}") from error


def _words(hint: Any) -> str:
    """A type for people, such as `int` or `one of memory, disk`; that it may be left out goes without saying."""
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_words(part) for part in get_args(hint) if part is not type(None))
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")


def _of_type(hint: Any, value: Any) -> Any:
    """A value of a type, by the rules of anomalib's configurations.

    Raises:
        ArgumentError: If it is of another.
    """
    if value is None and hint not in (Any, None) and type(None) not in get_args(hint):
        raise ArgumentError(None, "null")
    parser = ArgumentParser(exit_on_error=False)
    try:
        parser.add_argument("--value", type=hint)
    except ValueError:  # a type that configurations know nothing of
        return value
    return parser.parse_object({"value": value}).value


def _could_be_text(hint: Any, value: Any) -> bool:
    """Whether a number was read where its digits, as text, would fit."""
    return isinstance(value, int | float) and (hint is str or str in get_args(hint))
