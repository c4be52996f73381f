"""Auxiliary training data: labelled images of other categories than those to be examined."""

import copy
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from anomalib.data import AnomalibDataModule, AnomalibDataset, get_datamodule
from anomalib.data.utils import random_split
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from lightning.pytorch.utilities.types import EVAL_DATALOADERS, TRAIN_DATALOADERS
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import Transform

from anomalib_zsad.data.category_set import CategorySet, overlap
from anomalib_zsad.data.class_named_dataset import ClassNamedDataset
from anomalib_zsad.data.folder_tree import FolderTreeDataset
from anomalib_zsad.data.seeded_sampler import SeededSampler

__all__ = ["AuxiliaryDataModule", "held_out_by_default"]

logger = logging.getLogger(__name__)

Validation = Literal["held_out", "published"]

PUBLISHED_VALIDATION_CATEGORIES = {
    "Visa": ("chewinggum", "cashew", "pipe_fryum", "capsules", "candle"),
    "MVTecAD": ("bottle", "hazelnut", "wood", "zipper", "leather"),
}
"""Categories on whose test images the published Bayes-PFL run validated, by the benchmark that holds them."""


def held_out_by_default(categories: list[str]) -> list[str]:
    """The categories that validate where none are named: every fifth in alphabetical order, beginning with the third.

    Of fewer than three the last; of a single category none, then a fifth of its images is held out instead.

    Example:
        >>> held_out_by_default(["wood", "tile", "cable", "pill", "grid", "screw", "zipper", "capsule"])
        ['grid', 'zipper']
    """
    ordered = sorted(categories)
    if len(ordered) < 2:
        return []
    return ordered[2::5] or ordered[-1:]


class AuxiliaryDataModule(AnomalibDataModule):
    """Normal and anomalous images of several categories to train on, others to validate on, and a target to test on.

    Zero-shot methods learn what anomalies look like from labelled images of an auxiliary data set, then examine
    categories they never saw. The training data here are the labelled images (anomalib's test split) of the auxiliary
    categories; held-out categories of the same set validate; the target's test images test and predict. Each image
    carries its category's name.

    Args:
        dataset: What reads the auxiliary set: a datamodule or dataset of anomalib by name ("MVTecAD", "Visa", "BTech",
            "MPDD", "RealIAD", ...), "FolderTree" for a folder of images, or a class path.
        root: The auxiliary set's folder; by default the class's own default.
        categories: Auxiliary categories, those for validation among them; by default all of the set.
        validation: "held_out" validates on categories of the auxiliary set, which are then not trained on; that is what
            we recommend. "published" trains on all categories and validates on five of another benchmark, as the
            published Bayes-PFL run does: VisA's after MVTec AD, MVTec AD's after anything else. It chose its weights by
            categories of the very benchmark that it reports, so figures there come out too good: for reproduction only.
        validation_categories: Which of the categories are held out. By default every fifth in alphabetical order,
            beginning with the third (see `held_out_by_default`); of a set with one category a fifth of the images,
            drawn by `seed`. An empty list holds nothing out: there is no validation.
        validation_set: Where the published validation finds its images, if not in anomalib's default folder; categories
            that it names are taken for the published five. With `validation="published"` alone.
        class_names: What categories are called in prompts, by category; by default the category's name.
        dataset_arguments: Further arguments of the data set's class, such as `mask_threshold` of FolderTree.
        target: Datamodule whose test images are examined. Without one those that validate are.
        train_batch_size: Images in a training batch of each process; the last batch of an epoch may be smaller.
        eval_batch_size: Images in a batch of validation and test.
        num_workers: Processes that load images; 0 loads them in the main process.
        train_augmentations: Augmentation of training images, such as
            `BayesPFLAugmentation`; by default none.
        mosaic_probability: Probability with which a training image is replaced by a 2 x 2 mosaic of anomalous images
            of its category (published for Bayes-PFL on MVTec AD: 0.4).
        augmented_views: Number of augmented views of each image: epochs go through the same views in turn, so that a
            model can keep their frozen features (`keep_features`). By default each epoch draws new ones, as published.
        seed: Seed of shuffling, augmentation and held-out images. Together with the epoch it decides them: the number
            of workers, or a run that was interrupted and resumed, makes no difference.

    Raises:
        ValueError: If categories overlap with the target's, are unknown, or leave nothing to train on; or if an
            anomalous image to train on has no mask. Raised when the data are set up.

    Example:
        >>> from anomalib.data import MVTecAD  # doctest: +SKIP
        >>> target = MVTecAD(category="bottle")  # doctest: +SKIP
        >>> datamodule = AuxiliaryDataModule("Visa", "datasets/visa", target=target)  # doctest: +SKIP
    """

    def __init__(
        self,
        dataset: str = "MVTecAD",
        root: str | Path | None = None,
        categories: list[str] | None = None,
        validation: Validation = "held_out",
        validation_categories: list[str] | None = None,
        validation_set: CategorySet | None = None,
        class_names: dict[str, str] | None = None,
        dataset_arguments: dict[str, Any] | None = None,
        target: AnomalibDataModule | None = None,
        train_batch_size: int = 32,
        eval_batch_size: int = 8,
        num_workers: int = 0,
        train_augmentations: Transform | None = None,
        mosaic_probability: float = 0.0,
        augmented_views: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            train_batch_size=train_batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            train_augmentations=train_augmentations,
            seed=seed,
        )
        if not 0 <= mosaic_probability <= 1:
            raise ValueError(f"mosaic_probability must be in [0, 1], got {mosaic_probability}")
        if validation not in get_args(Validation):
            raise ValueError(f"validation must be one of {', '.join(get_args(Validation))}, got {validation!r}")
        if validation == "published" and validation_categories is not None:
            raise ValueError(
                f"validation_categories are {validation_categories}, and validation is 'published', which holds no "
                "categories of the auxiliary set out: remove one of the two"
            )
        if validation == "held_out" and validation_set is not None:
            raise ValueError("validation_set is given, and validation is 'held_out': set validation to 'published'")
        self.auxiliary = CategorySet(dataset, root, categories, dict(class_names or {}), dict(dataset_arguments or {}))
        self.validation_categories = validation_categories
        self.validation: Validation = validation
        self.validation_set = self._published_set(validation_set) if validation == "published" else None
        self.target = _as_datamodule(target)
        self.mosaic_probability = mosaic_probability
        _check_views(augmented_views, is_augmented=train_augmentations is not None or mosaic_probability > 0)
        self.augmented_views = augmented_views

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name for folders of results: the target's, else that of the auxiliary set's folder.

        anomalib keeps the folders below the one of this name in the paths of the images it writes, so outputs of
        different categories never have the same path.
        """
        if self.target is not None:
            return self.target.name
        return self.auxiliary.dataset if self.auxiliary.root is None else Path(self.auxiliary.root).resolve().name

    @property
    def category(self) -> str:
        """The target's category, if it has one; class names are the items' own."""
        return "" if self.target is None else self.target.category

    @category.setter
    def category(self, category: str) -> None:
        """Refuse: the target's category is set on the target."""
        raise AttributeError(f"the category {category!r} of an AuxiliaryDataModule is its target's: set it there")

    @property
    def auxiliary_categories(self) -> list[str]:
        """Class names of what is trained on."""
        return [self.auxiliary.name_of(category) for category in self._split_categories()[0]]

    @property
    def auxiliary_set(self) -> str | None:
        """Name of the data set trained on, if it is one of anomalib's; a folder tree has none."""
        reader = self.auxiliary.resolve_class()
        return None if issubclass(reader, FolderTreeDataset) else reader.__name__.removesuffix("Dataset")

    def prepare_data(self) -> None:
        """Download and convert what anomalib can download and convert."""
        for part in (self.auxiliary, self.validation_set):
            if part is not None:
                part.prepare()
        if self.target is not None:
            self.target.prepare_data()

    def _setup(self, _stage: str | None = None) -> None:
        """Read the categories, split them, and check them against the target."""
        training, held_out = self._split_categories()
        train_data = self._read(training)
        val_data: ClassNamedDataset | None = None
        if held_out:
            val_data = self._read(held_out)
        elif self.validation_set is not None:
            val_data = self._read_published_validation(self.validation_set)
        elif self.validation_categories is None:
            logger.info("The auxiliary set has one category; a fifth of its images is held out for validation.")
            train_data, val_data = _hold_out_images(train_data, self.seed)
        _check_supervision(train_data)
        train_data.mosaic_probability = self.mosaic_probability
        train_data.augmented_views = self.augmented_views
        self.train_data = train_data
        if val_data is not None:
            self.val_data = val_data
        if self.target is None and val_data is None:
            logger.info("There is no target, and nothing is held out; there is nothing to validate or to test.")
        elif self.target is None:
            logger.info("There is no target; the images that validate test too.")
            self.test_data = copy.deepcopy(self.val_data)
        else:
            test_data = _read_target(self.target)
            names = [self.auxiliary.name_of(category) for category in [*training, *held_out]]
            self._check_target(names, test_data)
            self.test_data = test_data

    def _read(self, categories: list[str]) -> ClassNamedDataset:
        """The labelled images of auxiliary categories."""
        return ClassNamedDataset.pooled([self.auxiliary.read(category) for category in categories])

    def _create_test_split(self) -> None:
        """Nothing: the splits are made by category."""

    def _create_val_split(self) -> None:
        """Nothing: the splits are made by category."""

    def _split_categories(self) -> tuple[list[str], list[str]]:
        """Categories to train on and categories to validate on.

        Raises:
            ValueError: If a named one is unknown, or if none are left to train on.
        """
        categories = self.auxiliary.resolve_categories()
        if self.validation == "published":
            return categories, []
        if self.validation_categories is None:
            held_out = held_out_by_default(categories)
        else:
            held_out = self.validation_categories
            unknown = sorted(set(held_out) - set(categories))
            if unknown:
                raise ValueError(f"validation_categories {unknown} are not among the categories {sorted(categories)}")
        training = [category for category in categories if category not in held_out]
        if not training:
            raise ValueError(f"all auxiliary categories {sorted(categories)} validate; none are left to train on")
        return training, held_out

    def _published_set(self, given: Any) -> CategorySet:
        """Where the published validation finds its images, with the published five categories if none are named.

        Raises:
            ValueError: The set is no benchmark with published categories, and names none.
        """
        other = "Visa" if self.auxiliary_set == "MVTecAD" else "MVTecAD"
        found = CategorySet(other) if given is None else _as_category_set(given)
        if found.categories is not None:
            return found
        published = PUBLISHED_VALIDATION_CATEGORIES.get(found.dataset)
        if published is None:
            raise ValueError(
                f"validation_set is {found.dataset}, of which no categories are published for validation (there are "
                f"for {' and '.join(PUBLISHED_VALIDATION_CATEGORIES)}): name its categories"
            )
        return replace(found, categories=list(published))

    def _read_published_validation(self, other: CategorySet) -> ClassNamedDataset:
        """The other set's categories, with a warning."""
        categories = other.resolve_categories()
        logger.warning(
            "Validation looks at %s of %s, as the published runs did: weights that are chosen by it have seen that "
            "set's images, and figures on it come out too good.",
            ", ".join(categories),
            other.dataset,
        )
        return ClassNamedDataset.pooled([other.read(category) for category in categories])

    def _check_target(self, auxiliary_names: list[str], test_data: ClassNamedDataset) -> None:
        """Raise if auxiliary data are in the target too."""
        names = overlap(auxiliary_names, test_data.class_names)
        if names:
            raise ValueError(
                f"auxiliary categories are among the target's: {', '.join(names)}. A zero-shot model must not be "
                "trained on what it is tested on: name other categories, or another target."
            )
        shared = set(self.train_data.samples.image_path) & set(test_data.samples.image_path)
        if shared:
            raise ValueError(f"{len(shared)} images are both trained on and tested on, such as {min(shared)}")

    def _current_epoch(self) -> int:
        """The trainer's epoch, counted from 0."""
        return self.trainer.current_epoch if self.trainer is not None else 0

    def _processes(self) -> dict[str, Any]:
        """Number of processes that share the data, and which one this is."""
        shared = None if self.trainer is None else self.trainer.distributed_sampler_kwargs
        return shared or {"num_replicas": 1, "rank": 0}

    def val_dataloader(self) -> EVAL_DATALOADERS:
        """Validation batches; see `_evaluation_loader`."""
        return self._evaluation_loader(getattr(self, "val_data", None))

    def test_dataloader(self) -> EVAL_DATALOADERS:
        """Test batches; see `_evaluation_loader`."""
        return self._evaluation_loader(getattr(self, "test_data", None))

    def _evaluation_loader(self, data: AnomalibDataset | None) -> EVAL_DATALOADERS:
        """Batches in order. Of several processes no two have the same image, so that metrics are those of one."""
        if data is None:
            return []
        processes = self._processes()
        # With fewer images than processes, Lightning's own sampler repeats some: each process needs one.
        split = 1 < processes["num_replicas"] <= len(data)
        return DataLoader(
            dataset=data,
            sampler=UnrepeatedDistributedSampler(data, shuffle=False, **processes) if split else None,
            shuffle=False,
            batch_size=self.eval_batch_size,
            num_workers=self.num_workers,
            collate_fn=self.external_collate_fn or data.collate_fn,
        )

    def train_dataloader(self) -> TRAIN_DATALOADERS:
        """Shuffled training batches; order and augmentation depend on seed and epoch alone."""
        epoch = None if self.trainer is None else self._current_epoch
        return DataLoader(
            dataset=self.train_data,
            sampler=SeededSampler(
                len(self.train_data), self.seed or 0, epoch, views=self.augmented_views, **self._processes()
            ),
            batch_size=self.train_batch_size,
            num_workers=self.num_workers,
            collate_fn=self.external_collate_fn or self.train_data.collate_fn,
            generator=torch.Generator(),  # else the loader draws from torch's own, for seeds that nothing uses
        )


def _hold_out_images(data: ClassNamedDataset, seed: int | None) -> list[ClassNamedDataset]:
    """Four fifths and one fifth of the images, normal and anomalous ones alike."""
    return random_split(data, 0.2, label_aware=True, seed=seed)  # type: ignore[return-value]


def _read_target(target: AnomalibDataModule) -> ClassNamedDataset:
    """The target's test images under the target's name."""
    target.setup()
    return ClassNamedDataset.from_dataset(target.test_data, target.category or None)


def _check_supervision(data: ClassNamedDataset) -> None:
    """Raise if the data cannot teach what an anomaly is; warn if they cannot teach what a normal image is."""
    if not data.has_anomalous:
        raise ValueError("the auxiliary categories have no anomalous images; there is nothing to learn from")
    lacking = data.lacking_masks()
    if len(lacking):
        raise ValueError(
            f"{len(lacking)} anomalous images to train on have no mask, the first is {lacking.image_path.iloc[0]}. "
            "Training needs one for each anomalous image: add masks, or leave the category out."
        )
    if not data.has_normal:
        logger.warning("The auxiliary categories have no normal images: image scores learn from anomalous ones alone.")


def _check_views(views: int | None, is_augmented: bool) -> None:
    """Raise if there cannot be so many augmented views."""
    if views is None:
        return
    if views < 1:
        raise ValueError(f"augmented_views is {views}; give the number of views of each image, at least 1")
    if not is_augmented:
        raise ValueError(
            f"augmented_views is {views}, and the training images are not augmented, so there are no views; give "
            "train_augmentations, or leave augmented_views out"
        )


def _as_datamodule(target: Any) -> AnomalibDataModule | None:
    """A datamodule, from itself or from a mapping with `class_path`."""
    return get_datamodule(dict(target)) if isinstance(target, Mapping) else target


def _as_category_set(value: Any) -> CategorySet:
    """A category set, from itself or from a mapping of its attributes."""
    return CategorySet(**value) if isinstance(value, Mapping) else value
