"""Datasets by name: any of anomalib's, or a folder tree, category by category."""

import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anomalib.data
import anomalib.data.datasets.image
from anomalib.data import AnomalibDataModule, AnomalibDataset
from anomalib.data.utils import Split

from anomalib_zsad.data.class_named_dataset import ClassNamedDataset
from anomalib_zsad.data.folder_layout import find_categories
from anomalib_zsad.data.folder_tree import FolderTreeDataset

__all__ = ["CategorySet", "overlap"]


@dataclass(frozen=True)
class CategorySet:
    """Categories of one data set, normal and anomalous images of each.

    Attributes:
        dataset: What reads it: the name of a datamodule or dataset of anomalib ("MVTecAD", "Visa", "BTech", ...),
            "FolderTree", or a class path of either kind.
        root: Its folder; by default the class's own default.
        categories: Names of categories; by default all.
        class_names: What categories are called in prompts, by category; by default the category's name.
        arguments: Further arguments of the class, such as `mask_threshold` of FolderTree.
    """

    dataset: str
    root: str | Path | None = None
    categories: list[str] | None = None
    class_names: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)

    def resolve_categories(self) -> list[str]:
        """The categories' names.

        Raises:
            ValueError: If none are named and the class does not list its own.
        """
        if self.categories is not None:
            if not self.categories:
                raise ValueError(
                    f"the list of categories of {self.dataset} is empty. Name some, or leave it out for all."
                )
            repeated = sorted({name for name in self.categories if self.categories.count(name) > 1})
            if repeated:
                raise ValueError(f"categories of {self.dataset} are named twice: {repeated}")
            return list(self.categories)
        reader = self.resolve_class()
        if issubclass(reader, FolderTreeDataset):
            return find_categories(Path(self._root_of(reader)))
        if "category" not in inspect.signature(reader).parameters:
            return [self.dataset.rpartition(".")[-1].lower()]
        return _listed_categories(reader, self.dataset)

    def name_of(self, category: str) -> str:
        """What a category is called in prompts."""
        if category == "." and self.root is not None:  # a folder that is itself one category
            category = Path(self.root).resolve().name
        return self.class_names.get(category, category)

    def prepare(self) -> None:
        """Download and convert what anomalib can download and convert."""
        if issubclass(self.resolve_class(), AnomalibDataModule):
            for category in self.resolve_categories():
                self.build(category).prepare_data()  # type: ignore[union-attr]

    def read(self, category: str) -> ClassNamedDataset:
        """The labelled images of one category: what anomalib calls its test split.

        Raises:
            ValueError: If the category cannot be read; the cause is told.
        """
        try:
            source = self.build(category)
            if isinstance(source, AnomalibDataModule):
                source.setup()
                source = source.test_data
        except Exception as error:  # each class of anomalib raises what it likes
            raise ValueError(
                f"category {category!r} of {self.dataset} in {self.root or 'its default folder'} "
                f"cannot be read: {error}"
            ) from error
        return ClassNamedDataset.from_dataset(source, self.name_of(category))

    def resolve_class(self) -> type[AnomalibDataModule] | type[AnomalibDataset]:
        """The class that reads the data set.

        Raises:
            ValueError: If there is no such class.
        """
        module_name, _, name = self.dataset.rpartition(".")
        if name in {"FolderTree", "FolderTreeDataset"}:
            return FolderTreeDataset
        try:
            modules = [importlib.import_module(module_name)] if module_name else [anomalib.data]
        except ImportError as error:
            raise ValueError(f"{self.dataset!r} is no class path: {error}") from error
        modules += [] if module_name else [anomalib.data.datasets.image]
        found = next((getattr(module, name) for module in modules if hasattr(module, name)), None)
        if inspect.isclass(found) and issubclass(found, AnomalibDataModule | AnomalibDataset):
            return found
        raise ValueError(
            f"{self.dataset!r} is no data set of anomalib. Give the name of one, such as MVTecAD or Visa, "
            "FolderTree, or the class path of a datamodule or dataset."
        )

    def build(self, category: str) -> AnomalibDataModule | AnomalibDataset:
        """The datamodule or dataset of one category."""
        reader = self.resolve_class()
        accepted = inspect.signature(reader).parameters
        fitting: dict[str, Any] = {
            "category": category,
            "split": Split.TEST,
            # Else some datamodules take validation images out of the test split.
            "val_split_mode": "same_as_test",
            "num_workers": 0,
        }
        if self.root is not None:
            fitting["root"] = self.root
        chosen = {name: value for name, value in fitting.items() if name in accepted}
        if issubclass(reader, FolderTreeDataset):
            chosen["class_name"] = self.name_of(category)
        build: Callable[..., AnomalibDataModule | AnomalibDataset] = reader
        return build(**(chosen | self.arguments))

    def _root_of(self, reader: type) -> str | Path:
        """The data set's folder, or an error if the class has no default."""
        default = inspect.signature(reader).parameters["root"].default
        root = self.root if self.root is not None else default
        if root is None or root is inspect.Parameter.empty:
            raise ValueError(f"{self.dataset} needs a root folder")
        return root


def overlap(first: Iterable[str], second: Iterable[str]) -> list[str]:
    """Category names that two lists share; case, underscores, hyphens and blanks do not matter."""
    spellings = {_plain(name) for name in second}
    return sorted({name for name in first if _plain(name) in spellings})


def _plain(name: str) -> str:
    """A name without what people spell differently."""
    return "".join(character for character in name.casefold() if character not in " _-")


def _listed_categories(reader: type, dataset: str) -> list[str]:
    """The categories that a class's module lists."""
    modules = [importlib.import_module(reader.__module__)]
    siblings = reader.__module__.replace(".datamodules.", ".datasets.")
    if siblings != reader.__module__:
        modules.append(importlib.import_module(siblings))
    for module in modules:
        listed = getattr(module, "CATEGORIES", None)
        if listed:
            return list(listed)
    raise ValueError(f"{dataset} does not list its categories. Name them.")
