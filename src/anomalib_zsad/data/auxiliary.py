"""Auxiliary training data: labelled images of other categories than those to be examined."""

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from anomalib.data import AnomalibDataModule, AnomalibDataset, get_datamodule
from anomalib.data.utils import random_split
from anomalib.utils.attrs import get_nested_attr
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from lightning.pytorch.utilities.types import EVAL_DATALOADERS, TRAIN_DATALOADERS
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import Transform

from anomalib_zsad.data.category_set import CategorySet, overlap
from anomalib_zsad.data.class_named_dataset import ClassNamedDataset
from anomalib_zsad.data.folder_tree import FolderTreeDataset
from anomalib_zsad.data.pillow_resize import bicubic_side
from anomalib_zsad.data.seeded_sampler import SeededSampler
from anomalib_zsad.data.validation_choice import (
    Validation,
    check_validation,
    held_out_by_default,
    published_validation,
)

__all__ = ["AuxiliaryDataModule"]

logger = logging.getLogger(__name__)


class AuxiliaryDataModule(AnomalibDataModule):
    """Normal and anomalous images of several categories to train on, others to validate on, and a target to test on.

    Zero-shot methods learn what anomalies look like from labelled images of an auxiliary data set, then examine
    categories they never saw. The training data here are the labelled images (anomalib's test split) of the auxiliary
    categories; held-out categories of the same set validate; the target's test images test and predict. Each image
    carries its category's name.

    Images to train and to validate on are resized as both published implementations resize them, by Pillow and on 8-bit
    levels, where the model squeezes images to a square bicubically, as this package's models do; so are masks,
    bilinearly, abnormal above one half. Images to test on go the model's own way.

    Args:
        dataset: What reads the auxiliary set: a datamodule or dataset of anomalib by name ("MVTecAD", "Visa", "BTech",
            "MPDD", "RealIAD", ...), "FolderTree" for a folder of images, or a class path.
        root: The auxiliary set's folder; by default the class's own default.
        categories: Auxiliary categories, those for validation among them; by default all of the set.
        validation: What validates. ``"held_out"``: categories of the auxiliary set that are not trained on, which is
            what we recommend. ``"published"``: five categories of the other benchmark, as the published Bayes-PFL; it
            chose its weights by categories of the very benchmark it reports, so figures come out too good. ``"none"``:
            nothing, as the published CoPS. With the latter two all categories train.
        validation_categories: With ``"held_out"``, the categories held out. By default every fifth in alphabetical
            order, beginning with the third (see :func:`held_out_by_default`); of a set with one category a fifth of the
            images, drawn by ``seed``.
        validation_root: With ``"published"``, the other benchmark's folder; by default its datamodule's default.
        class_names: What categories are called in prompts, by category; by default the category's name.
        dataset_arguments: Further arguments of the data set's class, such as ``mask_threshold`` of FolderTree.
        target: Datamodule whose test images are examined. Without one the images that validate are, if there are any.
        train_batch_size: Images in a training batch of each process; the last batch of an epoch may be smaller.
        eval_batch_size: Images in a batch of validation and test.
        num_workers: Processes that load images; 0 loads them in the main process.
        train_augmentations: Augmentation of training images, such as
            :class:`~anomalib_zsad.data.augmentation.BayesPFLAugmentation`; by default none.
        mosaic_probability: Probability with which a training image is replaced by a 2 x 2 mosaic of anomalous images
            of its category (published for Bayes-PFL on MVTec AD: 0.4).
        augmented_views: Number of augmented views of each image: epochs go through the same views in turn, so that a
            model can keep their frozen features (``keep_features``). By default each epoch draws new ones, as
            published.
        seed: Seed of shuffling, augmentation and held-out images. Together with the epoch it decides them: the number
            of workers, or a run that was interrupted and resumed, makes no difference.

    Raises:
        ValueError: If categories overlap with the target's, are unknown, or leave nothing to train on; or if an
            anomalous image to train on has no mask: raised when the data are set up. If arguments are out of their
            range or do not fit together: raised at once.

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
        validation_root: str | Path | None = None,
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
        check_validation(validation, validation_categories, validation_root)
        super().__init__(
            train_batch_size=train_batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            train_augmentations=train_augmentations,
            seed=seed,
        )
        if not 0 <= mosaic_probability <= 1:
            raise ValueError(f"mosaic_probability must be in [0, 1], got {mosaic_probability}.")
        if augmented_views is not None and augmented_views < 1:
            raise ValueError(
                f"augmented_views is {augmented_views}; give the number of views of each image, at least 1, or null "
                "for new ones in each epoch"
            )
        if augmented_views is not None and train_augmentations is None and not mosaic_probability:
            raise ValueError(
                f"augmented_views is {augmented_views}, and the training images are not augmented: there are no views; "
                "give train_augmentations, or leave augmented_views out"
            )
        self.auxiliary = CategorySet(dataset, root, categories, dict(class_names or {}), dict(dataset_arguments or {}))
        self.validation, self.validation_categories = validation, validation_categories
        self.validation_root = validation_root
        self.augmented_views = augmented_views
        self.target = _as_datamodule(target)
        self.mosaic_probability = mosaic_probability

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
        raise AttributeError(f"The category {category!r} of an AuxiliaryDataModule is its target's: set it there.")

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
        self.auxiliary.prepare()
        if self.validation == "published":
            self._published_validation().prepare()
        if self.target is not None:
            self.target.prepare_data()

    def _setup(self, _stage: str | None = None) -> None:
        """Read the categories, split them, and check them against the target."""
        training, held_out = self._split_categories()
        train_data = self._read(training)
        val_data = None
        if self.validation == "published":
            val_data = self._read_published_validation()
        elif held_out:
            val_data = self._read(held_out)
        elif self.validation == "held_out":
            logger.info("The auxiliary set has one category; a fifth of its images is held out for validation.")
            train_data, val_data = _hold_out_images(train_data, self.seed)
        _check_supervision(train_data)
        train_data.mosaic_probability, train_data.augmented_views = self.mosaic_probability, self.augmented_views
        self.train_data = train_data
        if val_data is not None:
            self.val_data = val_data
        if self.target is None and val_data is None:
            logger.info("There is no target, and nothing validates: nothing is tested.")
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

    def _update_augmentations(self) -> None:
        """Let Pillow resize the images to train and to validate on, where the model resizes as it does."""
        super()._update_augmentations()
        side = bicubic_side(get_nested_attr(self, "trainer.model.pre_processor.transform", None))
        for name in ("train", "val"):
            data: ClassNamedDataset | None = getattr(self, f"{name}_data", None)
            if data is not None and side is not None:
                data.resize_side, data.augmentations = side, getattr(self, f"{name}_augmentations", None)

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
        if self.validation != "held_out":
            return categories, []
        if self.validation_categories is None:
            held_out = held_out_by_default(categories)
        else:
            held_out = self.validation_categories
            unknown = sorted(set(held_out) - set(categories))
            if unknown:
                raise ValueError(f"validation_categories {unknown} are not among the categories {sorted(categories)}.")
        training = [category for category in categories if category not in held_out]
        if not training:
            raise ValueError(f"All auxiliary categories {sorted(categories)} validate; none are left to train on.")
        return training, held_out

    def _published_validation(self) -> CategorySet:
        return published_validation(self.auxiliary_set, self.validation_root)

    def _read_published_validation(self) -> ClassNamedDataset:
        """The other benchmark's five categories, with a warning."""
        other = self._published_validation()
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
                f"Auxiliary categories are among the target's: {', '.join(names)}. A zero-shot model must not be "
                "trained on what it is tested on: name other categories, or another target."
            )
        shared = set(self.train_data.samples.image_path) & set(test_data.samples.image_path)
        if shared:
            raise ValueError(f"{len(shared)} images are both trained on and tested on, such as {min(shared)}.")

    def _current_epoch(self) -> int:
        """The trainer's epoch, counted from 0."""
        return self.trainer.current_epoch if self.trainer is not None else 0

    def _processes(self) -> dict[str, Any]:
        """Number of processes that share the data, and which one this is."""
        shared = None if self.trainer is None else self.trainer.distributed_sampler_kwargs
        return shared or {"num_replicas": 1, "rank": 0}

    def val_dataloader(self) -> EVAL_DATALOADERS:
        """Validation batches, none where nothing validates; see :meth:`_evaluation_loader`."""
        return self._evaluation_loader(self.val_data) if hasattr(self, "val_data") else []

    def test_dataloader(self) -> EVAL_DATALOADERS:
        """Test batches, none where there is nothing to test; see :meth:`_evaluation_loader`."""
        return self._evaluation_loader(self.test_data) if hasattr(self, "test_data") else []

    def _evaluation_loader(self, data: AnomalibDataset) -> DataLoader:
        """Batches in order. Of several processes no two have the same image, so that metrics are those of one."""
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
        raise ValueError("The auxiliary categories have no anomalous images; there is nothing to learn from.")
    lacking = data.lacking_masks()
    if len(lacking):
        raise ValueError(
            f"{len(lacking)} anomalous images to train on have no mask, the first is {lacking.image_path.iloc[0]}. "
            "Training needs one for each anomalous image: add masks, or leave the category out."
        )
    if not data.has_normal:
        logger.warning("The auxiliary categories have no normal images: image scores learn from anomalous ones alone.")


def _as_datamodule(target: Any) -> AnomalibDataModule | None:
    """A datamodule, from itself or from a mapping with ``class_path``."""
    return get_datamodule(dict(target)) if isinstance(target, Mapping) else target
