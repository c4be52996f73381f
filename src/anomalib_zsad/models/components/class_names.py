"""Class names of a batch."""

from collections.abc import Sequence


def resolve_names(class_names: Sequence[str] | str | None, images: int, default: str) -> list[str]:
    """One name for each of `images` images, or a single one that serves all.

    Args:
        class_names: Nothing, one name, or as many as images.
        images: Number of images.
        default: Name where none is given.

    Raises:
        ValueError: The number of names is neither one nor that of the images.
    """
    if class_names is None:
        return [default]
    names = [class_names] if isinstance(class_names, str) else list(class_names)
    if len(names) not in (1, images):
        raise ValueError(f"{len(names)} class names were given for {images} images; give one name, or one an image")
    return names
