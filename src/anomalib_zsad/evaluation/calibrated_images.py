"""What a calibration does on a set of images: false alarms measured on its normal ones, and what is found."""

from collections.abc import Mapping, Sequence
from typing import Any

from anomalib.data import AnomalibDataset
from torch import Tensor

from anomalib_zsad.calibration import Calibration, CalibrationMismatchError, image_fingerprint
from anomalib_zsad.calibration.decision_rule import reaches
from anomalib_zsad.evaluation.figure import Figure, not_defined, share

NO_MODULE = "a calibration is checked against the Lightning module, which the subject does not bring"


def check_images(calibration: Calibration, module: Any, class_names: Sequence[str], rate: float) -> None:
    """Make sure that a calibration of images was made with a model for a class, and has enough images for a rate.

    Args:
        calibration: Of images.
        module: The Lightning module that scores; none if it is not at hand.
        class_names: What the images show.
        rate: Share of normal images that may be flagged.

    Raises:
        CalibrationMismatchError: If it was not, or that cannot be known.
        TooFewNormalsError: If it has too few.
    """
    if module is None:
        raise CalibrationMismatchError(NO_MODULE)
    if len(class_names) != 1:
        raise CalibrationMismatchError(
            f"the images are of several classes ({', '.join(class_names[:5])}), and a calibration is of one; evaluate "
            "them one by one, each with its own"
        )
    calibration.check(image_fingerprint(module, class_names[0]))
    for level in calibration.levels:
        calibration.threshold(level, rate)


def class_names_of(dataset: AnomalibDataset, default: str) -> list[str]:
    """What the images of a dataset show, by name."""
    table = dataset.samples
    names = table["class_name"].fillna("").tolist() if "class_name" in table else [""]
    return sorted({str(name) or default for name in names})


def image_figures(
    calibration: Calibration, rate: float, scores: Tensor, peaks: Tensor, abnormal: Tensor
) -> dict[str, Figure]:
    """Shares of normal and abnormal images flagged by their score, and by any marked pixel.

    Args:
        calibration: Of images.
        rate: Share of normal images that may be flagged.
        scores: Image scores, shape (n,).
        peaks: Highest value of each map, shape (n,).
        abnormal: Labels, shape (n,).
    """
    truth = abnormal.bool().numpy()
    figures = {}
    for level, values, how in (("image", scores, "flagged by their score"), ("mask", peaks, "with any marked pixel")):
        if level not in calibration.levels:
            continue
        threshold = calibration.threshold(level, rate)
        flagged = reaches(values.float().numpy(), threshold)
        for kind, chosen in (("normal", ~truth), ("abnormal", truth)):
            total = int(chosen.sum())
            count = int((flagged & chosen).sum())
            lacking = not_defined(f"there is no {kind} image")
            figures[f"{kind} images {how}"] = share(count, total, threshold=threshold) if total else lacking
    return figures


def describe_figures(figures: Mapping[str, Figure], rate: float) -> list[str]:
    """The figures as notes of the table."""
    return [
        f"calibrated at a false-alarm rate of {100 * rate:g} %: {name}: {figure.text()}"
        + (f" ({figure.note})" if figure.value is None else "")
        for name, figure in figures.items()
    ]
