"""Names under which the public data sets go, and whether a target overlaps the set a model was trained on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from anomalib_zsad.data.category_set import overlap

# One name for each set, and what else papers, prepared trees and anomalib call it.
_ALIASES = {
    "MVTecAD": ("mvtec", "mvtecad", "mvtecanomalydetection"),
    "VisA": ("visa", "visapytorch"),
    "BTAD": ("btad", "btech", "btech_dataset_transformed", "beantech"),
    "MPDD": ("mpdd",),
    "DTD-Synthetic": ("dtd", "dtdsynthetic"),
    "DAGM": ("dagm", "dagmkaggleupload"),
    "KSDD2": ("ksdd2",),
    "RSDD": ("rsdd",),
    "HeadCT": ("headct",),
    "BrainMRI": ("brainmri",),
    "Br35H": ("br35h", "br35"),
    "ISIC": ("isic", "isbi"),
    "CVC-ColonDB": ("colondb", "cvccolondb"),
    "CVC-ClinicDB": ("clinicdb", "cvcclinicdb"),
    "Kvasir": ("kvasir",),
    "Endo": ("endo", "endotect"),
    "TN3K": ("tn3k",),
    "RealIAD": ("realiad",),
    "BMAD": ("bmad",),
}
_CANONICAL = {re.sub(r"[^a-z0-9]", "", alias): name for name, aliases in _ALIASES.items() for alias in aliases}


def canonical_name(name: str) -> str:
    """One spelling for each known set; an unknown name comes back as it is.

    Example:
        >>> canonical_name("MVTec-AD"), canonical_name("BTech"), canonical_name("our_screws")
        ('MVTecAD', 'BTAD', 'our_screws')
    """
    return _CANONICAL.get(re.sub(r"[^a-z0-9]", "", name.lower()), name)


@dataclass(frozen=True)
class AuxiliarySet:
    """The data a model was trained on, as far as it is known.

    Attributes:
        name: Name of the set; none if unknown.
        categories: Categories of it that were used; none if unknown, which is taken to mean all.
    """

    name: str | None = None
    categories: tuple[str, ...] | None = None

    def overlap(self, target: str, categories: Sequence[str]) -> list[str]:
        """Those `categories` of `target` that the model was trained on.

        Where the set is unknown, categories of the same name are taken to be the same.
        """
        if self.name is not None and canonical_name(self.name) != canonical_name(target):
            return []
        if self.categories is None:
            return [] if self.name is None else list(categories)
        shared = set(overlap(categories, self.categories))
        return [name for name in categories if name in shared]
