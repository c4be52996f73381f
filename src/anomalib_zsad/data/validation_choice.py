"""What may validate a training run: held-out categories, the published choice, or nothing."""

from pathlib import Path
from typing import Literal, get_args

from anomalib_zsad.data.category_set import CategorySet

__all__ = ["PUBLISHED_VALIDATION", "Validation", "check_validation", "held_out_by_default", "published_validation"]

Validation = Literal["held_out", "published", "none"]

PUBLISHED_VALIDATION = {
    "Visa": ("chewinggum", "cashew", "pipe_fryum", "capsules", "candle"),
    "MVTecAD": ("bottle", "hazelnut", "wood", "zipper", "leather"),
}
"""Categories of the other benchmark that the published Bayes-PFL validates on, by that benchmark."""


def published_validation(auxiliary_set: str | None, root: str | Path | None = None) -> CategorySet:
    """What the published Bayes-PFL validates on.

    That is five categories of VisA after training on MVTec AD, and five of MVTec AD after training on anything else.

    Args:
        auxiliary_set: Name of the set trained on, as anomalib's datamodule has it; None for one of another kind.
        root: The other benchmark's folder; None for its datamodule's default.
    """
    other = "Visa" if auxiliary_set == "MVTecAD" else "MVTecAD"
    return CategorySet(other, root, list(PUBLISHED_VALIDATION[other]))


def held_out_by_default(categories: list[str]) -> list[str]:
    """The categories that validate where none are named: every fifth in alphabetical order, beginning with the third.

    Of fewer than three the last; of a single category none, then a fifth of its images is held out instead.

    Example:
        >>> held_out_by_default(["wood", "tile", "cable", "pill", "grid", "screw", "zipper", "capsule"])
        ['grid', 'zipper']
    """
    ordered = sorted(categories)
    if len(ordered) < 2:
        return []
    return ordered[2::5] or ordered[-1:]


def check_validation(validation: str, categories: list[str] | None, root: str | Path | None) -> None:
    """Raise `ValueError` if arguments about validation are out of their range or do not fit together.

    Args:
        validation: What validates.
        categories: Categories held out; None for the default ones.
        root: Folder of the other benchmark; None for the default one.
    """
    if validation not in get_args(Validation):
        raise ValueError(f"validation is {validation!r}; give {', '.join(get_args(Validation))}")
    if categories is not None and validation != "held_out":
        raise ValueError(
            f"validation_categories is {categories}, and validation is {validation!r}: categories of the auxiliary set "
            "are held out with 'held_out' alone; leave one of the two out"
        )
    if categories is not None and not categories:
        raise ValueError(
            "validation_categories is empty; to train on all categories give validation 'none', and to hold out the "
            "default ones leave it out"
        )
    if root is not None and validation != "published":
        raise ValueError(
            f"validation_root is '{root}', and validation is {validation!r}: another set validates with 'published' "
            "alone; leave one of the two out"
        )
