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
PAGE = ROOT / "docs" / "deployment.md"
VIEWER = "node/test_ohif.py::test_ohif_shows_the_segmentation_and_the_map_over_the_series_and_captures_and_pdf"
ARCHIVE = "network/test_dicomweb_only.py::test_the_commands_of_the_recipe_find_fetch_screen_and_bring_back"
CLIENTS = "node/test_command.py::test_the_documented_commands_receive_screen_and_send_and_end_when_told"
MODULE = "node/test_mercure.py::test_the_documented_module_leaves_objects_and_says_what_it_found"
RUN_BY = {
    "anomalib-zsad pull": "network/test_pull.py::test_the_commands_of_the_page_run_as_they_are_written",
    "anomalib-zsad pull --from http://localhost:8042/dicom-web --token-variable": ARCHIVE,
    "export ARCHIVE_TOKEN": ARCHIVE,
    "curl ": ARCHIVE,
    "anomalib-zsad node": CLIENTS,
    "echoscu ": CLIENTS,
    "storescu ": CLIENTS,
    "npm pack ": VIEWER,
    "tar -xzf ohif": VIEWER,
    "cp configs/ohif": VIEWER,
    "nginx ": VIEWER,
    "export MERCURE_IN_DIR": MODULE,
    "anomalib-zsad mercure": MODULE,
    # The package with this extra, from what the container copies.
    "pip install": "node/test_deployment_files.py::test_what_the_container_copies_is_enough_to_install_the_package",
    # systemd and a registry of images are not to be had in a test: what the commands name is checked.
    "useradd ": "node/test_deployment_files.py::test_the_page_makes_the_user_of_the_unit",
    "cp configs/anomalib-zsad-node.service": "node/test_deployment_files.py::"
    "test_the_unit_is_valid_and_its_command_one_of_ours",
    "systemctl ": "node/test_deployment_files.py::test_the_unit_is_valid_and_its_command_one_of_ours",
    "podman build": "node/test_deployment_files.py::test_the_container_file_has_what_it_copies_and_a_command_of_ours",
    "podman run": "node/test_deployment_files.py::test_the_documented_container_runs_a_command_of_ours",
}
UNIT, CONTAINER = ROOT / "configs" / "anomalib-zsad-node.service", ROOT / "configs" / "Containerfile"


def test_every_command_of_the_page_has_a_test() -> None:
    text = PAGE.read_text().replace("\\\n", " ")
    blocks = [block.partition("\n") for block in text.split("```")[1::2]]
    lines = [line for language, _, block in blocks if not language for line in block.strip().splitlines()]
    assert lines
    used = set()
    for line in lines:
        beginnings = [beginning for beginning in RUN_BY if line.startswith(beginning)]
        assert beginnings, f"no test is known to run: {line}"
        used.update(beginnings)
    assert used == set(RUN_BY)
    for where in RUN_BY.values():
        file, _, name = where.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), where


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


def test_the_page_makes_the_user_of_the_unit() -> None:
    (made,) = re.findall(r"^useradd .* (\S+)$", PAGE.read_text(), re.MULTILINE)
    assert made == re.search(r"^User=(.*)$", UNIT.read_text(), re.MULTILINE)[1]


def test_the_containers_user_owns_its_volume() -> None:
    """A named volume takes its owner from the folder in the image; a folder that is not there is root's."""
    found = instructions()
    names = [name for name, _ in found]
    (volume,) = json.loads(dict(found)["VOLUME"])
    before = " ".join(words for name, words in found[: names.index("VOLUME")] if name == "RUN")
    assert f"install --directory --owner {dict(found)['USER']} --mode 0700 {volume}" in before


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
    text = PAGE.read_text()
    command = re.search(r"^podman run .*?anomalib-zsad \\\n +(node .*?)$", text, re.MULTILINE)[1]
    parsed(shlex.split(command))


def test_the_viewer_is_served_on_this_machine_alone_and_asks_no_other(tmp_path: Path) -> None:
    nginx, viewer = ((ROOT / "configs" / "ohif" / name).read_text() for name in ("nginx.conf", "app-config.js"))
    assert re.findall(r"listen (.*?):\d+;", nginx) == ["127.0.0.1"]
    assert re.findall(r"proxy_pass http://(.*?):\d+;", nginx) == ["127.0.0.1"]
    assert "://" not in viewer
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    (tmp_path / "nginx.conf").write_text(nginx)
    command = ["nginx", "-t", "-e", "stderr", "-p", tmp_path, "-c", "nginx.conf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


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
