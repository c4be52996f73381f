"""Faults of NIfTI inputs: each test makes one row of the table and checks what must happen."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from anomalib_zsad.volumes.options import SizeBudget
from anomalib_zsad.volumes.reading.monai_readers import NiftiVolumeReader
from anomalib_zsad.volumes.reading.nifti_reader import read_nifti
from tests.volumes.volume_builders import (
    SHAPE,
    affines,
    make_affine,
    marked_voxels,
    message,
    only,
    outcomes,
    read_all,
    write_nifti,
)


def header_of(path: Path) -> nibabel.Nifti1Header:
    return nibabel.load(path).header


def patch(path: Path, change) -> Path:
    """Change the header of a plain .nii in place, bypassing nibabel's repairs."""
    content = path.read_bytes()
    header = nibabel.Nifti1Header(content[:348], check=False)
    change(header)
    path.write_bytes(header.binaryblock + content[348:])
    return path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_nifti(tmp_path / "v.nii", marked_voxels(), affines()["las"])


def test_voxels_equal_nibabels(tmp_path: Path) -> None:
    for kind in (np.int16, np.uint8, np.float32, np.float64, np.int32):
        path = write_nifti(tmp_path / f"{np.dtype(kind)}.nii.gz", marked_voxels().astype(kind), affines()["oblique"])
        np.testing.assert_array_equal(only(path).voxels, nibabel.load(path).get_fdata(dtype=np.float32))


def test_scaling_is_applied(plain: Path) -> None:
    def scale(header: nibabel.Nifti1Header) -> None:
        header["scl_slope"], header["scl_inter"] = 0.5, -3

    volume = only(patch(plain, scale))
    np.testing.assert_array_equal(volume.voxels, marked_voxels() * 0.5 - 3)


def test_nifti2_and_big_endian(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(marked_voxels(), affines()["oblique"]), tmp_path / "two.nii.gz")
    big = nibabel.Nifti1Image(marked_voxels(), affines()["oblique"], nibabel.Nifti1Header(endianness=">"))
    nibabel.save(big, tmp_path / "big.nii")
    for name in ("two.nii.gz", "big.nii"):
        volume = only(tmp_path / name)
        np.testing.assert_array_equal(volume.voxels, marked_voxels())
        np.testing.assert_allclose(volume.affine, affines()["oblique"], atol=1e-5)


def test_20_and_21_a_header_that_claims_too_much_is_refused_before_allocating(plain: Path) -> None:
    def claim(header: nibabel.Nifti1Header) -> None:
        header["dim"] = [3, 32767, 32767, 32767, 1, 1, 1, 1]

    volumes, findings = read_all(patch(plain, claim))
    assert not volumes
    assert outcomes(findings) == {21: "refused"}
    assert "32767, 32767, 32767" in message(findings, 21)
    assert "--max-volume-gib" in message(findings, 21)


def test_21_data_behind_the_voxels_does_not_expand_without_end(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "v.nii", marked_voxels(), affines()["las"])
    with gzip.open(tmp_path / "bomb.nii.gz", "wb", compresslevel=9) as bomb:
        bomb.write(path.read_bytes())
        for _ in range(80):
            bomb.write(bytes(1 << 20))
    _, findings = read_all(tmp_path / "bomb.nii.gz")
    assert outcomes(findings) == {21: "refused"}


def test_21_budget_is_the_users(plain: Path) -> None:
    _, findings = read_all(plain, budget=SizeBudget(volume_bytes=1000))
    assert outcomes(findings) == {21: "refused"}


def test_22_a_truncated_gzip_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "v.nii.gz", marked_voxels((40, 40, 20)), affines()["las"])
    path.write_bytes(path.read_bytes()[:-200])
    volumes, findings = read_all(path)
    assert not volumes
    assert outcomes(findings) == {22: "refused"}


def test_22_a_flipped_byte_is_refused_even_if_it_unpacks(tmp_path: Path) -> None:
    path = tmp_path / "v.nii.gz"
    source = write_nifti(tmp_path / "v.nii", marked_voxels((40, 40, 20)), affines()["las"])
    content = bytearray(gzip.compress(source.read_bytes(), compresslevel=0))
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert nibabel.load(path).get_fdata().shape == (40, 40, 20)  # what the usual reader makes of it
    _, findings = read_all(path)
    assert outcomes(findings) == {22: "refused"}


def test_22_a_short_file_and_a_foreign_file_are_refused(plain: Path, tmp_path: Path) -> None:
    plain.write_bytes(plain.read_bytes()[:-10])
    (tmp_path / "text.nii").write_text("no header" * 100)
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    volumes, findings = read_all(tmp_path)
    assert not volumes
    assert [finding.fault.number for finding in findings] == [22, 22, 22]
    assert all(finding.files for finding in findings)


def test_23_nan_is_masked_and_mostly_nan_refused(tmp_path: Path) -> None:
    voxels = marked_voxels().astype(np.float32)
    voxels[0, 0] = np.nan, np.inf, -np.inf, 1, 2, 3
    volume = only(write_nifti(tmp_path / "some.nii", voxels, affines()["las"]))
    assert np.isnan(volume.voxels[0, 0, :3]).all()
    assert outcomes(volume.findings) == {23: "warning"}
    assert "3 voxels" in message(volume.findings, 23)
    assert np.isfinite(volume.dense_voxels()).all()
    voxels[:8] = np.nan
    _, findings = read_all(write_nifti(tmp_path / "most.nii", voxels, affines()["las"]))
    assert outcomes(findings) == {23: "refused"}
    assert "67%" in message(findings, 23)


def test_24_singleton_axes_are_squeezed_others_need_an_index(tmp_path: Path) -> None:
    squeezed = only(write_nifti(tmp_path / "one.nii", marked_voxels()[..., None, None], affines()["las"]))
    assert squeezed.shape == SHAPE
    several = np.stack([marked_voxels(), marked_voxels() + np.int16(7)], -1)
    path = write_nifti(tmp_path / "two.nii", several, affines()["las"])
    _, findings = read_all(path)
    assert outcomes(findings) == {24: "refused"}
    assert "--volume-index 0 to 1" in message(findings, 24)
    chosen = only(path, volume_index=1)
    np.testing.assert_array_equal(chosen.voxels, marked_voxels() + 7)
    assert outcomes(chosen.findings) == {24: "warning"}
    _, findings = read_all(path, volume_index=2)
    assert "volume index 2 of 2" in message(findings, 24)


def test_25_a_sheared_affine_is_kept(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "v.nii", marked_voxels(), None)
    image = nibabel.Nifti1Image(marked_voxels(), affines()["tilted"])
    image.set_qform(None, code=0)
    nibabel.save(image, path)
    volume = only(path)
    assert outcomes(volume.findings)[25] == "warning"
    np.testing.assert_allclose(volume.affine, affines()["tilted"], atol=1e-5)


@pytest.mark.parametrize("sizes", [(0, 1, 1), (np.nan, 1, 1), (2, 2, 2)])
def test_26_without_transforms_the_orientation_is_unknown(plain: Path, sizes: tuple[float, float, float]) -> None:
    def forget(header: nibabel.Nifti1Header) -> None:
        header["qform_code"] = header["sform_code"] = 0
        header["pixdim"][1:4] = sizes

    volume = only(patch(plain, forget))
    assert outcomes(volume.findings) == {26: "warning"}
    assert "orientation unknown" in message(volume.findings, 26)
    assert volume.spacing is None
    assert volume.world((1, 1, 1)) is None
    assert volume.slices[0].position is None


@pytest.mark.parametrize("size", [0.0, -1.5, np.nan])
def test_26_odd_voxel_sizes_with_an_sform(plain: Path, size: float) -> None:
    def spoil(header: nibabel.Nifti1Header) -> None:
        header["qform_code"] = 0
        header["sform_code"] = 1
        header["pixdim"][1] = size

    volume = only(patch(plain, spoil))
    np.testing.assert_allclose(volume.affine, affines()["las"])
    assert outcomes(volume.findings) == ({26: "warning"} if not size < 0 else {})


def test_27_qform_against_sform_is_refused_unless_chosen(plain: Path) -> None:
    def flip(header: nibabel.Nifti1Header) -> None:
        header.set_sform(affines()["las"], code=1)
        header.set_qform(affines()["ras"], code=1)

    _, findings = read_all(patch(plain, flip))
    assert outcomes(findings) == {27: "refused"}
    assert "--nifti-affine" in message(findings, 27)
    for choice, name in (("sform", "las"), ("qform", "ras")):
        volume = only(plain, nifti_affine=choice)
        np.testing.assert_allclose(volume.affine, affines()[name], atol=1e-5)
        assert outcomes(volume.findings) == {27: "warning"}


def test_27_rounding_between_qform_and_sform_is_no_fault(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(marked_voxels(), affines()["oblique"])
    image.set_qform(affines()["oblique"], code=1)
    image.set_sform(affines()["oblique"] + 1e-4, code=1)
    nibabel.save(image, tmp_path / "v.nii")
    assert only(tmp_path / "v.nii").findings == []


def test_a_flip_between_sform_and_voxel_sizes_keeps_the_sform(plain: Path) -> None:
    """Where others swap to another transform and exchange left and right, the sform stands."""

    def disagree(header: nibabel.Nifti1Header) -> None:
        header.set_sform(affines()["las"], code=1)
        header["qform_code"] = 0
        header["pixdim"][1:4] = 3, 3, 3

    volume = only(patch(plain, disagree))
    np.testing.assert_allclose(volume.affine, affines()["las"])
    assert "do not fit its transform" in message(volume.findings, 26)


def test_28_colour_and_complex_voxels_are_refused(tmp_path: Path) -> None:
    colour = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    write_nifti(tmp_path / "rgb.nii", colour, affines()["las"])
    write_nifti(tmp_path / "complex.nii", marked_voxels().astype(np.complex64), affines()["las"])
    volumes, findings = read_all(tmp_path)
    assert not volumes
    assert [finding.fault.number for finding in findings] == [28, 28]


def test_native_axis_is_the_thick_one_or_what_the_header_says(tmp_path: Path) -> None:
    thick = make_affine(np.diag([1.0, 5.0, 1.0]))
    assert only(write_nifti(tmp_path / "thick.nii", marked_voxels(), thick)).native_axis == 1
    image = nibabel.Nifti1Image(marked_voxels(), make_affine(np.eye(3)))
    image.header.set_dim_info(slice=0)
    nibabel.save(image, tmp_path / "said.nii")
    assert only(tmp_path / "said.nii").native_axis == 0
    assert only(write_nifti(tmp_path / "iso.nii", marked_voxels(), make_affine(np.eye(3)))).native_axis == 2


def test_reader_takes_one_file(plain: Path) -> None:
    reader = NiftiVolumeReader(modality="CT")
    voxels, meta = reader.get_data(reader.read([plain]))
    np.testing.assert_array_equal(voxels, marked_voxels())
    assert meta["units"] == "HU"
    with pytest.raises(ValueError, match="one file, not 2"):
        reader.read([plain, plain])


def test_text_in_the_header_does_not_enter_the_volume(tmp_path: Path) -> None:
    path = write_nifti(
        tmp_path / "v.nii", marked_voxels(), affines()["las"], descrip=b"SECRET", aux_file=b"/home/SECRET"
    )
    assert "SECRET" not in str(read_nifti(path).meta())
