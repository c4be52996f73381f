"""The systemd unit and the container file: checked by their tools where those are there, run where they can be."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from anomalib_zsad.cli import build_parser

ROOT = Path(__file__).resolve().parents[2]
UNIT, CONTAINER = ROOT / "configs" / "anomalib-zsad-node.service", ROOT / "configs" / "Containerfile"


def parsed(words: list[str]) -> None:
    """Whether the command line takes the words; it exits where it does not."""
    build_parser(words[0]).parse_args(words)


def test_the_unit_is_valid_and_its_command_one_of_ours(tmp_path: Path) -> None:
    text = UNIT.read_text()
    program, *words = shlex.split(re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)[1])
    assert program.endswith("/anomalib-zsad")
    parsed(words)
    written = Path(words[words.index("-o") + 1])
    state = re.search(r"^StateDirectory=(.*)$", text, re.MULTILINE)[1]
    assert written.is_relative_to(Path("/var/lib") / state)  # all else is read-only to it
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace(program, sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert UNIT.name not in done.stderr


def instructions() -> list[tuple[str, str]]:
    """Instructions of the container file with what follows them."""
    lines = [line for line in CONTAINER.read_text().splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def test_the_container_file_has_what_it_copies_and_a_command_of_ours() -> None:
    found = instructions()
    assert found[0][0] == "FROM"
    assert {name for name, _ in found} <= {
        "FROM",
        "COPY",
        "RUN",
        "USER",
        "VOLUME",
        "EXPOSE",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
    }
    for name, words in found:
        for source in words.split()[:-1] if name == "COPY" else ():
            assert (ROOT / source).exists(), source
    last = dict(found)
    assert json.loads(last["ENTRYPOINT"]) == ["anomalib-zsad"]
    parsed(json.loads(last["CMD"]))
    assert last["USER"] != "root"


def test_the_documented_container_runs_a_command_of_ours() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text()
    command = re.search(r"^podman run .*?anomalib-zsad \\\n +(node .*?)$", text, re.MULTILINE)[1]
    parsed(shlex.split(command))


@pytest.mark.slow
def test_what_the_container_copies_is_enough_to_install_the_package(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for words in (words.split() for name, words in instructions() if name == "COPY"):
        for one in words[:-1]:
            target = source / Path(words[-1]).relative_to("/source")
            target = target / one if words[-1].endswith("/") else target
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / one).is_dir() else shutil.copy)(ROOT / one, target)
    venv.create(tmp_path / "venv", with_pip=True, system_site_packages=True)
    python = tmp_path / "venv" / "bin" / "python"
    # What it stands on comes from the environment of the tests; the container fetches the same from the registry.
    here = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    environment = {**os.environ, "PYTHONPATH": here}
    install = [python, "-m", "pip", "install", "--no-deps", "--no-build-isolation", f"{source}[node]"]
    done = subprocess.run(install, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    (package,) = (tmp_path / "venv" / "lib").glob("python*/site-packages/anomalib_zsad")
    assert (package / "sample_data").is_dir()
    program = [tmp_path / "venv" / "bin" / "anomalib-zsad", "node", "--help"]
    done = subprocess.run(program, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "--rules" in done.stdout
