"""Read image files of any bit depth and colour mode as tensors, upright and within a budget of pixels.

anomalib's own reader converts everything with Pillow's `convert("RGB")`, which saturates 16-bit images to white, and
passes over the orientation that cameras note in a file (EXIF). Here the former are rescaled and pictures are turned as
every viewer shows them. Files of 8 bits a channel without such a note read exactly as anomalib reads them.

Neither torchvision nor anomalib is imported here: a command that scores needs them for nothing else.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import (
    BmpImagePlugin,
    ExifTags,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)
from PIL import Image as PILImage
from torch import Tensor

from anomalib_zsad.outputs.memory_errors import is_out_of_memory
from anomalib_zsad.outputs.terminal import visible

# How pictures are turned upright, by the number of EXIF's orientation; `ImageOps.exif_transpose` also rewrites the EXIF
# block, and fails where that is damaged.
_UPRIGHT = {
    2: PILImage.Transpose.FLIP_LEFT_RIGHT,
    3: PILImage.Transpose.ROTATE_180,
    4: PILImage.Transpose.FLIP_TOP_BOTTOM,
    5: PILImage.Transpose.TRANSPOSE,
    6: PILImage.Transpose.ROTATE_270,
    7: PILImage.Transpose.TRANSVERSE,
    8: PILImage.Transpose.ROTATE_90,
}
# Held while Pillow's own limit, which holds for the whole process, is put aside.
_PILLOW_LIMIT = threading.Lock()
# Depths that cameras and scanners write into 16-bit files.
_DEPTHS = (8, 10, 12, 14, 16)
# A picture that is longer than the first counts as no narrower than the second: what follows is done for each of its
# rows on as many columns as the model sees, or for each tile along it, and a file of one kilobyte can have millions.
_LONG, _LEAST_COUNTED = 1 << 15, 512
# Values that are rescaled at a time.
_SOME = 1 << 20


PictureSource = str | Path | BinaryIO
"""A file, or a stream of one."""
# Pillow's formats of the endings that count as images. What a file holds decides how Pillow reads it, and not its name;
# and it knows others, of which some start programs (EPS starts Ghostscript). Imported here, they are known to Pillow,
# which otherwise imports all forty there are.
_FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        PpmImagePlugin.PpmImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
        WebPImagePlugin.WebPImageFile,
    )
    if plugin.format in PILImage.OPEN
)


class TooManyPixelsError(ValueError):
    """A picture has more pixels than are to be read."""


def read_picture(path: PictureSource, max_pixels: int | None = None) -> Tensor:
    """Read an image of any mode as RGB, turned upright as its EXIF orientation says.

    - Grayscale, palette and CMYK images become RGB; transparency is dropped, as anomalib drops it.
    - 16-bit images are divided by the largest value of the smallest of 8, 10, 12, 14 or 16 bits that holds their
      maximum, so a 12-bit camera's image in a 16-bit file is not black.
    - Images of 32-bit integers beyond that range, of signed integers and of floating point outside [0, 1] are rescaled
      linearly from their own minimum and maximum.

    Args:
        path: A file, or a stream, of JPEG, PNG, PPM or PGM, BMP, TIFF or WebP, whatever its name.
        max_pixels: See `open_picture`.

    Returns:
        float32, (3, h, w), in [0, 1]; `was_turned` tells whether it was turned.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read as an image, has more pixels than allowed, or holds values that are not
            finite.
    """
    picture, turned = _open_upright(path, max_pixels)
    if picture.mode.startswith("I") or picture.mode == "F":
        with _plain_errors(path):
            values = np.asarray(picture)
        del picture  # of a large picture there are few copies at a time
        gray = torch.from_numpy(_rescale(values, path))
        del values
        image = gray.expand(3, -1, -1).contiguous()
    else:
        with _plain_errors(path):
            levels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
        del picture
        image = levels.float().mul_(1 / 255)
    image.turned_by_exif = turned  # type: ignore[attr-defined]
    return image


def was_turned(image: Tensor) -> bool:
    """Whether an image, as `read_picture` gave it, was turned or mirrored as its file's EXIF orientation says."""
    return bool(getattr(image, "turned_by_exif", False))


def read_marks(path: str | Path | Sequence[str | Path], threshold: float = 0) -> Tensor:
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
        masks = [read_marks(part, threshold) for part in path]
        return torch.stack(masks).amax(dim=0)
    picture = open_picture(path)
    with _plain_errors(path):
        values = _mask_values(picture)
    marked = values > threshold
    if not marked.any() and values.max(initial=0) > 0:
        raise ValueError(
            f"mask {path} marks no pixel above {threshold:g}: its largest value is {values.max():g}. "
            "Set mask_threshold below that (0 for masks that number the kinds of defect)."
        )
    return torch.from_numpy(marked.astype(np.uint8))


def picture_mode(path: str | Path) -> str:
    """Pillow's mode of an image file that was read before, from its header alone: nothing is decoded."""
    with _opened(path, None) as picture:
        return picture.mode


def pixel_count(path: PictureSource, max_pixels: int | None = None) -> int:
    """Number of pixels that an image file counts as, by its header; nothing is decoded.

    That is its number of pixels; a picture that is longer than 32,768 pixels counts as at least 512 wide.

    Raises:
        FileNotFoundError, ValueError: As `open_picture`.
    """
    with _opened(path, max_pixels) as picture:
        return _counted(picture.size)


def open_picture(path: str | Path, max_pixels: int | None = None) -> PILImage.Image:
    """Open and decode a file, and turn the picture upright as its EXIF orientation says.

    Args:
        path: The file.
        max_pixels: Most pixels, by the header, that are decoded; `None` for Pillow's own limit, which refuses pictures
            of more than 179 million.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read as an image, or has more pixels.
    """
    return _open_upright(path, max_pixels)[0]


def _open_upright(path: PictureSource, max_pixels: int | None) -> tuple[PILImage.Image, bool]:
    """A decoded picture, and whether it was turned."""
    with _opened(path, max_pixels) as picture:
        if picture.format == "TIFF":  # Pillow turns these itself, when it decodes them
            turning = _turning(picture)
            picture.load()
            return picture, turning is not None
        picture.load()  # the note of a PNG may stand behind its pixels
        turning = _turning(picture)
        return (picture, False) if turning is None else (picture.transpose(turning), True)


@contextmanager
def _opened(path: PictureSource, max_pixels: int | None) -> Iterator[PILImage.Image]:
    """A picture of an allowed size that is not decoded yet; what goes wrong while it is becomes a plain error."""
    # From a stream, which Pillow does not map into memory: mapped TIFF files come out wrong where they are turned.
    with _plain_errors(path), _stream(path) as stream, _open_header(stream, max_pixels) as picture:
        _check_size(picture, path, max_pixels)
        yield picture


@contextmanager
def _plain_errors(path: PictureSource) -> Iterator[None]:
    """What Pillow fails with on a file becomes a plain error.

    Its parsers raise whatever their Python code does on bytes that nobody foresaw (IndexError, KeyError, TypeError).
    """
    try:
        yield
    except (FileNotFoundError, TooManyPixelsError):
        raise
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{_name(path)} cannot be read as an image (it is of no known format). Replace the file or remove it."
        ) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        said = visible(str(error)).replace("\n", " ")
        raise ValueError(
            f"{_name(path)} cannot be read as an image ({type(error).__name__}: {said}). Replace the file or remove it."
        ) from error


def _name(path: PictureSource) -> str:
    return str(path) if isinstance(path, str | Path) else "the picture"


def _stream(path: PictureSource) -> AbstractContextManager[BinaryIO]:
    if isinstance(path, str | Path):
        return Path(path).open("rb")
    path.seek(0)
    return nullcontext(path)


def _open_header(stream: BinaryIO, max_pixels: int | None) -> PILImage.Image:
    """Open a file without decoding it; with a budget of our own, Pillow's does not count."""
    if max_pixels is None:
        return PILImage.open(stream, formats=_FORMATS)
    with _PILLOW_LIMIT:
        limit, PILImage.MAX_IMAGE_PIXELS = PILImage.MAX_IMAGE_PIXELS, None
        try:
            return PILImage.open(stream, formats=_FORMATS)
        finally:
            PILImage.MAX_IMAGE_PIXELS = limit


def _turning(picture: PILImage.Image) -> PILImage.Transpose | None:
    """What turns a picture upright; `None` where it is, and where its EXIF block is damaged and says nothing."""
    try:
        return _UPRIGHT.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception as error:  # of whatever kind Pillow's parser raises; the pixels are whole
        if is_out_of_memory(error):  # which says nothing of the block
            raise
        return None


def _check_size(picture: PILImage.Image, path: PictureSource, max_pixels: int | None) -> None:
    width, height = picture.size
    count = _counted(picture.size)
    if max_pixels is not None and count > max_pixels:
        long = f" (one longer than {_LONG:,} counts as at least {_LEAST_COUNTED} wide)" * (count > width * height)
        raise TooManyPixelsError(
            f"{_name(path)} has {width} x {height} pixels, {count:,} in all{long}, and no more than {max_pixels:,} "
            "are read. Reduce the picture, or raise --max-pixels (max_pixels)."
        )


def _counted(size: tuple[int, int]) -> int:
    """See `pixel_count`."""
    narrow, long = sorted(size)
    return long * (max(narrow, _LEAST_COUNTED) if long > _LONG else narrow)


def _rescale(values: np.ndarray, path: PictureSource) -> np.ndarray:
    """Map integers or floating point to float32 in [0, 1]; see `read_picture`."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():  # one value that is not would show in both, or in one
        raise ValueError(f"{_name(path)} holds values that are not finite. Replace the file or remove it.")
    rescale = _rescaling(values.dtype, low, high)
    found = np.empty(values.shape, np.float32)
    flat, stored = found.reshape(-1), values.reshape(-1)
    # In between, values may take twice as much; so there are some at a time.
    for start in range(0, stored.size, _SOME):
        flat[start : start + _SOME] = rescale(stored[start : start + _SOME])
    return found


def _rescaling(kind: np.dtype, low: float, high: float) -> Callable[[np.ndarray], np.ndarray]:
    """What brings values of a kind, of which the lowest and the highest are known, to [0, 1]."""
    if np.issubdtype(kind, np.integer) and low >= 0:
        for depth in _DEPTHS:
            if high < 2**depth:
                return lambda part: part / (2**depth - 1)
    elif low >= 0 and high <= 1:
        return lambda part: part
    span = max(high - low, float(np.finfo(np.float32).tiny))
    if span > float(np.finfo(np.float32).max):  # the difference has no single precision
        return lambda part: (part.astype(np.float64) - low) / span
    return lambda part: (part - low) / span


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
