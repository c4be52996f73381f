"""Packages that are installed only where they are asked for."""

import importlib.util


class MissingExtraError(ModuleNotFoundError, ValueError):
    """Packages of an extra are not installed; the message names the command that installs them."""


def require(extra: str, what: str, *packages: str) -> None:
    """Make sure that the packages of an extra are there, without importing them.

    Args:
        extra: Its name, such as `export`.
        what: What needs them, for the message.
        packages: Names of modules.

    Raises:
        MissingExtraError: If one is not there.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise MissingExtraError(
            f"{what} needs {', '.join(missing)}, which {verb} not installed: pip install 'anomalib-zsad[{extra}]'"
        )
