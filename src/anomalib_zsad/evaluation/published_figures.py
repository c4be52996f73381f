"""Published figures of the two methods, in percent.

CoPS's are those of its own README. Bayes-PFL's were gathered from later papers that cite it. Trained on VisA's test
split and tested elsewhere; trained on MVTec AD's for VisA. Both use steps that look at the whole test set
(docs/protocol.md).
"""

from anomalib_zsad.data.set_names import canonical_name

_IMAGE_AND_PIXEL = ("image_AUROC", "image_AP", "pixel_AUROC", "pixel_AP")
_IMAGE = ("image_AUROC", "image_AP")
_PIXEL = ("pixel_AUROC", "pixel_AP")
_SIX = ("image_AUROC", "image_F1Max", "image_AP", "pixel_AUROC", "pixel_AUPRO", "pixel_AP")

_FIGURES: dict[str, dict[str, tuple[tuple[str, ...], tuple[float | None, ...]]]] = {
    "CoPS": {
        "MVTecAD": (_IMAGE_AND_PIXEL, (95.0, 97.8, 93.4, 41.9)),
        "VisA": (_IMAGE_AND_PIXEL, (85.4, 88.0, 95.7, 23.4)),
        "BTAD": (_IMAGE_AND_PIXEL, (93.6, 94.9, 94.6, 42.6)),
        "MPDD": (_IMAGE_AND_PIXEL, (78.6, 81.1, 97.5, 30.9)),
        "DTD-Synthetic": (_IMAGE_AND_PIXEL, (95.2, 98.1, 98.4, 58.5)),
        "HeadCT": (_IMAGE, (96.1, 97.1)),
        "BrainMRI": (_IMAGE, (97.4, 97.6)),
        "Br35H": (_IMAGE, (98.7, 98.5)),
        "ISIC": (_PIXEL, (93.8, 85.6)),
        "CVC-ColonDB": (_PIXEL, (85.6, 37.2)),
        "CVC-ClinicDB": (_PIXEL, (88.8, 49.9)),
        "Kvasir": (_PIXEL, (85.8, 51.5)),
        "Endo": (_PIXEL, (90.0, 58.7)),
    },
    "BayesPFL": {
        "MVTecAD": (_SIX, (92.3, 93.1, 96.7, 91.8, 87.4, 48.3)),
        "VisA": (_SIX, (87.0, 84.1, 89.2, 95.6, 88.9, 29.8)),
        "BTAD": (_SIX, (93.2, 91.9, 96.5, 93.9, 76.6, 47.1)),
        "DTD-Synthetic": (_SIX, (95.1, 95.1, 98.4, 97.8, None, 69.9)),
        "DAGM": (_SIX, (97.7, 95.7, 97.0, 99.3, 98.0, None)),
    },
}


def published_auxiliary_set(target: str) -> str:
    """The set that the published model for `target` was trained on."""
    return "MVTecAD" if canonical_name(target) == "VisA" else "VisA"


def published_figures(method: str, target: str, auxiliary_set: str | None) -> dict[str, float]:
    """Published means over the categories of a set.

    Args:
        method: "BayesPFL" or "CoPS".
        target: Name of the set tested on.
        auxiliary_set: Name of the set trained on; none if unknown.

    Returns:
        Values in [0, 1] by metric; empty where nothing was published for this pair of sets.
    """
    target = canonical_name(target)
    if auxiliary_set is None or canonical_name(auxiliary_set) != published_auxiliary_set(target):
        return {}
    metrics, values = _FIGURES.get(method, {}).get(target, ((), ()))
    return {metric: value / 100 for metric, value in zip(metrics, values, strict=True) if value is not None}
