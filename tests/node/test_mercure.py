"""`anomalib-zsad mercure`: a task in the folders that the environment names, as mercure lays it down."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from anomalib_zsad.cli import main
from anomalib_zsad.node import worker
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.termination import Terminated
from tests.node.node_builders import write_series
from tests.screening.bright_spot import BrightSpotScorer

DOCS = Path(__file__).resolve().parents[2] / "docs"
UNTRAINED = {"allow_untrained": True}


def lay_down(folder: Path, settings: object, *series: list[Path], process: object = None) -> tuple[Path, Path]:
    """Folders of a task: files named `SERIES#INSTANCE.dcm` and task.json with what mercure writes into it."""
    (folder / "in").mkdir()
    (folder / "out").mkdir()
    for path in [path for paths in series for path in paths]:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        path.rename(folder / "in" / f"{header.SeriesInstanceUID}#{header.SOPInstanceUID}.dcm")
    step = {"module_name": "anomalib-zsad", "settings": settings, "retain_input_images": "False"}
    task = {"info": {"action": "process"}, "id": "1", "dispatch": {}, "process": process or step, "study": {}}
    (folder / "in" / "task.json").write_text(json.dumps(task))
    return folder / "in", folder / "out"


def call(monkeypatch: pytest.MonkeyPatch, source: Path, target: Path) -> int:
    monkeypatch.setenv("MERCURE_IN_DIR", str(source))
    monkeypatch.setenv("MERCURE_OUT_DIR", str(target))
    return main(["mercure"])


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "build_model", lambda _: BrightSpotScorer())


def test_the_documented_module_leaves_objects_and_says_what_it_found(tmp_path: Path) -> None:
    text = (DOCS / "deployment.md").read_text()
    settings = json.loads(re.search(r"```json\n(\{\s*\"checkpoint\".*?)```", text, re.DOTALL)[1])
    line = re.search(r"^export (MERCURE_IN_DIR=.*)\nanomalib-zsad mercure$", text, re.MULTILINE)[1]
    settings = {**settings, **UNTRAINED, "model": "BayesPFL", "arguments": {"backbone": "demo", "num_samples": 2}}
    del settings["checkpoint"], settings["calibration"], settings["false_alarm_rate"]
    source, target = lay_down(tmp_path, settings, write_series(tmp_path / "series"))
    words = shlex.split(line.replace("TASK/in", str(source)).replace("TASK/out", str(target)))
    program = "import sys; from anomalib_zsad.cli import main; sys.exit(main(sys.argv[1:]))"
    command = ["env", *words, sys.executable, "-c", program]
    done = subprocess.run([*command, "mercure"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    made = {path.name: pydicom.dcmread(path) for path in target.glob("*.dcm")}
    assert {one.Modality for one in made.values()} == {"SEG", "SR"}
    assert set(made) == {f"{one.SOPInstanceUID}.dcm" for one in made.values()}
    result = json.loads((target / "result.json").read_text())
    (series,) = result["series"]
    assert (series["status"], series["slices"]) == ("done with warnings", 6) or series["status"] == "done"
    assert series["decision"] is None
    assert result["__mercure_notification"]["requested"] is False
    assert "no decision" in result["__mercure_notification"]["text"]
    assert "ZZSECRET" not in json.dumps(result) + done.stderr + done.stdout
    assert len(list(target.iterdir())) == 3


def test_a_series_that_cannot_be_screened_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bright: None
) -> None:
    good, bad = write_series(tmp_path / "good", "good"), write_series(tmp_path / "bad", "bad")
    dataset = pydicom.dcmread(bad[0])
    dataset.PixelData = dataset.PixelData[:-40]
    dataset.save_as(bad[0])
    source, target = lay_down(tmp_path, UNTRAINED, good, bad)
    assert call(monkeypatch, source, target) == ExitCode.DONE
    result = json.loads((target / "result.json").read_text())
    reasons = {series["status"]: series["reason"] for series in result["series"]}
    assert "truncated" in reasons["refused"]
    assert len(reasons) == 2
    assert len(list(target.glob("*.dcm"))) == 2


def test_a_task_of_which_nothing_can_be_screened_fails_and_one_without_images_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bright: None
) -> None:
    paths = write_series(tmp_path / "bad")
    for path in paths:
        path.write_bytes(path.read_bytes()[:-40])
    assert call(monkeypatch, *lay_down(tmp_path, UNTRAINED, paths)) == ExitCode.ALL_REFUSED
    assert (tmp_path / "out" / "result.json").is_file()
    (tmp_path / "empty").mkdir()
    assert call(monkeypatch, *lay_down(tmp_path / "empty", UNTRAINED)) == ExitCode.DONE


@pytest.mark.parametrize(
    ("settings", "process", "said"),
    [
        ({}, None, "no checkpoint is given"),
        ({"windw": "brain"}, None, "the settings has an unknown key 'windw'"),
        ({**UNTRAINED, "output_types": ["nifti"]}, None, "mercure sends DICOM objects alone"),
        ({"checkpoint": "none.ckpt"}, None, "there is no checkpoint"),
        (["checkpoint"], None, "are a mapping, not list"),
        ({}, [{"settings": {}}], "no task of mercure with one processing step"),
    ],
)
def test_a_task_that_does_not_fit_is_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, settings: object, process: object, said: str
) -> None:
    assert call(monkeypatch, *lay_down(tmp_path, settings, process=process)) == ExitCode.USAGE
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_without_a_task_the_line_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.delenv("MERCURE_IN_DIR", raising=False)
    assert main(["mercure"]) == ExitCode.USAGE
    assert "MERCURE_IN_DIR names no folder" in capsys.readouterr().err
    assert call(monkeypatch, tmp_path, tmp_path) == ExitCode.USAGE
    assert "there is no task.json" in capsys.readouterr().err


def test_a_task_that_is_told_to_end_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = BrightSpotScorer(fail_after=1, error=Terminated())
    monkeypatch.setattr(worker, "build_model", lambda _: told)
    series = [write_series(tmp_path / name, name) for name in ("a", "b", "c")]
    source, target = lay_down(tmp_path, UNTRAINED, *series)
    assert call(monkeypatch, source, target) == ExitCode.TERMINATED
    assert list(target.iterdir()) == []


def test_a_task_of_damaged_files_alone_fails_and_says_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bright: None
) -> None:
    paths = write_series(tmp_path / "cut")
    source, target = lay_down(tmp_path, UNTRAINED, paths)
    for path in source.glob("*.dcm"):
        path.write_bytes(path.read_bytes()[:500])
    assert call(monkeypatch, source, target) == ExitCode.ALL_REFUSED
    result = json.loads((target / "result.json").read_text())
    assert result["series"] == []
    told = {one["reason"]: (one["status"], one["times"]) for one in result["other_files"]}
    assert told == {
        "a DICOM object without pixels, not an image": ("skipped", len(paths)),
        "1 file(s) are neither DICOM nor NIfTI": ("skipped", 1),  # task.json
    }


def test_a_refusal_of_files_that_belong_to_no_series_fails_a_task_without_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bright: None
) -> None:
    source, target = lay_down(tmp_path, UNTRAINED)
    (source / "volume.mhd").write_text("ObjectType = Image\nElementDataFile = volume.raw\n")
    assert call(monkeypatch, source, target) == ExitCode.ALL_REFUSED
    result = json.loads((target / "result.json").read_text())
    assert "refused" in {one["status"] for one in result["other_files"]}
    assert "volume.mhd" not in json.dumps(result)
