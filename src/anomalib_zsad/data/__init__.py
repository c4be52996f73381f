"""Data for zero-shot models: class-named items, auxiliary training data, folders of images, the sample set.

Names are imported at their first use: anomalib's data sets, which training needs, take longer to import than a model
takes to answer.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomalib_zsad.data.auxiliary import AuxiliaryDataModule
    from anomalib_zsad.data.category_set import CategorySet
    from anomalib_zsad.data.class_named_dataset import ClassNamedDataset
    from anomalib_zsad.data.folder_tree import FolderTree, FolderTreeDataset
    from anomalib_zsad.data.items import ClassNamedBatch, ClassNamedItem, NumpyClassNamedBatch, NumpyClassNamedItem
    from anomalib_zsad.data.sample_set import SampleDataModule

__all__ = [
    "AuxiliaryDataModule",
    "CategorySet",
    "ClassNamedBatch",
    "ClassNamedDataset",
    "ClassNamedItem",
    "FolderTree",
    "FolderTreeDataset",
    "NumpyClassNamedBatch",
    "NumpyClassNamedItem",
    "SampleDataModule",
]

_MODULES = {
    "AuxiliaryDataModule": "auxiliary",
    "CategorySet": "category_set",
    "ClassNamedBatch": "items",
    "ClassNamedDataset": "class_named_dataset",
    "ClassNamedItem": "items",
    "FolderTree": "folder_tree",
    "FolderTreeDataset": "folder_tree",
    "NumpyClassNamedBatch": "items",
    "NumpyClassNamedItem": "items",
    "SampleDataModule": "sample_set",
}


def __getattr__(name: str) -> Any:
    """Load a class at its first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """List what the package exports."""
    return sorted({*globals(), *__all__})
