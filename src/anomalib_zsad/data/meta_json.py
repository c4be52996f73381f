"""The `meta.json` trees that AnomalyCLIP, AdaCLIP, Bayes-PFL and CoPS prepare.

The file maps `{"train" or "test": {class: [entry]}}`, where an entry has `img_path` and `mask_path` (relative to
the folder of the file), `cls_name`, `specie_name` and `anomaly` (0 or 1). `mask_path` may be empty, a
directory, or a file; the first two say that there is no mask.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anomalib.data import AnomalibDataModule
from torchvision.transforms.v2 import Transform

from anomalib_zsad.data.labelled_image import LabelledImage
from anomalib_zsad.data.listed_images import ListedImages

FILE_NAME = "meta.json"


class MetaJsonError(ValueError):
    """A file does not have the format; the message names the entry."""


def find_meta_json(path: Path | str) -> Path:
    """The file itself, or `meta.json` in a folder.

    Raises:
        FileNotFoundError: There is none.
    """
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}. Give a meta.json file, or a folder that holds one.")
    return file


def read_meta_json(path: Path | str, split: str = "test") -> dict[str, list[LabelledImage]]:
    """Read one split of a `meta.json` tree.

    Args:
        path: The file, or its folder.
        split: "test" or "train".

    Returns:
        The samples of each class, in the order of the file.

    Raises:
        FileNotFoundError: There is no such file.
        MetaJsonError: The file does not have the format; the message names the entry.
    """
    file = find_meta_json(path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MetaJsonError(f"{file} is no JSON file: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get(split), dict):
        raise MetaJsonError(f'{file} has no split "{split}"; expected {{"{split}": {{class: [entries]}}}}')
    classes = {}
    for name, entries in content[split].items():
        if not isinstance(entries, list):
            raise MetaJsonError(f'"{name}" in {file} must hold a list of entries, got {type(entries).__name__}')
        # Prepared files may fill an absent split with one entry that has no image.
        samples = [_read_entry(entry, name, file) for entry in entries if _names_an_image(entry)]
        if samples:
            classes[name] = samples
    return classes


def _names_an_image(entry: Any) -> bool:
    return not isinstance(entry, Mapping) or entry.get("img_path") != ""


def _read_entry(entry: Any, name: str, file: Path) -> LabelledImage:
    if (
        not isinstance(entry, Mapping)
        or not isinstance(entry.get("img_path"), str)
        or entry.get("anomaly") not in {0, 1}
    ):
        raise MetaJsonError(f'an entry of "{name}" in {file} needs img_path and anomaly (0 or 1), got {entry!r}')
    if not isinstance(entry.get("cls_name") or name, str):
        raise MetaJsonError(f'cls_name of an entry of "{name}" in {file} must be a text, got {entry["cls_name"]!r}')
    abnormal = bool(entry["anomaly"])
    mask = _resolve(file, entry.get("mask_path") or "") if abnormal and entry.get("mask_path") else None
    return LabelledImage(
        image_path=_resolve(file, entry["img_path"]),
        abnormal=abnormal,
        class_name=entry.get("cls_name") or name,
        mask_path=None if mask is None or mask.is_dir() else mask,
        kind=str(entry.get("specie_name") or ""),
    )


def _resolve(file: Path, relative: str) -> Path:
    """A path below the folder of the file; the file may come from anywhere, so it must not point elsewhere."""
    normal = os.path.normpath(relative.replace("\\", "/"))
    if Path(normal).is_absolute() or normal.split("/")[0] == "..":
        raise MetaJsonError(
            f"{file} names {relative!r}, which lies outside its folder; paths must be relative to {file.parent}"
        )
    return file.parent / normal


class MetaJsonDataset(ListedImages):
    """Images of one or several classes of a `meta.json` tree.

    Args:
        path: The file, or the folder that holds `meta.json`.
        categories: Classes to take; none means all.
        split: "test" or "train".
        augmentations: Transform of image and mask.

    Raises:
        FileNotFoundError: The file, an image or some of the masks are absent.
        ValueError: The file does not have the format, or has no such category.
    """

    def __init__(
        self,
        path: Path | str,
        categories: Sequence[str] | None = None,
        split: str = "test",
        augmentations: Transform | None = None,
    ) -> None:
        classes = read_meta_json(path, split)
        for category in categories or ():
            if category not in classes:
                raise ValueError(
                    f"{path} has no class {category!r} in its split {split!r}; it has {', '.join(classes)}"
                )
        chosen = list(classes) if categories is None else categories
        super().__init__([sample for name in chosen for sample in classes[name]], augmentations)


class MetaJson(AnomalibDataModule):
    """A `meta.json` tree as a datamodule.

    Args:
        root: The file, or the folder that holds `meta.json`.
        categories: Classes to take; none means all.
        train_split: Split that `fit` sees. "test" is the papers' way: an auxiliary set is trained on with its
            anomalies, which only its test split has.
        train_batch_size: Batch size of the train dataloader.
        eval_batch_size: Batch size of the other dataloaders.
        num_workers: Workers of each dataloader.
        train_augmentations: Transform of the training images.
        val_augmentations: Transform of the validation images.
        test_augmentations: Transform of the test images.
        augmentations: Transform where no other is given.
        seed: Seed of random splits.

    Example:
        >>> datamodule = MetaJson(root="data/meta_mvtec.json", categories=["bottle"])  # doctest: +SKIP
    """

    def __init__(
        self,
        root: Path | str,
        categories: Sequence[str] | None = None,
        train_split: str = "test",
        train_batch_size: int = 8,
        eval_batch_size: int = 8,
        num_workers: int = 2,
        train_augmentations: Transform | None = None,
        val_augmentations: Transform | None = None,
        test_augmentations: Transform | None = None,
        augmentations: Transform | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            train_batch_size=train_batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            train_augmentations=train_augmentations,
            val_augmentations=val_augmentations,
            test_augmentations=test_augmentations,
            augmentations=augmentations,
            # The whole test split is the test set, and validation sees the same: nothing is held back or drawn.
            val_split_mode="same_as_test",
            test_split_mode="from_dir",
            seed=seed,
        )
        self.root, self.categories, self.train_split = find_meta_json(root), categories, train_split
        if categories is not None and len(categories) == 1:
            self.category = categories[0]

    def _setup(self, _stage: str | None = None) -> None:
        self.train_data = MetaJsonDataset(self.root, self.categories, self.train_split)
        self.test_data = MetaJsonDataset(self.root, self.categories, "test")

    def _create_test_split(self) -> None:
        """Keep the test split as the file has it."""
