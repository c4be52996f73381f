"""Augmentation of training images, as the published Bayes-PFL run has it; CoPS trains without.

The published run used albumentations 1.3.1, which is no longer kept up; the steps here are its own, on the OpenCV that
anomalib brings, and equal to it in distribution (docs/reproduce.md). They work on 8-bit levels, since half of them cut
to whole levels. Everything draws from torch's generator, so worker processes differ and a seed reproduces a run.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torchvision.transforms import v2
from torchvision.tv_tensors import Image, Mask

__all__ = [
    "BayesPFLAugmentation",
    "RandomBrightnessContrast",
    "RandomColorJitter",
    "RandomGaussianBlur",
    "RandomGaussianNoise",
    "RandomRightAngle",
    "RandomSmallRotation",
    "mosaic",
]


def mosaic(parts: Sequence[tuple[torch.Tensor, torch.Tensor | None]]) -> tuple[Image, Mask | None]:
    """Put four images, with their masks, onto one canvas of twice the first one's height and width.

    Nothing is scaled. Parts of another size than the first are cut at the canvas' edge or leave black beside them.

    Args:
        parts: Four pairs of image (3, h, w) and mask (h, w), or None for the mask, in reading order.

    Returns:
        Image (3, 2h, 2w) and mask (2h, 2w) of the first part's h and w; the mask is None if any part has none.

    Raises:
        ValueError: If there are not four parts.
    """
    if len(parts) != 4:
        raise ValueError(f"a mosaic has 4 parts, got {len(parts)}")
    height, width = parts[0][0].shape[-2:]
    image = torch.zeros(3, 2 * height, 2 * width)
    mask = torch.zeros(2 * height, 2 * width, dtype=torch.uint8)
    for quarter, (part, part_mask) in enumerate(parts):
        top, left = quarter // 2 * height, quarter % 2 * width
        rows, columns = min(part.shape[-2], 2 * height - top), min(part.shape[-1], 2 * width - left)
        image[:, top : top + rows, left : left + columns] = part[:, :rows, :columns]
        if part_mask is not None:
            mask[top : top + rows, left : left + columns] = part_mask[:rows, :columns]
    return Image(image), None if any(part_mask is None for _, part_mask in parts) else Mask(mask)


def _uniform(low: float, high: float) -> float:
    """One draw."""
    return low + (high - low) * float(torch.rand((), dtype=torch.float64))


def _cut(levels: np.ndarray) -> np.ndarray:
    """Clip to 0 to 255 and cut to whole levels; albumentations does not round."""
    return np.clip(levels, 0, 255).astype(np.uint8)


class _LevelsTransform(v2.Transform):
    """A transform of an image's 8-bit levels, (h, w, 3) in red, green, blue; masks pass through."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Transform an image (3, h, w) in [0, 1], and nothing else."""
        if not isinstance(inpt, Image):
            return inpt
        levels = (inpt.as_subclass(torch.Tensor) * 255).round().clamp(0, 255).byte().permute(1, 2, 0)
        changed = self.transform_levels(np.ascontiguousarray(levels.numpy()), **params)
        return Image(torch.from_numpy(np.ascontiguousarray(changed.transpose(2, 0, 1))).float() / 255)

    def transform_levels(self, levels: np.ndarray, **params: Any) -> np.ndarray:
        """The levels after the transform, uint8 (h, w, 3)."""
        raise NotImplementedError


class RandomSmallRotation(_LevelsTransform):
    """Rotate image and mask about the centre by a random angle; what comes in from outside is mirrored.

    The canvas keeps its size. Images are interpolated bilinearly, masks take the nearest pixel.

    Args:
        degrees: Largest angle.
    """

    def __init__(self, degrees: float = 30.0) -> None:
        super().__init__()
        self.degrees = degrees

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the angle."""
        del flat_inputs
        return {"degrees": _uniform(-self.degrees, self.degrees)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Rotate one input."""
        if not isinstance(inpt, Mask):
            return super().transform(inpt, params)
        rotated = _rotate(inpt.as_subclass(torch.Tensor).byte().numpy(), params["degrees"], cv2.INTER_NEAREST)
        return Mask(torch.from_numpy(rotated).to(inpt.dtype))

    def transform_levels(self, levels: np.ndarray, **params: Any) -> np.ndarray:
        """Rotate the levels."""
        return _rotate(levels, params["degrees"], cv2.INTER_LINEAR)


def _rotate(values: np.ndarray, degrees: float, interpolation: int) -> np.ndarray:
    height, width = values.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), degrees, 1.0)
    return cv2.warpAffine(values, matrix, (width, height), flags=interpolation, borderMode=cv2.BORDER_REFLECT_101)


class RandomRightAngle(v2.Transform):
    """Turn image and mask by none, one, two or three right angles."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the number of right angles."""
        del flat_inputs
        return {"turns": int(torch.randint(4, ()))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Turn one input."""
        if not isinstance(inpt, Image | Mask):
            return inpt
        wrap = Mask if isinstance(inpt, Mask) else Image
        return wrap(torch.rot90(inpt.as_subclass(torch.Tensor), params["turns"], dims=(-2, -1)).contiguous())


class RandomBrightnessContrast(_LevelsTransform):
    """Multiply the levels by a random factor and add a random share of the full scale.

    Args:
        contrast: Largest distance of the factor from 1.
        brightness: Largest share of 255 that is added or taken away.
    """

    def __init__(self, contrast: float = 0.2, brightness: float = 0.2) -> None:
        super().__init__()
        self.contrast, self.brightness = contrast, brightness

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw factor and offset."""
        del flat_inputs
        factor = _uniform(1 - self.contrast, 1 + self.contrast)
        return {"factor": factor, "offset": 255 * _uniform(-self.brightness, self.brightness)}

    def transform_levels(self, levels: np.ndarray, **params: Any) -> np.ndarray:
        """Look the new levels up."""
        return _cut(np.arange(256) * params["factor"] + params["offset"])[levels]


class RandomGaussianNoise(_LevelsTransform):
    """Add Gaussian noise of a random variance, independent in each pixel and channel.

    Args:
        variance: Smallest and largest variance, in squared 8-bit levels.
    """

    def __init__(self, variance: tuple[float, float] = (10.0, 50.0)) -> None:
        super().__init__()
        self.variance = variance

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the variance."""
        del flat_inputs
        return {"variance": _uniform(*self.variance)}

    def transform_levels(self, levels: np.ndarray, **params: Any) -> np.ndarray:
        """Add the noise."""
        return _cut(levels + params["variance"] ** 0.5 * torch.randn(levels.shape).numpy())


class _BoxBlur(_LevelsTransform):
    """Mean over 3 x 3 pixels."""

    def transform_levels(self, levels: np.ndarray, **_params: Any) -> np.ndarray:
        """Blur the levels."""
        return cv2.blur(levels, (3, 3))


class RandomGaussianBlur(_LevelsTransform):
    """Blur with a Gaussian of 3, 5 or 7 pixels, drawn with probabilities 0.2, 0.4 and 0.4."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the side of the kernel."""
        del flat_inputs
        return {"side": (3, 5, 7)[int(torch.multinomial(torch.tensor([0.2, 0.4, 0.4]), 1))]}

    def transform_levels(self, levels: np.ndarray, **params: Any) -> np.ndarray:
        """Blur the levels."""
        # A standard deviation of 0 lets OpenCV derive it from the kernel: about 0.8, 1.1 and 1.4 pixels.
        return cv2.GaussianBlur(levels, (params["side"], params["side"]), 0)


class RandomColorJitter(_LevelsTransform):
    """Change brightness, contrast, saturation and hue, each at random and in a random order.

    Quirk kept for parity: the published run hands over blue, green, red as red, green, blue, so grey values weigh blue
    with 0.299 and red with 0.114.

    Args:
        strength: Largest distance of the three factors from 1, and largest shift of the hue in turns.
    """

    def __init__(self, strength: float = 0.2) -> None:
        super().__init__()
        self.strength = strength

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw factors, hue and order."""
        del flat_inputs
        factors = [_uniform(1 - self.strength, 1 + self.strength) for _ in range(3)]
        return {"values": [*factors, _uniform(-self.strength, self.strength)], "order": torch.randperm(4).tolist()}

    def transform_levels(self, levels: np.ndarray, **params: Any) -> np.ndarray:
        """Apply the four."""
        swapped = np.ascontiguousarray(levels[..., ::-1])
        for which in params["order"]:
            swapped = _JITTERS[which](swapped, params["values"][which])
        return swapped[..., ::-1]


def _change_brightness(levels: np.ndarray, factor: float) -> np.ndarray:
    return _cut(np.arange(256) * factor)[levels]


def _change_contrast(levels: np.ndarray, factor: float) -> np.ndarray:
    mean = cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY).mean()
    return _cut(np.arange(256) * factor + mean * (1 - factor))[levels]


def _change_saturation(levels: np.ndarray, factor: float) -> np.ndarray:
    gray = cv2.cvtColor(cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(levels, factor, gray, 1 - factor, 0)


def _change_hue(levels: np.ndarray, turns: float) -> np.ndarray:
    hsv = cv2.cvtColor(levels, cv2.COLOR_RGB2HSV)  # OpenCV's hue of 8 bits has 180 steps
    hsv[..., 0] = np.mod(np.arange(256) + 180 * turns, 180).astype(np.uint8)[hsv[..., 0]]
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


_JITTERS = (_change_brightness, _change_contrast, _change_saturation, _change_hue)


class BayesPFLAugmentation(v2.Compose):
    """The augmentation of the published Bayes-PFL training.

    In this order, each with a probability of one half: a rotation of up to 30 degrees; right-angle turns (none among
    them); a contrast factor of 0.8 to 1.2 with an offset of up to a fifth of the full scale; Gaussian noise of a
    variance between 10 and 50 on the scale of 255; and one of box blur, colour jitter and Gaussian blur. The 2 x 2
    mosaic needs other images and is therefore an option of the dataset (`mosaic_probability`; 0.4 on MVTec AD, none on
    VisA). Images become 8-bit levels on the way.

    Args:
        probability: Probability of each step.
    """

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = probability
        steps = [
            RandomSmallRotation(30.0),
            RandomRightAngle(),
            RandomBrightnessContrast(),
            RandomGaussianNoise(),
            v2.RandomChoice([_BoxBlur(), RandomColorJitter(), RandomGaussianBlur()]),
        ]
        super().__init__([v2.RandomApply([step], p=probability) for step in steps])
