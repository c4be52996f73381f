"""Image files, read and prepared for the model; whatever is wrong with one becomes a reason."""

import threading
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_zsad.data.appearance import Appearance, appearance
from anomalib_zsad.data.pictures import PictureSource, pixel_count, read_picture, was_turned
from anomalib_zsad.inspection.journal import file_state
from anomalib_zsad.inspection.options import ImageReading
from anomalib_zsad.outputs.memory_errors import is_out_of_memory
from anomalib_zsad.pages.encoding import reduce_picture
from anomalib_zsad.scoring.image_scorer import ImageScorer

# Pixels from which on an image is read alone, without another large one beside it.
_LARGE = 25_000_000
# Rows of an image that are brought to 8 bits at a time.
_STRIP = 256


class ReadImage(NamedTuple):
    """An image that was read.

    Attributes:
        name: Its name.
        state: Of its file.
        size: Width and height in pixels.
        turned: Whether its EXIF orientation turned it.
        picture: What is shown of it, (h, w, 3), reduced; `None` where nothing is.
        prepared: What the model takes; `None` if the image cannot be read.
        looks: Brightness and sharpness; `None` if the image cannot be read.
        reason: Why it cannot be read.
    """

    name: str
    state: str = ""
    size: tuple[int, int] = (0, 0)
    turned: bool = False
    picture: NDArray[np.uint8] | None = None
    prepared: torch.Tensor | None = None
    looks: Appearance | None = None
    reason: str = ""


class ImageReader:
    """Reads image files for a model. Threads may share it; large images are read one at a time.

    Args:
        scorer: The model, which prepares images.
        reading: How large they may be.
        side: Longest side of what is shown of them; `None` to show nothing.
    """

    def __init__(self, scorer: ImageScorer, reading: ImageReading, side: int | None) -> None:
        self._scorer, self._reading, self._side = scorer, reading, side
        self._large = threading.Lock()

    def read(self, name: str, path: PictureSource) -> ReadImage:
        """Read and prepare an image.

        Args:
            name: What it goes by.
            path: Its file, or a stream of it.
        """
        try:
            large = pixel_count(path, self._reading.max_pixels) > _LARGE
            with self._large if large else nullcontext():
                return self._decode(name, path)
        except (OSError, ValueError, MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                return ReadImage(name, reason="there is not enough memory to read the file")
            if isinstance(error, RuntimeError):
                raise
            reason = str(error).replace(str(path), "the file") if not isinstance(error, OSError) else error.strerror
            return ReadImage(name, reason=reason or type(error).__name__)

    def _decode(self, name: str, path: PictureSource) -> ReadImage:
        """Read and prepare an image that can be read."""
        state = file_state(path) if isinstance(path, Path) else ""
        image = read_picture(path, self._reading.max_pixels)
        prepared = torch.as_tensor(self._scorer.prepare(image))
        size, turned = (image.shape[-1], image.shape[-2]), was_turned(image)
        looks = appearance(torch.as_tensor(image))
        levels = None if self._side is None else _levels(image)
        del image  # of a large image there are few copies at a time
        picture = None if levels is None else reduce_picture(levels, self._side)
        return ReadImage(name, state, size, turned, picture, prepared, looks)


def _levels(image: torch.Tensor) -> NDArray[np.uint8]:
    """An image (3, h, w) in [0, 1] in 8 bits, (h, w, 3), made strip by strip: with no further copy in between."""
    levels = np.empty((*image.shape[-2:], 3), np.uint8)
    for start in range(0, len(levels), _STRIP):
        strip = slice(start, start + _STRIP)
        levels[strip] = (image[:, strip] * 255).round().byte().permute(1, 2, 0).numpy()
    return levels
