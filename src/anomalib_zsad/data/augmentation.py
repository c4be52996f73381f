"""Augmentation of training images, as the published Bayes-PFL run has it; CoPS trains without.

Equal in distribution to what that run does with albumentations 1.3.1, whose operations are those of OpenCV, as here, on
8-bit levels. Everything draws from torch's generator, so worker processes differ and a seed reproduces a run.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import Transform
from torchvision.tv_tensors import Image, Mask

from anomalib_zsad.data.pillow_resize import to_levels

__all__ = [
    "BayesPFLAugmentation",
    "add_noise",
    "box_blur",
    "brighten",
    "gaussian_blur",
    "jitter_colours",
    "mosaic",
    "quarter_turn",
    "rotate",
]

# What a rotation or a blur finds beyond the edge: the image mirrored, its edge pixel not repeated.
_BORDER = cv2.BORDER_REFLECT_101


def mosaic(parts: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Image, Mask | None]:
    """Paste four images, with their masks, into the quarters of one of twice the first one's height and width.

    Nothing is scaled: of images of other sizes than the first, what reaches beyond the mosaic is cut, and what they
    leave free is black. They are pasted in reading order, a later one over an earlier.

    Args:
        parts: Four pairs of image (3, h, w) and mask (h, w), or None for the mask, in reading order.

    Returns:
        Image and mask; the mask is None if any part has none.

    Raises:
        ValueError: If there are not four parts.
    """
    if len(parts) != 4:
        raise ValueError(f"A mosaic has 4 parts, got {len(parts)}.")
    height, width = parts[0][0].shape[-2:]
    image = torch.zeros(3, 2 * height, 2 * width)
    mask = torch.zeros(2 * height, 2 * width, dtype=torch.uint8)
    for quarter, (part, part_mask) in enumerate(parts):
        top, left = quarter // 2 * height, quarter % 2 * width
        rows, columns = slice(top, top + part.shape[-2]), slice(left, left + part.shape[-1])
        rest = (2 * height - top, 2 * width - left)
        image[:, rows, columns] = part.as_subclass(Tensor)[:, : rest[0], : rest[1]]
        if part_mask is not None:
            mask[rows, columns] = part_mask.as_subclass(Tensor)[: rest[0], : rest[1]]
    return Image(image), None if any(part_mask is None for _, part_mask in parts) else Mask(mask)


def rotate(levels: np.ndarray, degrees: float, nearest: bool = False) -> np.ndarray:
    """Rotate levels (h, w, ...) about their centre; the canvas keeps its size, and what comes in is mirrored."""
    height, width = levels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), degrees, 1.0)
    mode = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.warpAffine(levels, matrix, (width, height), flags=mode, borderMode=_BORDER)


def quarter_turn(levels: np.ndarray, turns: int) -> np.ndarray:
    """Turn levels (h, w, ...) by right angles; height and width change places on odd numbers of them."""
    return np.ascontiguousarray(np.rot90(levels, turns))


def brighten(levels: np.ndarray, contrast: float, brightness: float) -> np.ndarray:
    """`contrast * level + 255 * brightness`, clipped to 0 to 255 and cut to whole levels."""
    return _mapped(levels, np.arange(256, dtype=np.float32) * contrast + 255 * brightness)


def add_noise(levels: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Levels plus noise of the same shape, clipped and cut to whole levels, so that the mean falls by a half."""
    return np.clip(levels.astype(np.float32) + noise, 0, 255).astype(np.uint8)


def box_blur(levels: np.ndarray) -> np.ndarray:
    """Mean of 3 x 3 pixels."""
    return cv2.blur(levels, (3, 3), borderType=_BORDER)


def gaussian_blur(levels: np.ndarray, kernel: int) -> np.ndarray:
    """Gaussian blur of an odd kernel, whose standard deviation is 0.3 * ((kernel - 1) / 2 - 1) + 0.8 pixels."""
    deviation = 0.3 * ((kernel - 1) / 2 - 1) + 0.8
    return cv2.GaussianBlur(levels, (kernel, kernel), sigmaX=deviation, borderType=_BORDER)


def jitter_colours(levels: np.ndarray, factors: tuple[float, float, float, float], order: Sequence[int]) -> np.ndarray:
    """Change brightness, contrast, saturation and hue, one after the other, each cut to whole levels.

    Args:
        levels: RGB levels (h, w, 3).
        factors: Factor of the brightness, of the contrast (about the mean grey), of the saturation (from grey), and the
            turn of the hue in full circles.
        order: The order of the four, each of 0 to 3 once.

    Quirk kept for parity: the published code holds blue, green, red where red, green, blue are meant, so that grey
    weighs blue with 0.299 and red with 0.114, and the hue turns the other way round.
    """
    levels = np.ascontiguousarray(levels[..., ::-1])
    steps = (_jitter_brightness, _jitter_contrast, _jitter_saturation, _jitter_hue)
    for index in order:
        levels = steps[index](levels, factors[index])
    return np.ascontiguousarray(levels[..., ::-1])


def _jitter_brightness(levels: np.ndarray, factor: float) -> np.ndarray:
    return _mapped(levels, np.arange(256, dtype=np.float32) * factor)


def _jitter_contrast(levels: np.ndarray, factor: float) -> np.ndarray:
    mean = float(cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY).mean())
    return _mapped(levels, np.arange(256, dtype=np.float32) * factor + mean * (1 - factor))


def _jitter_saturation(levels: np.ndarray, factor: float) -> np.ndarray:
    grey = cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    return np.clip(levels.astype(np.float32) * factor + grey * (1 - factor), 0, 255).astype(np.uint8)


def _jitter_hue(levels: np.ndarray, turn: float) -> np.ndarray:
    hue, saturation, value = cv2.split(cv2.cvtColor(levels, cv2.COLOR_RGB2HSV))
    # OpenCV's hue has 180 steps.
    turned = np.mod(np.arange(256, dtype=np.int16) + 180 * turn, 180).astype(np.uint8)
    return cv2.cvtColor(cv2.merge((cv2.LUT(hue, turned), saturation, value)), cv2.COLOR_HSV2RGB)


def _mapped(levels: np.ndarray, table: np.ndarray) -> np.ndarray:
    return cv2.LUT(levels, np.clip(table, 0, 255).astype(np.uint8))


class BayesPFLAugmentation(Transform):
    """The augmentation of the published Bayes-PFL training.

    In this order, each with a probability of one half: a rotation of up to 30 degrees; none to three quarter turns;
    brightness by up to a fifth of full scale and contrast by up to a fifth; Gaussian noise of a variance between 10 and
    50 squared levels; and one of a 3 x 3 box blur, colour jitter (a fifth each, hue too) and a Gaussian blur with a
    kernel of 3 (probability 0.2), 5 or 7 (0.4 each). It works on 8-bit levels, at the image's own size.

    The 2 x 2 mosaic needs other images and is therefore an option of the dataset (`mosaic_probability`; 0.4 on MVTec
    AD, none on VisA). The published code ends with an error at a file of a single channel; here grey images are RGB.

    Args:
        probability: Probability of each step.
    """

    def __init__(self, probability: float = 0.5) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, *inputs: Any) -> Any:
        """Augment an image, float32 (3, h, w) in [0, 1], or an image and its mask (h, w), alike."""
        image, mask = inputs if len(inputs) == 2 else (inputs[0], None)
        levels = to_levels(image)
        marks = None if mask is None else mask.as_subclass(Tensor).to(torch.uint8).numpy()
        if self._happens():
            degrees = _uniform(-30, 30)
            levels = rotate(levels, degrees)
            marks = None if marks is None else rotate(marks, degrees, nearest=True)
        if self._happens():
            turns = int(torch.randint(4, ()))
            levels = quarter_turn(levels, turns)
            marks = None if marks is None else quarter_turn(marks, turns)
        if self._happens():
            levels = brighten(levels, contrast=_uniform(0.8, 1.2), brightness=_uniform(-0.2, 0.2))
        if self._happens():
            levels = add_noise(levels, _uniform(10, 50) ** 0.5 * torch.randn(levels.shape).numpy())
        if self._happens():
            levels = _blur_or_jitter(levels)
        augmented = Image(torch.from_numpy(levels).permute(2, 0, 1).contiguous().to(torch.float32).div(255))
        if mask is None:
            return augmented if len(inputs) == 1 else (augmented, None)
        return augmented, Mask(torch.from_numpy(np.ascontiguousarray(marks)).to(mask.dtype))

    def _happens(self) -> bool:
        return float(torch.rand(())) < self.probability


def _blur_or_jitter(levels: np.ndarray) -> np.ndarray:
    """One of the three, each as likely."""
    chosen = int(torch.randint(3, ()))
    if chosen == 0:
        return box_blur(levels)
    if chosen == 1:
        factors = (_uniform(0.8, 1.2), _uniform(0.8, 1.2), _uniform(0.8, 1.2), _uniform(-0.2, 0.2))
        return jitter_colours(levels, factors, torch.randperm(4).tolist())
    return gaussian_blur(levels, (3, 5, 5, 7, 7)[int(torch.randint(5, ()))])


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
