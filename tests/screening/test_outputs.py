"""Outputs of screening: on the input's grid, at the right place, readable by others, without patient data."""

import csv
import gzip
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image
from pydicom.dataset import Dataset

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.volume_builders import (
    MARK,
    SHAPE,
    affines,
    make_affine,
    marked_voxels,
    only,
    write_enhanced,
    write_nifti,
    write_series,
)

PLANES = ("native", "axial", "coronal", "sagittal")


def run(location: Path, output: Path, **volume: object) -> Path:
    """Screen one series and give its output folder."""
    rule = DecisionRule("volumes", threshold=float(volume.pop("threshold", 0.9)))
    options = ScreeningOptions(volume=VolumeOptions(**{"window": "900/450", **volume}), rule=rule)
    code, entries = screen(location, output, BrightSpotScorer(), options)
    assert code is ExitCode.DONE, entries
    (folder,) = [path for path in output.iterdir() if path.is_dir()]
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "slices.csv").open() as stream:
        return list(csv.DictReader(stream))


def write_input(folder: Path, name: str) -> Path:
    """DICOM where it can be stored so, NIfTI otherwise."""
    if np.linalg.det(affines()[name]) > 0:
        return write_series(folder / "s", affine=affines()[name])
    return write_nifti(folder / "v.nii.gz", marked_voxels(), affines()[name])


def world_of_mark(name: str) -> np.ndarray:
    return (affines()[name] @ [*MARK, 1])[:3]


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("name", list(affines()))
def test_the_mark_lies_at_its_world_position_in_every_output(tmp_path: Path, name: str, plane: str) -> None:
    source = write_input(tmp_path / "in", name)
    folder = run(source, tmp_path / "out", plane=plane)
    expected = world_of_mark(name)
    for file in ("anomaly_map.nii.gz", "lesions.nii.gz"):
        image = nibabel.load(folder / file)
        assert image.shape == SHAPE
        index = np.unravel_index(np.asarray(image.dataobj).argmax(), SHAPE)
        assert tuple(int(i) for i in index) == MARK
        np.testing.assert_allclose((image.affine @ [*index, 1])[:3], expected, atol=1e-3)
        if name != "tilted":  # ITK knows no sheared images
            other = SimpleITK.ReadImage(str(folder / file))
            position = other.TransformIndexToPhysicalPoint(MARK)
            assert other.GetPixel(MARK) >= 0.9
            np.testing.assert_allclose(np.array(position) * [-1, -1, 1], expected, atol=1e-3)
    best = max(rows_of(folder), key=lambda row: float(row["score"]))
    np.testing.assert_allclose([float(best[f"peak_{axis}_mm"]) for axis in "xyz"], expected, atol=1e-3)
    assert [int(best[f"peak_{axis}"]) for axis in "ijk"] == list(MARK)


@pytest.mark.parametrize("name", ["lps", "ras", "oblique", "sagittal", "tilted"])
def test_the_seg_lies_on_the_same_voxels(tmp_path: Path, name: str) -> None:
    source = write_series(tmp_path / "s", affine=affines()[name])
    folder = run(source, tmp_path / "out")
    segmentation = highdicom.seg.segread(folder / "lesions_seg.dcm")
    assert segmentation.NumberOfFrames == SHAPE[2]
    headers = [pydicom.dcmread(file) for file in source.iterdir()]
    uids = [header.SOPInstanceUID for header in headers]
    masks = segmentation.get_pixels_by_source_instance(uids, segment_numbers=[1])[..., 0]
    for header, mask in zip(headers, masks, strict=True):
        np.testing.assert_array_equal(mask, header.pixel_array == 900)
    marked = np.array(segmentation.pixel_array).reshape(SHAPE[2], SHAPE[1], SHAPE[0])
    frame, row, column = (int(i) for i in np.unravel_index(marked.argmax(), marked.shape))
    groups = segmentation.PerFrameFunctionalGroupsSequence[frame]
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    rows, columns = (float(size) for size in shared.PixelMeasuresSequence[0].PixelSpacing)
    place = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
    place = place + cosines[:3] * columns * column + cosines[3:] * rows * row
    np.testing.assert_allclose(place * [-1, -1, 1], world_of_mark(name), atol=1e-3)
    if name != "tilted":
        image = SimpleITK.ReadImage(str(folder / "lesions_seg.dcm"))
        values = SimpleITK.GetArrayFromImage(image)
        z, y, x = (int(i) for i in np.unravel_index(values.argmax(), values.shape))
        np.testing.assert_allclose(
            np.array(image.TransformIndexToPhysicalPoint((x, y, z))) * [-1, -1, 1], world_of_mark(name), atol=1e-2
        )


def test_the_seg_of_an_enhanced_file_follows_its_frames(tmp_path: Path) -> None:
    order = [3, 0, 5, 1, 4, 2]
    source = write_enhanced(tmp_path / "e.dcm", affines()["oblique"], order=order)
    folder = run(source, tmp_path / "out")
    segmentation = highdicom.seg.segread(folder / "lesions_seg.dcm")
    volume = segmentation.get_volume(combine_segments=True)
    frame, row, column = (int(i) for i in np.unravel_index(volume.array.argmax(), volume.array.shape[:3]))
    position = (volume.affine @ [frame, row, column, 1])[:3] * [-1, -1, 1]
    np.testing.assert_allclose(position, world_of_mark("oblique"), atol=1e-3)
    assert int(volume.array.sum()) == 1
    assert rows_of(folder)[MARK[2]]["frame"] == str(order.index(MARK[2]) + 1)


def test_the_seg_of_one_part_of_an_enhanced_file(tmp_path: Path) -> None:
    source = write_enhanced(tmp_path / "e.dcm", affines()["lps"], order=list(range(6)))
    dataset = pydicom.dcmread(source)
    stranger = dataset.PerFrameFunctionalGroupsSequence[0]
    stranger.PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    dataset.save_as(source)
    options = ScreeningOptions(volume=VolumeOptions(window="900/450"), rule=DecisionRule("volumes", threshold=0.9))
    _, entries = screen(source, tmp_path / "out", BrightSpotScorer(), options)
    assert sorted(entry.status for entry in entries) == ["done with warnings", "skipped"]
    (path,) = (tmp_path / "out").rglob("lesions_seg.dcm")
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    frame, row, column = (int(i) for i in np.unravel_index(volume.array.argmax(), volume.array.shape[:3]))
    position = (volume.affine @ [frame, row, column, 1])[:3] * [-1, -1, 1]
    np.testing.assert_allclose(position, world_of_mark("lps"), atol=1e-3)


def test_a_zip_gives_what_its_folder_gives(tmp_path: Path) -> None:
    source = write_series(tmp_path / "s")
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for path in source.iterdir():
            archive.write(path, f"deep/{path.name}")
    from_folder, from_zip = run(source, tmp_path / "1"), run(tmp_path / "s.zip", tmp_path / "2")
    assert from_folder.name == from_zip.name
    for name in ("anomaly_map.nii.gz", "lesions.nii.gz", "slices.csv"):
        assert (from_folder / name).read_bytes() == (from_zip / name).read_bytes()
    assert (from_zip / "lesions_seg.dcm").exists()


def test_the_seg_passes_dciodvfy(tmp_path: Path) -> None:
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    folder = run(write_series(tmp_path / "s"), tmp_path / "out")
    answer = subprocess.run([checker, str(folder / "lesions_seg.dcm")], capture_output=True, text=True, check=False)
    assert "Error" not in answer.stdout + answer.stderr


@pytest.mark.parametrize("charset", ["", "NO_SUCH_SET", ["", "ISO 2022 IR 87"], "ISO_IR 100", "ISO_IR 192"])
def test_32_any_character_set_gives_a_valid_seg(tmp_path: Path, charset: object) -> None:
    source = write_series(tmp_path / "s")
    name = "M\u00fcller^J\u00f6rg" if str(charset).startswith("ISO_IR") else "Plain^Name"
    for path in source.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SpecificCharacterSet = charset if charset != "NO_SUCH_SET" else "ISO_IR 6"
        dataset.PatientName = name
        del dataset.SliceThickness
        dataset.save_as(path)
        if charset == "NO_SUCH_SET":
            path.write_bytes(path.read_bytes().replace(b"ISO_IR 6", b"ISO_IR X"))
    folder = run(source, tmp_path / "out")
    assert str(pydicom.dcmread(folder / "lesions_seg.dcm").PatientName) == name
    if shutil.which("dciodvfy"):
        answer = subprocess.run(
            ["dciodvfy", str(folder / "lesions_seg.dcm")], capture_output=True, text=True, check=False
        )
        assert "Error" not in answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("keyword", "value"), [("PatientBirthDate", "1912"), ("PatientBirthDate", "19121399"), ("PatientSex", "X")]
)
def test_32_patient_attributes_that_are_not_valid_stay_empty_in_the_seg(
    tmp_path: Path, keyword: str, value: str
) -> None:
    source = write_series(tmp_path / "s")
    for path in source.iterdir():
        with pydicom.config.disable_value_validation():
            dataset = pydicom.dcmread(path)
            setattr(dataset, keyword, value)
            dataset.save_as(path)
    folder = run(source, tmp_path / "out")
    seg = pydicom.dcmread(folder / "lesions_seg.dcm")
    assert seg.get(keyword) in ("", None)
    assert seg.PatientID == pydicom.dcmread(source / "f000.dcm").PatientID
    (warning,) = json.loads((folder / "report.json").read_text())["warnings"]
    assert f"no valid value of {keyword}" in warning["message"]
    assert value not in warning["message"]


def test_a_seg_that_cannot_be_made_does_not_cost_the_other_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AttributeError("SECRET")

    monkeypatch.setattr("anomalib_zsad.screening.dicom_results.write_segmentation", fail)
    folder = run(write_series(tmp_path / "s"), tmp_path / "out")
    report = json.loads((folder / "report.json").read_text())
    assert report["warnings"][0]["code"] == "no-dicom-object"
    assert "SECRET" not in json.dumps(report)
    assert not (folder / "lesions_seg.dcm").exists()
    assert (folder / "lesions.nii.gz").exists()


@pytest.mark.parametrize("kind", ["RGB", "no-seg-type", "nifti"])
def test_no_seg_where_none_can_be(tmp_path: Path, kind: str) -> None:
    if kind == "nifti":
        folder = run(write_nifti(tmp_path / "v.nii.gz", marked_voxels(), affines()["las"]), tmp_path / "out")
    elif kind == "no-seg-type":
        folder = run(write_series(tmp_path / "s"), tmp_path / "out", output_types=("nifti",))
    else:

        def strip(dataset: Dataset, index: int) -> None:
            del dataset.FrameOfReferenceUID

        folder = run(write_series(tmp_path / "s", edit=strip), tmp_path / "out")
    assert not (folder / "lesions_seg.dcm").exists()
    assert (folder / "anomaly_map.nii.gz").exists()


def test_seg_alone(tmp_path: Path) -> None:
    folder = run(write_series(tmp_path / "s"), tmp_path / "out", output_types=("dicom_seg",))
    assert (folder / "lesions_seg.dcm").exists()
    assert not list(folder.glob("*.nii.gz"))


def test_a_seg_without_findings_is_valid_and_empty(tmp_path: Path) -> None:
    folder = run(write_series(tmp_path / "s"), tmp_path / "out", window="9000/4500")
    segmentation = highdicom.seg.segread(folder / "lesions_seg.dcm")
    assert segmentation.NumberOfFrames == SHAPE[2]
    assert not segmentation.pixel_array.any()
    assert not np.asarray(nibabel.load(folder / "lesions.nii.gz").dataobj).any()
    if shutil.which("dciodvfy"):
        command = ["dciodvfy", str(folder / "lesions_seg.dcm")]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Error" not in answer.stdout + answer.stderr


def test_08_a_gap_stays_empty_and_the_rest_in_place(tmp_path: Path) -> None:
    source = write_series(tmp_path / "s", edit=lambda dataset, index: index != 2)
    folder = run(source, tmp_path / "out")
    image = nibabel.load(folder / "anomaly_map.nii.gz")
    assert image.shape == SHAPE
    values = np.asarray(image.dataobj)
    assert (values[:, :, 2] == 0).all()
    assert tuple(int(i) for i in np.unravel_index(values.argmax(), SHAPE)) == MARK
    assert [int(row["slice"]) for row in rows_of(folder)] == [0, 1, 3, 4, 5]
    report = json.loads((folder / "report.json").read_text())
    assert report["result"]["slots_without_slice"] == [2]
    assert highdicom.seg.segread(folder / "lesions_seg.dcm").NumberOfFrames == 5


def test_08_uneven_slices_are_written_in_even_parts(tmp_path: Path) -> None:
    depths = [0, 4, 8, 13.3, 18.6, 20.1]

    def move(dataset: Dataset, index: int) -> None:
        dataset.ImagePositionPatient[2] = 8 + depths[index]

    folder = run(write_series(tmp_path / "s", edit=move), tmp_path / "out")
    parts = [nibabel.load(path) for path in sorted(folder.glob("anomaly_map_part*.nii.gz"))]
    assert [part.shape[2] for part in parts] == [3, 2, 1]
    middle = np.asarray(parts[1].dataobj)
    index = np.unravel_index(middle.argmax(), middle.shape)
    position = (parts[1].affine @ [*index, 1])[:3]
    np.testing.assert_allclose(position, [31 - 1.5 * MARK[0], -17 - 1.25 * MARK[1], 8 + depths[4]], atol=1e-3)
    best = max(rows_of(folder), key=lambda row: float(row["score"]))
    assert float(best["z_mm"]) == pytest.approx(8 + depths[4])


def test_26_an_unknown_orientation_stays_as_it_is_and_has_no_millimetres(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "v.nii", marked_voxels(), None)
    content = bytearray(path.read_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    header["qform_code"] = header["sform_code"] = 0
    header["pixdim"][1:4] = 0, 2, 3
    content[:348] = header.binaryblock
    path.write_bytes(bytes(content))
    folder = run(path, tmp_path / "out")
    raw = gzip.decompress((folder / "lesions.nii.gz").read_bytes())
    written = nibabel.Nifti1Header(raw[:348], check=False)
    assert (int(written["qform_code"]), int(written["sform_code"])) == (0, 0)
    assert written["pixdim"][1:4].tolist() == [0, 2, 3]
    for row in rows_of(folder):
        assert row["area_mm2"] == row["x_mm"] == row["peak_x_mm"] == ""
        assert row["area_pixels"] != ""
    assert json.loads((folder / "report.json").read_text())["geometry"]["spacing_mm"] is None


def test_nifti_geometry_fields_are_the_inputs_own(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(marked_voxels(), affines()["oblique"])
    image.set_qform(affines()["oblique"], code=2)
    image.set_sform(affines()["oblique"], code=4)
    image.header.set_dim_info(slice=1)
    nibabel.save(image, tmp_path / "v.nii.gz")
    folder = run(tmp_path / "v.nii.gz", tmp_path / "out")
    for file in ("anomaly_map.nii.gz", "lesions.nii.gz"):
        written = nibabel.load(folder / file).header
        for field in ("pixdim", "qform_code", "sform_code", "quatern_b", "srow_x", "qoffset_z", "dim_info"):
            np.testing.assert_array_equal(
                written[field][:4] if field == "pixdim" else written[field],
                image.header[field][:4] if field == "pixdim" else image.header[field],
            )


def test_slices_table_and_report(tmp_path: Path) -> None:
    source = write_series(tmp_path / "s")
    folder = run(source, tmp_path / "out", std_map=True)
    rows = rows_of(folder)
    volume = only(source)
    assert len(rows) == SHAPE[2]
    marked = rows[MARK[2]]
    assert marked["sop_instance_uid"] == volume.slices[MARK[2]].sop_instance_uid
    assert marked["flagged"] == "true"
    assert float(marked["score"]) == pytest.approx(1)
    assert float(marked["score_std"]) == pytest.approx(0.1)
    assert int(marked["area_pixels"]) == 1
    assert float(marked["area_mm2"]) == pytest.approx(1.5 * 1.25)
    assert [row["flagged"] for row in rows].count("true") == 1
    report = json.loads((folder / "report.json").read_text())
    assert "research use only" in report["statement"]
    assert report["calibrated"] is False
    assert report["window"]["width"] == 900
    assert report["model"]["model"] == "BrightSpot"
    assert report["series_instance_uid"] == volume.series_instance_uid
    assert report["result"]["volume_score"] == pytest.approx(
        np.mean(sorted((float(row["score"]) for row in rows), reverse=True)[:5]), rel=1e-4
    )
    assert set(report["files"]) == {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {
        "report.json"
    }
    assert "PatientName" in report["privacy"]
    deviation = np.asarray(nibabel.load(folder / "anomaly_map_std.nii.gz").dataobj)
    heat = np.asarray(nibabel.load(folder / "anomaly_map.nii.gz").dataobj)
    np.testing.assert_allclose(deviation, 0.1 * heat, atol=2e-5)


@pytest.mark.parametrize("plane", ["native", "sagittal"])
@pytest.mark.parametrize(("map_type", "largest"), [("uint8", 2e-3), ("int16", 2e-5), ("float32", 0)])
def test_maps_are_stored_as_asked_and_decided_on_before(
    tmp_path: Path, plane: str, map_type: str, largest: float
) -> None:
    series = write_series(tmp_path / "s")
    exact, threshold = run(series, tmp_path / "exact", map_type="float32", plane=plane, std_map=True), 0.40001
    folder = run(series, tmp_path / "out", map_type=map_type, plane=plane, std_map=True, threshold=threshold)
    for name in ("anomaly_map", "anomaly_map_std"):
        image, wanted = nibabel.load(folder / f"{name}.nii.gz"), nibabel.load(exact / f"{name}.nii.gz").get_fdata()
        assert image.get_data_dtype() == np.dtype(map_type)
        assert wanted.max() > 0
        assert np.abs(image.get_fdata() - wanted).max() <= largest
        read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / f"{name}.nii.gz"))).T
        assert np.abs(read - wanted).max() <= largest
    marked = nibabel.load(exact / "anomaly_map.nii.gz").get_fdata() >= np.float32(threshold)
    assert np.array_equal(nibabel.load(folder / "lesions.nii.gz").get_fdata() > 0, marked)


def test_maps_are_stored_as_16_bits_unless_asked(tmp_path: Path) -> None:
    folder = run(write_series(tmp_path / "s"), tmp_path / "out")
    assert nibabel.load(folder / "anomaly_map.nii.gz").get_data_dtype() == np.int16


def test_previews_show_the_best_slices_in_true_proportions(tmp_path: Path) -> None:
    folder = run(write_series(tmp_path / "s"), tmp_path / "out", plane="coronal", previews=2)
    names = sorted(path.name for path in (folder / "previews").iterdir())
    assert len(names) == 2
    assert names[0] == f"rank01_slice{MARK[1]:04d}.png"
    width, height = Image.open(folder / "previews" / names[0]).size
    assert width / 2 / height == pytest.approx((12 * 1.5) / (6 * 4.0), rel=0.02)
    assert not (run(tmp_path / "s", tmp_path / "none", previews=0) / "previews").exists()


def test_30_blank_slices_get_a_row_but_no_model(tmp_path: Path) -> None:
    voxels = marked_voxels()
    voxels[:, :, :3] = -1000
    source = write_series(tmp_path / "s", voxels)
    scorer = BrightSpotScorer()
    options = ScreeningOptions(volume=VolumeOptions(window="900/450", batch_size=2))
    screen(source, tmp_path / "out", scorer, options)
    assert sum(shape[0] for shape in scorer.batches) == 3
    (folder,) = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert [row["blank"] for row in rows_of(folder)] == ["true"] * 3 + ["false"] * 3
    assert rows_of(folder)[0]["score"] == "0"
    whole = BrightSpotScorer()
    options = ScreeningOptions(volume=VolumeOptions(window="900/450", score_blank=True))
    screen(source, tmp_path / "out2", whole, options)
    assert sum(shape[0] for shape in whole.batches) == 6


def test_30_a_constant_volume_is_done_with_a_warning(tmp_path: Path) -> None:
    source = write_nifti(tmp_path / "v.nii.gz", np.full(SHAPE, 7, np.int16), make_affine(np.eye(3)))
    code, (entry,) = screen(source, tmp_path / "out", BrightSpotScorer())
    assert code is ExitCode.DONE
    assert entry.status == "done with warnings"
    assert entry.volume_score == 0
    assert "blank-slices" in entry.reason


def test_crop_and_neighbours_reach_the_report(tmp_path: Path) -> None:
    folder = run(write_series(tmp_path / "s"), tmp_path / "out", crop=True, channels="neighbours")
    report = json.loads((folder / "report.json").read_text())
    assert report["crop"] == {"rows": [0, 10], "columns": [0, 12]}
    assert report["channels"] == "neighbours"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"batch_size": 0}, "at least 1"),
        ({"output_types": ("png",)}, "not png"),
        ({"output_types": ()}, "not nothing"),
        ({"window": "head"}, "unknown window"),
    ],
)
def test_wrong_options_are_refused(wrong: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VolumeOptions(**wrong)


def test_31_a_preamble_is_never_copied_out(tmp_path: Path) -> None:
    source = write_series(tmp_path / "s")
    for path in source.iterdir():
        path.write_bytes(b"MZPAYLOAD".ljust(128, b"\x01") + path.read_bytes()[128:])
    options = ScreeningOptions(volume=VolumeOptions(window="900/450"))
    screen(source, tmp_path / "out", BrightSpotScorer(), options)
    (seg,) = (tmp_path / "out").rglob("lesions_seg.dcm")
    assert seg.read_bytes()[:128] == bytes(128)
    assert b"MZPAYLOAD" not in seg.read_bytes()


def test_35_burned_in_text_is_warned_of(tmp_path: Path) -> None:
    def burn(dataset: Dataset, index: int) -> None:
        dataset.BurnedInAnnotation = "YES"

    folder = run(write_series(tmp_path / "s", edit=burn), tmp_path / "out")
    warnings = json.loads((folder / "report.json").read_text())["warnings"]
    assert [warning["code"] for warning in warnings] == ["burned-in-annotation"]


def test_the_input_is_not_changed(tmp_path: Path) -> None:
    source = write_series(tmp_path / "s")
    before = {path: path.read_bytes() for path in source.iterdir()}
    run(source, tmp_path / "out")
    assert {path: path.read_bytes() for path in source.iterdir()} == before
