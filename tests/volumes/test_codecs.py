"""Compressed pixels that clinics send, and what is said of those that nothing reads."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from anomalib_zsad.volumes.faults import SeriesRefusedError
from anomalib_zsad.volumes.reading.dicom_pixels import check_transfer_syntax
from tests.volumes.volume_builders import SHAPE, marked_voxels, message, only, outcomes, read_all, write_series

JPEG = "1.2.840.10008.1.2.4."


def lossless(plane: np.ndarray, predictor: int) -> bytes:
    """A plane as lossless JPEG."""
    imagecodecs = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    return imagecodecs.jpeg_encode(plane.view(np.uint16), lossless=True, predictor=predictor)


@pytest.mark.parametrize(("syntax", "predictor"), [("57", 2), ("70", 1)])
def test_16_lossless_jpeg_is_read_by_default(tmp_path: Path, syntax: str, predictor: int) -> None:
    pytest.importorskip("gdcm", reason="python-gdcm is not installed")

    def compress(dataset: Dataset, index: int) -> None:
        plane = np.ascontiguousarray(marked_voxels()[:, :, index].T)
        dataset.file_meta.TransferSyntaxUID = f"{JPEG}{syntax}"
        dataset.PixelData = encapsulate([lossless(plane, predictor)])
        dataset["PixelData"].is_undefined_length = True

    volume = only(write_series(tmp_path / "s", edit=compress))
    np.testing.assert_array_equal(volume.voxels, marked_voxels())
    assert volume.findings == []


@pytest.mark.parametrize(("name", "largest"), [("JPGExtended.dcm", 264), ("JPEG-lossy.dcm", 264)])
def test_16_twelve_bit_jpeg_is_read_by_default(name: str, largest: int) -> None:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip("pydicom is installed without its test data")
    header = pydicom.dcmread(path, stop_before_pixels=True)
    assert (header.file_meta.TransferSyntaxUID, header.BitsStored) == (f"{JPEG}51", 12)
    volume = only(Path(path), mode="2d")
    assert volume.shape == (256, 1024, 1)
    assert np.nanmax(volume.voxels) == largest * float(header.get("RescaleSlope", 1)) + float(
        header.get("RescaleIntercept", 0)
    )
    assert outcomes(volume.findings)[17] == "warning"


def test_16_a_real_lossless_image(shared_data: Path) -> None:
    pytest.importorskip("gdcm", reason="python-gdcm is not installed")
    volume = only(shared_data / "odd_dicom" / "JPGLosslessP14SV1_1s_1f_8b.dcm", mode="2d")
    assert volume.shape == (1024, 768, 1)
    assert np.nanmax(volume.voxels) > np.nanmin(volume.voxels)


@pytest.mark.parametrize("syntax", ["53", "55", "102"])
def test_16_what_no_package_reads_recommends_none(syntax: str) -> None:
    with pytest.raises(SeriesRefusedError) as caught:
        check_transfer_syntax(f"{JPEG}{syntax}")
    assert "no package that could be recommended reads it" in str(caught.value)
    assert "pip install" not in str(caught.value)


def test_16_the_command_that_installs_a_decoder_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomalib_zsad.volumes.reading.dicom_pixels.can_decode", lambda uid: False)
    for syntax, package in {"70": "python-gdcm", "57": "python-gdcm", "51": "imagecodecs", "80": "pyjpegls"}.items():
        with pytest.raises(SeriesRefusedError, match=f"install it with: pip install {package}$"):
            check_transfer_syntax(f"{JPEG}{syntax}")


def test_04_a_copy_that_nothing_decodes_does_not_refuse_the_readable_one(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    copy = pydicom.dcmread(folder / "f002.dcm")
    copy.file_meta.TransferSyntaxUID = f"{JPEG}55"
    copy.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    copy["PixelData"].is_undefined_length = True
    copy.save_as(folder / "a.dcm")
    volume = only(folder)
    assert volume.shape == SHAPE
    assert outcomes(volume.findings) == {4: "warning"}
    assert "cannot be decoded" in message(volume.findings, 4)
    for path in sorted(folder.glob("f*.dcm")):
        path.unlink()
    _, findings = read_all(folder)
    assert outcomes(findings) == {16: "refused"}
