"""The node between two real peers: DCMTK's client before it, Debian's Orthanc behind it."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest

from anomalib_zsad.network.targets import parse_target
from tests.node.node_builders import dcmtk, is_settled, make_node, storescu, write_series

SECONDS = 60


@dataclass
class Orthanc:
    """An Orthanc that answers this machine alone.

    Attributes:
        dicom: Port for DICOM.
        http: Port for its REST interface.
        node: Port of the node that it routes to.
    """

    dicom: int
    http: int
    node: int = 0

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/{path}", timeout=20) as answer:
            return answer.read()

    def instances(self) -> list[dict[str, Any]]:
        return json.loads(self.get("instances?expand"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def route(folder: Path, port: int) -> dict[str, Any]:
    """The documented routing to a node, as settings; its script is written to the folder."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "deployment.md").read_text()
    (script,) = re.findall(r"```lua\n(.*?)```", text, re.DOTALL)
    settings = next(found for found in re.findall(r"```json\n(.*?)```", text, re.DOTALL) if "route.lua" in found)
    (folder / "route.lua").write_text(script)
    return json.loads("{" + settings.replace("11112", str(port)).replace("route.lua", str(folder / "route.lua")) + "}")


@pytest.fixture
def orthanc(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Orthanc]:
    program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    if not Path(program).is_file():
        pytest.skip("Orthanc (Debian's package orthanc) is not installed")
    folder = tmp_path / "orthanc"
    folder.mkdir()
    server = Orthanc(free_port(), free_port())
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "DicomAet": "ORTHANC",
        "DicomPort": server.dicom,
        "HttpPort": server.http,
        "HttpBindAddress": "127.0.0.1",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomCheckModalityHost": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [],
    }
    server.node = free_port()
    if "route" in request.node.name:
        settings |= route(folder, server.node)
    (folder / "orthanc.json").write_text(json.dumps(settings))
    process = subprocess.Popen(
        [program, folder / "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
    )
    try:
        end = time.monotonic() + 30
        while True:
            try:
                server.get("system")
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    pytest.skip("Orthanc does not start here")
                time.sleep(0.2)
        yield server
    finally:
        process.terminate()
        process.wait(20)


def test_a_study_goes_from_storescu_through_the_node_into_orthanc_and_comes_once(tmp_path: Path, orthanc: Orthanc):
    paths = write_series(tmp_path / "in")
    source = pydicom.dcmread(paths[0])
    with make_node(tmp_path, [parse_target(f"ORTHANC@127.0.0.1:{orthanc.dicom}")]) as node:
        assert storescu(node.receiver.port, *paths).returncode == 0
        assert node.wait_until(is_settled, SECONDS)
        with node.queue.writing() as connection:  # as after a kill between the send and its record
            connection.execute("UPDATE deliveries SET state = 'pending', next_attempt = 0")
        assert node.wait_until(is_settled, SECONDS)
        assert node.queue.rows("SELECT attempts FROM deliveries")[0]["attempts"] == 2
    (instance,) = orthanc.instances()
    content = tmp_path / "back.dcm"
    content.write_bytes(orthanc.get(f"instances/{instance['ID']}/file"))
    back = pydicom.dcmread(content)
    assert back.Modality == "SEG"
    assert back.StudyInstanceUID == source.StudyInstanceUID
    assert back.pixel_array.sum() > 0
    validator = shutil.which("dciodvfy")
    if validator is not None:
        done = subprocess.run([validator, content], capture_output=True, text=True, timeout=60, check=False)
        assert "Error" not in done.stdout + done.stderr


def test_orthanc_routes_what_arrives_to_the_node_and_gets_the_results(tmp_path: Path, orthanc: Orthanc):
    paths = write_series(tmp_path / "in")
    targets = [parse_target(f"ORTHANC@127.0.0.1:{orthanc.dicom}")]
    with make_node(tmp_path, targets, port=orthanc.node, callers=("ORTHANC",)) as node:
        command = [dcmtk("storescu"), "-aec", "ORTHANC", "127.0.0.1", str(orthanc.dicom), *map(str, paths)]
        assert subprocess.run(command, timeout=60, check=False).returncode == 0
        assert node.wait_until(lambda queue: len(queue.rows("SELECT 1 FROM instances")) == len(paths), SECONDS)
        assert node.wait_until(is_settled, SECONDS)
        time.sleep(2)
        assert is_settled(node.queue)  # what came back has gone round no second time
    modalities = [
        json.loads(orthanc.get(f"instances/{one['ID']}/simplified-tags"))["Modality"] for one in orthanc.instances()
    ]
    assert sorted(modalities) == ["CT"] * len(paths) + ["SEG"]
