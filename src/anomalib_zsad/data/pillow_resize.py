"""Pillow's own resize, as both published implementations prepare images and masks.

torchvision resizes tensors faster, and differs by up to a level or two: it interpolates in another order and does not
round to 8 bits in between.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torchvision.transforms.v2 import InterpolationMode, Resize
from torchvision.transforms.v2.functional import pil_to_tensor
from torchvision.tv_tensors import Image, Mask

from anomalib_zsad.data.image_files import open_picture, picture_mode

__all__ = ["PillowResize"]

# 8-bit modes of which resizing and converting to RGB cannot change places.
_OWN_MODE_MATTERS = {"1", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"}
# How far from a whole level an 8-bit image may be: the rounding of a division.
_LEVEL_TOLERANCE = 1e-3


class PillowResize(Resize):
    """Bring images and masks to a size with Pillow: bicubic for images, bilinear and cut at one half for masks.

    Images of 8-bit levels are rounded to levels again, as published. Others, which no published run had, are resized in
    floating point and clamped to [0, 1], so that their depth is kept.

    Args:
        size: Height and width in pixels.

    Example:
        >>> PillowResize((4, 6))(Image(torch.rand(3, 8, 8))).shape
        torch.Size([3, 4, 6])
    """

    def __init__(self, size: tuple[int, int]) -> None:
        height, width = size
        super().__init__((height, width), interpolation=InterpolationMode.BICUBIC, antialias=True)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize an image (3, h, w) in [0, 1] or a mask (h, w) of 0 and 1; other inputs pass through."""
        del params
        if isinstance(inpt, Mask):
            return self._resize_mask(inpt)
        return self._resize_image(inpt) if isinstance(inpt, Image) else inpt

    def resize_file(self, path: str | Path, image: Image) -> Image:
        """Resize an image file as published: in the file's own mode, and only then converted to RGB.

        A transparent picture is therefore resized with its alpha, and a palette picture by nearest neighbour.

        Args:
            path: The file.
            image: What was read of it, (3, h, w) in [0, 1]; resized as it is where the file's mode makes no difference.

        Returns:
            float32, (3, height, width), in [0, 1].

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file cannot be read as an image.
        """
        if picture_mode(path) not in _OWN_MODE_MATTERS:
            return self._resize_image(image)
        resized = open_picture(path).resize(self._pillow_size, PILImage.Resampling.BICUBIC)
        return Image(pil_to_tensor(resized.convert("RGB")).float() / 255)

    @property
    def _pillow_size(self) -> tuple[int, int]:
        """Width and height."""
        return self.size[1], self.size[0]

    def _resize_image(self, image: Image) -> Image:
        values = image.as_subclass(torch.Tensor)
        levels = (values * 255).round()
        if (levels - values * 255).abs().max() < _LEVEL_TOLERANCE:
            picture = PILImage.fromarray(levels.byte().permute(1, 2, 0).contiguous().numpy())
            return Image(pil_to_tensor(picture.resize(self._pillow_size, PILImage.Resampling.BICUBIC)).float() / 255)
        planes = [
            np.asarray(PILImage.fromarray(plane).resize(self._pillow_size, PILImage.Resampling.BICUBIC))
            for plane in values.numpy()
        ]
        return Image(torch.from_numpy(np.stack(planes)).clamp_(0, 1))

    def _resize_mask(self, mask: Mask) -> Mask:
        levels = (mask.as_subclass(torch.Tensor) > 0).byte() * 255
        resized = PILImage.fromarray(levels.numpy()).resize(self._pillow_size, PILImage.Resampling.BILINEAR)
        return Mask((pil_to_tensor(resized)[0] > 127).to(mask.dtype))
