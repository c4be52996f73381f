"""Folders of images as a dataset and as a target to test on.

Which folders are understood is written in `anomalib_zsad.data.folder_layout`.
"""

from pathlib import Path

import pandas as pd
from anomalib import TaskType
from anomalib.data import AnomalibDataModule
from anomalib.data.utils import LabelName, Split, ValSplitMode
from lightning.pytorch.utilities.types import TRAIN_DATALOADERS
from torchvision.transforms.v2 import Transform

from anomalib_zsad.data.class_named_dataset import ClassNamedDataset
from anomalib_zsad.data.folder_layout import NORMAL_NAMES, find_categories, find_labelled_images

__all__ = ["FolderTree", "FolderTreeDataset"]


class FolderTreeDataset(ClassNamedDataset):
    """The images of one category in a folder tree.

    Args:
        root: Folder of the categories.
        category: Name of the category's folder; "." if the root is itself one category.
        split: "test" or "train" (an MVTec layout's training part; other layouts have test images only), or None for
            both.
        augmentations: Applied to image and mask together.
        mask_threshold: Largest mask value that means normal. The default suits masks of 0 and 255; masks that number
            the kinds of defect need 0.
        normal_names: Names of folders that hold normal images; by default good, normal and ok.
        class_name: What the category is called in prompts; by default its folder's name.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there are no images, or only some anomalous images have masks.
    """

    def __init__(
        self,
        root: str | Path,
        category: str = ".",
        split: str | Split | None = None,
        augmentations: Transform | None = None,
        mask_threshold: float = 127,
        normal_names: list[str] | None = None,
        class_name: str | None = None,
    ) -> None:
        super().__init__(augmentations=augmentations)
        folder = (Path(root) / category).resolve()
        self.category = folder.name
        wanted = None if split is None else Split(split).value
        samples = [
            {
                "image_path": str(image.image_path),
                "mask_path": None if image.mask_path is None else str(image.mask_path),
                "label": image.kind,
                "label_index": int(LabelName.ABNORMAL if image.abnormal else LabelName.NORMAL),
                "split": image.split,
                "class_name": class_name or folder.name,
                "mask_threshold": mask_threshold,
            }
            for image in find_labelled_images(folder, normal_names or NORMAL_NAMES, mask_threshold)
            if wanted in {None, image.split}
        ]
        if not samples:
            raise ValueError(f"{folder} holds no images for the split {wanted!r}")
        self.samples = pd.DataFrame(samples)


class FolderTree(AnomalibDataModule):
    """Categories in a folder tree, tested together, each image under its category's name.

    It has test images only (and the training part of an MVTec layout, for models that train on normal images alone);
    to train a zero-shot model on such folders use `AuxiliaryDataModule` with
    `dataset="FolderTree"`. Sets with only anomalous or only normal images work.

    Args:
        root: Folder of the categories, or of one category.
        categories: Names of the categories' folders; by default all that are found.
        class_names: What categories are called in prompts, by folder name; by default the folder's name.
        normal_names: Names of folders that hold normal images; by default good, normal and ok.
        mask_threshold: Largest mask value that means normal. The default suits masks of 0 and 255; masks that number
            the kinds of defect need 0.
        eval_batch_size: Images in a batch of validation and test.
        train_batch_size: Images in a training batch.
        num_workers: Processes that load images; 0 loads them in the main process.
        augmentations: Applied to all images.
        val_split_mode: `same_as_test`, or `none` for no validation data.
        seed: Taken for anomalib's sake; nothing here is random.

    Example:
        >>> from anomalib_zsad.data import FolderTree  # doctest: +SKIP
        >>> datamodule = FolderTree("photos", mask_threshold=0)  # doctest: +SKIP
    """

    def __init__(
        self,
        root: str | Path,
        categories: list[str] | None = None,
        class_names: dict[str, str] | None = None,
        normal_names: list[str] | None = None,
        mask_threshold: float = 127,
        eval_batch_size: int = 8,
        train_batch_size: int = 8,
        num_workers: int = 0,
        augmentations: Transform | None = None,
        val_split_mode: ValSplitMode | str = ValSplitMode.SAME_AS_TEST,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            train_batch_size=train_batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            augmentations=augmentations,
            val_split_mode=val_split_mode,
            test_split_mode="from_dir",
            seed=seed,
        )
        if self.val_split_mode not in {ValSplitMode.SAME_AS_TEST, ValSplitMode.NONE}:
            raise ValueError(f"val_split_mode must be 'same_as_test' or 'none', got {self.val_split_mode.value!r}")
        if categories is not None and not categories:
            raise ValueError("categories is empty. Name at least one, or leave it out for all.")
        self.root = Path(root)
        self.categories = categories
        self.class_names = dict(class_names or {})
        self.normal_names = normal_names
        self.mask_threshold = mask_threshold

    @property
    def name(self) -> str:  # type: ignore[override]
        """The root folder's name, after which anomalib keeps the folders of images in its outputs.

        So outputs of different categories never have the same path.
        """
        return self.root.resolve().name

    @property
    def task(self) -> TaskType:
        """Whether the test images have masks: segmentation, or classification."""
        return self.test_data.task

    def _setup(self, _stage: str | None = None) -> None:
        """Read the folders."""
        categories = self.categories or find_categories(self.root)
        names = {category: (self.root / category).resolve().name for category in categories}
        unused = sorted(set(self.class_names) - set(names.values()))
        if unused:
            raise ValueError(f"class_names has {unused}, but the categories are {sorted(names.values())}")
        total = ClassNamedDataset.pooled([self._read(category, name) for category, name in names.items()])
        self.test_data = total.subsample(total.samples.index[total.samples.split == Split.TEST.value].tolist())
        training = total.samples.index[total.samples.split == Split.TRAIN.value].tolist()
        if training:
            self.train_data = total.subsample(training)

    def _read(self, category: str, name: str) -> FolderTreeDataset:
        """All images of one category."""
        return FolderTreeDataset(
            self.root,
            category,
            mask_threshold=self.mask_threshold,
            normal_names=self.normal_names,
            class_name=self.class_names.get(name),
        )

    def _create_test_split(self) -> None:
        """Keep the test images as they are: anomalib would want normal ones among them."""

    def train_dataloader(self) -> TRAIN_DATALOADERS:
        """The training part, if the folders have one.

        Raises:
            ValueError: If they have none.
        """
        if not hasattr(self, "train_data"):
            raise ValueError(
                f"{self.root} has no training images (category/train/good). To train a zero-shot model on labelled "
                "images of both kinds use AuxiliaryDataModule(dataset='FolderTree', root=...)."
            )
        return super().train_dataloader()
