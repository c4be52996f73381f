"""Data for zero-shot models: class-named items, auxiliary training data, folders of images, the sample set."""

from anomalib_zsad.data.items import ClassNamedBatch, ClassNamedItem, NumpyClassNamedBatch, NumpyClassNamedItem

__all__ = ["ClassNamedBatch", "ClassNamedItem", "NumpyClassNamedBatch", "NumpyClassNamedItem"]
