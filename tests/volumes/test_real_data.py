"""What the readers say about real files."""

from pathlib import Path

import numpy as np
import pytest

from tests.volumes.volume_builders import message, only, outcomes, read_all


def test_schwannoma_is_one_volume_of_37_slices(shared_data: Path) -> None:
    volume = only(shared_data / "schwannoma_dicom")
    assert volume.shape == (512, 512, 37)
    assert volume.spacing == pytest.approx((0.41, 0.41, 1.5), abs=0.01)
    assert volume.findings == []
    assert volume.segmentable


def test_prostate_series_are_named_for_what_they_are(shared_data: Path) -> None:
    volumes, findings = read_all(shared_data / "prostate_dicom")
    assert sorted(volume.shape for volume in volumes) == [(84, 128, 19)] * 4 + [(384, 384, 19)]
    assert outcomes(findings) == {6: "skipped", 8: "warning", 9: "warning", 41: "warning"}
    assert "5 + 5 + 3 images" in message(findings, 6)
    assert "split by b-value into 3 volumes" in message(findings, 9)
    (gap,) = [volume for volume in volumes if not volume.filled.all()]
    assert np.flatnonzero(~gap.filled).tolist() == [13]
    assert "(45.6, 100.3, 20.0)" in message(findings, 8)
    assert gap.spacing == pytest.approx((2, 2, 3), abs=1e-3)


def test_ct_without_uids_is_read_but_cannot_carry_a_seg(shared_data: Path) -> None:
    volume = only(shared_data / "ct_j2k_without_uids")
    assert volume.shape == (512, 512, 20)
    assert outcomes(volume.findings) == {3: "warning"}
    assert not volume.segmentable


def test_nifti_volumes(shared_data: Path) -> None:
    volumes, _ = read_all(shared_data / "ms_lesions_nifti")
    assert [volume.shape for volume in volumes] == [(182, 218, 182)] * 6
    assert only(shared_data / "ct_nifti").shape == (122, 101, 112)


def test_odd_dicom_is_refused_or_read_in_words(shared_data: Path) -> None:
    volumes, findings = read_all(shared_data / "odd_dicom")
    assert {volume.shape for volume in volumes} == {(512, 512, 1), (512, 512, 2)}
    assert {finding.fault.number for finding in findings} >= {2, 15, 18}
    for finding in findings:
        if finding.outcome.value == "refused":
            assert finding.message


def test_truncated_compressed_frames_are_refused(shared_data: Path) -> None:
    whole = only(shared_data / "odd_dicom" / "emri_small_jpeg_2k_lossless.dcm", mode="2d")
    assert whole.shape == (64, 64, 10)
    np.testing.assert_array_equal(whole.voxels, only(shared_data / "odd_dicom" / "emri_small.dcm", mode="2d").voxels)
    volumes, findings = read_all(shared_data / "odd_dicom" / "emri_small_jpeg_2k_lossless_too_short.dcm", mode="2d")
    assert not volumes
    assert outcomes(findings)[1] == "refused"


@pytest.mark.parametrize("name", ["RLE", "big_endian", "jpeg_ls_lossless"])
def test_encodings_of_one_file_agree(shared_data: Path, name: str) -> None:
    plain = only(shared_data / "odd_dicom" / "emri_small.dcm", mode="2d")
    other = only(shared_data / "odd_dicom" / f"emri_small_{name}.dcm", mode="2d")
    np.testing.assert_array_equal(plain.voxels, other.voxels)


@pytest.mark.parametrize("name", ["RG3_J2KR.dcm", "OT-PAL-8-face.dcm", "mlut_18.dcm", "vlut_04.dcm"])
def test_2d_images_are_read(shared_data: Path, name: str) -> None:
    volume = only(shared_data / "odd_dicom" / name, mode="2d")
    assert volume.shape[2] == 1
    assert volume.spacing is None
    assert np.nanmax(volume.voxels) > np.nanmin(volume.voxels)


def test_multi_frame_equals_its_single_frames(shared_data: Path) -> None:
    single = only(shared_data / "dicom_seg" / "24x38x3" / "image")
    multi = only(shared_data / "dicom_seg" / "24x38x3" / "multiframe")
    np.testing.assert_array_equal(single.voxels, multi.voxels)
    np.testing.assert_allclose(single.affine, multi.affine, atol=1e-6)


def test_highdicom_agrees_on_the_geometry_of_an_enhanced_ct(shared_data: Path) -> None:
    import highdicom

    path = shared_data / "odd_dicom" / "eCT_Supplemental.dcm"
    theirs = highdicom.imread(path).get_volume()
    ours = only(path)
    corner = theirs.affine @ np.array([1, 7, 5, 1])  # frame 1, row 7, column 5 in LPS
    mine = [ours.world((5, 7, k)) for k in range(2)]
    assert any(np.allclose(corner[:3] * [-1, -1, 1], place, atol=1e-3) for place in mine)
