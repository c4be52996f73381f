"""Versions of what took part in a run."""

import platform
from functools import cache
from importlib import metadata

_PACKAGES = ("anomalib-zsad", "anomalib", "torch", "monai", "highdicom", "pydicom", "nibabel", "numpy")


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that took part."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed as a package"
