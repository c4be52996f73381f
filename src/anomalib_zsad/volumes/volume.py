"""`Volume`: voxels with their place in the patient, and nothing about who the patient is."""

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.volumes.faults import Fault, Finding, refuse
from anomalib_zsad.volumes.geometry import Floats, anatomical_axes, even_runs, voxel_sizes
from anomalib_zsad.volumes.input_files import FileSource

if TYPE_CHECKING:
    from monai.data import MetaTensor
    from nibabel.nifti1 import Nifti1Header


class Units(str, Enum):
    """What voxel values mean."""

    HOUNSFIELD = "HU"
    ARBITRARY = "arbitrary"


@dataclass(frozen=True)
class SliceSource:
    """Where a slice came from.

    Attributes:
        sop_instance_uid: UID of its DICOM instance; empty where there is none.
        frame_number: Frame within a multi-frame instance, counted from 1 as DICOM does; `None` otherwise.
        position: World position of the slice's first voxel (RAS, mm); `None` where unknown.
        tile: Which of the slices that lie side by side in one image, counted from 1; `None` where it is the image.
    """

    sop_instance_uid: str
    frame_number: int | None
    position: tuple[float, float, float] | None
    tile: int | None = None


@dataclass(frozen=True)
class FrameLocation:
    """Which file, and which frame in it, a slice was decoded from (for writing a DICOM SEG)."""

    file: FileSource
    frame: int | None


@dataclass
class Volume:
    """Voxels with geometry.

    Attributes:
        voxels: Values, float32, shape (X, Y, Z), in Fortran order, so that `voxels[:, :, k]` is contiguous. NaN where
            there is no data: padding, NaN in the file, and slots of the grid that hold no slice.
        affine: Voxel index to world (RAS, mm), shape (4, 4). For an irregular stack it is the best even fit; only
            `slices` is true then.
        modality: DICOM's code, such as CT or MR; empty where unknown.
        units: What the values mean.
        native_axis: Voxel axis along which the slices were acquired.
        slices: Source of each slice along `native_axis`; `None` for an empty slot.
        findings: Warnings met while reading.
        geometry_known: Whether `affine` tells the truth in mm. If not, no millimetre figure may be derived.
        regular: Whether the slices lie on the evenly spaced grid of `affine`.
        has_spatial_stack: Whether neighbouring slices are neighbours in space (not so in 2D mode).
        series_instance_uid, study_instance_uid, frame_of_reference_uid: Empty where there are none.
        body_part: DICOM's BodyPartExamined where it is a plain code; chooses a default window, is never written.
        nifti_header: Header of the NIfTI file, whose geometry fields outputs repeat exactly.
        locations: For DICOM, where each slice's instance is (same order as `slices`).
        segmentable: Whether a DICOM SEG may refer to the source; if not, `findings` say why.
        sequence: How it was acquired (echo time, b-value and the like), by name with unit, as far as all slices agree.
    """

    voxels: NDArray[np.float32]
    affine: Floats
    modality: str
    units: Units
    native_axis: int
    slices: tuple[SliceSource | None, ...]
    findings: list[Finding] = field(default_factory=list)
    geometry_known: bool = True
    regular: bool = True
    has_spatial_stack: bool = True
    series_instance_uid: str = ""
    study_instance_uid: str = ""
    frame_of_reference_uid: str = ""
    body_part: str = ""
    nifti_header: "Nifti1Header | None" = None
    locations: tuple[FrameLocation | None, ...] = ()
    segmentable: bool = False
    sequence: dict[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or self.affine.shape != (4, 4):
            raise ValueError(f"a volume has 3 axes and a 4 x 4 affine, not {self.voxels.shape} and {self.affine.shape}")
        if len(self.slices) != self.voxels.shape[self.native_axis]:
            raise ValueError(f"{len(self.slices)} slice sources for {self.voxels.shape} along axis {self.native_axis}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis."""
        return self.voxels.shape

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Edges of a voxel in mm; `None` where the geometry is not known."""
        if not self.geometry_known:
            return None
        size = voxel_sizes(self.affine)
        return float(size[0]), float(size[1]), float(size[2])

    @property
    def filled(self) -> NDArray[np.bool_]:
        """Which slots along `native_axis` hold a slice, shape (n,)."""
        return np.array([source is not None for source in self.slices])

    def plane_axis(self, plane: str) -> int:
        """The voxel axis that the slices of a plane follow each other along.

        Args:
            plane: `native`, `axial`, `coronal` or `sagittal`; the voxel axis closest to the plane's normal is taken.

        Raises:
            ValueError: If the plane is unknown, or cannot be cut from this volume.
        """
        if plane == "native":
            return self.native_axis
        names = ("sagittal", "coronal", "axial")
        if plane not in names:
            raise ValueError(f"unknown plane {plane!r}; choose native, {', '.join(reversed(names))}")
        axis = anatomical_axes(self.affine)[names.index(plane)] if self.geometry_known else -1
        if axis != self.native_axis and (not self.regular or not self.has_spatial_stack or axis < 0):
            raise ValueError(f"{plane} slices need evenly spaced slices of known orientation; use the native plane")
        return axis

    def world(self, index: tuple[float, float, float]) -> tuple[float, float, float] | None:
        """World position (RAS, mm) of a voxel index; true for irregular stacks too; `None` where unknown."""
        if not self.geometry_known:
            return None
        if self.regular:
            x, y, z = self.affine[:3, :3] @ np.asarray(index, np.float64) + self.affine[:3, 3]
            return float(x), float(y), float(z)
        source = self.slices[round(index[self.native_axis])]
        if source is None or source.position is None:
            return None
        in_plane = np.array(index, np.float64)
        in_plane[self.native_axis] = 0
        x, y, z = self.affine[:3, :3] @ in_plane + np.asarray(source.position)
        return float(x), float(y), float(z)

    def even_parts(self) -> list[tuple[slice, Floats]]:
        """Ranges of slices with a true affine each: one for a regular volume, several for an irregular one."""
        if self.regular:
            return [(slice(0, len(self.slices)), self.affine)]
        positions = np.array([source.position for source in self.slices if source and source.position])
        parts = []
        for run in even_runs(positions):
            affine = self.affine.copy()
            affine[:3, 3] = positions[run.start]
            if run.stop - run.start > 1:
                affine[:3, 2] = (positions[run.stop - 1] - positions[run.start]) / (run.stop - run.start - 1)
            parts.append((run, affine))
        return parts

    def release_voxels(self) -> None:
        """Give the voxels' memory back; shape and geometry stay, values read as NaN from then on."""
        self.voxels = np.broadcast_to(np.float32(np.nan), self.shape)

    def dense_voxels(self) -> NDArray[np.float32]:
        """Voxels without NaN: places without data hold the lowest value of the volume (0 if there is no value)."""
        missing = np.isnan(self.voxels)
        lowest = np.float32(0) if missing.all() else np.nanmin(self.voxels)
        return np.where(missing, lowest, self.voxels) if missing.any() else self.voxels

    def as_metatensor(self) -> "MetaTensor":
        """A MONAI MetaTensor of shape (1, X, Y, Z) with the true affine (RAS) and no patient data.

        Raises:
            ValueError: If the slices are unevenly spaced: one affine cannot place them.
        """
        import torch
        from monai.data import MetaTensor

        if not self.regular:
            raise ValueError("the slices are unevenly spaced, so no single affine is true; use Volume.even_parts()")
        tensor = torch.from_numpy(np.ascontiguousarray(self.dense_voxels()))[None]
        return MetaTensor(tensor, meta=self.meta())

    def meta(self) -> dict[str, Any]:
        """What MONAI's transforms need to know, in MONAI's own keys."""
        from monai.utils import MetaKeys, SpaceKeys

        return {
            MetaKeys.ORIGINAL_AFFINE: self.affine.copy(),
            MetaKeys.AFFINE: self.affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(self.shape),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
            "modality": self.modality,
            "units": self.units.value,
            "geometry_known": self.geometry_known,
        }


def monai_data(volume: Volume) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """What a MONAI `ImageReader.get_data` returns: voxels of shape (X, Y, Z) and metadata.

    Raises:
        SeriesRefusedError: If the slices are unevenly spaced: one affine cannot place them.
    """
    if not volume.regular:
        message = "the slices are unevenly spaced, so no single affine is true; read a Volume and use even_parts()"
        refuse(Fault.UNEVEN_SPACING, message)
    return volume.dense_voxels(), volume.meta()
