"""`anomalib-zsad node` as a command: the demo model, a real process, and what it says when something does not fit."""

import importlib.util
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pydicom
import pytest

from anomalib_zsad.cli import main
from anomalib_zsad.outputs.exit_codes import ExitCode
from tests.node.node_builders import send_to, write_series

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_the_command_receives_screens_with_the_example_rules_and_ends_when_told(tmp_path: Path):
    paths = write_series(tmp_path / "in", slices=12, SeriesDescription="HEAD")
    words = ["node", "-o", tmp_path / "node", "--rules", CONFIGS / "node.yaml", "--target", f"{tmp_path}/results"]
    words += ["--port", 0, "--quiet-seconds", 1, "--status-port", 0, "--reserve-mib", 1]
    program = "import sys; from anomalib_zsad.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)], stderr=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        said = []
        while not said or "status page" not in said[-1]:
            said.append(process.stderr.readline())
            assert process.poll() is None, said
        port = int(re.search(r"listens on 127.0.0.1:(\d+)", "".join(said))[1])
        assert send_to(port, paths) == [0] * len(paths)
        end = time.monotonic() + 120
        while not list((tmp_path / "results").glob("*.dcm")) and time.monotonic() < end:
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, rest
    (segmentation,) = (tmp_path / "results").iterdir()
    assert pydicom.dcmread(segmentation).Modality == "SEG"
    assert "1 object(s) sent" in rest
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "nonsense"], "nonsense"),
        (["--port", "70000"], "--port is a number"),
        (["--aet", "A TITLE THAT IS FAR TOO LONG"], "is no AE title"),
        (["--certificate", "a.pem"], "TLS needs both"),
        (["--quiet-seconds", "0"], "--quiet-seconds"),
        (["--networks", "here"], "not 'here'"),
        (["--rules", "none.yaml"], "no file none.yaml"),
        (["--status-port", "0", "--status-host", "0.0.0.0"], "give a token in ANOMALIB_ZSAD_TOKEN"),
        (["--target", "./a", "--target", "./a"], "a target is given twice"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(tmp_path: Path, words: list[str], said: str, capsys, monkeypatch):
    monkeypatch.delenv("ANOMALIB_ZSAD_TOKEN", raising=False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    given = ["node", "-o", str(tmp_path / "node"), "--rules", str(CONFIGS / "node.yaml"), "--port", "0", *words]
    assert main(given) == ExitCode.USAGE
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_without_the_extra_the_line_says_how_to_install_it(tmp_path: Path, capsys, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pynetdicom" else real(name))
    assert main(["node", "-o", str(tmp_path / "node"), "--rules", "x.yaml"]) == ExitCode.USAGE
    assert capsys.readouterr().err == (
        "error: pynetdicom not installed; the node needs: pip install 'anomalib-zsad[node]'\n"
    )
    assert not (tmp_path / "node").exists()
