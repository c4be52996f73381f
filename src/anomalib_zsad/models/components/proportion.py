"""Published constants in pixels, brought to another image size.

The published implementations smooth maps and count pixels at 518 x 518; a blur of 8 pixels there would drown an image of
192 x 192, and 2000 pixels there are less than a hundredth of the image.
"""

from anomalib_zsad.backbone.config import PUBLISHED_IMAGE_SIZE


def length_at(image_size: int, published: float) -> float:
    """A length in pixels at another side of the image, in proportion to the side."""
    return published * image_size / PUBLISHED_IMAGE_SIZE


def count_at(image_size: int, published: int) -> int:
    """A number of pixels at another side of the image, in proportion to the area; at least one."""
    return max(1, round(published * (image_size / PUBLISHED_IMAGE_SIZE) ** 2))
