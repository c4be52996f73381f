"""Volumes of other formats: read with the same checks, or named for what they are."""

import gzip
import importlib.util
from pathlib import Path

import nibabel
import numpy as np
import pytest

from anomalib_zsad.volumes.datasets.masks import onto_grid
from anomalib_zsad.volumes.options import SizeBudget
from tests.volumes.volume_builders import affines, marked_voxels, message, only, outcomes, read_all

needs_simpleitk = pytest.mark.skipif(
    importlib.util.find_spec("SimpleITK") is None, reason="SimpleITK (an extra) is not installed"
)


def write_pair(folder: Path, name: str = "v", suffix: str = ".img") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Pair(marked_voxels(), affines()["oblique"]), folder / f"{name}.img")
    if suffix == ".img.gz":
        (folder / f"{name}.img.gz").write_bytes(gzip.compress((folder / f"{name}.img").read_bytes()))
        (folder / f"{name}.img").unlink()
    return folder


def write_itk(path: Path, *, compressed: bool = False, vector: bool = False) -> Path:
    import SimpleITK

    voxels = marked_voxels().T
    image = SimpleITK.GetImageFromArray(np.stack([voxels, voxels], -1) if vector else voxels, isVector=vector)
    lps = np.diag([-1, -1, 1]) @ affines()["oblique"][:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:, 3].tolist())
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path), useCompression=compressed)
    return path


@pytest.mark.parametrize("suffix", [".img", ".img.gz"])
def test_45_nifti_pairs_are_read(tmp_path: Path, suffix: str) -> None:
    volume = only(write_pair(tmp_path / "in", suffix=suffix))
    np.testing.assert_array_equal(volume.voxels, marked_voxels())
    np.testing.assert_allclose(volume.affine, affines()["oblique"], atol=1e-5)
    assert volume.findings == []
    for name in ("v.hdr", f"v{suffix}"):  # one of the two is enough
        np.testing.assert_array_equal(only(tmp_path / "in" / name).voxels, marked_voxels())


def test_45_a_damaged_pair_is_refused_naming_both_files(tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "in")
    (folder / "v.img").write_bytes((folder / "v.img").read_bytes()[:-10])
    _, findings = read_all(folder)
    assert outcomes(findings) == {22: "refused"}
    assert findings[0].files == ("v.hdr", "v.img")


def test_45_analyze_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.AnalyzeImage(marked_voxels(), np.eye(4)), tmp_path / "in" / "v.img")
    _, findings = read_all(tmp_path / "in")
    assert outcomes(findings) == {45: "refused"}
    assert "Analyze 7.5" in message(findings, 45)


def test_19_other_files_of_these_names_are_other_files(tmp_path: Path) -> None:
    (tmp_path / "scene.hdr").write_text("#?RADIANCE")
    (tmp_path / "scene.img").write_bytes(b"disk image")
    _, findings = read_all(tmp_path)
    assert message(findings, 19) == "2 file(s) are neither DICOM nor NIfTI"


@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_45_mgh_is_read(tmp_path: Path, suffix: str, kind: type) -> None:
    voxels = np.minimum(marked_voxels(), 255).astype(kind)
    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.MGHImage(voxels, affines()["oblique"]), tmp_path / "in" / f"v{suffix}")
    volume = only(tmp_path / "in")
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_allclose(volume.affine, affines()["oblique"], atol=1e-4)


def test_45_mgh_is_checked_as_nifti_is(tmp_path: Path) -> None:
    path = tmp_path / "v.mgz"
    nibabel.save(nibabel.MGHImage(marked_voxels(), affines()["las"]), path)
    plain = gzip.decompress(path.read_bytes())
    path.write_bytes(path.read_bytes()[:-20])
    assert outcomes(read_all(path)[1]) == {22: "refused"}
    path.write_bytes(gzip.compress(plain[:-400]))
    assert outcomes(read_all(path)[1]) == {22: "refused"}
    path.write_bytes(gzip.compress(plain[:4] + np.array([32767] * 3, ">i4").tobytes() + plain[16:]))
    assert outcomes(read_all(path)[1]) == {21: "refused"}
    path.write_bytes(gzip.compress(b"no header" * 100))
    assert outcomes(read_all(path)[1]) == {22: "refused"}
    path.write_bytes(gzip.compress(plain[:28] + b"\x00\x00" + plain[30:]))
    assert outcomes(only(path).findings) == {26: "warning"}


def test_45_several_frames_of_mgh_need_an_index(tmp_path: Path) -> None:
    path = tmp_path / "v.mgh"
    nibabel.save(nibabel.MGHImage(np.stack([marked_voxels(), marked_voxels() + np.int16(5)], -1), np.eye(4)), path)
    assert outcomes(read_all(path)[1]) == {24: "refused"}
    np.testing.assert_array_equal(only(path, volume_index=1).voxels, marked_voxels() + 5)


@needs_simpleitk
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("compressed", [False, True])
def test_45_nrrd_and_metaimage_are_read(tmp_path: Path, suffix: str, compressed: bool) -> None:
    path = write_itk(tmp_path / f"v{suffix}", compressed=compressed)
    volume = only(path, modality="CT")
    np.testing.assert_array_equal(onto_grid(marked_voxels(), affines()["oblique"], volume, "v"), volume.voxels)
    np.testing.assert_allclose(volume.affine, affines()["oblique"], atol=1e-4)
    assert volume.units.value == "HU"


@needs_simpleitk
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_45_they_are_checked_too(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_itk(tmp_path / f"SECRET{suffix}")
    assert outcomes(read_all(path, budget=SizeBudget(volume_bytes=1000))[1]) == {21: "refused"}
    path.write_bytes(path.read_bytes()[:-100])
    assert outcomes(read_all(path)[1]) == {22: "refused"}
    path.write_bytes(b"no header" * 100)
    assert outcomes(read_all(path)[1]) == {22: "refused"}
    assert outcomes(read_all(write_itk(path, vector=True))[1]) == {28: "refused"}
    captured = capfd.readouterr()
    assert "SECRET" not in captured.out + captured.err


@needs_simpleitk
def test_45_without_directions_the_orientation_is_unknown(tmp_path: Path) -> None:
    path = write_itk(tmp_path / "v.mha")
    lines = [line for line in path.read_bytes().split(b"\n") if not line.startswith(b"TransformMatrix")]
    path.write_bytes(b"\n".join(lines))
    volume = only(path)
    assert outcomes(volume.findings)[26] == "warning"
    assert volume.spacing is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.nhdr", b"NRRD0004\ndata file: ../../etc/passwd\n\n"),
        ("v.mhd", b"NDims = 3\nElementDataFile = /etc/passwd\n"),
        ("v.nrrd", b"NRRD0004\ndimension: 3\ndata file: /etc/passwd\n\n"),
        ("v.mha", b"NDims = 3\nDimSize = 2 2 2\nElementDataFile = /etc/passwd\n"),
    ],
)
def test_45_headers_that_name_another_file_are_not_followed(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    _, findings = read_all(tmp_path)
    assert outcomes(findings) == {45: "refused"}
    assert "voxels lie in another file" in message(findings, 45)


@needs_simpleitk
def test_45_the_package_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_itk(tmp_path / "v.nrrd")
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    _, findings = read_all(path)
    assert outcomes(findings) == {45: "refused"}
    assert "pip install SimpleITK" in message(findings, 45)


def test_18_masks_of_floats_are_skipped(tmp_path: Path) -> None:
    from anomalib_zsad.volumes.reading.loading import is_mask

    for kind in (np.float32, np.uint8):
        path = tmp_path / "m.nii"
        nibabel.save(nibabel.Nifti1Image((marked_voxels() > 30).astype(kind), affines()["las"]), path)
        assert is_mask(only(path))
    voxels = (marked_voxels() > 30).astype(np.float32)
    voxels[0, 0, 0] = 0.5
    nibabel.save(nibabel.Nifti1Image(voxels, affines()["las"]), tmp_path / "m.nii")
    assert not is_mask(only(tmp_path / "m.nii"))


@pytest.mark.parametrize(("intent", "words"), [(3, "a statistical map"), (1002, "labels")])
def test_41_the_intent_of_nifti_is_named(tmp_path: Path, intent: int, words: str) -> None:
    image = nibabel.Nifti1Image(marked_voxels(), affines()["las"])
    image.header["intent_code"] = intent
    nibabel.save(image, tmp_path / "v.nii")
    assert words in message(only(tmp_path / "v.nii").findings, 41)


@needs_simpleitk
@pytest.mark.parametrize("part", ["Tr", "Ts"])
def test_nnunet_sets_in_other_formats(tmp_path: Path, part: str) -> None:
    import json

    from anomalib_zsad.volumes.datasets.layouts import LayoutOptions, find_cases
    from anomalib_zsad.volumes.datasets.masks import read_masks
    from anomalib_zsad.volumes.datasets.slice_cache import SliceOptions, read_case

    write_itk(tmp_path / f"images{part}" / "BRAIN_001_0000.nrrd")
    write_itk(tmp_path / f"labels{part}" / "BRAIN_001.nrrd")
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "file_ending": ".nrrd"}))
    (case,) = find_cases(tmp_path, LayoutOptions())
    volume = read_case(case, SliceOptions())
    assert (case.name, volume.modality) == ("BRAIN_001", "CT")
    assert read_masks(case.masks, volume, [900]).sum() == 1
