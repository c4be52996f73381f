"""What can be evaluated on: anomalib's datamodules by name, `meta.json` trees and folders, by categories."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from anomalib.data import AnomalibDataset

from anomalib_zsad.data.bmad import read_bmad_category
from anomalib_zsad.data.category_set import CategorySet
from anomalib_zsad.data.class_arguments import checked_arguments
from anomalib_zsad.data.class_named_dataset import ClassNamedDataset
from anomalib_zsad.data.folder_layout import find_categories
from anomalib_zsad.data.folder_tree import FolderTreeDataset
from anomalib_zsad.data.listed_images import ListedImages
from anomalib_zsad.data.meta_json import FILE_NAME, read_meta_json
from anomalib_zsad.data.set_names import canonical_name
from anomalib_zsad.evaluation.target_names import split_datamodule
from anomalib_zsad.evaluation.volumes.cases import VolumeSource
from anomalib_zsad.volumes.datasets.datamodule import VolumeDataModule


@dataclass(frozen=True)
class Category:
    """One category of a target.

    Attributes:
        name: Its name.
        load: Makes the dataset of its test images.
        class_name: Class name of images that bring none; `None` if the set does not say.
        volumes: Where its images are slices, the volumes they are of.
    """

    name: str
    load: Callable[[], AnomalibDataset]
    class_name: str | None = None
    volumes: VolumeSource | None = None


@dataclass(frozen=True)
class Target:
    """A set to evaluate on.

    Attributes:
        name: Name of the set, one spelling for each known one.
        source: Where it comes from, for the record.
        categories: Its categories.
    """

    name: str
    source: str
    categories: tuple[Category, ...]

    def restricted_to(self, categories: Sequence[str]) -> "Target":
        """The same target with some of its categories.

        Raises:
            ValueError: It has no such category.
        """
        known = {category.name: category for category in self.categories}
        unknown = [name for name in categories if name not in known]
        if unknown:
            raise ValueError(f"{self.name} has no category {', '.join(unknown)}; it has {', '.join(known)}")
        return Target(self.name, self.source, tuple(known[name] for name in categories))


def parse_target(specification: str) -> Target:
    """Read a target as the command line writes it.

    Args:
        specification: `[NAME=]DATAMODULE:ROOT[?KEY=VALUE&...]` for a datamodule that `anomalib.data` knows, or one by
            its class path, with further arguments of it; or `[NAME=]PATH` for a `meta.json` file, a folder that
            holds one, or a folder of images. `NAME` says which set it is, for the published figures and for the
            check against the auxiliary set.

    Raises:
        FileNotFoundError: The path does not exist.
        ValueError: There is no such datamodule.

    Example:
        >>> parse_target("MVTecAD:datasets/MVTecAD")  # doctest: +SKIP
        >>> parse_target("VisA=data/meta_visa.json")  # doctest: +SKIP
        >>> parse_target("FolderTree:data/steel?mask_threshold=0")  # doctest: +SKIP
    """
    given, rest = None, specification
    named = re.match(r"([\w -]+)=(.+)", specification)
    if named and not Path(specification).exists():
        given, rest = named.groups()
    named_class = split_datamodule(rest)
    if named_class is None:
        return path_target(Path(rest), given)
    datamodule, root, arguments = named_class
    return datamodule_target(datamodule, root, given, arguments)


def path_target(path: Path, name: str | None = None) -> Target:
    """A `meta.json` tree or a folder of images (`anomalib_zsad.data.folder_layout`) as a target.

    Raises:
        FileNotFoundError: The path does not exist.
        ValueError: It holds no images in a layout that is understood.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"there is no {path}. Give a folder, a meta.json file, or DATAMODULE:ROOT (MVTecAD:datasets/MVTecAD)."
        )
    if path.is_file() or (path / FILE_NAME).is_file():
        classes = read_meta_json(path)
        categories = tuple(Category(label, partial(ListedImages, samples), label) for label, samples in classes.items())
    else:
        categories = tuple(
            Category(path.resolve().name if label == "." else label, partial(FolderTreeDataset, path, label, "test"))
            for label in find_categories(path)
        )
    if not categories:
        raise ValueError(f"{path} holds no test images")
    return Target(canonical_name(name or _name_of_path(path)), str(path), categories)


def _name_of_path(path: Path) -> str:
    """The name of a set by its files: data/meta_visa.json and visa/meta.json are both "visa"."""
    if path.is_dir():
        return path.resolve().name
    return path.resolve().parent.name if path.name == FILE_NAME else path.stem.removeprefix("meta_")


def datamodule_target(
    datamodule: str, root: Path, name: str | None = None, arguments: Mapping[str, Any] | None = None
) -> Target:
    """A datamodule or dataset class, all its categories, as a target. Nothing is downloaded.

    Args:
        datamodule: Its name in `anomalib.data`, "FolderTree", or its class path.
        root: Its root.
        name: Which set it is, if not the one it is named for.
        arguments: Further arguments of the class.

    Raises:
        ValueError: There is no such class, it lacks an argument, or has none of a given name.
        FileNotFoundError: There is no such root.
    """
    cls = CategorySet(datamodule, root).resolve_class()
    arguments = checked_arguments(cls, arguments or {})
    source = CategorySet(datamodule, root, arguments=arguments)
    if not root.exists():
        raise FileNotFoundError(f"there is no {root}, where {datamodule} should be; nothing is downloaded here")
    takes_category = _takes_category(cls, datamodule, arguments)
    given = {"root": root, **arguments}
    if takes_category:
        spoken = {label: source.name_of(label) for label in source.resolve_categories()}
        categories = tuple(Category(name, partial(_load, cls, given, label), name) for label, name in spoken.items())
    else:
        label = str(arguments.get("class_name") or _plain_name(datamodule).lower())
        volumes = VolumeSource(partial(cls, **given)) if issubclass(cls, VolumeDataModule) else None
        categories = (Category(label, partial(_load, cls, given, None), volumes=volumes),)
    # A class that reads whatever it is pointed to says nothing about which set that is.
    is_a_set = cls.__module__.startswith("anomalib.")
    own_name = _plain_name(datamodule) if is_a_set else root.resolve().name
    return Target(canonical_name(name or own_name), f"{datamodule}:{root}", categories)


def _plain_name(datamodule: str) -> str:
    return datamodule.rpartition(".")[2]


def _takes_category(cls: Any, datamodule: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a class takes a category; an error where it needs more than it is given."""
    parameters = inspect.signature(cls).parameters
    required = inspect.Parameter.empty
    needed = [key for key, value in parameters.items() if value.default is required and value.kind != value.VAR_KEYWORD]
    lacking = set(needed) - {"root", "category", *arguments}
    if "root" not in parameters or lacking:
        raise ValueError(
            f"{datamodule} needs more than a root ({', '.join(needed)}); give its folder or a meta.json file instead"
        )
    return "category" in parameters


def _load(cls: Any, arguments: dict[str, Any], category: str | None) -> AnomalibDataset:
    """All test images of one category.

    Of a datamodule, `_setup`, where it makes its datasets, is called and `setup` is not: the latter may drop normal
    images, or hold back half of the test set for validation.
    """
    given = dict(arguments) if category is None else {**arguments, "category": category}
    if cls.__name__ == "BMAD" and category is not None:
        return ListedImages(read_bmad_category(Path(given["root"]) / category, category))
    if issubclass(cls, AnomalibDataset):
        return _with_class_name(cls(**{"split": "test", **given}), category)
    datamodule = cls(**given)
    split_root = getattr(datamodule, "split_root", None)  # VisA alone, whose raw form anomalib cannot read
    if split_root is not None and not split_root.is_dir():
        raise FileNotFoundError(
            f"there is no {split_root}; anomalib makes it of the raw VisA set by Visa(root=...).prepare_data()"
        )
    datamodule._setup()
    dataset = _with_class_name(datamodule.test_data, category)
    dataset.made_by = datamodule  # type: ignore[attr-defined] # temporary files may go when their datamodule goes
    return dataset


def _with_class_name(dataset: AnomalibDataset, category: str | None) -> AnomalibDataset:
    try:
        return ClassNamedDataset.from_dataset(dataset, category)
    except TypeError:  # it reads its items in a way of its own; the runner gives the category's name to nameless items
        return dataset
