"""Slices of volumes as PNG files, the form in which anomalib's datasets, samplers and visualizers take images."""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from PIL import Image

from anomalib_zsad.outputs.atomic import whole_folder, write_text
from anomalib_zsad.volumes.datasets.layouts import Case
from anomalib_zsad.volumes.datasets.masks import read_masks
from anomalib_zsad.volumes.faults import SeriesRefusedError
from anomalib_zsad.volumes.options import AffineChoice, Channels, Plane, ReadingOptions
from anomalib_zsad.volumes.reading.loading import read_file
from anomalib_zsad.volumes.slice_stack import SliceStack
from anomalib_zsad.volumes.volume import Volume
from anomalib_zsad.volumes.windowing import choose_window

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SliceOptions:
    """How slices are made of a volume.

    Attributes:
        plane, channels, crop: Of `SliceStack`.
        window: Of `choose_window`.
        modality: CT or MR for files that do not say; `auto` leaves it unknown.
        nifti_affine: Which transform to trust where qform and sform disagree.
        mask_labels: Mask values that are lesions; `None` for all but 0.
        skip_blank: Leave out constant slices without a lesion.
    """

    plane: Plane = "native"
    channels: Channels = "repeat"
    crop: bool = False
    window: str = "auto"
    modality: Literal["auto", "CT", "MR"] = "auto"
    nifti_affine: AffineChoice | None = None
    mask_labels: tuple[int, ...] | None = None
    skip_blank: bool = True
    format: int = field(default=2, init=False)


@dataclass(frozen=True)
class SliceFile:
    """One slice of a case as files.

    Attributes:
        image: 8-bit PNG, grey levels of the window (RGB where channels are neighbours).
        mask: 8-bit PNG of 0 and 255; `None` where the slice has no lesion or the case no mask.
        index: Slice of the volume.
        labelled: Whether the case has a mask at all.
    """

    image: Path
    mask: Path | None
    index: int
    labelled: bool


def cached_slices(case: Case, folder: Path, options: SliceOptions) -> list[SliceFile]:
    """Slices of a case, made now or taken from an earlier run with equal options and files.

    Args:
        case: The case.
        folder: Where cases' folders are kept.
        options: How.

    Raises:
        ValueError: If the case cannot be read, naming it; the reason is the reader's.
    """
    target = folder / case.name
    stamp = _stamp(case, options)
    index = target / "slices.json"
    if target.exists() and json.loads(index.read_text(encoding="utf-8"))["stamp"] != stamp:
        raise ValueError(
            f"the slices in {target} were made with other options or files: give another cache_dir, or remove it"
        )
    if not target.exists():
        try:
            with whole_folder(target) as partial:
                _write_case(case, partial, options, stamp)
        except (SeriesRefusedError, ValueError) as error:
            raise ValueError(f"the case {case.name!r} cannot be used: {error}") from error
    return list(_read_index(target))


def _stamp(case: Case, options: SliceOptions) -> str:
    """Changes with options, files' names, sizes and times."""
    roots = (*(case.files or (case.image,)), *case.masks)
    files = [path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*")))]
    facts = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.is_file()]
    text = json.dumps([asdict(options), case.volume_index, case.series, facts])
    return hashlib.sha256(text.encode()).hexdigest()


def _write_case(case: Case, folder: Path, options: SliceOptions, stamp: str) -> None:
    volume = read_case(case, options)
    window, findings = choose_window(volume, options.window)
    for finding in (*volume.findings, *findings):
        logger.warning("%s: %s", case.name, finding.message)
    mask = read_masks(case.masks, volume, options.mask_labels, options.nifti_affine) if case.masks else None
    stack = SliceStack(volume, window, options.plane, options.channels, crop=options.crop)
    entries: list[dict[str, Any]] = []
    for index in stack.indices:
        lesion = stack.grid_image(mask, index) if mask is not None else None
        abnormal = lesion is not None and bool(lesion.any())
        if options.skip_blank and not abnormal and stack.is_blank(stack.image(index)):
            continue
        name = f"slice_{index:04d}.png"
        _save(folder / name, _pixels(stack, index, options.channels))
        if lesion is not None and abnormal:
            _save(folder / f"mask_{index:04d}.png", lesion.astype(np.uint8) * 255)
        entries.append({"index": index, "abnormal": abnormal})
    record = {"stamp": stamp, "labelled": mask is not None, "window": window.as_dict(), "slices": entries}
    write_text(folder / "slices.json", json.dumps(record))


def _pixels(stack: SliceStack, index: int, channels: Channels) -> np.ndarray:
    """8-bit pixels of a slice, padded as models see it, shape (H, W), or (H, W, 3) with neighbours."""
    if channels == "repeat":
        image = stack.padded(torch.from_numpy(stack.image(index)))
        return np.rint(image.numpy() * 255).astype(np.uint8)
    return np.rint(stack.padded(stack.batch([index]))[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)


def _save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path, compress_level=1)


def read_case(case: Case, options: SliceOptions) -> Volume:
    """The volume of a case.

    Raises:
        SeriesRefusedError: If it cannot be read truthfully.
    """
    if case.image.is_file():
        said = cast("Literal['CT', 'MR']", case.modality) if case.modality in ("CT", "MR") else "auto"
        reading = ReadingOptions(
            modality=said if options.modality == "auto" else options.modality,
            nifti_affine=options.nifti_affine,
            volume_index=case.volume_index,
        )
        volume = read_file(case.image, reading)
        if volume is not None:
            return volume
    # MONAI takes most of a second, and everything that imports anomalib imports this module.
    from anomalib_zsad.volumes.reading.monai_readers import DicomSeriesReader

    return DicomSeriesReader(case.series).read(case.files or case.image)


def _read_index(folder: Path) -> Iterator[SliceFile]:
    record = json.loads((folder / "slices.json").read_text(encoding="utf-8"))
    for entry in record["slices"]:
        index = int(entry["index"])
        mask = folder / f"mask_{index:04d}.png" if entry["abnormal"] else None
        yield SliceFile(folder / f"slice_{index:04d}.png", mask, index, bool(record["labelled"]))
