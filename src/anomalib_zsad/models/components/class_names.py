"""Class names of a batch."""

from collections.abc import Sequence

from anomalib_zsad.data.class_name import check_class_name

DEFAULT_CLASS_NAME = "object"
"""What images show where nothing says it."""


def resolve_names(class_names: Sequence[str] | str | None, images: int, default: str) -> list[str]:
    """One name for each of `images` images, or a single one that serves all.

    Args:
        class_names: Nothing, one name, or as many as images.
        images: Number of images.
        default: Name where none is given.

    Raises:
        TypeError: A name is no string.
        ValueError: The number of names is neither one nor that of the images, or a name is empty.
    """
    if class_names is None:
        return [default]
    if not isinstance(class_names, Sequence) or isinstance(class_names, bytes):
        raise TypeError(f"class names must be one string, or a list of strings, one an image; got {class_names!r}")
    names = [check_class_name(name) for name in ([class_names] if isinstance(class_names, str) else class_names)]
    if len(names) not in (1, images):
        raise ValueError(f"{len(names)} class names were given for {images} images; give one name, or one an image")
    return names
