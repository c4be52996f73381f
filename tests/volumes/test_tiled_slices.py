"""Many slices in one image: mosaics against dcm2niix and nibabel, and refusals that name the converter."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from nibabel.nicom import dicomwrappers
from pydicom.dataset import Dataset

from anomalib_zsad.volumes.datasets.masks import onto_grid
from tests.volumes.volume_builders import edit_file, message, only, outcomes, read_all, write_series

NIBABELS = Path(nibabel.__file__).parent / "nicom" / "tests" / "data"


@pytest.fixture
def mosaic(tmp_path: Path) -> Path:
    """A real oblique mosaic of 48 slices, from nibabel's package."""
    packed = NIBABELS / "siemens_dwi_1000.dcm.gz"
    if not packed.is_file():
        pytest.skip("nibabel is installed without its test data")
    path = tmp_path / "in" / "mosaic.dcm"
    path.parent.mkdir()
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


@pytest.mark.parametrize("name", ["mr_0003", "mr_0004"])
def test_39_mosaics_equal_dcm2niix(shared_data: Path, name: str) -> None:
    volumes, findings = read_all(shared_data / "mosaic_dicom" / name)
    reference = nibabel.load(shared_data / "mosaic_dicom" / "reference" / f"{name}.nii")
    expected = reference.get_fdata(dtype=np.float32)
    assert len(volumes) == expected.shape[3] == 2
    assert outcomes(findings) == {9: "warning", 19: "skipped", 39: "warning"}
    for time, volume in enumerate(volumes):
        assert volume.shape == (72, 72, 5)
        assert volume.spacing == pytest.approx((3, 3, 12))
        np.testing.assert_array_equal(volume.voxels, onto_grid(expected[..., time], reference.affine, volume, name))
        assert not volume.segmentable


def test_39_an_oblique_mosaic_equals_nibabels(mosaic: Path) -> None:
    volume = only(mosaic)
    theirs = dicomwrappers.wrapper_from_file(mosaic)
    affine = np.diag([-1, -1, 1, 1]) @ theirs.affine
    assert volume.shape == (128, 128, 48)
    assert [source.tile for source in volume.slices] == list(range(1, 49))
    np.testing.assert_array_equal(
        volume.voxels, onto_grid(np.asarray(theirs.get_data(), np.float32), affine, volume, "")
    )
    for tile in (0, 47):
        np.testing.assert_allclose(volume.world((0, 0, tile)), (affine @ [0, 0, tile, 1])[:3], atol=1e-3)
    assert "48 slices are taken out of 1 image(s)" in message(volume.findings, 39)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("csa", "private (CSA) header, which says how many slices it holds, is missing"),
        ("damaged", "private (CSA) header is damaged"),
        ("spacing", "does not say the spacing between slices"),
        ("size", "48 slices do not fit its 640 x 896 pixels"),
        ("position", "no position, orientation or pixel spacing"),
    ],
)
@pytest.mark.parametrize("mode", ["volume", "2d"])
def test_39_a_mosaic_that_cannot_be_taken_apart_is_refused(mosaic: Path, change: str, words: str, mode: str) -> None:
    def spoil(dataset: Dataset) -> None:
        if change == "csa":
            del dataset[0x00291010]
        elif change == "damaged":
            dataset[0x00291010].value = dataset[0x00291010].value[:200]
        elif change == "spacing":
            del dataset.SpacingBetweenSlices
        elif change == "size":
            dataset.Columns = 640
        else:
            del dataset.ImagePositionPatient

    edit_file(mosaic, spoil)
    volumes, findings = read_all(mosaic, mode=mode)
    assert not volumes
    assert outcomes(findings) == {39: "refused"}
    assert words in message(findings, 39)
    assert "dcm2niix" in message(findings, 39)


def test_39_a_united_imaging_grid_is_refused_by_name(tmp_path: Path) -> None:
    def grid(dataset: Dataset, index: int) -> None:
        dataset.add_new((0x0065, 0x0010), "LO", "Image Private Header")
        dataset.add_new((0x0065, 0x1050), "DS", "36")

    volumes, findings = read_all(write_series(tmp_path / "s", modality="MR", edit=grid))
    assert not volumes
    assert "United Imaging grid (36 slices in one image)" in message(findings, 39)


def test_10_nuclear_medicine_is_refused_by_name(tmp_path: Path) -> None:
    path = write_series(tmp_path / "s", edit=lambda _, index: index == 0) / "f000.dcm"

    def nuclear(dataset: Dataset) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.20"
        dataset.Modality, dataset.NumberOfFrames = "NM", 3
        dataset.PixelData = dataset.PixelData * 3

    edit_file(path, nuclear)
    volumes, findings = read_all(path)
    assert not volumes
    assert outcomes(findings) == {10: "refused"}
    assert "nuclear medicine image of 3 frames" in message(findings, 10)
    assert only(path, mode="2d").shape[2] == 3


def test_an_image_that_names_no_mosaic_stays_one_image(mosaic: Path) -> None:
    def plain(dataset: Dataset) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        if 0x0019100A in dataset:
            del dataset[0x0019100A]

    edit_file(mosaic, plain)
    assert pydicom.dcmread(mosaic).Rows == only(mosaic).shape[1]
