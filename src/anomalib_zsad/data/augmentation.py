"""Augmentation of training images, as the published Bayes-PFL run has it; CoPS trains without.

Everything draws from torch's generator, so worker processes differ and a seed reproduces a run.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import resize
from torchvision.tv_tensors import Image, Mask, TVTensor

__all__ = ["BayesPFLAugmentation", "RandomGaussianNoise", "RandomRightAngle", "RandomSmallRotation", "mosaic"]


def mosaic(parts: Sequence[tuple[torch.Tensor, torch.Tensor | None]]) -> tuple[Image, Mask | None]:
    """Put four images, with their masks, into the quarters of one.

    The result has the first image's size; each part is squeezed to its quarter.

    Args:
        parts: Four pairs of image (3, h, w) and mask (h, w), or None for the mask, in reading order.

    Returns:
        Image and mask; the mask is None if any part has none.

    Raises:
        ValueError: If there are not four parts.
    """
    if len(parts) != 4:
        raise ValueError(f"a mosaic has 4 parts, got {len(parts)}")
    height, width = parts[0][0].shape[-2:]
    rows, columns = _halves(height), _halves(width)
    image = torch.empty(3, height, width)
    mask = torch.zeros(height, width, dtype=torch.uint8)
    for quarter, (part, part_mask) in enumerate(parts):
        row, column = rows[quarter // 2], columns[quarter % 2]
        size = [row.stop - row.start, column.stop - column.start]
        if 0 in size:  # an image of one pixel in a direction has no second half
            continue
        image[:, row, column] = resize(Image(part), size)
        if part_mask is not None:
            mask[row, column] = resize(Mask(part_mask), size)
    return Image(image), None if any(part_mask is None for _, part_mask in parts) else Mask(mask)


def _halves(size: int) -> tuple[slice, slice]:
    """The two halves of an axis; the first is the longer one."""
    middle = (size + 1) // 2
    return slice(0, middle), slice(middle, size)


class RandomSmallRotation(v2.Transform):
    """Rotate image and mask about the centre by a random angle; what comes in from outside is mirrored.

    Args:
        degrees: Largest angle.
    """

    def __init__(self, degrees: float = 30.0) -> None:
        super().__init__()
        self.degrees = degrees

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the angle."""
        del flat_inputs
        return {"radians": torch.deg2rad((2 * torch.rand(()) - 1) * self.degrees)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Rotate one input."""
        if not isinstance(inpt, Image | Mask):
            return inpt
        return _rotate(inpt, params["radians"])


def _rotate(values: TVTensor, radians: torch.Tensor) -> TVTensor:
    """Rotate an image (3, h, w) bilinearly, or a mask (h, w) by nearest neighbour."""
    is_mask = isinstance(values, Mask)
    height, width = values.shape[-2:]
    planes = values.as_subclass(torch.Tensor).reshape(1, -1, height, width).float()
    cos, sin = torch.cos(radians), torch.sin(radians)
    # Coordinates run from -1 to 1 on both axes, so a rotation of pixels has the sides' ratio in it.
    matrix = torch.stack([cos, -sin * height / width, sin * width / height, cos]).reshape(2, 2)
    grid = functional.affine_grid(
        torch.cat([matrix, torch.zeros(2, 1)], dim=1)[None], list(planes.shape), align_corners=False
    )
    mode = "nearest" if is_mask else "bilinear"
    rotated = functional.grid_sample(planes, grid, mode=mode, padding_mode="reflection", align_corners=False)
    wrap = Mask if is_mask else Image
    return wrap(rotated.reshape(values.shape).to(values.dtype))


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


class RandomGaussianNoise(v2.Transform):
    """Add Gaussian noise of a random strength to the image, and clip to [0, 1].

    Args:
        sigma: Smallest and largest standard deviation, on the scale of [0, 1].
    """

    def __init__(self, sigma: tuple[float, float] = (10**0.5 / 255, 50**0.5 / 255)) -> None:
        super().__init__()
        self.sigma = sigma

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the strength."""
        del flat_inputs
        low, high = self.sigma
        return {"sigma": float(low + (high - low) * torch.rand(()))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Add noise to one input."""
        if not isinstance(inpt, Image):
            return inpt
        return Image((inpt + params["sigma"] * torch.randn(inpt.shape)).clamp_(0, 1))


class Blur(v2.GaussianBlur):
    """A Gaussian blur that leaves images smaller than its kernel as they are."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Blur one input."""
        is_tiny = isinstance(inpt, Image) and min(inpt.shape[-2:]) <= max(self.kernel_size) // 2
        return inpt if is_tiny else super().transform(inpt, params)


class BayesPFLAugmentation(v2.Compose):
    """The augmentation of the published Bayes-PFL training.

    In this order, each with a probability of one half: a rotation of up to 30 degrees; right-angle turns; brightness
    and contrast by up to a fifth; Gaussian noise of a variance between 10 and 50 on the scale of 255; and one of box
    blur, colour jitter and Gaussian blur. The 2 x 2 mosaic needs other images and is therefore an option of the
    dataset (`mosaic_probability`; 0.4 on MVTec AD, none on VisA).

    Args:
        probability: Probability of each step.
    """

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = probability
        one_of = v2.RandomChoice(
            [
                Blur(3, sigma=(100.0, 100.0)),  # so wide a Gaussian is a box
                v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.2),
                Blur(7, sigma=(0.8, 1.4)),
            ]
        )
        steps = [
            RandomSmallRotation(30.0),
            RandomRightAngle(),
            v2.ColorJitter(brightness=0.2, contrast=0.2),
            RandomGaussianNoise(),
            one_of,
        ]
        super().__init__([v2.RandomApply([step], p=probability) for step in steps])
