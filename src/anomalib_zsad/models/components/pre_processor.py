"""What happens to an image before CLIP sees it."""

from typing import Any

import torch
from anomalib.pre_processing import PreProcessor
from torchvision import tv_tensors
from torchvision.transforms.v2 import Compose, InterpolationMode, Normalize, Resize, Transform

from anomalib_zsad.data.pillow_resize import PillowResize

from .clip_preparation import CLIP_MEAN, CLIP_STD
from .exportable_resize import ExportableResize


class ClampToUnit(Transform):
    """Clamp images to [0, 1]: bicubic interpolation overshoots at edges, and 8-bit pixels, which CLIP saw, cannot."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Clamp an image; masks and whatever else there is pass through."""
        del params
        if not isinstance(inpt, torch.Tensor) or isinstance(inpt, tv_tensors.Mask):
            return inpt
        clamped = inpt.clamp(0, 1)
        return tv_tensors.wrap(clamped, like=inpt) if isinstance(inpt, tv_tensors.TVTensor) else clamped


class CLIPPreProcessor(PreProcessor):
    """Squeeze the whole image to a square (bicubic, antialiased; nothing is cropped) and normalise it as CLIP does.

    Args:
        image_size: Height and width in pixels.
    """

    def __init__(self, image_size: tuple[int, int]) -> None:
        resize = Resize(image_size, interpolation=InterpolationMode.BICUBIC, antialias=True)
        after = (ClampToUnit(), Normalize(mean=CLIP_MEAN, std=CLIP_STD))
        super().__init__(Compose([resize, *after]))
        # anomalib's own export transform is without antialiasing, and answers differently.
        exportable = ExportableResize(image_size, interpolation=InterpolationMode.BICUBIC, antialias=True)
        self.export_transform = Compose([exportable, *after])
        self.image_size = (image_size[0], image_size[1])

    def resize_as_published(self, datamodule: Any) -> None:
        """Let the images that train and validate be resized by Pillow, as in the published runs; see `PillowResize`.

        anomalib has the data set apply this object's own resize before images are batched, which is fast and serves
        testing and prediction. That one is replaced here, until anomalib sets the data up again.

        Args:
            datamodule: A datamodule of anomalib that was set up.
        """
        for subset in ("train_data", "val_data"):
            data = getattr(datamodule, subset, None)
            if data is not None:
                data.augmentations = self._with_pillow(data.augmentations)

    def _with_pillow(self, transform: Any) -> Any:
        own = self.transform.transforms[0] if isinstance(self.transform, Compose) else None
        if own is None:
            return transform
        if transform is own:
            return PillowResize(self.image_size)
        if isinstance(transform, Compose) and transform.transforms[-1] is own:
            return Compose([*transform.transforms[:-1], PillowResize(self.image_size)])
        return transform

    def checkpoint_config(self) -> dict[str, Any]:
        """Plain data that rebuilds the pre-processor from a checkpoint."""
        return {"image_size": list(self.image_size)}

    def load_checkpoint_config(self, config: dict[str, Any]) -> None:
        """Take over the image size of a checkpoint."""
        rebuilt = CLIPPreProcessor(tuple(config["image_size"]))
        self.image_size, self.transform = rebuilt.image_size, rebuilt.transform
        self.export_transform = rebuilt.export_transform
