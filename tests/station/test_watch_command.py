"""`anomalib-zsad watch` as a command: the demo model, a real process, SIGTERM, and what it says if it cannot."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anomalib_zsad.cli import main
from anomalib_zsad.outputs.exit_codes import ExitCode
from tests.station.station_builders import calibrated, lines, save

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "sample_data" / "industrial" / "washer" / "test" / "good"
PROGRAM = "import sys; from anomalib_zsad.cli import main; sys.exit(main(sys.argv[1:]))"
MODEL = ["--allow-untrained", "--model.backbone", "demo", "--model.num_samples", "2", "--class-name", "washer"]


def wait_for(reached, process: subprocess.Popen, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not reached() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.1)
    assert reached(), process.communicate(timeout=10)[1] if process.poll() is not None else "it took too long"


def test_it_answers_what_arrives_until_sigterm_and_names_no_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    words = [sys.executable, "-c", PROGRAM, "watch", "-i", tmp_path / "in", "-o", tmp_path / "out", *MODEL]
    process = subprocess.Popen([*map(str, words)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        wait_for((tmp_path / "out" / "status.json").is_file, process)
        for number, path in enumerate(sorted(SAMPLES.iterdir())[:3]):
            shutil.copy(path, tmp_path / "in" / f"SECRET{number}.png")
        (tmp_path / "in" / "SECRET_broken.png").write_bytes(b"no picture")
        wait_for(lambda: (tmp_path / "out" / "results").is_dir() and len(lines(tmp_path / "out")) == 4, process)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == ExitCode.DONE, said
    assert "stopped; 4 picture(s) answered" in said
    assert "SECRET" not in said
    assert "Traceback" not in said
    found = {line["image"]: line for line in lines(tmp_path / "out")}
    assert 0 <= found["SECRET0.png"]["score"] <= 1
    assert found["SECRET0.png"]["decision"] is None
    assert found["SECRET_broken.png"]["decision"] == "unreadable"
    assert json.loads((tmp_path / "out" / "status.json").read_text())["state"] == "stopped"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-i", "none"], "there is nothing at the input path: none"),
        (["-i", "a.png"], "a.png is no folder to watch; `anomalib-zsad inspect` scores a single image"),
        (["--poll-seconds", "0"], "--poll-seconds is above 0"),
        (["--calibration", "c.json", "--expected-flagged", "0.01"], "the expected share of flagged images is more"),
        (["--drift-chance", "0.1"], "options of drift need a --calibration"),
        (["--restart-drift"], "options of drift need a --calibration"),
        (["--mqtt", "line3"], "is no address of an MQTT broker"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path, "a.png")
    calibrated().save(tmp_path / "c.json")
    (tmp_path / "in").mkdir()
    assert main(["watch", "-i", "in", "-o", "out", "--allow-untrained", *words]) == ExitCode.USAGE
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
