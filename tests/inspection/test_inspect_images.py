"""Inspecting folders of images: scores, decisions, unreadable files, interrupts, calibration, the command."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_zsad.calibration import Calibration, CalibrationMismatchError, TooFewNormalsError
from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.cli import main
from anomalib_zsad.inspection import journal as journals
from anomalib_zsad.inspection.find_images import find_images
from anomalib_zsad.inspection.inspect_images import inspect_images
from anomalib_zsad.inspection.journal import Journal
from anomalib_zsad.inspection.options import InspectionOptions
from anomalib_zsad.outputs.disk_errors import DiskError
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.output_folder import OutputInUseError
from anomalib_zsad.scoring.image_scorer import ModelImageScorer
from tests.data.broken_pictures import png_whose_profile_is_cut_off
from tests.inspection.bright_image import BrightImageScorer

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data" / "industrial" / "washer"


def write_images(folder: Path, count: int = 12) -> Path:
    """Grey images that grow brighter, of several sizes and kinds, in folders."""
    for number in range(count):
        place = folder / f"line{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        value = 20 + 19 * number
        picture = np.full((20 + number, 30), value, np.uint8)
        Image.fromarray(picture).save(place / f"part{number:02d}.{'png' if number % 2 else 'jpg'}")
    return folder


def rows_of(output: Path) -> list[dict[str, str]]:
    with (output / "images.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_calibration(path: Path | None = None, units: int = 39) -> Calibration:
    """Normal images score up to 0.4."""
    scores = tuple((float(value),) for value in np.linspace(0.05, 0.4, units))
    calibration = Calibration("images", {"image": scores, "mask": scores}, {"model.model": "BrightImage"})
    if path is not None:
        calibration.save(path)
    return calibration


def shown(folder: Path) -> list[str]:
    """Names of what lies openly in a folder."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_every_image_is_scored_and_sorted(tmp_path: Path) -> None:
    options = InspectionOptions(DecisionRule("images", threshold=0.5), batch_size=5)
    records = inspect_images(write_images(tmp_path / "in"), tmp_path / "out", BrightImageScorer(), options).records
    rows = rows_of(tmp_path / "out")
    assert [row["image"] for row in rows] == [record.image for record in records]
    assert len(rows) == 12
    assert rows[0]["image"] == "line2/part11.png"
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx((20 + 19 * 11) / 255, abs=0.01)
    assert (rows[0]["width"], rows[0]["height"]) == ("30", "31")
    assert rows[0]["p_value"] == ""
    assert {row["decision"] for row in rows} == {"abnormal", "uncertain", "normal"}
    assert all((row["flagged"] == "true") == (float(row["score"]) >= 0.5) for row in rows)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["files"] == ["images.csv", "report.html"]
    assert report["calibrated"] is False
    assert report["thresholds"] == {"image": 0.5, "mask": 0.5}
    assert sum(report["counts"].values()) == report["images"] == 12
    assert shown(tmp_path / "out") == ["images.csv", "report.html", "report.json", "run.json"]


def test_nothing_is_decided_without_a_threshold_or_a_calibration(tmp_path: Path) -> None:
    inspect_images(write_images(tmp_path / "in"), tmp_path / "out", BrightImageScorer())
    assert {(row["decision"], row["flagged"]) for row in rows_of(tmp_path / "out")} == {("", "")}
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["thresholds"] == {"image": None, "mask": 0.5}
    assert (report["flagged"], report["counts"]) == (None, {"unreadable": 0})
    assert report["statement"] == "Nothing is decided without a threshold or a calibration: images are ranked."


def test_the_peak_is_given_in_the_images_own_pixels(tmp_path: Path) -> None:
    picture = np.zeros((300, 200), np.uint8)
    picture[240:270, 20:60] = 250
    (tmp_path / "in").mkdir()
    Image.fromarray(picture).save(tmp_path / "in" / "a.png")
    (record,) = inspect_images(tmp_path / "in" / "a.png", tmp_path / "out", BrightImageScorer()).records
    assert record.image == "a.png"
    assert 20 <= record.peak_x <= 60
    assert 240 <= record.peak_y <= 270
    assert record.area_share == pytest.approx(30 * 40 / 300 / 200, rel=0.4)


def test_scores_do_not_depend_on_the_batch_or_on_pictures(tmp_path: Path) -> None:
    source = write_images(tmp_path / "in")
    found = []
    for number, options in enumerate(
        (InspectionOptions(batch_size=1), InspectionOptions(batch_size=7, pages=False), InspectionOptions(pictures=2))
    ):
        inspect_images(source, tmp_path / str(number), BrightImageScorer(), options)
        found.append((tmp_path / str(number) / "images.csv").read_text())
    assert found[0] == found[1] == found[2]
    assert not (tmp_path / "1" / "report.html").exists()
    assert (tmp_path / "2" / "report.html").read_text().count('class="image"') == 2


def test_unreadable_files_are_reported_and_stop_nothing(tmp_path: Path) -> None:
    source = write_images(tmp_path / "in", 3)
    (source / "empty.png").write_bytes(b"")
    whole = (source / "line1" / "part01.png").read_bytes()
    (source / "cut.png").write_bytes(whole[: len(whole) // 2])
    (source / "odd.png").write_bytes(png_whose_profile_is_cut_off())
    (source / "notes.txt").write_text("no image")
    (source / ".hidden.png").write_bytes(b"")
    (source / "gone.png").symlink_to(source / "nowhere.png")
    rows = {row["image"]: row for row in rows_after(source, tmp_path / "out")}
    assert len(rows) == 7
    assert rows["gone.png"]["reason"] == "No such file or directory"
    for name in ("empty.png", "cut.png", "odd.png"):
        assert rows[name]["decision"] == "unreadable"
        assert "cannot be read as an image" in rows[name]["reason"]
        assert str(tmp_path) not in rows[name]["reason"]
        assert rows[name]["score"] == ""


def rows_after(source: Path, output: Path) -> list[dict[str, str]]:
    inspect_images(source, output, BrightImageScorer())
    return rows_of(output)


def test_files_that_vanish_meanwhile_are_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_images(tmp_path / "in", 3)
    found = find_images(source)
    found.images.append(("gone.png", source / "gone.png"))
    monkeypatch.setattr("anomalib_zsad.inspection.inspect_images.find_images", lambda *_: found)
    rows = {row["image"]: row for row in rows_after(source, tmp_path / "out")}
    assert rows["gone.png"]["reason"] == "No such file or directory"


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    source, output = write_images(tmp_path / "in"), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        inspect_images(source, output, BrightImageScorer(2, KeyboardInterrupt()), InspectionOptions(batch_size=3))
    assert shown(output) == ["run.json"]
    assert (output / journals.NAME).is_file()
    with pytest.raises(OutputInUseError, match="holds an earlier run; give --resume"):
        inspect_images(source, output, BrightImageScorer())
    other = InspectionOptions(DecisionRule("images", threshold=0.4), resume=True)
    with pytest.raises(OutputInUseError, match=r"a run with other settings \(decisions\)"):
        inspect_images(source, output, BrightImageScorer(), other)
    with (output / journals.NAME).open("ab") as stream:
        stream.write(b'{"state": "cut o')
    scorer = BrightImageScorer()
    inspect_images(source, output, scorer, InspectionOptions(batch_size=3, resume=True))
    assert sum(scorer.batches) == 6
    inspect_images(source, tmp_path / "whole", BrightImageScorer())
    for name in ("images.csv", "report.html"):
        assert (output / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert (output / journals.NAME).read_text() == (tmp_path / "whole" / journals.NAME).read_text()


def test_a_file_that_changed_is_looked_at_again(tmp_path: Path) -> None:
    source, output = write_images(tmp_path / "in", 4), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        inspect_images(source, output, BrightImageScorer(1, KeyboardInterrupt()), InspectionOptions(batch_size=3))
    Image.fromarray(np.full((9, 9), 255, np.uint8)).save(source / "line0" / "part00.jpg")
    records = inspect_images(source, output, BrightImageScorer(), InspectionOptions(resume=True)).records
    assert records[0].image == "line0/part00.jpg"
    assert len(records) == 4


def test_outputs_that_are_in_use_are_refused(tmp_path: Path) -> None:
    source = write_images(tmp_path / "in", 1)
    with pytest.raises(OutputInUseError, match="lies inside the input"):
        inspect_images(source, source / "out", BrightImageScorer())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(OutputInUseError, match="is not empty and holds no earlier run"):
            inspect_images(source, tmp_path / "full", BrightImageScorer(), InspectionOptions(resume=resume))
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    with pytest.raises(FileNotFoundError, match="nothing at the input path"):
        inspect_images(tmp_path / "none", tmp_path / "out", BrightImageScorer())
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"notes.txt is no image by its ending"):
        inspect_images(tmp_path / "notes.txt", tmp_path / "out", BrightImageScorer())


def test_a_full_disk_leaves_no_half_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "add", full)
    with pytest.raises(DiskError, match="No space left"):
        inspect_images(write_images(tmp_path / "in", 2), tmp_path / "out", BrightImageScorer())
    assert shown(tmp_path / "out") == ["run.json"]


def test_a_calibration_gives_p_values_and_thresholds(tmp_path: Path) -> None:
    rule = DecisionRule("images", calibration=write_calibration(), false_alarm_rate=0.1)
    records = inspect_images(
        write_images(tmp_path / "in"), tmp_path / "out", BrightImageScorer(), InspectionOptions(rule)
    ).records
    assert all((record.p_value <= 0.1) == record.flagged for record in records)
    assert records[0].p_value == pytest.approx(1 / 40)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["calibrated"] is True
    assert "10 %" in report["statement"]
    assert report["decisions"]["calibrated_on"] == 39
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<strong>Calibrated</strong>" in page
    assert '"p":[0.025,' in page


def test_a_calibration_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    calibration = write_calibration()
    other = Calibration("images", calibration.scores, {"model.model": "Another"})
    with pytest.raises(CalibrationMismatchError, match=r"model\.model was 'Another' and is 'BrightImage' now"):
        inspect_images(
            write_images(tmp_path / "in", 1),
            tmp_path / "out",
            BrightImageScorer(),
            InspectionOptions(DecisionRule("images", calibration=other)),
        )
    with pytest.raises(TooFewNormalsError, match="99"):
        DecisionRule("images", calibration=calibration, false_alarm_rate=0.01)
    volumes = Calibration("volumes", dict.fromkeys(("volume", "slice", "mask"), calibration.scores["image"]), {})
    with pytest.raises(ValueError, match="is one of volumes; images need one"):
        DecisionRule("images", calibration=volumes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 1.5}, "threshold is in"),
        ({"uncertainty": -1.0}, "number of standard deviations"),
        ({"false_alarm_rate": 0.0}, "rate"),
    ],
)
def test_numbers_that_make_no_sense(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecisionRule("images", **arguments)
    with pytest.raises(ValueError, match="at least 1"):
        InspectionOptions(batch_size=0)


def test_names_like_formulas_are_harmless_in_tables(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("=1+1.png", "-a.png", "@b.png"):
        Image.new("L", (8, 8)).save(tmp_path / "in" / name)
    assert all(row["image"].startswith("'") for row in rows_after(tmp_path / "in", tmp_path / "out"))


# The command ------------------------------------------------------------------------------------------------------


def call(*arguments: object) -> int:
    return int(main(["inspect", *map(str, arguments)]))


def test_the_command_inspects_with_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in"
    for kind in ("good", "scratch"):
        (source / kind).mkdir(parents=True)
        for path in sorted((SAMPLES / "test" / kind).iterdir())[:2]:
            shutil.copy(path, source / kind)
    arguments = ("-i", source, "--allow-untrained", "--model.backbone", "demo", "--model.num_samples", "2")
    assert call(*arguments, "-o", tmp_path / "out", "--class-name", "washer") == ExitCode.DONE
    captured = capsys.readouterr()
    assert "untrained" in captured.err
    assert "4 images" in captured.out
    assert "Nothing is decided without a threshold or a calibration" in captured.out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"]["class_name"] == "washer"
    assert report["model"]["trained"] is False
    (source / "torn.png").write_bytes(b"")
    assert call(*arguments, "-o", tmp_path / "again", "--no-pages") == ExitCode.SOME_REFUSED
    assert "unreadable: torn.png" in capsys.readouterr().out
    assert not (tmp_path / "again" / "report.html").exists()


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomalib_zsad.scoring.build.build_scorer", lambda *_: BrightImageScorer())
    monkeypatch.setattr("anomalib_zsad.scoring.image_scorer.ModelImageScorer", lambda _: BrightImageScorer())
    (tmp_path / "empty").mkdir()
    assert call("-i", tmp_path / "empty", "-o", tmp_path / "1", "--allow-untrained") == ExitCode.NOTHING_FOUND
    assert "no images at the input path" in capsys.readouterr().err
    source = write_images(tmp_path / "in", 2)
    assert call("-i", source, "-o", tmp_path / "2") == ExitCode.USAGE
    assert "no --checkpoint was given" in capsys.readouterr().err
    assert call("-i", tmp_path / "none", "-o", tmp_path / "3", "--allow-untrained") == ExitCode.USAGE
    write_calibration(tmp_path / "c.json")
    calibrated = ("-i", source, "--allow-untrained", "--calibration", tmp_path / "c.json")
    assert call(*calibrated, "-o", tmp_path / "4", "--threshold", "0.3") == ExitCode.USAGE
    assert "exclude each other" in capsys.readouterr().err
    assert call(*calibrated, "-o", tmp_path / "5", "--false-alarm-rate", "0.1") == ExitCode.DONE
    assert "p" in capsys.readouterr().out
    assert call("-i", source, "-o", tmp_path / "5", "--allow-untrained") == ExitCode.USAGE
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "a.png").write_bytes(b"")
    assert call("-i", tmp_path / "torn", "-o", tmp_path / "6", "--allow-untrained") == ExitCode.ALL_REFUSED


def test_an_interrupt_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalib_zsad.scoring.build.build_scorer", lambda *_: BrightImageScorer())
    monkeypatch.setattr(
        "anomalib_zsad.scoring.image_scorer.ModelImageScorer", lambda _: BrightImageScorer(0, KeyboardInterrupt())
    )
    source = write_images(tmp_path / "in", 2)
    assert call("-i", source, "-o", tmp_path / "out", "--allow-untrained") == ExitCode.INTERRUPTED
    assert "--resume goes on" in capsys.readouterr().err


def test_images_are_scored_as_they_are_calibrated(tmp_path: Path) -> None:
    """The calibration's scores of the same files are those of the inspection."""
    from anomalib_zsad.inspection.calibrate_images import calibrate_images
    from anomalib_zsad.inspection.calibrate_images import find_images as find_normals
    from anomalib_zsad.scoring.build import build_scorer

    source = tmp_path / "in"
    source.mkdir()
    for number, path in enumerate(sorted((SAMPLES / "train" / "good").iterdir())):
        for height in (80, 90):
            Image.open(path).resize((96 + number, height)).save(source / f"{path.stem}_{height}.png")
    scorer = build_scorer(None, "BayesPFL", {"backbone": "demo", "num_samples": 2}, "cpu", "washer")
    calibration = calibrate_images(scorer.module, find_normals(source, "washer"))
    records = inspect_images(
        source,
        tmp_path / "out",
        ModelImageScorer(scorer),
        InspectionOptions(DecisionRule("images", calibration=calibration), batch_size=3),
    ).records
    known = sorted(score for (score,) in calibration.scores["image"])
    np.testing.assert_allclose(sorted(record.score for record in records), known, atol=1e-5)
    peaks = sorted(score for (score,) in calibration.scores["mask"])
    np.testing.assert_allclose(sorted(record.map_max for record in records), peaks, atol=1e-5)
