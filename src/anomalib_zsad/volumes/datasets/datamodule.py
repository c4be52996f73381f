"""Volumes with masks as slices for anomalib's train, test and predict."""

import logging
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from anomalib import TaskType
from anomalib.data import AnomalibDataModule
from anomalib.data.utils import LabelName, Split
from torchvision.transforms.v2 import Transform

from anomalib_zsad.data.class_named_dataset import ClassNamedDataset
from anomalib_zsad.volumes.datasets.layouts import Case, Layout, LayoutOptions, find_cases
from anomalib_zsad.volumes.datasets.slice_cache import SliceOptions, cached_slices

logger = logging.getLogger(__name__)


class VolumeSliceDataset(ClassNamedDataset):
    """Slices of volumes. The table of samples has the columns `volume`, `slice` and `patient` beside the usual ones."""


class VolumeDataModule(AnomalibDataModule):
    """Slices of volumes with masks, split by patient.

    The root is laid out like an nnU-Net data set (imagesTr, labelsTr), like the Medical Segmentation Decathlon
    (dataset.json that lists pairs), as a plain folder (images/NAME and masks/NAME, or two patterns), or it is a tree of
    DICOM series with DICOM SEG objects that refer to them. Slices are windowed and kept as 8-bit PNG files, so each has
    a path of its own, `.../VOLUME/slice_0042.png`, in every output of anomalib. Volumes without a mask are unlabelled:
    they can be predicted on, not tested.

    Without `train_share` every volume is test data, as a zero-shot model needs it.

    Args:
        root: The data set.
        layout: How it is laid out; `auto` looks.
        images: Pattern of images in the plain layout; what `*` stands for names the case.
        masks: Pattern of masks; the same text in place of `*` makes the pair.
        channel: Which channel of a data set with several is read.
        patient: Regular expression whose first group in a case's name is the patient; by default a case is a patient.
        class_name: What the slices show, for prompts ("brain"); by default the model's.
        plane: `native`, `axial`, `coronal` or `sagittal`.
        channels: `repeat` one slice three times, or show its `neighbours` (2.5D).
        window: `auto`, `percentile`, a CT preset, or WIDTH/LEVEL.
        modality: CT or MR for files that do not say.
        crop: Show only the box around the body.
        mask_labels: Mask values that are lesions; by default all but 0.
        nifti_affine: Which transform to trust where qform and sform disagree; by default such files are refused.
        skip_blank: Leave out constant slices without a lesion.
        train_share: Share of the patients to train on.
        val_share: Share of the patients to validate on; without it validation looks at the test data, which is
            refused where there is training.
        cache_dir: Where slices are kept for later runs; by default a temporary folder that goes with the process. They
            are pictures of patients: keep them as safely as the volumes.
        train_batch_size: Slices in a training batch.
        eval_batch_size: Slices in a batch of validation, test and prediction.
        num_workers: Processes that load slices.
        augmentations: Applied to all slices.
        train_augmentations: Applied to training slices instead.
        seed: Of the split by patient.

    Raises:
        ValueError: If shares are impossible, or (at setup) a case cannot be read, with its name and the reason.
        FileNotFoundError: At setup, if the root or files that the layout names are missing.

    Example:
        >>> from anomalib_zsad.volumes import VolumeDataModule  # doctest: +SKIP
        >>> data = VolumeDataModule("ms", images="*_flair.nii.gz", masks="*_lesions.nii.gz")  # doctest: +SKIP
    """

    def __init__(
        self,
        root: str | Path,
        layout: Layout = "auto",
        images: str = "images/*",
        masks: str = "masks/*",
        channel: int = 0,
        patient: str | None = None,
        class_name: str | None = None,
        plane: Literal["native", "axial", "coronal", "sagittal"] = "native",
        channels: Literal["repeat", "neighbours"] = "repeat",
        window: str = "auto",
        modality: Literal["auto", "CT", "MR"] = "auto",
        crop: bool = False,
        mask_labels: list[int] | None = None,
        nifti_affine: Literal["sform", "qform"] | None = None,
        skip_blank: bool = True,
        train_share: float = 0.0,
        val_share: float = 0.0,
        cache_dir: str | Path | None = None,
        train_batch_size: int = 8,
        eval_batch_size: int = 8,
        num_workers: int = 0,
        augmentations: Transform | None = None,
        train_augmentations: Transform | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            train_batch_size=train_batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            augmentations=augmentations,
            train_augmentations=train_augmentations,
            seed=seed,
        )
        _check_shares(train_share, val_share)
        self.root = Path(root)
        self.layout = LayoutOptions(layout, images, masks, channel, patient)
        self.slices = SliceOptions(
            plane=plane,
            channels=channels,
            crop=crop,
            window=window,
            modality=modality,
            nifti_affine=nifti_affine,
            mask_labels=tuple(mask_labels) if mask_labels else None,
            skip_blank=skip_blank,
        )
        self.class_name = class_name
        self.train_share, self.val_share = train_share, val_share
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self._temporary: Any = None

    @property
    def name(self) -> str:  # type: ignore[override]
        """The folder of slices, below which anomalib keeps the volumes' folders in the names of its outputs."""
        return self._cache().name

    @property
    def category(self) -> str:
        """The class name, if one was given."""
        return self.class_name or ""

    @category.setter
    def category(self, category: str) -> None:
        self.class_name = category

    @property
    def task(self) -> TaskType:
        """Segmentation where all test volumes have masks."""
        return self.test_data.task

    def _cache(self) -> Path:
        """Where the slices of this data set are: a folder of the root's name."""
        if self.cache_dir is None and self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="volume_slices_")
        base = self.cache_dir or Path(self._temporary.name)
        return base / self.root.resolve().name

    def split_cases(self) -> dict[Split, list[Case]]:
        """The cases of each split; nothing is read but what their layout needs.

        Raises:
            FileNotFoundError: If the root or files that the layout names are missing.
            ValueError: If no layout fits, or the shares leave nothing to test on.
        """
        return split_by_patient(find_cases(self.root, self.layout), self.train_share, self.val_share, self.seed or 0)

    def _setup(self, _stage: str | None = None) -> None:
        parts = self.split_cases()
        cache = self._cache()
        cache.mkdir(parents=True, exist_ok=True)
        tables = {split: self._table(part, cache, split) for split, part in parts.items() if part}
        self.test_data = VolumeSliceDataset(tables[Split.TEST])
        self.val_data = VolumeSliceDataset(tables.get(Split.VAL, tables[Split.TEST].assign(split=Split.VAL.value)))
        if Split.TRAIN in tables:
            self.train_data = VolumeSliceDataset(tables[Split.TRAIN])
            if len(self.train_data.lacking_masks()):
                raise ValueError("some volumes to train on have no mask; leave them out, or add masks")

    def _table(self, cases: list[Case], cache: Path, split: Split) -> pd.DataFrame:
        rows = []
        for number, case in enumerate(cases, 1):
            logger.info("Volume %d of %d (%s)", number, len(cases), split.value)
            for item in cached_slices(case, cache, self.slices):
                normal = LabelName.NORMAL if item.labelled else LabelName.UNKNOWN
                rows.append(
                    {
                        "image_path": str(item.image),
                        "mask_path": None if item.mask is None else str(item.mask),
                        "label_index": int(normal if item.mask is None else LabelName.ABNORMAL),
                        "split": split.value,
                        "class_name": self.class_name,
                        "mask_threshold": 127,
                        "volume": case.name,
                        "slice": item.index,
                        "patient": case.patient,
                    }
                )
        if not rows:
            window = self.slices.window
            raise ValueError(f"the {split.value} volumes hold no slices: all are blank in the window {window!r}")
        return _labelled_only(pd.DataFrame(rows))

    def _create_test_split(self) -> None:
        """The split by patient stands."""

    def _create_val_split(self) -> None:
        """The split by patient stands."""


def _labelled_only(table: pd.DataFrame) -> pd.DataFrame:
    """Without the unlabelled volumes, where there are labelled ones too: figures need labels."""
    labelled = table[table.label_index != LabelName.UNKNOWN]
    if labelled.empty or len(labelled) == len(table):
        return table
    left_out = table.volume.nunique() - labelled.volume.nunique()
    logger.warning("%d volume(s) without a mask are left out, because others have one.", left_out)
    return labelled.reset_index(drop=True)


def slice_identity(image_path: str | Path) -> tuple[str, int]:
    """Volume and slice of an item's `image_path`.

    Raises:
        ValueError: If the path is not one of a slice.
    """
    path = Path(image_path)
    prefix, _, number = path.stem.partition("_")
    if prefix != "slice" or not number.isdigit():
        raise ValueError(f"{path.name} is not the file of a slice")
    return path.parent.name, int(number)


def split_by_patient(cases: list[Case], train_share: float, val_share: float, seed: int) -> dict[Split, list[Case]]:
    """Divide cases so that no patient is in two parts.

    Args:
        cases: All cases.
        train_share: Share of the patients to train on; at least one patient where above 0.
        val_share: Share of the patients to validate on; likewise.
        seed: Of the shuffling.

    Raises:
        ValueError: If nothing is left to test on.
    """
    _check_shares(train_share, val_share)
    patients = sorted({case.patient for case in cases})
    order = np.random.default_rng(seed).permutation(len(patients))
    train = max(1, round(train_share * len(patients))) if train_share else 0
    val = max(1, round(val_share * len(patients))) if val_share else 0
    if train + val >= len(patients):
        message = f"{len(patients)} patient(s) cannot be split: {train} to train on, {val} to validate on, some to test"
        raise ValueError(message)
    parts = [Split.TRAIN] * train + [Split.VAL] * val + [Split.TEST] * (len(patients) - train - val)
    part_of = {patients[index]: part for index, part in zip(order, parts, strict=True)}
    return {part: [case for case in cases if part_of[case.patient] is part] for part in Split}


def _check_shares(train_share: float, val_share: float) -> None:
    if min(train_share, val_share) < 0 or train_share + val_share >= 1:
        raise ValueError(f"shares of patients are at least 0 and leave some to test, not {train_share} and {val_share}")
    if train_share and not val_share:
        raise ValueError("give val_share as well: training must not be stopped by looking at the test patients")
