"""What is told of a header without pydicom is what pydicom tells."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from anomalib_zsad.volumes.faults import SeriesRefusedError
from anomalib_zsad.volumes.input_files import DiskFile
from anomalib_zsad.volumes.reading import series_tags
from anomalib_zsad.volumes.reading.header_scan import FIRST_BYTES, SERIES, scan_header
from anomalib_zsad.volumes.reading.series_tags import read_series_tag
from tests.volumes.fuzz import dicom_file, dicom_templates
from tests.volumes.volume_builders import write_series

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def scanned(path: Path) -> dict[int, str | int] | None:
    file = DiskFile(path, path.name)
    return scan_header(file, file.head(FIRST_BYTES))


def compare(paths: Iterator[Path]) -> tuple[int, int]:
    """Numbers of headers that were scanned, and that were left to pydicom, which must agree on each of the former."""
    alike, left = 0, 0
    for path in paths:
        found = scanned(path)
        if found is None:
            left += 1
            continue
        parsed = series_tags._parsed(DiskFile(path, path.name), None)
        assert {tag: found.get(tag) or None for tag in parsed} == {tag: value or None for tag, value in parsed.items()}
        alike += 1
    return alike, left


def is_dicom(path: Path) -> bool:
    return path.is_file() and path.open("rb").read(132)[128:] == b"DICM"


def test_pydicoms_own_files() -> None:
    """Explicit and implicit, compressed, nested; what is big endian, broken, or lacks something is left."""
    paths = [Path(name) for name in get_testdata_files() if is_dicom(Path(name))]
    alike, left = compare(iter(paths))
    assert alike > 60
    assert left > 30  # many lack a UID or a modality


@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data")
def test_files_of_clinics() -> None:
    paths = [path for path in sorted(DATA.rglob("*")) if is_dicom(path)]
    alike, left = compare(iter(paths))
    assert alike > 300
    assert left < 30


def test_damaged_headers_are_told_alike_or_left(tmp_path: Path) -> None:
    templates, random = dicom_templates(tmp_path), np.random.default_rng(16)
    paths = []
    for number in range(300):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(dicom_file(templates[number % len(templates)], number, random))
    readable = []
    for path in paths:
        try:
            series_tags._parsed(DiskFile(path, path.name), None)
        except SeriesRefusedError:
            continue
        readable.append(path)
    alike, left = compare(path for path in readable if is_dicom(path))
    assert alike > 100
    assert left > 10


def nested(depth: int) -> Dataset:
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    item.SeriesInstanceUID = "9.9.9"  # of another series: what stands in a sequence does not count
    if depth:
        item.ReferencedImageSequence = Sequence([nested(depth - 1)])
        item["ReferencedImageSequence"].is_undefined_length = True
    item.is_undefined_length_sequence_item = True
    return item


@pytest.mark.parametrize("implicit", [False, True])
def test_sequences_of_undefined_length_are_stepped_over(tmp_path: Path, implicit: bool) -> None:
    path = min(write_series(tmp_path / "s").iterdir())
    dataset = pydicom.dcmread(path)
    dataset.ReferencedStudySequence = Sequence([nested(3), nested(0)])
    dataset["ReferencedStudySequence"].is_undefined_length = True
    if implicit:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    dataset.save_as(path, implicit_vr=implicit, little_endian=True)
    found = scanned(path)
    assert found is not None
    assert found[SERIES] == dataset.SeriesInstanceUID
    assert compare(iter([path])) == (1, 0)


def test_what_stands_far_behind_is_found(tmp_path: Path) -> None:
    path = min(write_series(tmp_path / "s").iterdir())
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x00090010, "LO", "NOBODY")
    dataset.add_new(0x00091001, "OB", bytes(3 * FIRST_BYTES))
    dataset.save_as(path)
    assert scanned(path)[SERIES] == dataset.SeriesInstanceUID
    dataset.add_new(0x00091001, "OB", bytes(2 << 20))
    dataset.save_as(path)
    assert scanned(path) is None
    assert read_series_tag(DiskFile(path, path.name)).series_instance_uid == dataset.SeriesInstanceUID


@pytest.mark.parametrize("keyword", ["SeriesInstanceUID", "Modality", "Rows"])
def test_a_header_that_lacks_something_is_left(tmp_path: Path, keyword: str) -> None:
    path = min(write_series(tmp_path / "s").iterdir())
    dataset = pydicom.dcmread(path)
    delattr(dataset, keyword)
    dataset.save_as(path)
    assert scanned(path) is None
    tag = read_series_tag(DiskFile(path, path.name))
    assert bool(tag.skip_reason) is (keyword == "Rows")
    assert tag.group[0] == (str(tmp_path / "s") if keyword == "SeriesInstanceUID" else dataset.SeriesInstanceUID)


def test_elements_in_the_wrong_order_are_left(tmp_path: Path) -> None:
    path = min(write_series(tmp_path / "s").iterdir())
    content = path.read_bytes()
    found = content.index(b"\x20\x00\x0e\x00UI")
    end = found + 8 + content[found + 6]
    pixels = content.rindex(b"\xe0\x7f\x10\x00")
    path.write_bytes(content[:found] + content[end:pixels] + content[found:end] + content[pixels:])
    assert scanned(path) is None
    assert read_series_tag(DiskFile(path, path.name)).series_instance_uid == pydicom.dcmread(path).SeriesInstanceUID
