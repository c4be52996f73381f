"""Calibrating on volumes: whose they are, what is left out, and that scores are those of screening."""

import itertools
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from anomalib_zsad.calibration import Calibration, CalibrationMismatchError, TooFewNormalsError
from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.output_folder import OutputInUseError
from anomalib_zsad.screening.calibrate_volumes import calibrate_volumes
from anomalib_zsad.screening.normal_volumes import Normals, find_volumes, volumes_of_datamodule
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen
from anomalib_zsad.volumes.datasets.datamodule import VolumeDataModule
from anomalib_zsad.volumes.options import ReadingOptions
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.volume_builders import affines, write_nifti, write_series

AFFINE = affines()["lps"]
OPTIONS = VolumeOptions(window="900/450", pages=False)


def voxels(seed: int, brightest: int | None = None) -> np.ndarray:
    """A small volume whose brightest voxel depends on the seed."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 300, (12, 10, 4)).astype(np.int16)
    values[5, 5, seed % 4] = random.integers(300, 700) if brightest is None else brightest
    return values


def write_normals(folder: Path, number: int = 20, start: int = 0) -> Path:
    """NIfTI volumes of so many people."""
    for seed in range(start, start + number):
        write_nifti(folder / f"sub-{seed:02d}_scan.nii.gz", voxels(seed), AFFINE)
    return folder


def belongs_to(patient: str) -> Any:
    def edit(dataset: Dataset, index: int) -> None:
        dataset.PatientID = patient

    return edit


class Told(list[tuple[str, str]]):
    """What was left out."""

    def __call__(self, series: str, message: str) -> None:
        self.append((series, message))

    @property
    def messages(self) -> str:
        return " | ".join(message for _, message in self)


def found(folder: Path, patient: str | None = None) -> tuple[Normals, Told]:
    told = Told()
    return find_volumes(folder, ReadingOptions(), patient, told), told


def calibrate(normals: Normals, options: VolumeOptions = OPTIONS, **arguments: Any) -> Calibration:
    return calibrate_volumes(normals, BrightSpotScorer(), options, ReadingOptions(), **arguments)


@pytest.fixture(scope="module")
def normal_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_normals(tmp_path_factory.mktemp("normals"))


@pytest.fixture(scope="module")
def calibration(normal_folder: Path) -> Calibration:
    return calibrate(found(normal_folder)[0])


def screened(folder: Path, output: Path, rule: DecisionRule, **options: Any) -> tuple[ExitCode, list[Any]]:
    settings = {"volume": OPTIONS, "rule": rule, **options}
    return screen(folder, output, BrightSpotScorer(), ScreeningOptions(**settings))


# Scores and thresholds


@pytest.mark.parametrize("plane", ["native", "coronal"])
def test_scores_are_those_of_screening(normal_folder: Path, tmp_path: Path, plane: Any) -> None:
    options = VolumeOptions(window="900/450", plane=plane, top_k=2, batch_size=3, pages=False)
    made = calibrate(found(normal_folder)[0], options)
    code, entries = screened(normal_folder, tmp_path / "out", DecisionRule("volumes", made, 0.05), volume=options)
    assert code is ExitCode.DONE
    assert sorted(unit[0] for unit in made.scores["volume"]) == sorted(entry.volume_score for entry in entries)
    p_values = sorted(entry.volume_p_value for entry in entries)
    np.testing.assert_allclose(p_values, sorted((1 + rank) / 21 for rank in range(1, 21)))
    highest = []
    for entry in entries:
        rows = (tmp_path / "out" / entry.series / "slices.csv").read_text().splitlines()
        highest.append(max(float(row.split(",")[8]) for row in rows[1:]))
    np.testing.assert_allclose(sorted(unit[0] for unit in made.scores["mask"]), sorted(highest), atol=1e-6)
    shown = "axial" if plane == "native" else plane
    assert made.population == {"modality": {"": 20}, "window": {"custom": 20}, "plane": {shown: 20}}


def test_a_normal_volume_shows_a_lesion_exactly_where_it_reaches_the_mask_threshold(
    calibration: Calibration, tmp_path: Path
) -> None:
    threshold = calibration.threshold("mask", 0.05)
    bright = int(np.ceil(900 * np.sqrt(threshold))) + 1
    write_nifti(tmp_path / "in" / "above.nii.gz", voxels(100, bright), AFFINE)
    write_nifti(tmp_path / "in" / "below.nii.gz", voxels(100, bright - 3), AFFINE)
    rule = DecisionRule("volumes", calibration, 0.05)
    assert rule.standing == "calibrated"
    _, entries = screened(tmp_path / "in", tmp_path / "out", rule)
    reports = [json.loads((tmp_path / "out" / entry.series / "report.json").read_text()) for entry in entries]
    areas = []
    for entry in entries:
        header, *rows = (tmp_path / "out" / entry.series / "slices.csv").read_text().splitlines()
        column = header.split(",").index("area_pixels")
        areas.append(sum(int(row.split(",")[column]) for row in rows))
    assert areas == [1, 0]
    for report in reports:
        assert report["calibrated"]
        assert report["calibration"]["thresholds"]["mask"] == threshold
        assert report["calibration"]["sha256"] == calibration.sha256
        assert report["calibration"]["units"] == 20
        assert "at most 5 % are expected to show any lesion pixel" in report["calibration"]["statements"]["mask"]
        assert "uncalibrated" not in report["statement"]


# Whose they are


def test_patients_are_told_apart_by_their_dicom_id(tmp_path: Path) -> None:
    for number in range(23):
        folder = tmp_path / "in" / f"s{number}"
        write_series(
            folder, voxels(number), AFFINE, seed=str(number), edit=belongs_to(f"DOE^{number // 2 + 8 * (number > 19)}")
        )
    normals, _ = found(tmp_path / "in")
    assert normals.patients == 12
    with pytest.raises(TooFewNormalsError, match="23 volumes of 12 normal patients cannot calibrate; at least 20 pat"):
        calibrate(normals)


def test_volumes_of_one_patient_share_its_weight_and_leave_no_name(tmp_path: Path) -> None:
    for number in range(24):
        folder = tmp_path / "in" / f"s{number}"
        write_series(folder, voxels(number), AFFINE, seed=str(number), edit=belongs_to(f"DOE^{max(0, number - 4)}"))
    made = calibrate(found(tmp_path / "in")[0])
    assert made.units == 20
    assert sorted(len(unit) for unit in made.scores["volume"]) == [1] * 19 + [5]
    assert sorted(len(unit) for unit in made.scores["slice"]) == [4] * 19 + [20]
    made.save(tmp_path / "c.json")
    text = (tmp_path / "c.json").read_text()
    assert "DOE" not in text
    assert "1.2.826" not in text  # no UIDs
    assert str(tmp_path) not in text


def test_series_without_a_patient_are_left_out_and_an_expression_finds_one(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / "in" / f"p{number:02d}" / "s"
        write_series(folder, voxels(number), AFFINE, seed=str(number), edit=belongs_to(""))
    normals, told = found(tmp_path / "in")
    assert normals.left_out == {"no patient known": 20}
    assert "give --patient with an expression" in told.messages
    assert "p07" not in told.messages
    with pytest.raises(TooFewNormalsError, match=r"0 volumes of 0 normal patients.*Left out: no patient known: 20"):
        calibrate(normals)
    assert calibrate(found(tmp_path / "in", r"^(p\d+)/")[0]).units == 20
    assert found(tmp_path / "in", r"^p(\d)")[0].patients == 2


def test_an_archive_is_read_as_screening_reads_it(
    tmp_path: Path, normal_folder: Path, calibration: Calibration
) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in normal_folder.iterdir():
            archive.write(path, path.name)
    assert calibrate(found(tmp_path / "all.zip")[0]).sha256 == calibration.sha256


@pytest.mark.parametrize(("expression", "words"), [("(", "is no regular expression"), ("sub", "has no group")])
def test_expressions_that_are_none_are_errors(normal_folder: Path, expression: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        found(normal_folder, expression)


def test_many_slices_of_one_patient_calibrate_nothing(shared_data: Path) -> None:
    normals, _ = found(shared_data / "schwannoma_dicom")
    with pytest.raises(TooFewNormalsError, match=r"1 volume of 1 normal patient cannot calibrate.*one patient"):
        calibrate(normals)


# What is left out


def test_what_cannot_be_used_is_told_and_counted(tmp_path: Path) -> None:
    folder = write_normals(tmp_path / "in")
    (folder / "copy.nii.gz").write_bytes((folder / "sub-03_scan.nii.gz").read_bytes())
    (folder / "cut.nii.gz").write_bytes((folder / "sub-04_scan.nii.gz").read_bytes()[:200])
    write_nifti(folder / "blank.nii.gz", np.full((12, 10, 4), -1000, np.int16), AFFINE)
    write_nifti(folder / "mask.nii.gz", (voxels(5) > 200).astype(np.uint8), AFFINE)
    normals, told = found(folder)
    made = calibrate(normals)
    assert made.units == 20
    assert made.left_out == {
        "the same file as another": 1,
        "damaged-file": 1,
        "all slices are blank in this window": 1,
        "not-an-image": 1,
    }
    assert len(told) == 4
    assert all(series.startswith("series-") for series, _ in told)
    assert "sub-" not in told.messages


def test_volumes_of_several_kinds_are_refused_unless_one_is_chosen(tmp_path: Path) -> None:
    folder = write_normals(tmp_path / "in")
    sagittal = affines()["sagittal"]
    for seed in (50, 51):
        write_nifti(folder / f"other{seed}.nii.gz", voxels(seed), sagittal)
    with pytest.raises(ValueError, match=r"differ in plane \(sagittal: 2, axial: 20\).*--only plane=axial"):
        calibrate(found(folder)[0])
    made = calibrate(found(folder)[0], only={"plane": "axial"})
    assert (made.units, dict(made.left_out)) == (20, {"plane is sagittal": 2})
    code, entries = screened(folder, tmp_path / "out", DecisionRule("volumes", made, 0.05))
    assert code is ExitCode.SOME_REFUSED
    refused = [entry for entry in entries if entry.status == "refused"]
    assert len(refused) == 2
    assert (
        "unlike the volumes calibrated on: its plane is sagittal, and those calibrated on have axial"
        in refused[0].reason
    )


def test_a_failing_model_fails_every_volume_with_the_reason_and_no_patient_data(normal_folder: Path) -> None:
    normals, told = found(normal_folder)
    with pytest.raises(TooFewNormalsError, match=r"0 volumes of 0 normal patients.*Left out: failed: 20"):
        calibrate_volumes(normals, BrightSpotScorer(fail_after=0), OPTIONS, ReadingOptions())
    assert "unexpected RuntimeError" in told.messages
    assert "SECRET" not in told.messages


# Datamodules


def write_data_set(root: Path, *, normal: int, lesions: int, unlabelled: int = 0) -> Path:
    for seed in range(normal + lesions + unlabelled):
        write_nifti(root / "images" / f"case{seed:02d}.nii.gz", voxels(seed), AFFINE)
        if seed < normal + lesions:
            mask = np.zeros((12, 10, 4), np.uint8)
            mask[5, 5, seed % 4] = seed >= normal
            write_nifti(root / "masks" / f"case{seed:02d}.nii.gz", mask, AFFINE)
    return root


def test_a_datamodules_volumes_with_lesions_or_without_masks_are_left_out(
    tmp_path: Path, calibration: Calibration
) -> None:
    root = write_data_set(tmp_path, normal=20, lesions=3, unlabelled=2)
    told = Told()
    made = calibrate(volumes_of_datamodule(VolumeDataModule(root, window="900/450"), told))
    assert made.units == 20
    assert made.left_out == {"no mask, while others have one": 2, "its mask marks a lesion": 3}
    assert made.scores["volume"] == calibration.scores["volume"]
    assert set(made.cases) == set(calibration.cases)


def test_a_datamodules_patients_are_the_units(tmp_path: Path) -> None:
    root = write_data_set(tmp_path, normal=24, lesions=0)
    datamodule = VolumeDataModule(root, window="900/450", patient=r"case(\d)")
    with pytest.raises(TooFewNormalsError, match="24 volumes of 3 normal patients cannot calibrate"):
        calibrate(volumes_of_datamodule(datamodule, Told()))


# Use


def test_a_volume_that_was_calibrated_on_is_told(normal_folder: Path, calibration: Calibration, tmp_path: Path) -> None:
    _, entries = screened(normal_folder, tmp_path / "out", DecisionRule("volumes", calibration, 0.05))
    assert {entry.status for entry in entries} == {"done with warnings"}
    assert "its p-values are no evidence" in entries[0].findings[-1].message


def test_settings_that_differ_are_refused_before_anything_is_written(
    normal_folder: Path, calibration: Calibration, tmp_path: Path
) -> None:
    for change in ({"window": "brain"}, {"top_k": 2}, {"channels": "neighbours"}, {"crop": True}):
        options = VolumeOptions(**{"window": "900/450", **change})
        name, value = next(iter(change.items()))
        with pytest.raises(CalibrationMismatchError, match=f"screening.{name} was .* and is {value!r} now"):
            screened(normal_folder, tmp_path / "out", DecisionRule("volumes", calibration, 0.05), volume=options)
    assert not (tmp_path / "out").exists()


def test_a_run_is_not_resumed_with_another_calibration_or_rate(
    normal_folder: Path, calibration: Calibration, tmp_path: Path
) -> None:
    (one,) = itertools.islice(normal_folder.iterdir(), 1)
    screened(one, tmp_path / "out", DecisionRule("volumes", calibration, 0.05))
    for rule in (
        DecisionRule("volumes", calibration, 0.1),
        DecisionRule("volumes"),
        DecisionRule("volumes", calibration, 0.05, uncertainty=2),
    ):
        with pytest.raises(OutputInUseError, match=r"a run with other settings \(decisions\)"):
            screened(one, tmp_path / "out", rule, resume=True)
    again = screened(one, tmp_path / "out", DecisionRule("volumes", calibration, 0.05), resume=True)[1][0]
    assert again.volume_p_value is not None
    assert again.volume_decision in {"normal", "uncertain", "abnormal"}
    assert again.uncertain_slices is not None
