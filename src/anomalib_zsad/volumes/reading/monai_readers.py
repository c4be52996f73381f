"""MONAI's readers and transforms over ours: a series or a file becomes a MetaTensor, or is refused.

Apart from what they call, so that reading itself needs neither MONAI nor torch.
"""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import ImageReader, MetaTensor
from monai.transforms import MapTransform, Transform

from anomalib_zsad.volumes.faults import Fault, refuse
from anomalib_zsad.volumes.input_files import FileSource
from anomalib_zsad.volumes.options import AffineChoice, ReadingOptions, SizeBudget
from anomalib_zsad.volumes.reading.dicom_reader import read_volume
from anomalib_zsad.volumes.reading.discovery import Candidate, Discovery, discover
from anomalib_zsad.volumes.reading.nifti_reader import read_nifti
from anomalib_zsad.volumes.reading.series_plan import SeriesPlan, VolumePlan, plan_series
from anomalib_zsad.volumes.volume import Volume, monai_data


class DicomSeriesReader(ImageReader):
    """MONAI reader of one DICOM series with its true geometry.

    The input is a folder, a zip archive, one file, or a list of files of one series; files may come in any order. Give
    it to `LoadVolume` rather than to `monai.transforms.LoadImage`: the latter goes on to other readers, silently, where
    this one refuses.

    Args:
        series: Pseudonym of the series (or volume of a split series) to take where there are several.
        mode_2d: Read images that are no volume one by one, without geometry, instead of refusing them.
        budget: Limits on what headers may claim.
    """

    def __init__(self, series: str | None = None, *, mode_2d: bool = False, budget: SizeBudget | None = None) -> None:
        super().__init__()
        self.series = series
        self.options = ReadingOptions(mode="2d" if mode_2d else "volume", budget=budget or SizeBudget())

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """Whether the names may be DICOM's: folders, zips, and files that are not NIfTI."""
        names = [filename] if isinstance(filename, (str, Path)) else list(filename)
        return all(not str(name).lower().endswith((".nii", ".nii.gz")) for name in names)

    def read(self, data: Sequence[Any] | Any, **_: Any) -> Volume:
        """Read one volume.

        Raises:
            SeriesRefusedError: If it cannot be read truthfully, or if there are several and none was chosen.
        """
        found = _find(data, self.options.budget)
        volumes: dict[str, VolumePlan] = {}
        skipped = [*found.findings]
        for candidate in found.candidates:
            if candidate.kind != "dicom":
                continue
            plan: SeriesPlan = plan_series(candidate, self.options)
            skipped.extend(plan.findings)
            volumes.update({volume.key: volume for volume in plan.volumes})
        if self.series is not None:
            volumes = {key: value for key, value in volumes.items() if key == self.series}
        if not volumes:
            reasons = "; ".join(dict.fromkeys(finding.message for finding in skipped))
            refuse(Fault.OTHER_FILE, f"no DICOM volume here{f': {reasons}' if reasons else ''}")
        if len(volumes) > 1:
            refuse(Fault.OTHER_FILE, f"{len(volumes)} volumes here; choose one with series=: {', '.join(volumes)}")
        return read_volume(next(iter(volumes.values())))

    def get_data(self, img: Volume) -> tuple[np.ndarray, dict[str, Any]]:
        """Voxels of shape (X, Y, Z), float32, and MONAI's metadata (affine in RAS); no patient data."""
        return monai_data(img)


def _find(data: Sequence[Any] | Any, budget: SizeBudget) -> Discovery:
    if isinstance(data, (str, Path)):
        return discover(data, budget)
    merged = Discovery()
    groups: dict[str, list[FileSource]] = {}
    for path in data:
        found = discover(path, budget)
        merged.findings.extend(found.findings)
        for candidate in found.candidates:
            groups.setdefault(candidate.key, []).extend(candidate.files)
    merged.candidates = [Candidate(key, "dicom", tuple(files)) for key, files in groups.items()]
    return merged


class NiftiVolumeReader(ImageReader):
    """MONAI reader of NIfTI files with checks of checksum, size, transforms and values.

    Args:
        modality: CT or MR, where known.
        affine_choice: Which transform to trust where qform and sform disagree.
        volume_index: Which volume of a file with more than three axes to take.
        budget: Limits on what the header may claim.
    """

    def __init__(
        self,
        modality: str = "",
        affine_choice: AffineChoice | None = None,
        volume_index: int | None = None,
        budget: SizeBudget | None = None,
    ) -> None:
        super().__init__()
        self.options = {
            "modality": modality,
            "affine_choice": affine_choice,
            "volume_index": volume_index,
            "budget": budget,
        }

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """Whether the name ends in .nii or .nii.gz."""
        names = [filename] if isinstance(filename, (str, Path)) else list(filename)
        return all(str(name).lower().endswith((".nii", ".nii.gz")) for name in names)

    def read(self, data: Sequence[Any] | Any, **_: Any) -> Volume:
        """Read one file.

        Raises:
            SeriesRefusedError: If it cannot be read truthfully.
            ValueError: If more than one file is given.
        """
        names = [data] if isinstance(data, (str, Path)) else list(data)
        if len(names) != 1:
            raise ValueError(f"a NIfTI volume is one file, not {len(names)}")
        return read_nifti(names[0], **self.options)  # type: ignore[arg-type]

    def get_data(self, img: Volume) -> tuple[np.ndarray, dict[str, Any]]:
        """Voxels of shape (X, Y, Z), float32, and MONAI's metadata (affine in RAS); no patient data."""
        return monai_data(img)


class LoadVolume(Transform):
    """Load a DICOM series or a NIfTI file as a MetaTensor of shape (1, X, Y, Z), or refuse it.

    MONAI's `LoadImage` tries one reader after the other and returns what the first success gives; this transform asks
    the one reader that is right for the input, and its refusal stands.
    """

    def __init__(self, series: str | None = None, modality: str = "") -> None:
        self.dicom = DicomSeriesReader(series)
        self.nifti = NiftiVolumeReader(modality)

    def __call__(self, location: str | Path) -> MetaTensor:
        """Load what lies at a location.

        Raises:
            SeriesRefusedError: If it cannot be read truthfully.
        """
        reader = self.nifti if self.nifti.verify_suffix(location) else self.dicom
        return reader.read(location).as_metatensor()


class LoadVolumed(MapTransform):
    """Dictionary form of `LoadVolume`."""

    def __init__(self, keys: KeysCollection, series: str | None = None, modality: str = "") -> None:
        super().__init__(keys)
        self.loader = LoadVolume(series, modality)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the location under each key by its MetaTensor."""
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            loaded[key] = self.loader(loaded[key])
        return loaded
