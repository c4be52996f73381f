"""Zero-shot anomaly detection for anomalib: Bayes-PFL and CoPS, on images and on medical volumes.

Importing this package is light; a class is loaded when it is first asked for::

    from anomalib_zsad import BayesPFL
"""

import importlib
from typing import TYPE_CHECKING, Any

from anomalib_zsad import registration

if TYPE_CHECKING:
    from anomalib_zsad.data.auxiliary import AuxiliaryDataModule
    from anomalib_zsad.data.folder_tree import FolderTree
    from anomalib_zsad.data.meta_json import MetaJson
    from anomalib_zsad.data.sample_set import SampleDataModule
    from anomalib_zsad.models.bayes_pfl.lightning_model import BayesPFL
    from anomalib_zsad.models.cops.lightning_model import CoPS
    from anomalib_zsad.volumes.datasets.datamodule import VolumeDataModule

__all__ = [
    "AuxiliaryDataModule",
    "BayesPFL",
    "CoPS",
    "FolderTree",
    "MetaJson",
    "SampleDataModule",
    "VolumeDataModule",
]

_MODULES = {name: module for exports in registration.EXPORTS.values() for name, module in exports.items()}


def __getattr__(name: str) -> Any:
    """Load an exported class, or the version, at its first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("anomalib-zsad")
    elif name in _MODULES:
        value = getattr(importlib.import_module(_MODULES[name]), name)
        registration.autoload()
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List what the package exports."""
    return sorted({*globals(), *__all__, "__version__"})


# Where torch's entry point is switched off, importing this package arranges the registration instead.
registration.autoload()
