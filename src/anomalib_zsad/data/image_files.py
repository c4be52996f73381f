"""Read images and masks of any bit depth and colour mode.

anomalib's own reader converts everything with Pillow's `convert("RGB")`, which saturates 16-bit images to white. Here
they are rescaled instead. Files of 8 bits a channel read exactly as anomalib reads them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PILImage
from torchvision.transforms.v2.functional import to_dtype, to_image
from torchvision.tv_tensors import Image, Mask

__all__ = ["open_picture", "picture_mode", "read_image", "read_mask"]

# Depths that cameras and scanners write into 16-bit files.
_DEPTHS = (8, 10, 12, 14, 16)


def read_image(path: str | Path) -> Image:
    """Read an image of any mode as RGB.

    - Grayscale, palette and CMYK images become RGB; transparency is dropped, as anomalib drops it.
    - 16-bit images are divided by the largest value of the smallest of 8, 10, 12, 14 or 16 bits that holds their
      maximum, so a 12-bit camera's image in a 16-bit file is not black.
    - Images of 32-bit integers beyond that range, of signed integers and of floating point outside [0, 1] are rescaled
      linearly from their own minimum and maximum.

    Args:
        path: An image file that Pillow can read.

    Returns:
        float32, (3, h, w), in [0, 1].

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read as an image, or holds values that are not finite.
    """
    picture = open_picture(path)
    if picture.mode.startswith("I") or picture.mode == "F":
        gray = torch.from_numpy(_rescale(np.asarray(picture), path))
        return Image(gray.expand(3, -1, -1).contiguous())
    return Image(to_dtype(to_image(picture.convert("RGB")), torch.float32, scale=True))


def read_mask(path: str | Path | Sequence[str | Path], threshold: float = 0) -> Mask:
    """Read a mask: pixels above `threshold` are anomalous.

    Values are compared as they are stored: gray values, palette indices, the largest of the colour channels; in masks
    of one bit, set pixels are 255.

    Args:
        path: A mask file, or several whose union is the mask (MVTec LOCO).
        threshold: Largest value that still means normal.

    Returns:
        uint8, (h, w), 0 or 1.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read, or if it marks something but nothing above the threshold: then the
            threshold does not fit the way in which the masks are stored.
    """
    if not isinstance(path, str | Path):
        masks = [read_mask(part, threshold) for part in path]
        return Mask(torch.stack(masks).amax(dim=0))
    values = _mask_values(open_picture(path))
    marked = values > threshold
    if not marked.any() and values.max(initial=0) > 0:
        raise ValueError(
            f"mask {path} marks no pixel above {threshold:g}: its largest value is {values.max():g}. "
            "Set mask_threshold below that (0 for masks that number the kinds of defect)."
        )
    return Mask(torch.from_numpy(marked.astype(np.uint8)))


def picture_mode(path: str | Path) -> str:
    """Pillow's mode of an image file that was read before, from its header alone: nothing is decoded."""
    with PILImage.open(path) as picture:
        return picture.mode


def open_picture(path: str | Path) -> PILImage.Image:
    """Open and decode a file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read as an image.
    """
    try:
        with PILImage.open(path) as picture:
            picture.load()
            return picture
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, PILImage.DecompressionBombError) as error:
        raise ValueError(
            f"{path} cannot be read as an image ({type(error).__name__}: {error}). Replace the file or remove it."
        ) from error


def _rescale(values: np.ndarray, path: str | Path) -> np.ndarray:
    """Map integers or floating point to float32 in [0, 1]; see `read_image`."""
    if not np.isfinite(values).all():
        raise ValueError(f"{path} holds values that are not finite. Replace the file or remove it.")
    low, high = float(values.min()), float(values.max())
    if np.issubdtype(values.dtype, np.integer) and low >= 0:
        for depth in _DEPTHS:
            if high < 2**depth:
                return (values / (2**depth - 1)).astype(np.float32)
    elif low >= 0 and high <= 1:
        return values.astype(np.float32)
    return ((values - low) / max(high - low, float(np.finfo(np.float32).tiny))).astype(np.float32)


def _mask_values(picture: PILImage.Image) -> np.ndarray:
    """A mask's stored values, (h, w)."""
    if picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode in {"LA", "PA"}:
        picture = picture.getchannel(0)
    elif picture.mode not in {"L", "P", "F"} and not picture.mode.startswith("I"):
        picture = picture.convert("RGB")
    values = np.asarray(picture)
    return values.max(axis=-1) if values.ndim == 3 else values
