"""`anomalib-zsad evaluate` on volumes, and with calibrations, with real models on the demo backbone."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from anomalib_zsad.calibration import Calibration, CalibrationMismatchError, image_fingerprint
from anomalib_zsad.cli import main
from anomalib_zsad.evaluation import subject
from anomalib_zsad.evaluation.evaluate import Subject, evaluate
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.evaluation.subject import build_subject
from anomalib_zsad.evaluation.targets import parse_target
from anomalib_zsad.scoring.model_scorer import ModelScorer
from anomalib_zsad.screening.options import VolumeOptions, volume_fingerprint
from tests.evaluation.evaluation_samples import write_tree
from tests.evaluation.volumes.volume_samples import write_phantoms

MODEL = {"backbone": "demo", "num_samples": 2}
ARGUMENTS = ("--allow-untrained", "--model.backbone", "demo", "--model.num_samples", "2", "--device", "cpu")


def call(*arguments: object) -> int:
    return main(["evaluate", *ARGUMENTS, *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def built() -> Subject:
    return build_subject(None, "BayesPFL", MODEL, device="cpu")


@pytest.fixture
def ready(built: Subject, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """The model, which the command does not build again."""
    monkeypatch.setattr(subject, "build_subject", lambda *_: built)
    return built


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two volumes with a lesion and two without, and one that is damaged."""
    root = write_phantoms(tmp_path_factory.mktemp("phantoms"), 2, 2)
    image = root / "images" / "brain_mr_damaged.nii.gz"
    image.write_bytes(next((root / "images").glob("*lesion*")).read_bytes()[:3000])
    (root / "masks" / image.name).write_bytes(next((root / "masks").glob("*lesion*")).read_bytes())
    return root


def volume_calibration(built: Subject, level: float, class_name: str = "brain") -> Calibration:
    """Forty made-up normal patients, for this model."""
    description = ModelScorer(built.module, "cpu", class_name).describe()
    scores = tuple((float(value),) for value in np.linspace(0, level, 40, dtype=np.float32))
    fingerprint = volume_fingerprint(description, VolumeOptions())
    return Calibration("volumes", dict.fromkeys(("volume", "slice", "mask"), scores), fingerprint)


def test_phantoms_from_files_to_reports(
    ready: Subject, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    volume_calibration(ready, 0.3).save(tmp_path / "normal.json")
    target = f"phantoms=VolumeDataModule:{phantoms}?class_name=brain&modality=MR"
    options = ("-i", target, "--output", tmp_path / "out", "--batch-size", 8)
    options += ("--calibration", tmp_path / "normal.json", "--false-alarm-rate", 0.1)
    assert call(*options) == 0
    printed = capsys.readouterr()
    assert "volumes scored: 4, volumes with a lesion: 2, patients: 4" in printed.out
    assert "1 of 5 volumes failed" in printed.out
    content = json.loads((tmp_path / "out" / "readers.json").read_text())
    (one,) = content["sets"]
    assert one["calibration"]["false_alarm_rate"] == 0.1
    assert content["provenance"]["false-alarm rate"] == 0.1
    assert one["counts"]["slices"] == 4 * 28
    figures = one["figures"]
    for name in ("normal volumes flagged by their score", "normal volumes with any marked voxel"):
        assert figures["calibrated"][name]["of"] == 2
    assert figures["volumes"]["AUROC"]["few"] == "patients: 2 with a lesion, 2 without (percentages need 5 of each)"
    with (tmp_path / "out" / "volumes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["status"] for row in rows].count("failed") == 1
    assert not any("brain_mr" in row["volume"] + row["reason"] for row in rows)
    assert sorted(row["abnormal"] for row in rows) == ["", "false", "false", "true", "true"]
    table = json.loads((tmp_path / "out" / "results.json").read_text())["results"][0]
    assert table["images"] == 4 * 28
    assert table["metrics"]["image_AUROC"] == pytest.approx(figures["slices"]["AUROC"]["value"])
    assert call(*options, "--resume") == 0
    assert (
        "phantoms / brain (deployable, seed 0): found done" not in capsys.readouterr().err
    )  # a failure is tried again
    again = json.loads((tmp_path / "out" / "readers.json").read_text())
    assert again == content
    # Further figures are made of what is kept: nothing is scored again.
    further = ("--lesion-figures", "iou", "panoptic", "--lesion-regions", "calibrated", "--min-overlap", 0.2)
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npz")}
    capsys.readouterr()
    assert call(*options, *further, "--resume") == 0
    printed = capsys.readouterr().out
    assert "Lesions overlapped (intersection over union)" in printed
    assert "Panoptic quality" in printed
    (asked,) = json.loads((tmp_path / "out" / "readers.json").read_text())["sets"]
    assert asked["lesion_rules"] == {
        "lesion_figures": ["iou", "panoptic"],
        "min_overlap": 0.2,
        "lesion_regions": "calibrated",
    }
    assert set(asked["figures"]) - set(figures) == {"lesions by iou", "panoptic"}
    assert set(asked["froc_by_overlap"]) == {"iou"}
    with (tmp_path / "out" / "lesions.csv").open() as stream:
        assert {"overlap_iou", "score_iou"} <= set(next(csv.DictReader(stream)))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npz")} == stored
    assert call(*options[:-4], "--resume") == 2
    assert "was made by another model, of other images or with other settings" in capsys.readouterr().err


def test_published_protocol_has_no_figures_for_readers(ready: Subject, phantoms: Path, tmp_path: Path) -> None:
    good = tmp_path / "data"
    for folder in ("images", "masks"):
        (good / folder).mkdir(parents=True)
        for path in (phantoms / folder).glob("*_100.nii.gz"):
            (good / folder / path.name).write_bytes(path.read_bytes())
    assert (
        call("-i", f"VolumeDataModule:{good}?class_name=brain", "--protocol", "paper", "--output", tmp_path / "out")
        == 0
    )
    assert not (tmp_path / "out" / "readers.json").exists()
    notes = json.loads((tmp_path / "out" / "results.json").read_text())["results"][0]["notes"]
    assert any("no figures for readers" in note for note in notes)


def test_calibration_that_does_not_fit_is_refused_before_anything_is_scored(
    ready: Subject, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    target = f"VolumeDataModule:{phantoms}?class_name=brain"
    tree = write_tree(tmp_path / "parts", ["bolt"])
    volume_calibration(ready, 0.3, "liver").save(tmp_path / "liver.json")
    volume_calibration(ready, 0.3).save(tmp_path / "brain.json")
    cases: list[tuple[tuple[object, ...], str]] = [
        (("-i", target, "--calibration", tmp_path / "liver.json"), "class_name was 'liver' and is 'brain' now"),
        (("-i", f"{target}&window=80/40", "--calibration", tmp_path / "brain.json"), "window was 'auto' and is"),
        (
            ("-i", tree, "--calibration", tmp_path / "brain.json"),
            "the calibration is of volumes, and parts / bolt",
        ),
        (("-i", target, "--calibration", tmp_path / "none.json"), "there is no calibration at"),
        (("-i", target, "--false-alarm-rate", 0.1), "--false-alarm-rate needs a --calibration"),
        (("-i", target, "--calibration", tmp_path / "brain.json", "--false-alarm-rate", 0.01), "at least 99"),
        (("-i", target, "--calibration", tmp_path / "brain.json", "--seed", 0, 1), "goes with one checkpoint"),
        (("-i", target, "--calibration", tmp_path / "brain.json", "--protocol", "paper"), "goes with --protocol"),
    ]
    lesions = ("--lesion-figures", "iou")
    cases += [
        (("-i", tree, *lesions), "--lesion-figures is for volumes under --protocol deployable, and there are none"),
        (
            ("-i", target, *lesions, "--protocol", "paper"),
            "--lesion-figures is for volumes under --protocol deployable",
        ),
        (("-i", target, *lesions, "--lesion-regions", "calibrated"), "calibrated regions of lesions need a --calib"),
        (("-i", target, *lesions, "--min-overlap", 1.5), "the least overlap is above 0 and at most 1, not 1.5"),
    ]
    cases.append((("-i", f"{target}&window=foggy"), "unknown window 'foggy'"))
    cases.append((("-i", f"{target}&train_share=2"), "shares of patients"))
    cases.append(
        (
            ("-i", f"{target}&plane=oblique"),
            "must be one of native, axial, coronal, sagittal, and is 'oblique'",
        )
    )
    cases.append((("-i", f"{target}&images=scans/*"), "no layout fits"))
    for arguments, message in cases:
        assert call(*arguments, "--output", tmp_path / "out") == 2, message
        assert message in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.npz"))


def test_images_are_judged_by_a_calibration_of_images(
    ready: Subject, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tree = write_tree(tmp_path / "parts", ["bolt"])
    scores = tuple((float(value),) for value in np.linspace(0, 1e-6, 40, dtype=np.float32))
    levels = {"image": scores, "mask": scores}
    Calibration("images", levels, image_fingerprint(ready.module, "bolt")).save(tmp_path / "bolt.json")
    Calibration("images", levels, image_fingerprint(ready.module, "nut")).save(tmp_path / "nut.json")
    options = ("-i", tree, "--output", tmp_path / "out")
    assert call(*options, "--calibration", tmp_path / "nut.json") == 2
    assert "class_name was 'nut' and is 'bolt' now" in capsys.readouterr().err
    assert call(*options, "--calibration", tmp_path / "bolt.json") == 0
    assert "normal images flagged by their score: 100.0 % (29.2 to 100.0) [3 of 3]" in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "results.json").read_text())["results"][0]
    assert result["calibrated"]["normal images with any marked pixel"]["of"] == 3
    assert call(*options, "--calibration", tmp_path / "bolt.json", "--resume") == 0
    assert "found done" in capsys.readouterr().err
    assert "[3 of 3]" in (tmp_path / "out" / "results.md").read_text()


def test_subject_without_its_module_is_evaluated_slice_by_slice(built: Subject, phantoms: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    target = parse_target(
        f"VolumeDataModule:{phantoms}?class_name=brain&images=images/*_100.nii.gz&masks=masks/*_100.nii.gz"
    )
    without = evaluate([replace(built, module=None)], [target], tmp_path / "a", Settings(batch_size=8))
    (slices,) = without.results
    assert without.volume_sets == []
    assert "no figures for readers" in slices.notes[0]
    settings = Settings(calibration=volume_calibration(built, 0.3))
    with pytest.raises(CalibrationMismatchError, match="the Lightning module, which the subject does not bring"):
        evaluate([replace(built, module=None)], [target], tmp_path / "c", settings)
    evaluation = evaluate([built], [target], tmp_path / "b", Settings(batch_size=8))
    (volumes,) = evaluation.results
    assert len(evaluation.volume_sets) == 1
    assert volumes.images == slices.images
    for name, value in slices.metrics.items():
        assert volumes.metrics[name] == pytest.approx(value, abs=0.05), (
            name
        )  # the images are rounded to 8 bits, which swaps ranks


def test_real_volumes_of_one_class(ready: Subject, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "ms_lesions_nifti"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    query = "images=*_flair.nii.gz&masks=*_lesions.nii.gz&class_name=brain&modality=MR"
    assert call("-i", f"ms=VolumeDataModule:{folder}?{query}", "--output", tmp_path / "out", "--batch-size", 8) == 0
    (one,) = json.loads((tmp_path / "out" / "readers.json").read_text())["sets"]
    assert (one["counts"]["volumes scored"], one["counts"]["slices with a lesion"]) == (2, 74 + 87)
    assert one["figures"]["volumes"]["AUROC"]["note"] == "only abnormal ones"
    assert one["counts"]["lesions"] == sum(row["lesions"] for row in one["recall_by_size"])
    with (tmp_path / "out" / "lesions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert all(float(row["volume_mm3"]) == int(row["voxels"]) for row in rows)  # voxels of 1 mm
