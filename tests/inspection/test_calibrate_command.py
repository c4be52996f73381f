"""`anomalib-zsad calibrate` on images: whose they are, what they show, and options that would do nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.cli import main
from anomalib_zsad.outputs.exit_codes import ExitCode
from tests.models.small import write_backbone
from tests.models.tester import CLIP, SIDE


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Words of a command line that name a small model whose answers depend on class names."""
    given = {**write_backbone(tmp_path_factory.mktemp("clip"), 20, CLIP), "image_size": SIDE, "num_samples": 2}
    words = [word for key, value in given.items() for word in (f"--model.{key}", str(value))]
    return ["--model", "BayesPFL", "--allow-untrained", *words]


def save(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(path)
    return path


def of_patients(folder: Path, patients: int, images: int) -> Path:
    for patient in range(patients):
        for number in range(images):
            save(folder / f"P{patient:02}_{number}.png", 100 * patient + number)
    return folder


def calibrate(source: object, output: Path, *words: str) -> int:
    return main(["calibrate", "-i", str(source), "-o", str(output), *words])


# Patients


def test_images_of_one_patient_are_one_unit(model: list[str], tmp_path: Path, capsys: Any) -> None:
    source = of_patients(tmp_path / "in", 21, 2)
    save(source / "unknown.png", 7)
    assert calibrate(source, tmp_path / "c.json", *model, "--patient", r"^(P\d+)_") == ExitCode.DONE
    made = Calibration.load(tmp_path / "c.json")
    assert (made.units, {len(unit) for unit in made.scores["image"]}) == (21, {2})
    assert made.left_out == {"no patient known": 1}
    told = " ".join(capsys.readouterr().out.split())
    assert "left out: no patient known (1)" in told
    assert "10 % needs 9 patients." in told
    assert "Of images of normal patients like the 21 calibrated on" in told
    assert "P00" not in (tmp_path / "c.json").read_text()


def test_few_patients_with_many_images_calibrate_nothing(model: list[str], tmp_path: Path, capsys: Any) -> None:
    source = of_patients(tmp_path / "in", 5, 6)
    assert calibrate(source, tmp_path / "c.json", *model, "--patient", r"(P\d+)_") == ExitCode.USAGE
    assert "30 normal images of 5 patients cannot calibrate; at least 20 are needed" in capsys.readouterr().err
    of_set = f"FolderTree:{of_patients(tmp_path / 'set' / 'part' / 'good', 5, 6).parents[1]}"
    assert calibrate(of_set, tmp_path / "c.json", *model, "--patient", r"/(P\d+)_") == ExitCode.USAGE
    assert "30 normal images of 5 patients cannot calibrate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("P", "the patient expression 'P' has no group in parentheses"),
        ("(", "the patient expression '(' is no regular expression"),
        (r"(X\d)_", r"the patient expression '(X\\d)_' finds a patient in the name of no image"),
    ],
)
def test_an_expression_that_finds_no_patient_is_refused(
    model: list[str], tmp_path: Path, capsys: Any, expression: str, words: str
) -> None:
    source = of_patients(tmp_path / "in", 20, 1)
    assert calibrate(source, tmp_path / "c.json", *model, "--patient", expression) == ExitCode.USAGE
    assert words in capsys.readouterr().err


# Class names


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_a_data_sets_class_name_is_the_models_by_every_engine(
    model: list[str], tmp_path: Path, engine: str, capsys: Any
) -> None:
    for seed in range(20):
        save(tmp_path / "set" / "bottle" / "good" / f"{seed}.png", seed)
    words = ["--engine", engine, *(["--engine-cache", str(tmp_path / "engines")] if engine != "torch" else [])]
    target = f"FolderTree:{tmp_path / 'set'}"
    assert calibrate(target, tmp_path / "c.json", *model, *words) == ExitCode.DONE, capsys.readouterr().err
    assert Calibration.load(tmp_path / "c.json").fingerprint["model.class_name"] == "bottle"
    if engine == "torch":
        named = ["--class-name", "glass bottle"]
        assert calibrate(target, tmp_path / "named.json", *model, *named) == ExitCode.DONE
        made = Calibration.load(tmp_path / "named.json")
        assert made.fingerprint["model.class_name"] == "glass bottle"
        assert made.population == {"class_name": {"glass bottle": 20}}


# Options without effect


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--only", "plane=axial"], "--only goes with volumes"),
        (["--plane", "axial"], "--plane goes with volumes"),
        (["--window", "brain", "--top-k", "3"], "--window, --top-k go with volumes"),
        (["--modality", "CT"], "--modality goes with volumes"),
        (["--max-volume-gib", "1"], "--max-volume-gib goes with volumes"),
        (["--category", "bolt"], "--category goes with a data set"),
    ],
)
def test_options_that_do_nothing_for_images_are_refused(
    tmp_path: Path, capsys: Any, options: list[str], words: str
) -> None:
    source = save(tmp_path / "in" / "a.png", 0).parent
    assert calibrate(source, tmp_path / "c.json", "--allow-untrained", *options) == ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_options_that_do_nothing_for_volumes_and_data_sets_are_refused(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.nii.gz").write_bytes(b"")
    for source, options, words in (
        (tmp_path / "in", ["--category", "bolt"], "--category goes with a data set of images"),
        (f"VolumeDataModule:{tmp_path}", ["--category", "bolt"], "--category goes with a data set of images"),
        (f"FolderTree:{tmp_path}", ["--kind", "volumes"], "--kind says what a folder holds"),
        (f"FolderTree:{tmp_path}", ["--plane", "axial"], "--plane goes with volumes"),
    ):
        assert calibrate(source, tmp_path / "c.json", "--allow-untrained", *options) == ExitCode.USAGE
        assert words in capsys.readouterr().err
