"""Finding series without trusting files, folders or archives."""

import os
import stat
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from anomalib_zsad.volumes.input_files import ZipMember
from anomalib_zsad.volumes.options import SizeBudget
from anomalib_zsad.volumes.reading.dicom_files import _transfer_syntax
from anomalib_zsad.volumes.reading.discovery import discover
from tests.volumes.volume_builders import (
    affines,
    marked_voxels,
    message,
    only,
    outcomes,
    read_all,
    write_nifti,
    write_series,
)


def make_zip(path: Path, folder: Path, **extra: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
        for name, content in extra.items():
            archive.writestr(name, content)
    return path


def test_a_zip_gives_what_its_folder_gives(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "deep" / "er")
    write_nifti(tmp_path / "in" / "v.nii.gz", marked_voxels(), affines()["las"])
    path = make_zip(tmp_path / "all.zip", tmp_path / "in")
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    from_zip, _ = read_all(path)
    from_folder, _ = read_all(tmp_path / "in")
    assert len(from_zip) == len(from_folder) == 2
    for one, other in zip(from_zip, from_folder, strict=True):
        np.testing.assert_array_equal(one.voxels, other.voxels)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before
    assert [c.key for c in discover(path).candidates] == [c.key for c in discover(tmp_path / "in").candidates]


def test_a_zip_inside_a_folder_is_searched(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    make_zip(tmp_path / "in" / "s.zip", write_series(tmp_path / "s"))
    assert only(tmp_path / "in").shape == (12, 10, 6)


@pytest.mark.parametrize("name", ["../evil.dcm", "/etc/evil.dcm", "a/../../evil", "C:/evil", "..\\evil"])
def test_20_a_zip_with_a_name_that_leaves_it_is_refused(tmp_path: Path, name: str) -> None:
    path = make_zip(tmp_path / "z.zip", write_series(tmp_path / "s"), **{name: b"x"})
    volumes, findings = read_all(path)
    assert not volumes
    assert outcomes(findings) == {20: "refused"}


def test_20_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "z.zip", write_series(tmp_path / "s"))
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    _, findings = read_all(path)
    assert outcomes(findings) == {20: "refused"}
    assert "link or device" in message(findings, 20)


def test_20_links_out_of_the_folder_and_devices_are_not_read(tmp_path: Path) -> None:
    write_series(tmp_path / "elsewhere")
    write_series(tmp_path / "in" / "a", seed="a")
    (tmp_path / "in" / "out.dcm").symlink_to(tmp_path / "elsewhere" / "f000.dcm")
    (tmp_path / "in" / "outside").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "inside").symlink_to(tmp_path / "in" / "a")
    (tmp_path / "in" / "dangling").symlink_to(tmp_path / "in" / "nothing")
    (tmp_path / "in" / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "in" / "pipe")
    found = discover(tmp_path / "in")
    assert len(found.candidates) == 1
    by_name = {finding.files[0]: finding.outcome.value for finding in found.findings}
    assert by_name == {
        "out.dcm": "refused",
        "outside": "refused",
        "inside": "skipped",
        "dangling": "skipped",
        "loop": "skipped",
        "pipe": "refused",
    }


def test_21_bombs_are_refused_from_the_archives_directory(tmp_path: Path) -> None:
    bomb = make_zip(tmp_path / "bomb.zip", tmp_path / "none", **{"big.nii": bytes(30_000_000)})
    _, findings = read_all(bomb)
    assert outcomes(findings) == {21: "refused"}
    assert "30,000,000 bytes" in message(findings, 21)
    many = make_zip(tmp_path / "many.zip", tmp_path / "none", **{f"{n}": b"x" for n in range(20)})
    _, findings = read_all(many, budget=SizeBudget(archive_members=10))
    assert "20 members" in message(findings, 21)


def test_21_a_member_longer_than_it_claims_is_not_unpacked(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "z.zip", tmp_path / "none", a=b"x" * 5000)
    from anomalib_zsad.volumes.faults import SeriesRefusedError

    with pytest.raises(SeriesRefusedError, match="longer than the 100 bytes"):
        ZipMember(path, "a", "z.zip/a", 100).open()


def test_damaged_and_encrypted_archives_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 not an archive")
    good = make_zip(tmp_path / "crc.zip", tmp_path / "none", **{"a.nii": b"\x00" * 2000})
    content = bytearray(good.read_bytes())
    content[40] ^= 0xFF
    good.write_bytes(bytes(content))
    locked = bytearray(make_zip(tmp_path / "locked.zip", tmp_path / "none", a=b"x").read_bytes())
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(bytes(locked))
    _, findings = read_all(tmp_path)
    assert [finding.fault.number for finding in findings] == [22, 22, 22]
    assert "encrypted" in findings[2].message or "encrypted" in findings[1].message


def test_copies_of_a_volume_get_names_of_their_own(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", marked_voxels(), affines()["las"])
    (tmp_path / "b.nii.gz").write_bytes(path.read_bytes())
    keys = [candidate.key for candidate in discover(tmp_path).candidates]
    assert keys[1] == f"{keys[0]}-copy2"


def test_names_tell_nothing_and_stay_the_same(tmp_path: Path) -> None:
    write_series(tmp_path / "SECRET_NAME")
    (candidate,) = discover(tmp_path).candidates
    assert candidate.key.startswith("series-")
    assert "SECRET" not in candidate.key + candidate.study
    (tmp_path / "SECRET_NAME").rename(tmp_path / "other")
    assert discover(tmp_path).candidates[0].key == candidate.key


def test_large_members_of_other_kinds_are_not_unpacked(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "z.zip", write_series(tmp_path / "s"), **{"film.mp4": bytes(range(256)) * 50_000})
    volumes, findings = read_all(path, budget=SizeBudget(volume_bytes=100_000))
    assert len(volumes) == 1
    assert outcomes(findings) == {19: "skipped"}
    big = make_zip(tmp_path / "big.zip", tmp_path / "none", **{"v.nii": bytes(range(256)) * 2_000})
    _, findings = read_all(big, budget=SizeBudget(volume_bytes=100_000))
    assert outcomes(findings) == {21: "refused"}


def deflate(path: Path, *, hide: int = 0, content: bytes | None = None) -> Path:
    """Write a file anew with the deflated transfer syntax, which `hide` bytes of file meta come before."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    if hide:  # group 2 is sorted by element: (0002,0001) comes before the transfer syntax
        dataset.file_meta[0x00020001] = pydicom.DataElement(0x00020001, "OB", bytes(hide))
    dataset.save_as(path, enforce_file_format=True)
    if content is not None:
        with path.open("rb") as stream:
            start = _transfer_syntax(stream)[1]
        path.write_bytes(path.read_bytes()[:start] + content)
    return path


@pytest.mark.parametrize("hide", [0, 4096])
def test_16_deflated_files_are_read(tmp_path: Path, hide: int) -> None:
    folder = write_series(tmp_path / "s")
    for path in folder.iterdir():
        deflate(path, hide=hide)
    np.testing.assert_array_equal(only(folder).voxels, marked_voxels())


def test_16_deflated_files_that_are_damaged_are_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    for path in folder.iterdir():
        deflate(path, content=b"no deflated data")
    volumes, findings = read_all(folder)
    assert not volumes
    assert outcomes(findings) == {16: "refused"}
    assert "1.2.840.10008.1.2.1.99" in message(findings, 16)


def test_21_a_deflated_file_that_grows_beyond_the_budget_is_refused(tmp_path: Path) -> None:
    path = write_series(tmp_path / "s", edit=lambda dataset, index: index == 0) / "f000.dcm"
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    deflate(path, hide=4096, content=bomb)
    tracemalloc.start()
    _, findings = read_all(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert outcomes(findings) == {21: "refused"}
    assert "grows beyond" in message(findings, 21)
    assert peak < 50 << 20


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    (tmp_path / "closed").mkdir(mode=0)
    _, findings = read_all(tmp_path)
    assert "cannot be read" in message(findings, 20)


def test_nothing_at_the_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing at the input path"):
        discover(tmp_path / "missing")
