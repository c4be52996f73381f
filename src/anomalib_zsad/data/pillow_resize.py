"""The resize of both published implementations: Pillow's, of 8-bit pictures, in training and in evaluation.

It is not the resize of tensors that the deployable path has: Pillow rounds to whole levels after each of its two
passes, and a picture is converted to RGB after it is resized, so that transparent pictures are resized with their
alpha, and palette pictures, whose numbers cannot be mixed, by the nearest pixel.
"""

from typing import Any

import numpy as np
import torch
from anomalib.data.transforms.utils import extract_transforms_by_type
from PIL import Image as PILImage
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, Resize, Transform
from torchvision.tv_tensors import Image, Mask

__all__ = ["bicubic_side", "resize_mask", "resize_picture", "to_levels", "to_picture"]


def resize_picture(picture: PILImage.Image, side: int) -> Image:
    """Squeeze a picture to a square with Pillow's bicubic resize, then convert it to RGB.

    Args:
        picture: A picture with 8 bits a channel, of any mode.
        side: Side of the square in pixels.

    Returns:
        float32, (3, side, side), in [0, 1], every value a multiple of 1/255.
    """
    square = picture.resize((side, side), PILImage.Resampling.BICUBIC).convert("RGB")
    return Image(torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous().to(torch.float32).div(255))


def resize_mask(mask: Tensor, side: int) -> Mask:
    """Squeeze a mask to a square with Pillow's bilinear resize of levels 0 and 255: abnormal is what is above one half.

    Args:
        mask: (h, w); whatever is not 0 is abnormal.
        side: Side of the square in pixels.

    Returns:
        uint8, (side, side), 0 or 1. Thin defects may lose or gain pixels, or vanish.
    """
    levels = PILImage.fromarray((mask.as_subclass(Tensor) != 0).cpu().numpy().astype(np.uint8) * 255)
    resized = np.asarray(levels.resize((side, side), PILImage.Resampling.BILINEAR))
    return Mask(torch.from_numpy((resized > 127).astype(np.uint8)))


def to_levels(image: Tensor) -> np.ndarray:
    """An image (3, h, w) in [0, 1] as 8-bit levels (h, w, 3), rounded."""
    levels = image.as_subclass(Tensor).mul(255).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous().numpy()


def to_picture(image: Tensor) -> PILImage.Image:
    """An image (3, h, w) in [0, 1] as an 8-bit RGB picture, its values rounded to whole levels."""
    return PILImage.fromarray(to_levels(image))


def bicubic_side(transform: Any) -> int | None:
    """Side of the square that a model's transform squeezes images to, if it does so bicubically and antialiased.

    Such a transform asks for what Pillow's resize does; any other is left to do its own.
    """
    resizes = extract_transforms_by_type(transform, Resize) if isinstance(transform, Transform) else []
    if not resizes:
        return None
    first = resizes[0]
    sizes = set(first.size) if isinstance(first.size, list | tuple) and len(first.size) == 2 else set()
    asked = first.interpolation is InterpolationMode.BICUBIC and first.antialias
    return int(sizes.pop()) if asked and len(sizes) == 1 else None
