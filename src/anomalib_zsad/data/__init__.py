"""Data for zero-shot models: class-named items, auxiliary training data, folders of images, the sample set."""

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
