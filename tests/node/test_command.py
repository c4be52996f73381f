"""`anomalib-zsad node` as a command: the demo model, a real process, and what it says when something does not fit."""

import importlib.util
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pydicom
import pytest

from anomalib_zsad.cli import main
from anomalib_zsad.outputs.exit_codes import ExitCode
from tests.node.node_builders import Archive, dcmtk, write_series

ROOT = Path(__file__).resolve().parents[2]
CONFIGS, DOCS = ROOT / "configs", ROOT / "docs"


def documented(program: str) -> list[str]:
    """The words of a command in docs/deployment.md."""
    line = re.search(rf"^{program} .*$", (DOCS / "deployment.md").read_text(), re.MULTILINE)
    return shlex.split(line[0])[1:]


def with_values(words: list[str], values: dict[str, object]) -> list[str]:
    return [str(values.get(word, word)) for word in words]


def test_the_documented_commands_receive_screen_and_send_and_end_when_told(tmp_path: Path):
    paths = write_series(tmp_path / "in", slices=10, SeriesDescription="HEAD")
    program = "import sys; from anomalib_zsad.cli import main; sys.exit(main(sys.argv[1:]))"
    with Archive().listening() as archive:
        values = {
            "NODE": tmp_path / "node",
            "node.yaml": CONFIGS / "node.yaml",
            "PACS@127.0.0.1:4242": archive.word,
            "11112": 0,
            "8080": 0,
        }
        words = [*with_values(documented("anomalib-zsad node"), values), "--quiet-seconds", "1", "--reserve-mib", "1"]
        process = subprocess.Popen([sys.executable, "-c", program, *words], stderr=subprocess.PIPE, text=True)
        try:
            said = []
            while not said or "status page" not in said[-1]:
                said.append(process.stderr.readline())
                assert process.poll() is None, said
            port = re.search(r"listens on 127.0.0.1:(\d+)", "".join(said))[1]
            for client in ("echoscu", "storescu"):
                given = with_values(documented(client), {"11112": port, "STUDY": tmp_path / "in"})
                assert subprocess.run([dcmtk(client), *given], timeout=60, check=False).returncode == 0
            end = time.monotonic() + 120
            while not archive.kept and time.monotonic() < end:
                time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, rest
    (segmentation,) = archive.kept.values()
    assert segmentation.Modality == "SEG"
    assert segmentation.StudyInstanceUID == pydicom.dcmread(paths[0]).StudyInstanceUID
    assert "1 object(s) sent" in rest
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--send-to", "nonsense"], "nonsense"),
        (["--port", "70000"], "--port is a number"),
        (["--ae-title", "A TITLE THAT IS FAR TOO LONG"], "is no AE title"),
        (["--certificate", "a.pem"], "TLS needs both"),
        (["--quiet-seconds", "0"], "--quiet-seconds"),
        (["--networks", "here"], "not 'here'"),
        (["--rules", "none.yaml"], "no file none.yaml"),
        (["--status-port", "0", "--status-host", "192.0.2.1"], "give a token in ANOMALIB_ZSAD_TOKEN"),
        (["--send-to", "./a", "--send-to", "./a"], "a target is given twice"),
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
