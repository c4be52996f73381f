"""Frozen features of training images, computed once and kept between epochs."""

import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor
from torchvision.transforms import v2

from .pre_processor import ClampToUnit

logger = logging.getLogger(__name__)

Storage = Literal["memory", "disk"]
FeaturesT = TypeVar("FeaturesT", bound=tuple)

GIGABYTE = 10**9
# An image is recognised by its pixels at this many rows and columns.
_PROBES = 16
# Largest difference of a normalised pixel that does not mean another image.
_PROBE_TOLERANCE = 1e-3

# Transforms that give the same image each time; anything else in a training dataset is taken for augmentation.
_REPEATABLE = (v2.Resize, v2.CenterCrop, v2.Normalize, v2.ToDtype, v2.ToImage, v2.Identity, ClampToUnit)


class _Layout(NamedTuple):
    """Shapes and types of the features of one image, and what one row of the storage holds."""

    kind: Callable[..., Any]
    shapes: tuple[torch.Size, ...]
    dtypes: tuple[torch.dtype, ...]
    length: int
    dtype: torch.dtype


class KeptFeatures:
    """Features by image path, in memory or in a memory-mapped file that goes when this object does, or is killed.

    An image is known by its path, and a coarse grid of its pre-processed pixels is compared each time, so that another
    file under that path, augmentation, or another pre-processing is an error and not a wrong answer. One object serves
    one run of one model.

    Where the number of images is known, a limit that they would exceed is an error at the first of them, which states
    what they need.

    Args:
        storage: `"memory"` or `"disk"`.
        limit: Most gigabytes (10^9 bytes) to keep.
        folder: Existing folder for the file of `"disk"`; `None` for the system's temporary folder.
        expected: Number of images that will come, if known: it bounds what is set aside. Where it is not, images that
            have no place any more are encoded each time.

    Raises:
        ValueError: The storage is unknown, the limit is not above 0, or a folder was given for `"memory"`.
        NotADirectoryError: There is no such folder.
    """

    def __init__(
        self, storage: Storage, limit: float, folder: str | Path | None = None, expected: int | None = None
    ) -> None:
        check_options(storage, limit, folder)
        self.storage, self.limit, self.expected = storage, limit, expected
        self.folder = Path(folder or tempfile.gettempdir())
        self._layout: _Layout | None = None
        self._capacity = 0
        self._mapped: Tensor | None = None
        self._remove: Callable[[], None] | None = None
        self._rows: dict[str, Tensor] = {}
        self._probes: dict[str, Tensor] = {}

    def __len__(self) -> int:
        """Number of images whose features are kept."""
        return len(self._rows)

    def features(
        self, paths: Sequence[str | None] | None, images: Tensor, encode: Callable[[Tensor], FeaturesT]
    ) -> FeaturesT:
        """Features of a batch: those kept, and those of `encode` for the images seen for the first time.

        Args:
            paths: Path of each image.
            images: Pre-processed images (n, 3, h, w).
            encode: Gives a named tuple of tensors (n, ...) for images.

        Raises:
            ValueError: An image has no path, or is not what it was when its features were kept, or the features of all
                expected images exceed the limit.
        """
        names = _check_paths(paths, images)
        probes = _probe(images)
        known = [index for index, name in enumerate(names) if name in self._rows]
        for index in known:
            self._check_unchanged(names[index], probes[index])
        missing = [index for index, name in enumerate(names) if name not in self._rows]
        computed = None
        if missing:
            computed = encode(images[missing] if known else images)
            self._keep([names[index] for index in missing], probes[missing], computed)
            if not known:
                return computed
        return self._assemble(names, known, missing, computed, images.device)

    def close(self) -> None:
        """Drop everything; the file of `"disk"` is deleted."""
        self._rows, self._probes, self._mapped, self._layout = {}, {}, None, None
        if self._remove is not None:
            self._remove()
            self._remove = None

    def _check_unchanged(self, name: str, probe: Tensor) -> None:
        if (probe - self._probes[name]).abs().max() > _PROBE_TOLERANCE:
            raise ValueError(
                f"'{name}' is not the image it was when its features were kept. Features can be kept only where each "
                "epoch shows the same images: remove the augmentation, or set keep_features to null."
            )

    def _keep(self, names: list[str], probes: Tensor, computed: tuple[Tensor, ...]) -> None:
        if self._layout is None:
            self._set_up(computed)
        layout = self._layout
        if layout is None or len(self._rows) >= self._capacity:
            return
        rows = torch.cat([tensor.detach().flatten(1).to(layout.dtype) for tensor in computed], dim=1).cpu()
        for name, probe, row in zip(names, probes, rows, strict=True):
            index = len(self._rows)
            if index >= self._capacity or name in self._rows:
                continue
            if self._mapped is None:
                self._rows[name] = row.clone()
            else:
                self._mapped[index] = row
                self._rows[name] = self._mapped[index]
            self._probes[name] = probe

    def _set_up(self, computed: tuple[Tensor, ...]) -> None:
        """Learn the size of a row from the first batch, say what fits, and set the file aside."""
        dtype = computed[0].dtype
        for tensor in computed[1:]:
            dtype = torch.promote_types(dtype, tensor.dtype)
        shapes, dtypes = tuple(t.shape[1:] for t in computed), tuple(t.dtype for t in computed)
        kind = getattr(type(computed), "_make", type(computed))
        self._layout = _Layout(kind, shapes, dtypes, sum(shape.numel() for shape in shapes), dtype)
        row_bytes = self._layout.length * dtype.itemsize
        self._capacity = int(self.limit * GIGABYTE // row_bytes)
        if self.expected is not None:
            self._check_budget(row_bytes, self.expected)
            self._capacity = min(self._capacity, self.expected)
        if self.storage == "disk" and self._capacity:
            self._mapped = self._map_file(self._layout, row_bytes * self._capacity)

    def _check_budget(self, row_bytes: int, expected: int) -> None:
        """Say what is kept, or refuse where it would exceed the limit."""
        needed = expected * row_bytes / GIGABYTE
        where = "in memory" if self.storage == "memory" else f"in '{self.folder}'"
        if expected > self._capacity:
            remedy = ", set keep_features to disk, which needs no memory for it," if self.storage == "memory" else ""
            raise ValueError(
                f"the frozen features of {expected} images (views counted) need {needed:.3g} GB {where} "
                f"({row_bytes / 1e6:.3g} MB each), and keep_features_limit is {self.limit:.3g} GB; raise the limit"
                f"{remedy} or set keep_features to null"
            )
        logger.info("The frozen features of %d images are kept %s: %.2f GB.", expected, where, needed)

    def _map_file(self, layout: _Layout, size: int) -> Tensor:
        free = shutil.disk_usage(self.folder).free
        if free < size:
            raise OSError(
                f"keeping features needs {size / GIGABYTE:.2f} GB in '{self.folder}', which has {free / GIGABYTE:.2f} "
                "GB free. Lower keep_features_limit, or set keep_features_folder to a folder on a larger disk."
            )
        descriptor, name = tempfile.mkstemp(prefix="anomalib_zsad_features_", dir=self.folder)
        self._remove = weakref.finalize(self, Path(name).unlink, missing_ok=True)
        try:
            # Without this, a disk that fills up later would kill the process instead of raising an error here.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)
        elements = self._capacity * layout.length
        mapped = torch.from_file(name, shared=True, size=elements, dtype=layout.dtype)
        if os.name == "posix":
            # The mapping outlives the name, and so a run that is killed leaves nothing behind.
            self._remove()
        return mapped.view(self._capacity, layout.length)

    def _assemble(
        self,
        names: list[str],
        known: list[int],
        missing: list[int],
        computed: FeaturesT | None,
        device: torch.device,
    ) -> FeaturesT:
        layout = self._layout
        if layout is None:
            raise RuntimeError("features are assembled before any were kept")
        rows = torch.stack([self._rows[names[index]] for index in known]).to(device)
        parts = rows.split([shape.numel() for shape in layout.shapes], dim=1)
        kept = [
            part.unflatten(1, shape).to(dtype)
            for part, shape, dtype in zip(parts, layout.shapes, layout.dtypes, strict=True)
        ]
        if computed is not None:
            order = torch.tensor(known + missing, device=device).argsort()
            kept = [torch.cat(pair)[order] for pair in zip(kept, computed, strict=True)]
        return layout.kind(kept)


def check_options(storage: str, limit: float, folder: str | Path | None) -> None:
    """Check the options of `KeptFeatures`, and raise what it raises."""
    if storage not in ("memory", "disk"):
        raise ValueError(f"keep_features is '{storage}'; give 'memory', 'disk', or null for not keeping features")
    if limit <= 0:
        raise ValueError(f"keep_features_limit is {limit}; give gigabytes, above 0")
    if folder is not None and storage == "memory":
        raise ValueError(
            f"keep_features_folder is '{folder}', and keep_features 'memory'; a folder goes with 'disk' alone"
        )
    if folder is not None and not Path(folder).is_dir():
        raise NotADirectoryError(f"keep_features_folder names '{folder}', which is not a folder")


def refuse_augmentation(dataset: Any) -> None:
    """Raise `ValueError` if a training dataset shows other images in each epoch, without end."""
    for part in _parts(dataset):
        if getattr(part, "augmented_views", None):
            continue
        random = _first_random(getattr(part, "augmentations", None))
        if getattr(part, "mosaic_probability", 0):
            random = "a mosaic"
        if random:
            raise ValueError(
                f"keep_features is set, and the training data are augmented ({random}): features can be kept only "
                "where each epoch shows the same images, or one of so many views of them; give augmented_views of "
                "AuxiliaryDataModule, remove the augmentation, or set keep_features to null"
            )


def _parts(dataset: Any) -> list[Any]:
    """The datasets that a sum or a subset of datasets is made of."""
    inner = getattr(dataset, "datasets", None)
    if inner is not None:
        return [part for single in inner for part in _parts(single)]
    wrapped = getattr(dataset, "dataset", None)
    return [dataset] if wrapped is None else [dataset, *_parts(wrapped)]


def _first_random(transform: Any) -> str:
    """Name of the first transform that may give another image each time; empty if there is none."""
    if transform is None or isinstance(transform, _REPEATABLE):
        return ""
    if type(transform) is v2.Compose:
        return next(filter(None, map(_first_random, transform.transforms)), "")
    return type(transform).__name__


def _check_paths(paths: Sequence[str | None] | None, images: Tensor) -> list[str]:
    names = [name for name in paths or () if name]
    if len(names) != images.shape[0]:
        raise ValueError(
            f"{len(names)} of {images.shape[0]} training images have a path; features are kept by path. "
            "Use a dataset that gives image_path, or set keep_features to null."
        )
    return names


def _probe(images: Tensor) -> Tensor:
    """Pixels on a coarse grid of each image, (n, 3 * rows * columns), on the CPU."""
    height, width = images.shape[-2:]
    rows = torch.linspace(0, height - 1, min(height, _PROBES), device=images.device).round().long()
    columns = torch.linspace(0, width - 1, min(width, _PROBES), device=images.device).round().long()
    return images[:, :, rows][..., columns].detach().float().flatten(1).cpu()
