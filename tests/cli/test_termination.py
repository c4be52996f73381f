"""SIGTERM ends a command as Ctrl-C does: what is done is kept and told, and the shell is told why it ended."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_zsad.outputs.exit_codes import ExitCode
from tests.volumes.volume_builders import write_series

ROOT = Path(__file__).resolve().parents[2]
# The command with a model that takes its time: it says when it scores, and goes on until it is stopped.
PROGRAM = """
import sys, time
from pathlib import Path
from unittest import mock
from anomalib_zsad.cli import main

def slow(*_, **__):
    Path(sys.argv[1]).touch()
    time.sleep(60)

class Scorer:
    class_name, module, one_by_one = "part", None, False
    def prepare(self, image):
        import torch
        return torch.zeros(3, 8, 8)
    __call__ = slow
    def describe(self):
        return {"model": "Slow", "device": "cpu"}

patches = [
    mock.patch("anomalib_zsad.scoring.build.build_scorer", lambda *_: Scorer()),
    mock.patch("anomalib_zsad.scoring.image_scorer.ModelImageScorer", lambda scorer: scorer),
    mock.patch("anomalib_zsad.inspection.calibrate_images.calibrate_images", slow),
    mock.patch("anomalib_zsad.evaluation.subject.build_subject", slow),
]
for patch in patches:
    patch.start()
sys.exit(main(sys.argv[2:]))
"""


def terminate(tmp_path: Path, *arguments: object) -> tuple[int, str]:
    """Run a command, ask it to end once it scores, and return its exit code and what it said."""
    scoring = tmp_path / "scoring"
    words = [sys.executable, "-c", PROGRAM, str(scoring), *map(str, arguments), "--allow-untrained"]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        deadline = time.monotonic() + 120
        while not scoring.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert scoring.exists(), process.communicate()[1] if process.poll() is not None else "it never scored"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said


def write_images(folder: Path) -> Path:
    (folder / "good").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(np.full((9, 9), 50 * number, np.uint8)).save(folder / "good" / f"{number}.png")
    return folder


def test_screen_is_asked_to_end(tmp_path: Path) -> None:
    write_series(tmp_path / "in")
    code, said = terminate(tmp_path, "screen", "-i", tmp_path / "in", "-o", tmp_path / "out", "--window", "900/450")
    assert code == ExitCode.TERMINATED == 143
    assert "Traceback" not in said
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["state"] == "interrupted"
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".partial")] == []


@pytest.mark.parametrize("command", ["inspect", "calibrate", "evaluate"])
def test_commands_on_images_are_asked_to_end(command: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    code, said = terminate(tmp_path, command, "-i", write_images(tmp_path / "in"), "-o", output)
    assert code == ExitCode.TERMINATED, said
    assert "Traceback" not in said
    assert ("asked to end; the same command with --resume goes on" in said) == (command != "calibrate")
    assert not output.is_file()
    if command == "inspect":
        assert sorted(path.name for path in output.iterdir() if not path.name.startswith(".")) == ["run.json"]
