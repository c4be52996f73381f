"""Training on frozen features that are kept between epochs: what the Lightning modules share."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from .feature_cache import KeptFeatures, check_options, refuse_augmentation

FeaturesT = TypeVar("FeaturesT", bound=tuple)


class KeepsFeatures:
    """Keeps the frozen features of a run's training images, where it is asked to.

    A mixin of Lightning modules, which call `keep` when they are built and `features_of` in a step. A
    training set whose augmentation repeats (`augmented_views` of `AuxiliaryDataModule`) has the features of each view
    kept.
    """

    trainer: Any
    current_epoch: int
    keep_features: str | None = None
    _kept: KeptFeatures | None = None

    def keep(self, storage: str | None, limit: float, folder: str | None) -> None:
        """Take the options.

        Args:
            storage: `"memory"`, `"disk"`, or `None` for keeping nothing.
            limit: Most gigabytes (10^9 bytes) to keep.
            folder: Existing folder for the file of `"disk"`; `None` for the system's temporary folder.

        Raises:
            ValueError: An option is out of its range, or they do not fit together.
            NotADirectoryError: There is no such folder.
        """
        if storage is not None:
            check_options(storage, limit, folder)
        self.keep_features, self.keep_features_limit, self.keep_features_folder = storage, limit, folder

    def on_train_start(self) -> None:
        """Make place for the features to be kept, or say why they cannot be.

        Raises:
            ValueError: The training data show other images in each epoch.
        """
        if self.keep_features is None:
            return
        dataset = self.trainer.train_dataloader.dataset
        refuse_augmentation(dataset)
        self._kept = KeptFeatures(
            self.keep_features,  # type: ignore[arg-type]
            self.keep_features_limit,
            self.keep_features_folder,
            expected=len(dataset) * (_views(dataset) or 1),
        )

    def on_train_end(self) -> None:
        """Let the kept features go."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def features_of(self, batch: Any, images: Tensor, encode: Callable[[Tensor], FeaturesT]) -> FeaturesT | None:
        """Frozen features of a step's images: kept ones, and those of `encode` for images seen for the first time.

        Args:
            batch: The step's batch, for the images' paths.
            images: The pre-processed images that count, (n, 3, h, w), the first of the batch.
            encode: Gives a named tuple of tensors (n, ...) for images.

        Returns:
            The features, or `None` where none are kept.

        Raises:
            ValueError: An image has no path, is not what it was when its features were kept, or the features of all
                images would exceed the limit.
        """
        if self._kept is None:
            return None
        paths = None if batch.image_path is None else list(batch.image_path[: len(images)])
        views = _views(self.trainer.train_dataloader.dataset)
        if views and paths is not None:
            paths = [path and f"{path} (view {self.current_epoch % views + 1} of {views})" for path in paths]
        return self._kept.features(paths, images, encode)


def _views(dataset: Any) -> int | None:
    """How many augmented views of each image a training set shows; `None` where it does not say."""
    return getattr(dataset, "augmented_views", None)
