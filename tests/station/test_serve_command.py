"""`anomalib-zsad serve` as a command: the demo model, a real process, SIGTERM, and what it says if it cannot."""

import importlib.util
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from anomalib_zsad.cli import main
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.scoring.build import build_scorer
from anomalib_zsad.scoring.image_scorer import ModelImageScorer
from tests.station.service_builders import Client, serving
from tests.station.test_watch_command import MODEL, PROGRAM, ROOT, SAMPLES


def test_it_answers_as_the_model_does_until_sigterm(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, "serve", "--http-port", "0", *MODEL]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        said = []
        while not said or "serving at" not in said[-1]:
            said.append(process.stderr.readline())
            assert said[-1], said
        client = Client(int(re.search(r"http://127\.0\.0\.1:(\d+);", said[-1])[1]), None)
        paths = sorted(SAMPLES.iterdir())[:2]
        found = [client.score(path.read_bytes()).told for path in paths]
        assert client.get("/").told["model"]["class_name"] == "washer"
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == ExitCode.DONE, rest
    assert "Traceback" not in rest
    scorer = build_scorer(None, "BayesPFL", {"backbone": "demo", "num_samples": 2}, "cpu", "washer")
    with serving(ModelImageScorer(scorer), rule=_undecided()) as own:
        for path, told in zip(paths, found, strict=True):
            again = own.score(path.read_bytes()).told
            assert told["score"] == pytest.approx(again["score"], abs=1e-4)
            assert told["decision"] is None


def _undecided():
    from anomalib_zsad.calibration.decision_rule import DecisionRule

    return DecisionRule("images")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--http-port", "70000"], "--http-port is a number from 0 to 65535"),
        (["--http-host", "192.0.2.1"], "give a token in ANOMALIB_ZSAD_TOKEN, or stay on 127.0.0.1"),
        (["--max-mib", "2000"], "--max-waiting-mib is at least --max-mib"),
        (["--drift-chance", "0.1"], "options of drift need a --calibration"),
        (["--certificate", "a.pem"], "TLS needs both"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANOMALIB_ZSAD_TOKEN", raising=False)
    assert main(["serve", "--allow-untrained", *words]) == ExitCode.USAGE
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = ["serve", "--http-port", str(taken.getsockname()[1]), *MODEL]
        assert main(words) == ExitCode.USAGE
    assert "Address already in use" in capsys.readouterr().err.splitlines()[-1]


def test_without_the_extra_the_line_says_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fastapi" else real(name))
    assert main(["serve", "--allow-untrained"]) == ExitCode.USAGE
    said = "error: serve needs fastapi, which is not installed: pip install 'anomalib-zsad[node]'"
    assert capsys.readouterr().err.splitlines() == [said]
