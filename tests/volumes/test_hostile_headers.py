"""Headers that claim absurd things: refused by name, in bounded time and memory, without harm to the other series."""

import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from anomalib_zsad.volumes.options import SizeBudget
from anomalib_zsad.volumes.reading.discovery import discover
from tests.volumes.volume_builders import (
    SHAPE,
    affines,
    edit_file,
    marked_voxels,
    message,
    only,
    outcomes,
    read_all,
    write_nifti,
    write_series,
)


def insert(path: Path, elements: bytes, before: bytes = b"\x08\x00\x08\x00CS") -> None:
    """Put encoded elements into an explicit little endian file: behind the file meta group, before all others."""
    content = path.read_bytes()
    start = content.rindex(before)
    path.write_bytes(content[:start] + elements + content[start:])


def nested(depth: int) -> bytes:
    """A private sequence in a sequence in a sequence, of undefined lengths."""
    open_item = b"\x07\x00\x10\x00SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    close_item = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00" + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    return open_item * depth + close_item * depth


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("RescaleIntercept", "1e39", "beyond anything real"),
        ("RescaleSlope", "1e38", "beyond anything real"),
        ("ImagePositionPatient", "1e300\\0\\0", "an image position of 1e+300 mm"),
        ("PixelSpacing", "1e300\\1e300", "a pixel spacing or slice thickness of 1e+300 mm"),
        ("PixelSpacing", "1e-30\\1e-30", "a pixel spacing or slice thickness of 1e-30 mm"),
        ("SliceThickness", "1e99", "a pixel spacing or slice thickness of 1e+99 mm"),
        ("ImageOrientationPatient", "5\\0\\0\\0\\5\\0", "direction cosines of length 5 instead of 1"),
        ("NumberOfFrames", "-5", "the number of frames is -5"),
        ("NumberOfFrames", "9" * 4000, "no number of images"),
    ],
)
def test_40_absurd_numbers_are_refused(tmp_path: Path, keyword: str, value: str, words: str) -> None:
    folder = write_series(tmp_path / "s")
    for path in folder.iterdir():
        edit_file(path, lambda dataset: _set(dataset, keyword, value))
    volumes, findings = read_all(folder)
    assert not volumes
    assert outcomes(findings) == {40: "refused"}
    assert words in message(findings, 40)
    assert len(message(findings, 40)) < 200


def _set(dataset: Dataset, keyword: str, value: str) -> None:
    tag = pydicom.datadict.tag_for_keyword(keyword)
    vr = pydicom.datadict.dictionary_VR(tag)
    dataset[tag] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(tag), vr, len(value), value.encode() + b" " * (len(value) % 2), 0, False, True
    )


@pytest.mark.parametrize("depth", [500, 5000])
def test_43_nested_sequences_refuse_their_file_alone(tmp_path: Path, depth: int) -> None:
    write_series(tmp_path / "good")
    path = write_series(tmp_path / "bad", seed="bad", edit=lambda _, index: index == 0) / "f000.dcm"
    insert(path, nested(depth))
    volumes, findings = read_all(tmp_path)
    assert [volume.shape for volume in volumes] == [SHAPE]
    assert outcomes(findings) == {43: "refused"}
    assert "nested too deeply" in message(findings, 43)


@pytest.mark.parametrize("before", [b"\x08\x00\x08\x00CS", b"\xe0\x7f\x10\x00OW"])
def test_43_millions_of_empty_items_are_refused(tmp_path: Path, before: bytes) -> None:
    path = write_series(tmp_path / "s", edit=lambda _, index: index == 0) / "f000.dcm"
    items = b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * 2_000_000
    opened, closed = b"\x07\x00\x10\x00SQ\x00\x00\xff\xff\xff\xff", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    insert(path, opened + items + closed, before)
    _, findings = read_all(path)
    assert outcomes(findings) == {43: "refused"}
    assert "more than 200,000 sequence items" in message(findings, 43)


@pytest.mark.parametrize("inside", [False, True])
def test_43_more_elements_than_any_header_has_are_refused(
    tmp_path: Path, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalib_zsad.volumes.reading.dicom_files.LARGEST_READ_COUNT", 20_000)
    path = write_series(tmp_path / "s", edit=lambda _, index: index == 0) / "f000.dcm"
    elements = b"\x09\x00\x00\x00LO\x00\x00" * 30_000
    if inside:
        opened = b"\x07\x00\x10\x00SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
        elements = opened + elements + b"\xfe\xff\x0d\xe0\x00\x00\x00\x00" + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    insert(path, elements)
    _, findings = read_all(path)
    assert outcomes(findings) == {43: "refused"}
    assert "more elements than any true one" in message(findings, 43)


@pytest.mark.parametrize(("frames", "fault"), [(1_000_000_000, 21), (1000, 1)])
def test_21_the_number_of_frames_is_not_believed(tmp_path: Path, frames: int, fault: int) -> None:
    path = write_series(tmp_path / "s", edit=lambda _, index: index == 0) / "f000.dcm"
    edit_file(path, lambda dataset: setattr(dataset, "NumberOfFrames", frames))
    volumes, findings = read_all(path)
    assert not volumes
    assert outcomes(findings) == {fault: "refused"}
    assert f"{frames:,} frames" in message(findings, fault)


def test_44_images_without_pixels_are_not_ready(tmp_path: Path) -> None:
    def strip(dataset: Dataset, index: int) -> None:
        del dataset.PixelData

    _, findings = read_all(write_series(tmp_path / "single", edit=strip))
    assert outcomes(findings) == {44: "refused"}
    path = write_series(tmp_path / "multi", edit=lambda _, index: index == 0) / "f000.dcm"

    def many(dataset: Dataset) -> None:
        dataset.NumberOfFrames = 20
        del dataset.PixelData

    edit_file(path, many)
    _, findings = read_all(path)
    assert outcomes(findings) == {44: "refused"}
    assert "without pixel data" in message(findings, 44)


@pytest.mark.parametrize("value", [np.inf, np.nan, -1.0, 1e30])
def test_21_odd_offsets_of_nifti_are_refused(tmp_path: Path, value: float) -> None:
    path = write_nifti(tmp_path / "v.nii", marked_voxels(), affines()["las"])
    content = bytearray(path.read_bytes())
    content[108:112] = np.float32(value).tobytes()
    path.write_bytes(bytes(content))
    volumes, findings = read_all(path)
    assert not volumes
    assert outcomes(findings) == {21: "refused"}


def test_17_members_of_archives_are_unpacked_on_disk(tmp_path: Path) -> None:
    """A member of 60 MB takes no 60 MB of memory."""
    import tracemalloc

    path = tmp_path / "z.zip"
    noise = np.random.default_rng(0).integers(0, 256, 1 << 20, np.uint8).tobytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("big.nii", "w") as member:
        for _ in range(60):
            member.write(noise)
    tracemalloc.start()
    found = discover(path)
    _, findings = read_all(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.candidates) == 1
    assert outcomes(findings) == {22: "refused"}
    assert peak < 20 << 20


def test_21_the_budget_of_the_user_holds_for_frames(tmp_path: Path) -> None:
    path = write_series(tmp_path / "s", edit=lambda _, index: index == 0) / "f000.dcm"

    def repeat(dataset: Dataset) -> None:
        dataset.NumberOfFrames = 50
        dataset.PixelData = dataset.PixelData * 50

    edit_file(path, repeat)
    _, findings = read_all(path, budget=SizeBudget(volume_bytes=10_000))
    assert outcomes(findings) == {21: "refused"}


def write_directory(folder: Path, names: list[list[str]]) -> Path:
    """A DICOMDIR that names files."""
    directory = pydicom.dcmread(write_series(folder / "T", edit=lambda _, index: index == 0) / "f000.dcm")
    (folder / "T" / "f000.dcm").unlink()
    directory.SOPClassUID = directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    del directory.PixelData, directory.Rows, directory.Columns
    records = []
    for parts in names:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = parts
        records.append(record)
    directory.DirectoryRecordSequence = Sequence(records)
    directory.save_as(folder / "DICOMDIR")
    return folder / "DICOMDIR"


@pytest.mark.filterwarnings("ignore")  # pydicom's, while the test writes odd names
def test_19_a_directory_alone_is_followed(tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    names = [["IMAGES", f"F{index:03d}.DCM"] for index in range(6)]
    directory = write_directory(medium, names)
    write_series(medium / "images")  # small letters, as copies of media have them
    volumes, findings = read_all(directory)
    assert [volume.shape for volume in volumes] == [SHAPE]
    assert outcomes(findings) == {19: "skipped"}
    write_series(tmp_path / "elsewhere", seed="elsewhere")
    (medium / "link.dcm").symlink_to(tmp_path / "elsewhere" / "f000.dcm")
    directory = write_directory(
        medium, [*names, ["IMAGES", "LOST"], ["..", "elsewhere", "f001.dcm"], ["link.dcm"], ["/etc/passwd"]]
    )
    volumes, findings = read_all(directory)
    assert [volume.shape for volume in volumes] == [SHAPE]
    assert outcomes(findings) == {19: "skipped", 20: "refused"}
    assert "3 file(s) that the DICOMDIR names lie outside its folder" in message(findings, 20)
    assert any("1 file(s) that the DICOMDIR names are missing" in finding.message for finding in findings)


def test_the_deepest_header_that_is_read(tmp_path: Path) -> None:
    path = write_series(tmp_path / "s", edit=lambda _, index: index == 0) / "f000.dcm"
    insert(path, nested(20))
    assert only(path).shape == (12, 10, 1)
