"""Masks on the grid of their volume, whatever order of axes they are stored in."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom
from anomalib_zsad.volumes.geometry import Floats
from anomalib_zsad.volumes.options import AffineChoice, ReadingOptions
from anomalib_zsad.volumes.reading.loading import read_file
from anomalib_zsad.volumes.volume import Volume


def read_masks(
    paths: Sequence[Path],
    volume: Volume,
    labels: Sequence[int] | None = None,
    affine_choice: AffineChoice | None = None,
) -> NDArray[np.bool_]:
    """Union of the masks of a volume.

    Args:
        paths: NIfTI files (or MGH, NRRD, MetaImage), or DICOM SEG objects.
        volume: Whose grid the result is on.
        labels: Values (segment numbers in a SEG) that are lesions; by default everything that is not 0.
        affine_choice: Which transform of NIfTI masks to trust where two disagree.

    Returns:
        Bool, shape of the volume.

    Raises:
        ValueError: If a mask lies on another grid.
    """
    total = np.zeros(volume.shape, bool, order="F")
    for path in paths:
        stored = read_file(path, ReadingOptions(nifti_affine=affine_choice))
        if stored is not None:
            values = stored.voxels
            if volume.geometry_known and stored.geometry_known:
                values = onto_grid(values, stored.affine, volume, path.name)
            elif values.shape != volume.shape:
                raise ValueError(f"the mask {path.name} has the shape {values.shape}, its image {volume.shape}")
            total |= np.isin(values, list(labels)) if labels else np.nan_to_num(values) != 0
        else:
            total |= read_segmentation(path, volume, labels)
    return total


def onto_grid(values: NDArray, affine: Floats, volume: Volume, name: str) -> NDArray:
    """Reorder and flip the axes of a mask so that its voxels are the volume's; nothing is resampled.

    Raises:
        ValueError: If the grids differ by more than order and direction of axes.
    """
    change = np.linalg.inv(volume.affine) @ affine
    rounded = np.rint(change[:3, :3])
    is_order = np.abs(change[:3, :3] - rounded).max() < 0.02 and (np.abs(rounded).sum(axis=0) == 1).all()
    if not is_order or (np.abs(rounded).sum(axis=1) != 1).any():
        raise ValueError(f"the mask {name} lies on another grid than its image; resample it to the image first")
    order = np.abs(rounded).argmax(axis=1)
    result = np.transpose(values, order)
    for axis in range(3):
        if rounded[axis, order[axis]] < 0:
            result = np.flip(result, axis)
    first = np.array([0 if rounded[:, axis].sum() > 0 else values.shape[axis] - 1 for axis in range(3)])
    shift = (change @ [*first, 1])[:3]
    if result.shape != volume.shape or np.abs(shift).max() > 0.1:
        raise ValueError(
            f"the mask {name} (shape {values.shape}) does not cover the image's grid {volume.shape}; resample it first"
        )
    return result


def read_segmentation(path: Path, volume: Volume, labels: Sequence[int] | None = None) -> NDArray[np.bool_]:
    """A DICOM SEG on the grid of the DICOM volume it refers to, placed by source instances.

    Raises:
        ValueError: If it refers to none of the volume's instances.
    """
    import highdicom

    mask = np.zeros(volume.shape, bool, order="F")
    with quiet_pydicom():
        segmentation = highdicom.seg.segread(path)
        numbers = [number for number in segmentation.segment_numbers if labels is None or number in labels]
        if not numbers:
            return mask
        referred = {str(uid) for _, _, uid in segmentation.get_source_image_uids()}
        slots = {
            source.sop_instance_uid: slot
            for slot, source in enumerate(volume.slices)
            if source is not None
            and source.frame_number is None
            and source.tile is None
            and source.sop_instance_uid in referred
        }
        if not slots:
            raise ValueError(f"the segmentation {path.name} refers to no single-frame instance of this series")
        frames = segmentation.get_pixels_by_source_instance(
            list(slots), segment_numbers=numbers, assert_missing_frames_are_empty=True
        )
    for slot, frame in zip(slots.values(), frames, strict=True):
        mask[:, :, slot] = (frame > 0).any(axis=-1).T
    return mask
