"""The bundled sample set: a demonstration, drawn by this project, in MVTec AD's layout.

Its pictures are JPEG files: anomalib's `MVTecAD`, which takes PNG files alone, does not read them; `FolderTree` and
anomalib's `Folder` do.
"""

from pathlib import Path

from torchvision.transforms.v2 import Transform

from anomalib_zsad.data.auxiliary import AuxiliaryDataModule
from anomalib_zsad.data.folder_tree import FolderTree

__all__ = ["AUXILIARY_CATEGORIES", "UNSEEN_CATEGORIES", "SampleDataModule", "sample_data_folder"]

AUXILIARY_CATEGORIES = ("fabric", "metal_plate", "tablet", "tile", "washer", "wood")
"""Categories of `sample_data/industrial` to train on."""

UNSEEN_CATEGORIES = ("biscuit", "circuit_board", "knitwear", "leather")
"""Categories of `sample_data/industrial` that neither pretraining nor auxiliary training has drawn."""


def sample_data_folder() -> Path:
    """The folder `sample_data`: in the installed package, or beside `src` in a checkout.

    Raises:
        FileNotFoundError: If it is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    places = (package / "sample_data", package.parents[1] / "sample_data")
    for place in places:
        if (place / "industrial").is_dir():
            return place
    raise FileNotFoundError(
        f"the bundled sample set is in neither {places[0]} nor {places[1]}. Reinstall with "
        "`pip install --force-reinstall anomalib-zsad`, or give data of your own with --data."
    )


class SampleDataModule(AuxiliaryDataModule):
    """The bundled sample set: auxiliary categories to train and validate on, unseen ones to test on.

    It is a demonstration: small drawn images, on which figures say nothing about real ones.

    Args:
        train_batch_size: Images in a training batch.
        eval_batch_size: Images in a batch of validation and test.
        num_workers: Processes that load images; 0 loads them in the main process.
        train_augmentations: Augmentation of training images; by default none.
        mosaic_probability: Probability with which a training image is replaced by a mosaic of anomalous ones.
        seed: Seed of shuffling and augmentation.
    """

    def __init__(
        self,
        train_batch_size: int = 8,
        eval_batch_size: int = 8,
        num_workers: int = 0,
        train_augmentations: Transform | None = None,
        mosaic_probability: float = 0.0,
        seed: int = 0,
    ) -> None:
        root = sample_data_folder() / "industrial"
        super().__init__(
            dataset="FolderTree",
            root=root,
            categories=list(AUXILIARY_CATEGORIES),
            target=FolderTree(root, categories=list(UNSEEN_CATEGORIES)),
            train_batch_size=train_batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            train_augmentations=train_augmentations,
            mosaic_probability=mosaic_probability,
            seed=seed,
        )
