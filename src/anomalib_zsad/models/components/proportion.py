"""Published constants in pixels, brought to another image size.

The published implementations smooth maps and count pixels at 518 x 518. A blur of 8 pixels would drown the defects of
an image of 192 x 192, and 2000 pixels are less than a hundredth of the one and a twentieth of the other.
"""

from anomalib_zsad.backbone.config import PUBLISHED_IMAGE_SIZE


def length_at(image_size: int, published: float) -> float:
    """A length in pixels at another side of the image, in proportion to the side."""
    return published * image_size / PUBLISHED_IMAGE_SIZE


def count_at(image_size: int, published: int) -> int:
    """A number of pixels at another side of the image, in proportion to the area; at least one."""
    return max(1, round(published * (image_size / PUBLISHED_IMAGE_SIZE) ** 2))
