"""Calibrate on normal images: where they are, and what they score."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from anomalib.data import AnomalibDataModule, AnomalibDataset
from anomalib.data.utils import LabelName

from anomalib_zsad.calibration.calibration import MINIMUM_UNITS, Calibration
from anomalib_zsad.calibration.conformal import TooFewNormalsError
from anomalib_zsad.calibration.figures import Spread
from anomalib_zsad.calibration.fingerprint import image_fingerprint
from anomalib_zsad.data.appearance import Appearance, appearance
from anomalib_zsad.data.category_set import CategorySet
from anomalib_zsad.data.class_named_dataset import ClassNamedDataset
from anomalib_zsad.data.files_below import spoken
from anomalib_zsad.data.folder_layout import NORMAL_NAMES, find_categories, find_labelled_images
from anomalib_zsad.data.folder_tree import FolderTreeDataset
from anomalib_zsad.data.labelled_image import LabelledImage
from anomalib_zsad.data.listed_images import ListedImages
from anomalib_zsad.data.patient_names import patient_expression, patient_in
from anomalib_zsad.data.prepared_images import PreparedImages, make_loader
from anomalib_zsad.inspection.find_images import LEFT_OUT
from anomalib_zsad.inspection.find_images import find_images as inspected_images
from anomalib_zsad.inspection.options import ImageReading
from anomalib_zsad.scoring.device import device_of
from anomalib_zsad.volumes.input_files import DiskFile
from anomalib_zsad.volumes.reading.discovery import content_hash


@dataclass
class NormalImages:
    """Normal images of one class.

    Attributes:
        dataset: Normal images only.
        class_name: What they show.
        left_out: Why how many images were left out.
        skipped: How many files that are no images lie beside them, by kind.
        turned: How many were turned as their EXIF orientation says; known once they were calibrated on.
    """

    dataset: AnomalibDataset
    class_name: str
    left_out: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    turned: int = 0


def find_images(
    folder: Path, class_name: str, reading: ImageReading | None = None, patient: str | None = None
) -> NormalImages:
    """The normal images of a folder.

    A folder that holds images itself holds normal ones. Of a folder in one of the layouts of data sets (see
    `anomalib_zsad.data.folder_layout`), the images that the layout calls normal are taken.

    Args:
        folder: The folder.
        class_name: What the images show.
        reading: Which of the images are asked for, and how large they may be; `None` for all.
        patient: Regular expression whose first group, in the name of an image below the folder, is the patient; `None`
            where every image is a case of its own. Images in whose names it finds none are left out.

    Raises:
        ValueError: If there are no images, nothing says which are normal, or the expression finds no patient.
        PermissionError: If a folder below cannot be read: what it holds would be left out unseen.
    """
    reading = reading or ImageReading()
    pattern = None if patient is None else patient_expression(patient)
    found = inspected_images(folder, reading)
    if found.unreadable:
        name, reason = next(iter(found.unreadable.items()))
        raise PermissionError(f"{folder / name}: {reason}; calibrate on folders that can all be read")
    if not found.images and found.skipped[LEFT_OUT]:
        raise ValueError(f"no image in {folder} is asked for: {found.skipped[LEFT_OUT]} {LEFT_OUT}")
    own = [path for name, path in found.images if "/" not in name]
    if own:
        images = NormalImages(_as_normal(own, class_name), class_name)
    else:
        images = _normal_of_layout(folder, class_name, reading)
    if found.skipped[LEFT_OUT]:
        images.left_out[LEFT_OUT] = found.skipped.pop(LEFT_OUT)
    images.skipped = found.skipped
    images.dataset.max_pixels = reading.max_pixels  # type: ignore[attr-defined]
    if pattern is not None:
        _tell_patients(images, folder, pattern)
    return images


def _tell_patients(images: NormalImages, root: Path, pattern: re.Pattern[str]) -> None:
    """Make a patient's images one unit, and leave out those of which nothing says whose they are.

    Raises:
        ValueError: If that is said of none.
    """
    table = images.dataset.samples
    paths = [Path(path) for path in table["image_path"]]
    names = [spoken((path.relative_to(root) if path.is_relative_to(root) else path).as_posix()) for path in paths]
    patients = [patient_in(name, pattern) for name in names]
    known = [label for label, patient in zip(table.index.tolist(), patients, strict=True) if patient is not None]
    if not known:
        raise ValueError(
            f"the patient expression {pattern.pattern!r} finds a patient in the name of no image; names are those "
            "below the input, such as P017/scan_3.png"
        )
    images.dataset.samples = table.assign(patient=patients)
    if len(known) < len(patients):
        images.left_out["no patient known"] += len(patients) - len(known)
        images.dataset = images.dataset.subsample(known)


def _normal_of_layout(folder: Path, class_name: str, reading: ImageReading) -> NormalImages:
    """The images that are asked for and that a folder's layout calls normal."""
    categories = find_categories(folder)
    if categories != ["."]:
        raise ValueError(
            f"{folder} holds several categories ({', '.join(categories[:5])}); calibrate each by itself: normal images "
            "of one thing say nothing about another"
        )
    names = {
        sample: spoken(sample.image_path.relative_to(folder).as_posix()) for sample in find_labelled_images(folder)
    }
    samples = [sample for sample, name in names.items() if reading.asks_for(name)]
    normal = [sample for sample in samples if not sample.abnormal]
    if not normal:
        raise ValueError(
            f"nothing says which images in {folder} are normal: put normal ones directly into a folder, or into one "
            f"that is called {' or '.join(NORMAL_NAMES)}"
        )
    left_out = Counter({"abnormal": len(samples) - len(normal)} if len(samples) > len(normal) else {})
    return NormalImages(_as_normal([sample.image_path for sample in normal], class_name), class_name, left_out)


def _as_normal(paths: Sequence[Path], class_name: str) -> ListedImages:
    return ListedImages([LabelledImage(path, abnormal=False, class_name=class_name) for path in paths])


def images_of_datamodule(
    datamodule: str,
    root: Path,
    category: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    class_name: str | None = None,
    patient: str | None = None,
) -> NormalImages:
    """The normal images of one category of a data set, training and test images alike.

    Args:
        datamodule: A datamodule or dataset that `anomalib.data` knows, "FolderTree", or a class path.
        root: Its root.
        category: Which category; may be left out where there is one.
        arguments: Further arguments of the class.
        class_name: What the images show, for the prompts; `None` for what the data set calls it.
        patient: See `find_images`; names are those below the root. `None` for what the data set says of patients.

    Raises:
        ValueError: If there is no such class or category, no normal image in it, or the expression finds no patient.
    """
    pattern = None if patient is None else patient_expression(patient)
    source = CategorySet(datamodule, root, arguments=dict(arguments or {}))
    known = source.resolve_categories()
    if category is None and len(known) > 1:
        raise ValueError(f"{datamodule} has several categories; name one with --category: {', '.join(known)}")
    name = category or known[0]
    if name not in known:
        raise ValueError(f"{datamodule} has no category {name!r}; it has {', '.join(known)}")
    shown = source.name_of(name)
    parts = [ClassNamedDataset.from_dataset(part, shown) for part in _all_parts(source, name)]
    total = ClassNamedDataset.pooled(parts)
    table = total.samples
    normal = table.index[table.label_index == int(LabelName.NORMAL)].tolist()
    if not normal:
        raise ValueError(f"{datamodule} / {name} holds no normal images")
    left_out = Counter({"abnormal": len(table) - len(normal)} if len(table) > len(normal) else {})
    images = NormalImages(total.subsample(normal), class_name or shown, left_out)
    if pattern is not None:
        _tell_patients(images, root, pattern)
    return images


def _all_parts(source: CategorySet, category: str) -> Sequence[AnomalibDataset]:
    """Training and test images of a category."""
    if issubclass(source.resolve_class(), FolderTreeDataset):
        return [_of_split(source, category, None)]
    made = source.build(category)
    if isinstance(made, AnomalibDataModule):
        made._setup()  # noqa: SLF001  # `setup` may hold images back, or drop normal ones
        return [part for part in (getattr(made, "train_data", None), made.test_data) if part is not None]
    return [_of_split(source, category, "train"), made]


def _of_split(source: CategorySet, category: str, split: str | None) -> Any:
    return replace(source, arguments={**source.arguments, "split": split}).build(category)


@torch.inference_mode()
def calibrate_images(
    module: Any,
    images: NormalImages,
    *,
    batch_size: int = 8,
    num_workers: int = 0,
    advance: Callable[[int], None] = lambda _: None,
) -> Calibration:
    """Calibrate on normal images.

    Args:
        module: The model, a Lightning module of this package or an adapter of another of anomalib's, on its device.
        images: The images; `left_out` grows by what cannot be used, `turned` is counted.
        batch_size: Images scored at a time; a model of tiles takes one.
        num_workers: Processes that read images.
        advance: Called with the number of images done since the last call.

    Raises:
        TooFewNormalsError: If there are not enough images; says how many there are and are needed.
        UnreadableImageError: If an image cannot be read.
    """
    dataset = _without_copies(images)
    groups = _groups(dataset)
    if len(set(groups)) < MINIMUM_UNITS:
        raise TooFewNormalsError(_too_few(len(dataset), len(set(groups)), images.left_out))
    prepared = PreparedImages(dataset, module.pre_processor.transform, _no_mask, images.class_name, appearance)
    scores: list[float] = []
    highest: list[float] = []
    looks: list[list[float]] = []
    model, device = module.model.eval(), device_of(module.model)
    batch_size = 1 if getattr(model, "one_by_one", False) else batch_size
    for batch in make_loader(prepared, batch_size, num_workers):
        answer = model(batch.images.to(device), [images.class_name] * len(batch.images))
        scores += answer.pred_score.float().cpu().tolist()
        if answer.anomaly_map is not None:
            highest += answer.anomaly_map.float().flatten(1).amax(1).cpu().tolist()
        looks += batch.figures.tolist()
        images.turned += int(batch.turned.sum())
        advance(len(batch.images))
    levels = {"image": _by_group(scores, groups), **({"mask": _by_group(highest, groups)} if highest else {})}
    population = {"class_name": {images.class_name: len(scores)}}
    fingerprint = image_fingerprint(module, images.class_name)
    figures = {name: _spread(values) for name, values in zip(Appearance._fields, zip(*looks, strict=True), strict=True)}
    return Calibration("images", levels, fingerprint, population, dict(images.left_out), figures=figures)


def _spread(values: Sequence[float]) -> tuple[float, float]:
    spread = Spread.of(values)
    return round(spread.mean, 9), round(spread.deviation, 9)


def _too_few(images: int, units: int, left_out: Mapping[str, int]) -> str:
    reasons = "; ".join(f"{reason}: {number}" for reason, number in left_out.items())
    grouped = f" of {units} patients" if units != images else ""
    return (
        f"{images} normal image{'s' * (images != 1)}{grouped} cannot calibrate; at least {MINIMUM_UNITS} are needed"
        + (f" (left out: {reasons})" if reasons else "")
    )


def _without_copies(images: NormalImages) -> AnomalibDataset:
    """The images without those whose file is the same as another's: a copy is no further case."""
    paths = [Path(path) for path in images.dataset.samples["image_path"]]
    first: dict[str, int] = {}
    for index, path in enumerate(paths):
        first.setdefault(content_hash(DiskFile(path, path.name)), index)
    if len(first) == len(paths):
        return images.dataset
    images.left_out["the same file as another"] += len(paths) - len(first)
    labels = images.dataset.samples.index
    return images.dataset.subsample([int(labels[index]) for index in first.values()])


def _groups(dataset: AnomalibDataset) -> list[str]:
    """What each image belongs to: its patient, where the data set says so, else itself alone."""
    table = dataset.samples
    return [str(value) for value in (table["patient"] if "patient" in table else range(len(table)))]


def _by_group(scores: Sequence[float], groups: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """Scores of the members of each group."""
    members: dict[str, list[float]] = {}
    for score, group in zip(scores, groups, strict=True):
        members.setdefault(group, []).append(score)
    return tuple(tuple(own) for own in members.values())


def _no_mask(mask: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Normal images have nothing to mark."""
    return mask.new_zeros(shape, dtype=torch.bool)
