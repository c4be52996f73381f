"""A marked voxel lies at the same world position for us and for SimpleITK, whatever the input's orientation."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from anomalib_zsad.volumes.geometry import anatomical_axes, even_runs, stack_geometry
from anomalib_zsad.volumes.reading.monai_readers import LoadVolume, LoadVolumed
from tests.volumes.volume_builders import (
    MARK,
    affines,
    make_affine,
    marked_voxels,
    only,
    rotation,
    write_nifti,
    write_series,
)

IN_PLANE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def itk_position_in_dicom(folder: Path) -> np.ndarray:
    """World position (RAS) of the brightest pixel, each file read on its own by SimpleITK."""
    best = (-1e9, None)
    for file in folder.iterdir():
        image = SimpleITK.ReadImage(str(file))
        values = SimpleITK.GetArrayFromImage(image)
        if values.max() > best[0]:
            z, y, x = (int(v) for v in np.unravel_index(values.argmax(), values.shape))
            best = (values.max(), image.TransformIndexToPhysicalPoint((x, y, z)))
    return np.array(best[1]) * [-1, -1, 1]


def itk_position(path: Path) -> np.ndarray:
    image = SimpleITK.ReadImage(str(path))
    values = SimpleITK.GetArrayFromImage(image)
    z, y, x = (int(v) for v in np.unravel_index(values.argmax(), values.shape))
    return np.array(image.TransformIndexToPhysicalPoint((x, y, z))) * [-1, -1, 1]


@pytest.mark.parametrize("name", list(affines()))
def test_dicom_voxel_lies_where_simpleitk_sees_it(tmp_path: Path, name: str) -> None:
    if np.linalg.det(affines()[name]) < 0:
        pytest.skip("a DICOM series cannot be stored left-handed")
    folder = write_series(tmp_path / "s", affine=affines()[name])
    volume = only(folder)
    index = np.unravel_index(volume.voxels.argmax(), volume.shape)
    assert tuple(int(i) for i in index) == MARK
    np.testing.assert_allclose(volume.world(index), itk_position_in_dicom(folder), atol=1e-3)
    np.testing.assert_allclose(volume.affine, affines()[name], atol=1e-4)


@pytest.mark.parametrize("name", [name for name in affines() if name != "tilted"])
def test_nifti_voxel_lies_where_simpleitk_sees_it(tmp_path: Path, name: str) -> None:
    path = write_nifti(tmp_path / "v.nii.gz", marked_voxels(), affines()[name])
    volume = only(path)
    index = np.unravel_index(volume.voxels.argmax(), volume.shape)
    np.testing.assert_allclose(volume.world(index), itk_position(path), atol=1e-3)


def test_files_in_any_order_and_place_give_one_volume(tmp_path: Path) -> None:
    whole = only(write_series(tmp_path / "whole"))
    scattered = tmp_path / "scattered"
    for number, file in enumerate(sorted((tmp_path / "whole").iterdir(), reverse=True)):
        target = scattered / f"folder{number % 3}" / f"{number:02d}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    other = only(scattered)
    np.testing.assert_array_equal(other.voxels, whole.voxels)
    np.testing.assert_array_equal(other.affine, whole.affine)
    assert other.slices == whole.slices


def test_each_slice_names_its_instance_and_its_position(tmp_path: Path) -> None:
    import pydicom

    folder = write_series(tmp_path / "s", affine=affines()["oblique"])
    volume = only(folder)
    headers = {h.SOPInstanceUID: h for h in (pydicom.dcmread(f) for f in folder.iterdir())}
    for index, source in enumerate(volume.slices):
        header = headers[source.sop_instance_uid]
        lps = np.array(header.ImagePositionPatient, float)
        np.testing.assert_allclose(source.position, lps * [-1, -1, 1], atol=1e-6)
        np.testing.assert_allclose(volume.world((0, 0, index)), source.position, atol=1e-3)
        np.testing.assert_array_equal(volume.voxels[:, :, index].T, header.pixel_array)


def test_metatensor_has_the_true_affine_and_no_patient(tmp_path: Path) -> None:
    def name_patient(dataset, index):
        dataset.PatientName = "SECRET^NAME"

    folder = write_series(tmp_path / "s", affine=affines()["tilted"], edit=name_patient)
    tensor = LoadVolume()(folder)
    np.testing.assert_allclose(tensor.affine.numpy(), affines()["tilted"], atol=1e-4)
    assert tensor.shape == (1, 12, 10, 6)
    assert "SECRET" not in str(tensor.meta)
    by_key = LoadVolumed(["image"])({"image": folder, "label": 1})
    assert by_key["label"] == 1
    assert by_key["image"].shape == tensor.shape


def test_nibabel_agrees_on_a_sheared_nifti(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(marked_voxels(), affines()["tilted"])
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "v.nii")
    np.testing.assert_allclose(only(tmp_path / "v.nii").affine, nibabel.load(tmp_path / "v.nii").affine, atol=1e-5)


@pytest.mark.parametrize(("degrees", "expected"), [(0, (0, 1, 2)), (40, (0, 1, 2)), (50, (0, 2, 1)), (90, (0, 2, 1))])
def test_anatomical_axes_are_the_closest(degrees: float, expected: tuple[int, int, int]) -> None:
    assert anatomical_axes(make_affine(rotation(degrees, 0))) == expected


def test_a_stack_with_gaps_keeps_every_slice_at_its_place() -> None:
    positions = np.array([[0, 0, z] for z in (0, 3, 6, 12, 15, 27)], float)
    stack = stack_geometry(positions[::-1], IN_PLANE, None)
    assert stack.slots.tolist() == [0, 1, 2, 4, 5, 9]
    assert stack.order.tolist() == [5, 4, 3, 2, 1, 0]
    assert stack.spacing == pytest.approx(3)
    assert stack.deviation < 1e-9


def test_uneven_spacing_is_cut_into_even_runs() -> None:
    positions = np.array([[0, 0, z] for z in (0, 2.5, 5, 7.5, 11.1, 14.7, 18.3, 20)], float)
    assert not stack_geometry(positions, IN_PLANE, None).regular
    assert [(run.start, run.stop) for run in even_runs(positions)] == [(0, 4), (4, 7), (7, 8)]
