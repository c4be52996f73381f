"""`info` refuses what `screen` refuses, with the same words, and neither ever ends in a traceback."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset

from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen
from anomalib_zsad.volumes.options import ReadingOptions
from anomalib_zsad.volumes.reading.inventory import take_inventory
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.test_hostile_headers import _set, insert, nested
from tests.volumes.volume_builders import affines, edit_file, marked_voxels, write_nifti, write_series

Builder = Callable[[Path], object]


def dicom(change: Callable[[Dataset], object]) -> Builder:
    """A series with every file changed."""

    def build(folder: Path) -> None:
        for path in write_series(folder).iterdir():
            edit_file(path, change)

    return build


def one_file(change: Callable[[Path], object]) -> Builder:
    """A series whose third file is changed in its bytes."""

    def build(folder: Path) -> None:
        change(write_series(folder) / "f002.dcm")

    return build


def nifti(change: Callable[[nibabel.Nifti1Header], object]) -> Builder:
    """A NIfTI file with a changed header."""

    def build(folder: Path) -> None:
        path = write_nifti(folder / "v.nii", marked_voxels(), affines()["las"])
        content = path.read_bytes()
        header = nibabel.Nifti1Header(content[:348], check=False)
        change(header)
        path.write_bytes(header.binaryblock + content[348:])

    return build


def raw(keyword: str, value: str) -> Builder:
    return dicom(lambda dataset: _set(dataset, keyword, value))


def field(name: str, value: object) -> Builder:
    return nifti(lambda header: header.__setitem__(name, value))


def without(*keywords: str) -> Builder:
    def strip(dataset: Dataset) -> None:
        for keyword in keywords:
            del dataset[keyword]

    return dicom(strip)


BUILDERS: dict[str, Builder] = {
    "good": write_series,
    "frames -5": raw("NumberOfFrames", "-5"),
    "frames 1e9": raw("NumberOfFrames", "1000000000"),
    "frames of letters": raw("NumberOfFrames", "many"),
    "an integer of 4,000 digits": raw("InstanceNumber", "9" * 4000),
    "spacing 1e300": raw("PixelSpacing", "1e300\\1e300"),
    "spacing 0": raw("PixelSpacing", "0\\0"),
    "spacing of letters": raw("PixelSpacing", "wide\\high"),
    "position 1e300": raw("ImagePositionPatient", "1e300\\0\\0"),
    "position of two": raw("ImagePositionPatient", "1\\2"),
    "parallel axes": raw("ImageOrientationPatient", "1\\0\\0\\1\\0\\0"),
    "intercept 1e39": raw("RescaleIntercept", "1e39"),
    "slope 0": raw("RescaleSlope", "0"),
    "slope of letters": raw("RescaleSlope", "steep"),
    "no position": without("ImagePositionPatient"),
    "no pixels": without("PixelData"),
    "no bits": without("BitsAllocated", "BitsStored"),
    "no rows": without("Rows"),
    "no uids": without("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    "bits 65535": dicom(lambda dataset: setattr(dataset, "BitsAllocated", 65535)),
    "samples 3": dicom(lambda dataset: setattr(dataset, "SamplesPerPixel", 3)),
    "truncated": one_file(lambda path: path.write_bytes(path.read_bytes()[:-50])),
    "cut in the header": one_file(lambda path: path.write_bytes(path.read_bytes()[:600])),
    "nested": one_file(lambda path: insert(path, nested(500))),
    "nothing but a prefix": one_file(lambda path: path.write_bytes(path.read_bytes()[:132])),
    "offset inf": field("vox_offset", np.inf),
    "offset nan": field("vox_offset", np.nan),
    "slope inf": field("scl_slope", np.inf),
    "intercept nan": field("scl_inter", np.nan),
    "dimensions -3": field("dim", [3, -3, 4, 5, 1, 1, 1, 1]),
    "dimensions 32767": field("dim", [3, 32767, 32767, 32767, 1, 1, 1, 1]),
    "nine dimensions": field("dim", [9, 2, 2, 2, 2, 2, 2, 2]),
    "type 77": field("datatype", 77),
    "pixdim nan": field("pixdim", [np.nan] * 8),
    "sform inf": field("srow_x", [np.inf] * 4),
    "quaternion nan": field("quatern_b", np.nan),
    "empty": lambda folder: (folder.mkdir(parents=True), (folder / "v.nii.gz").write_bytes(b"")),
    "text": lambda folder: (folder.mkdir(parents=True), (folder / "v.mgz").write_bytes(gzip.compress(b"text" * 200))),
}


@pytest.mark.parametrize("name", list(BUILDERS))
@pytest.mark.parametrize("mode", ["volume", "2d"])
@pytest.mark.filterwarnings("ignore")  # pydicom's, while the tests write odd tags
def test_18_what_screen_refuses_info_refuses(tmp_path: Path, name: str, mode: str) -> None:
    BUILDERS[name](tmp_path / "in" / "case")
    reading = ReadingOptions(mode=mode)
    items = list(take_inventory(tmp_path / "in", reading, check=True))
    list(take_inventory(tmp_path / "in", reading))
    volume = VolumeOptions(window="900/450", pages=False, output_types=("nifti",), previews=0)
    _, entries = screen(
        tmp_path / "in", tmp_path / "out", BrightSpotScorer(), ScreeningOptions(reading=reading, volume=volume)
    )
    assert items
    said = sorted((item.series, item.status.replace("ready", "done"), item.reasons) for item in items)
    done = sorted((entry.series, entry.status, _words(entry)) for entry in entries)
    assert [row[:2] for row in said] == [row[:2] for row in done]
    for ours, theirs in zip(said, done, strict=True):
        if ours[1] in ("refused", "skipped"):
            assert ours == theirs
        assert "unexpected" not in theirs[2]


def _words(entry: object) -> str:
    return "; ".join(finding.message for finding in entry.findings)
