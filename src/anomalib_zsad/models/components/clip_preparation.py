"""What happens to an image before CLIP sees it, in torch alone.

torchvision's transforms of `CLIPPreProcessor` do the same, bit for bit, and say the same of themselves, so that a
calibration fits both. Importing torchvision imports torch's compiler, which takes as long as torch itself.
"""

import torch
from torch import Tensor
from torch.nn import functional

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def resize_bicubic(images: Tensor, shape: tuple[int, int]) -> Tensor:
    """Images (..., c, h, w) of floating point at another height and width: bicubic, antialiased; may overshoot."""
    if tuple(images.shape[-2:]) == shape:
        return images
    batch = images.reshape(-1, *images.shape[-3:])
    if len(batch) == 1 and batch.is_contiguous(memory_format=torch.channels_last):
        # As torchvision: of one image whose colours lie together, torch takes the layout from the first stride, which
        # reshaping leaves wrong, and would answer in the other layout, in other last bits.
        batch = batch.as_strided(batch.shape, (batch.numel(), *batch.stride()[1:]))
    resized = functional.interpolate(batch, shape, mode="bicubic", align_corners=False, antialias=True)
    return resized.reshape(*images.shape[:-2], *shape)


class CLIPPreparation:
    """Squeezes whole images to a square, clamps them to [0, 1], and normalises them as CLIP does.

    Args:
        image_size: Side in pixels.
    """

    def __init__(self, image_size: int) -> None:
        self._shape = (image_size, image_size)

    def __call__(self, images: Tensor) -> Tensor:
        """Prepare images (..., 3, h, w) in [0, 1]."""
        clamped = resize_bicubic(images, self._shape).clamp(0, 1)
        mean, std = (clamped.new_tensor(values).view(-1, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
        return clamped.sub(mean).div_(std)

    def __str__(self) -> str:
        """The words of torchvision's transforms, which are part of a calibration's fingerprint."""
        steps = (
            f"Resize(size={list(self._shape)}, interpolation=InterpolationMode.BICUBIC, antialias=True)",
            "ClampToUnit()",
            f"Normalize(mean={list(CLIP_MEAN)}, std={list(CLIP_STD)}, inplace=False)",
        )
        return "\n".join(("Compose(", *(f"      {step}" for step in steps), ")"))
