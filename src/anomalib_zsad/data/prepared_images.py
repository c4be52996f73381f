"""From the items of any dataset to what a model takes, one image at a time."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from anomalib.data import AnomalibDataset
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from anomalib_zsad.outputs.memory_errors import is_out_of_memory


class UnreadableImageError(ValueError):
    """An item of a dataset cannot be read."""


class PreparedBatch(NamedTuple):
    """A batch of n images, ready for a torch model.

    Attributes:
        images: Transformed images (n, 3, h, w).
        masks: Boolean masks (n, h, w); meaningless where `mask_known` is false.
        mask_known: Whether an image has a mask, (n,).
        abnormal: Boolean labels (n,).
        class_names: Name of each image's class.
        turned: Whether an image was turned as its EXIF orientation says, (n,).
        figures: What was measured of each image, (n, k); k is 0 where nothing was.
    """

    images: Tensor
    masks: Tensor
    mask_known: Tensor
    abnormal: Tensor
    class_names: list[str]
    turned: Tensor
    figures: Tensor = torch.empty(0, 0)


class PreparedImages(Dataset):
    """Items of a dataset, image and mask brought to the model's size before they are batched.

    anomalib's collate resizes the images of a batch to the largest of them first; an image would then depend on its
    neighbours and be resampled twice.

    Args:
        dataset: Any dataset of anomalib items.
        transform: The model's transform of an image (3, h, w) in [0, 1].
        resize_mask: Brings a boolean mask (h, w) to the height and width of the transformed image.
        class_name: Class name of items that bring none.
        measure: What is measured of an image as it was read, (3, h, w) in [0, 1]; `None` for nothing.
    """

    def __init__(
        self,
        dataset: AnomalibDataset,
        transform: Callable[[Tensor], Tensor],
        resize_mask: Callable[[Tensor, tuple[int, int]], Tensor],
        class_name: str,
        measure: Callable[[Tensor], Sequence[float]] | None = None,
    ) -> None:
        self.dataset, self.transform, self.resize_mask, self.class_name = dataset, transform, resize_mask, class_name
        self.measure = measure

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> PreparedBatch:
        """One image as a batch of one.

        Raises:
            UnreadableImageError: The item cannot be read.
            ValueError: The image has no label.
        """
        item = self._read(index)
        if item.gt_label is None:
            raise ValueError(f"{item.image_path} has no label; evaluation needs to know which images are normal")
        picture = torch.as_tensor(item.image)
        figures = () if self.measure is None else self.measure(picture)
        image = self.transform(picture)
        shape = (image.shape[-2], image.shape[-1])
        known = item.gt_mask is not None
        mask = (
            self.resize_mask(torch.as_tensor(item.gt_mask).reshape(item.gt_mask.shape[-2:]).bool(), shape)
            if known
            else None
        )
        return PreparedBatch(
            images=image[None],
            masks=torch.zeros(1, *shape, dtype=torch.bool) if mask is None else mask[None],
            mask_known=torch.tensor([known]),
            abnormal=torch.as_tensor(item.gt_label).reshape(1).bool(),
            class_names=[getattr(item, "class_name", None) or self.class_name],
            turned=torch.tensor([getattr(item, "turned", False)]),
            figures=torch.tensor([figures], dtype=torch.float64),
        )

    def _read(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except (ValueError, TypeError, OSError) as error:
            raise UnreadableImageError(f"an image cannot be read: {error}") from error
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            path = self.dataset.samples.image_path.iloc[index]
            raise UnreadableImageError(f"an image cannot be read: there is not enough memory for {path}") from error


def join(parts: list[PreparedBatch]) -> PreparedBatch:
    """One batch of several."""
    images, masks, known, abnormal, names, turned, figures = zip(*parts, strict=True)
    return PreparedBatch(
        torch.cat(images),
        torch.cat(masks),
        torch.cat(known),
        torch.cat(abnormal),
        [name for part in names for name in part],
        torch.cat(turned),
        torch.cat(figures),
    )


def make_loader(images: PreparedImages, batch_size: int, num_workers: int) -> DataLoader:
    """Batches of prepared images, in the order of the dataset.

    Args:
        images: The images.
        batch_size: Images at a time; 1 where they differ in size.
        num_workers: Processes that read images.
    """
    return DataLoader(images, batch_size=batch_size, num_workers=num_workers, collate_fn=join, shuffle=False)
