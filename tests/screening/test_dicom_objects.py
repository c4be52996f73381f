"""DICOM objects beside the SEG: at the right place, valid, about their source, the same for the same run."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.screening.options import OutputType, ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen
from tests.screening.bright_spot import BrightSpotScorer
from tests.screening.test_outputs import run, world_of_mark
from tests.volumes.volume_builders import (
    MARK,
    SHAPE,
    affines,
    make_affine,
    marked_voxels,
    write_enhanced,
    write_nifti,
    write_series,
)

OBJECTS = tuple(kind for kind in get_args(OutputType) if kind != "nifti")
CASES = {**affines(), "negated column cosine": make_affine(np.diag([-1.5, 1.25, -4.0]))}


def objects(folder: Path) -> dict[str, Dataset]:
    """Every DICOM object of a series' folder, by its name."""
    return {str(path.relative_to(folder)): pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))}


def items(dataset: Dataset, concept: str) -> list[Dataset]:
    """Content items of a structured report whose concept has this meaning, at any depth."""
    return [
        item
        for sequence in dataset.iterall()
        if sequence.keyword == "ContentSequence"
        for item in sequence.value
        if "ConceptNameCodeSequence" in item and item.ConceptNameCodeSequence[0].CodeMeaning == concept
    ]


def place_of_peak(parametric: Dataset) -> np.ndarray:
    """World position (RAS, mm) of the highest value of a Parametric Map, from its own geometry."""
    shape = int(parametric.NumberOfFrames), int(parametric.Rows), int(parametric.Columns)
    values = np.frombuffer(parametric.FloatPixelData, np.float32).reshape(shape)
    frame, row, column = (int(index) for index in np.unravel_index(values.argmax(), values.shape))
    shared = parametric.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    groups = parametric.PerFrameFunctionalGroupsSequence[frame]
    place = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
    return (place + cosines[:3] * between_columns * column + cosines[3:] * between_rows * row) * [-1, -1, 1]


def errors_of(path: Path) -> list[str]:
    """What dciodvfy finds wrong in an object."""
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    answer = subprocess.run([checker, str(path)], capture_output=True, text=True, check=False)
    return [line for line in answer.stderr.splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("name", ["lps", "oblique", "sagittal", "negated column cosine"])
@pytest.mark.parametrize("plane", ["native", "coronal"])
def test_the_mark_is_at_its_place_in_every_object(tmp_path: Path, name: str, plane: str) -> None:
    source = write_series(tmp_path / "s", affine=CASES[name])
    mark = (CASES[name] @ [*MARK, 1])[:3]
    made = objects(run(source, tmp_path / "out", output_types=OBJECTS, plane=plane))
    place = place_of_peak(made["anomaly_map.dcm"])
    np.testing.assert_allclose(place, mark, atol=1e-3)
    (outline,) = [item for item in items(made["report.dcm"], "Image Region") if item.ValueType == "SCOORD3D"]
    points = np.reshape(np.array(outline.GraphicData, float), (-1, 3)) * [-1, -1, 1]
    np.testing.assert_allclose(points[0], points[-1])
    np.testing.assert_allclose(points[:-1].mean(axis=0), mark, atol=0.1)
    (diameter,) = items(made["report.dcm"], "Long axis")
    edges = np.linalg.norm(CASES[name][:3, :3], axis=0)
    measured = float(diameter.MeasuredValueSequence[0].NumericValue)
    assert measured == pytest.approx(float(np.linalg.norm(edges)), abs=0.02)


def test_objects_of_an_enhanced_file(tmp_path: Path) -> None:
    order = [3, 0, 5, 1, 4, 2]
    source = write_enhanced(tmp_path / "e.dcm", affines()["oblique"], order=order)
    made = objects(run(source, tmp_path / "out", output_types=OBJECTS))
    np.testing.assert_allclose(place_of_peak(made["anomaly_map.dcm"]), world_of_mark("oblique"), atol=1e-3)
    (outline,) = [item for item in items(made["report.dcm"], "Image Region") if item.ValueType == "SCOORD3D"]
    points = np.reshape(np.array(outline.GraphicData, float), (-1, 3)) * [-1, -1, 1]
    np.testing.assert_allclose(points[:-1].mean(axis=0), world_of_mark("oblique"), atol=0.1)
    assert len([name for name in made if name.startswith("captures/")]) == SHAPE[2]


def test_every_object_is_valid(tmp_path: Path) -> None:
    sources = [write_series(tmp_path / "s"), write_enhanced(tmp_path / "e.dcm", affines()["lps"], order=[2, 0, 1])]
    for number, source in enumerate(sources):
        folder = run(source, tmp_path / f"out{number}", output_types=OBJECTS)
        for name in objects(folder):
            assert errors_of(folder / name) == [], name


def test_the_report_renders(tmp_path: Path) -> None:
    renderer, dumper = shutil.which("dsr2html"), shutil.which("dsrdump")
    if renderer is None or dumper is None:
        pytest.skip("dsr2html and dsrdump (Debian's dcmtk) are not installed")
    folder = run(write_series(tmp_path / "s"), tmp_path / "out", output_types=("structured_report",))
    answer = subprocess.run([renderer, str(folder / "report.dcm")], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "Region of the anomaly map above the threshold" in answer.stdout
    assert "7.5 mm3" in answer.stdout  # one voxel of 1.5 x 1.25 x 4 mm
    dumped = subprocess.run([dumper, str(folder / "report.dcm")], capture_output=True, text=True, check=True).stdout
    for words in ("Highest value of the anomaly map in the region", "Long axis", "Volume", "Number of regions above"):
        assert f'"{words}' in dumped
    assert "For research use only: not a medical device" in answer.stdout


def test_the_report_says_what_the_other_outputs_say(tmp_path: Path) -> None:
    folder = run(write_series(tmp_path / "s"), tmp_path / "out", output_types=OBJECTS)
    report, made = json.loads((folder / "report.json").read_text()), objects(folder)["report.dcm"]

    def value(concept: str) -> float:
        (item,) = items(made, concept)
        return float(item.MeasuredValueSequence[0].NumericValue)

    assert value("Anomaly score, 0 normal to 1 abnormal") == pytest.approx(report["result"]["volume_score"], abs=1e-5)
    assert value("Number of regions above the threshold") == report["result"]["regions"]["count"] == 1
    assert value("Volume") == pytest.approx(report["result"]["regions"]["volume_mm3"], abs=0.01)
    assert not items(made, "Decision at the threshold")  # no decision without a calibration
    assert not items(made, "Conformal p-value among normal cases")


@pytest.mark.parametrize(
    ("threshold", "told"),
    [(None, "Map at or above 0.5; arbitrary, not calibrated"), (0.7, "Map at or above 0.7; chosen, not calibrated")],
)
def test_a_segmentation_says_what_its_threshold_is_worth(
    tmp_path: Path, threshold: float | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, rule = write_series(tmp_path / "s"), DecisionRule("volumes", threshold=threshold)
    options = ScreeningOptions(volume=VolumeOptions(window="900/450"), rule=rule)
    screen(source, tmp_path / "out", BrightSpotScorer(), options)
    (made,) = [pydicom.dcmread(path) for path in (tmp_path / "out").glob("*/*.dcm")]
    (segment,) = made.SegmentSequence
    assert made.ContentDescription == segment.SegmentDescription == told
    assert segment.SegmentLabel == "Anomaly, uncalibrated"
    assert made.SeriesDescription.startswith("Anomaly, uncalibrated (")
    assert len(made.SeriesDescription) <= 64
    monkeypatch.setattr(DecisionRule, "standing", "calibrated")
    screen(source, tmp_path / "judged", BrightSpotScorer(), options)
    (made,) = [pydicom.dcmread(path) for path in (tmp_path / "judged").glob("*/*.dcm")]
    assert made.SegmentSequence[0].SegmentLabel == "Anomaly"


def test_every_object_refers_to_its_source_and_says_what_it_is_for(tmp_path: Path) -> None:
    source = write_series(tmp_path / "s")
    headers = [pydicom.dcmread(path) for path in source.iterdir()]
    instances = {header.SOPInstanceUID for header in headers}
    made = objects(run(source, tmp_path / "out", output_types=OBJECTS))
    series: dict[str, set[str]] = {}
    for name, one in made.items():
        assert one.StudyInstanceUID == headers[0].StudyInstanceUID
        assert one.PatientID == headers[0].PatientID
        assert "research use only" in one.SeriesDescription
        assert one.ManufacturerModelName == "BrightSpot"
        referred = {str(item.value) for item in one.iterall() if item.keyword == "ReferencedSOPInstanceUID"}
        assert referred & instances, name
        assert one.SOPInstanceUID not in instances
        series.setdefault(str(one.SeriesInstanceUID), set()).add(name.partition("/")[0])
    assert sorted(map(sorted, series.values())) == [
        ["anomaly_map.dcm"],
        ["captures"],
        ["key_slices.dcm"],
        ["lesions_seg.dcm"],
        ["report.dcm"],
    ]
    assert len({one.SOPInstanceUID for one in made.values()}) == len(made)


IDENTITY = {
    "PatientName": "M\u00fcller^J\u00f6rg",
    "PatientID": "4711",
    "IssuerOfPatientID": "CLINIC",
    "PatientBirthDate": "19121212",
    "PatientSex": "F",
    "StudyDate": "20260131",
    "StudyTime": "081530.25",
    "AccessionNumber": "A-0815",
    "ReferringPhysicianName": "Sch\u00e4fer^Eva",
    "StudyID": "7",
    "StudyDescription": "Sch\u00e4del nativ",
}


def test_every_object_says_of_patient_and_study_what_its_source_says(tmp_path: Path) -> None:
    source = write_series(tmp_path / "s")
    for path in source.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SpecificCharacterSet = "ISO_IR 100"
        for keyword, value in IDENTITY.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    folder = run(source, tmp_path / "out", output_types=OBJECTS)
    made = objects(folder)
    assert len(made) == 4 + SHAPE[2]
    for name, one in made.items():
        assert {keyword: str(one.get(keyword)) for keyword in IDENTITY} == IDENTITY, name
        assert errors_of(folder / name) == [], name


@pytest.mark.parametrize(("keyword", "value"), [("StudyDate", "1912"), ("StudyTime", "2570"), ("AccessionNumber", "")])
def test_what_is_not_valid_of_the_study_stays_empty(tmp_path: Path, keyword: str, value: str) -> None:
    source = write_series(tmp_path / "s")
    for path in source.iterdir():
        with pydicom.config.disable_value_validation():
            dataset = pydicom.dcmread(path)
            setattr(dataset, keyword, value)
            dataset.save_as(path)
    folder = run(source, tmp_path / "out", output_types=OBJECTS)
    assert all(one[keyword].value in ("", None) for one in objects(folder).values())
    warnings = json.loads((folder / "report.json").read_text())["warnings"]
    assert [f"no valid value of {keyword}" in warning["message"] for warning in warnings] == [True] * bool(value)


def test_the_same_run_makes_the_same_objects_and_another_one_others(tmp_path: Path) -> None:
    source = write_series(tmp_path / "s")

    def uids(folder: Path) -> list[set[str]]:
        return [{str(item.value) for item in one.iterall() if item.VR == "UI"} for one in objects(folder).values()]

    first, again = (uids(run(source, tmp_path / name, output_types=OBJECTS)) for name in ("1", "2"))
    assert first == again
    other = objects(run(source, tmp_path / "3", output_types=OBJECTS, threshold=0.8))
    assert all(one.SOPInstanceUID not in set().union(*first) for one in other.values())


def test_captures_show_the_slices_with_their_words(tmp_path: Path) -> None:
    made = objects(run(write_series(tmp_path / "s"), tmp_path / "out", output_types=("secondary_capture",)))
    assert list(made) == [f"captures/slice{index:04d}.dcm" for index in range(SHAPE[2])]
    assert [one.InstanceNumber for one in made.values()] == list(range(1, SHAPE[2] + 1))
    marked = made[f"captures/slice{MARK[2]:04d}.dcm"].pixel_array
    cyan = (marked == [0, 255, 255]).all(axis=-1)
    assert cyan.any()
    assert not any((one.pixel_array == [0, 255, 255]).all(axis=-1).any() for one in list(made.values())[: MARK[2]])
    assert list(made["captures/slice0000.dcm"].PatientOrientation) == ["L", "P"]
    assert (marked[-30:] > 200).all(axis=-1).any()  # the words


def test_the_pdf_is_one(tmp_path: Path) -> None:
    (one,) = objects(run(write_series(tmp_path / "s"), tmp_path / "out", output_types=("pdf",))).values()
    document = one.EncapsulatedDocument[: one.EncapsulatedDocumentLength]
    assert document.startswith(b"%PDF-")
    assert document.rstrip().endswith(b"%%EOF")
    reader = shutil.which("pdftotext")
    if reader is not None:
        (tmp_path / "a.pdf").write_bytes(document)
        said = subprocess.run([reader, str(tmp_path / "a.pdf"), "-"], capture_output=True, text=True, check=True).stdout
        assert "For research use only: not a medical device, not for diagnosis" in " ".join(said.split())
        assert "does not rule out a lesion" in said


@pytest.mark.parametrize(
    ("kind", "function", "file"),
    [
        ("parametric_map", "write_parametric_map", "anomaly_map.dcm"),
        ("structured_report", "write_report", "report.dcm"),
        ("pdf", "write_pdf", "key_slices.dcm"),
        ("secondary_capture", "write_capture", "captures"),
    ],
)
def test_an_object_that_cannot_be_made_does_not_cost_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, function: str, file: str
) -> None:
    from anomalib_zsad.screening import dicom_results

    work: Callable = getattr(dicom_results, function)

    def fail(path: Path, *arguments: object) -> None:
        if "0003" in path.name or kind != "secondary_capture":
            raise AttributeError("SECRET")
        work(path, *arguments)

    monkeypatch.setattr(dicom_results, function, fail)
    folder = run(write_series(tmp_path / "s"), tmp_path / "out", output_types=OBJECTS)
    report = json.loads((folder / "report.json").read_text())
    assert [warning["code"] for warning in report["warnings"]] == ["no-dicom-object"]
    assert "SECRET" not in json.dumps(report)
    assert not (folder / file).exists()
    assert not any(name.startswith(file) for name in report["files"])
    assert len(list(folder.glob("*.dcm"))) == (4 if kind == "secondary_capture" else 3)


def test_what_is_no_dicom_gets_no_dicom(tmp_path: Path) -> None:
    volume = write_nifti(tmp_path / "v.nii.gz", marked_voxels(), affines()["las"])
    folder = run(volume, tmp_path / "out", output_types=get_args(OutputType))
    assert not objects(folder)
    assert (folder / "anomaly_map.nii.gz").exists()
