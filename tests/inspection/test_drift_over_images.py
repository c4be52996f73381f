"""Drift over an inspected folder: in report.json, on the page, in the terminal, in the order of names or times."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.calibration.drift import DriftOptions
from anomalib_zsad.cli import main
from anomalib_zsad.inspection.drift_over_images import by_name
from anomalib_zsad.inspection.inspect_images import inspect_images
from anomalib_zsad.inspection.options import InspectionOptions
from anomalib_zsad.outputs.exit_codes import ExitCode
from tests.inspection.bright_image import BrightImageScorer

NORMAL = np.linspace(80, 120, 100)
"""Grey values of normal images."""


def calibrated(**figures: tuple[float, float]) -> Calibration:
    """A calibration of images of these grey values."""
    scores = tuple((float(value),) for value in NORMAL / 255)
    return Calibration("images", {"image": scores, "mask": scores}, {"model.model": "BrightImage"}, figures=figures)


def write(folder: Path, values: np.ndarray, start: int = 0) -> None:
    """Plain grey images `part_0.png`, `part_1.png`, ... that are one second apart."""
    folder.mkdir(exist_ok=True)
    for number, value in enumerate(values, start):
        path = folder / f"part_{number}.png"
        Image.fromarray(np.full((12, 12), round(value), np.uint8)).save(path)
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))


def normal(count: int) -> np.ndarray:
    return np.random.default_rng(0).choice(NORMAL, count)


def inspect(source: Path, output: Path, **options: object) -> dict:
    rule = options.pop("rule", DecisionRule("images", calibrated(brightness=(100 / 255, 0.05))))
    found = inspect_images(source, output, BrightImageScorer(), InspectionOptions(rule, **options))
    report = json.loads((output / "report.json").read_text())
    assert report["drift"]["statement"] == found.drift.statement
    return report["drift"]


def test_normal_production_does_not_drift(tmp_path: Path) -> None:
    write(tmp_path / "in", normal(120))
    drift = inspect(tmp_path / "in", tmp_path / "out")
    assert drift["tested"] is True
    assert drift["alarm"] is None
    assert (drift["images"], drift["needed"], drift["chance"], drift["order"]) == (120, 100, 0.01, "name")
    assert 105 <= drift["compared"] < 120
    assert "No drift was found in 120 images in the order of names" in drift["statement"]
    assert "No drift was found in 120 images" in (tmp_path / "out" / "report.html").read_text()


def test_darker_pictures_drift_and_what_changed_is_told(tmp_path: Path) -> None:
    write(tmp_path / "in", normal(60))
    write(tmp_path / "in", normal(60) * 0.8, start=60)
    drift = inspect(tmp_path / "in", tmp_path / "out")
    assert drift["alarm"]["by"] == "scores"
    assert 60 < drift["alarm"]["image"] <= 110
    assert abs(drift["alarm"]["began"] - 60) < 15
    brightness = next(change for change in drift["changes"] if change["figure"] == "brightness")
    assert brightness["reference_of"] == "calibration"
    assert brightness["recent"] == pytest.approx(0.8 * 100 / 255, abs=0.02)
    assert brightness["deviations"] == pytest.approx((brightness["recent"] - 100 / 255) / 0.05, abs=0.01)
    assert {change["figure"] for change in drift["changes"]} == {"score", "brightness", "sharpness"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert '<h2 id="drift-title">Drift</h2>' in page
    assert "brightness: 0.3" in page


def test_the_order_of_names_or_of_times_decides_what_came_first(tmp_path: Path) -> None:
    assert sorted(["part_10", "part_9", "b/1", "a/2"], key=by_name) == ["a/2", "b/1", "part_9", "part_10"]
    write(tmp_path / "in", normal(60))
    write(tmp_path / "in", normal(60) * 0.8, start=60)
    for number in range(60, 120):  # by their times, the darker ones came first
        os.utime(tmp_path / "in" / f"part_{number}.png", (number, number))
    by_names = inspect(tmp_path / "in", tmp_path / "names")
    by_times = inspect(tmp_path / "in", tmp_path / "times", drift_order="time")
    assert by_times["order"] == "time"
    assert "in the order of the files' times of modification" in by_times["statement"]
    assert by_times["alarm"]["image"] < 60 < by_names["alarm"]["image"]
    resumed = inspect(tmp_path / "in", tmp_path / "times", drift_order="time", resume=True)
    assert resumed == by_times


def test_without_a_calibration_nothing_is_tested_and_with_one_too_even_it_is_said(tmp_path: Path) -> None:
    write(tmp_path / "in", normal(20))
    drift = inspect(tmp_path / "in", tmp_path / "out", rule=DecisionRule("images"))
    assert drift["tested"] is False
    assert "there is no calibration" in drift["statement"]
    assert "Drift" not in (tmp_path / "out" / "report.html").read_text()
    even = Calibration("images", {"image": ((0.5,),) * 40}, {"model.model": "BrightImage"})
    drift = inspect(tmp_path / "in", tmp_path / "even", rule=DecisionRule("images", even))
    assert "Drift was not tested: 0 scores of the calibration lie below" in drift["statement"]


def test_options_of_drift_are_checked(tmp_path: Path) -> None:
    rule = DecisionRule("images", calibrated())
    with pytest.raises(ValueError, match="expected share of flagged images is more than that"):
        InspectionOptions(rule, drift=DriftOptions(expected_flagged=0.01))


def test_the_command_says_whether_it_drifted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalib_zsad.scoring.build.build_scorer", lambda *_: BrightImageScorer())
    monkeypatch.setattr("anomalib_zsad.scoring.image_scorer.ModelImageScorer", lambda _: BrightImageScorer())
    calibrated(brightness=(100 / 255, 0.05)).save(tmp_path / "c.json")
    write(tmp_path / "in", normal(60))
    write(tmp_path / "in", normal(60) * 0.8, start=60)
    words = ["inspect", "-i", str(tmp_path / "in"), "--allow-untrained"]
    given = [*words, "-o", str(tmp_path / "1"), "--calibration", str(tmp_path / "c.json")]
    assert main(given) == ExitCode.DONE
    said = capsys.readouterr().out
    assert "Drift: scores are no longer like those calibrated on. The alarm was raised at image" in said
    assert "  brightness: 0.3" in said
    assert main([*words, "-o", str(tmp_path / "2"), "--drift-order", "time"]) == ExitCode.USAGE
    assert "options of drift need a --calibration" in capsys.readouterr().err
    assert main([*words, "-o", str(tmp_path / "3")]) == ExitCode.DONE
    assert "rift" not in capsys.readouterr().out
