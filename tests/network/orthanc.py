"""A real Orthanc in a folder of its own, for tests: it refuses remote access and is stopped at the end."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

PROGRAM = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
TITLE = "ORTHANC"


@dataclass(frozen=True)
class Orthanc:
    """A server that runs.

    Attributes:
        http_port, dicom_port: Where it listens.
        receiver_port: Where it sends what `ANOMALIB` asks it to move.
        folder: Its folder.
    """

    http_port: int
    dicom_port: int
    receiver_port: int
    folder: Path

    @property
    def entity(self) -> str:
        return f"{TITLE}@127.0.0.1:{self.dicom_port}"

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def get(self, path: str) -> object:
        """What its own REST interface answers."""
        with urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
            return json.loads(answer.read())

    def instances(self) -> set[str]:
        """SOP Instance UIDs of everything that it stores."""
        listed = self.get("/instances?expand")
        return {str(instance["MainDicomTags"]["SOPInstanceUID"]) for instance in listed}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running_orthanc(
    folder: Path, settings: Mapping[str, object] | None = None, ports: tuple[int, int, int] | None = None
) -> Iterator[Orthanc]:
    """An Orthanc while a block lasts; skips the test, with the reason, where it is not installed.

    Args:
        folder: For its configuration and storage; with what an earlier one left there it goes on.
        settings: Further entries of its configuration, such as `{"DicomModalities": {...}}`.
        ports: For HTTP, for DICOM, and of the application `ANOMALIB` that it can send to; free ones unless given.
    """
    if not Path(PROGRAM).is_file() or not PLUGIN.is_file():
        pytest.skip("Orthanc and its DICOMweb plugin (Debian's orthanc and orthanc-dicomweb) are not installed")
    folder.mkdir(parents=True, exist_ok=True)
    server = Orthanc(*(ports or (free_port(), free_port(), free_port())), folder)
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(PLUGIN)],
        # 1.10.1 listens on all addresses whatever it is told: remote clients are refused.
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpPort": server.http_port,
        "DicomPort": server.dicom_port,
        "DicomAet": TITLE,
        "DicomCheckCalledAet": True,
        "DicomModalities": {"anomalib": ["ANOMALIB", "127.0.0.1", server.receiver_port]},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "StableAge": 1,
        **(settings or {}),
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([PROGRAM, str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT)
        try:
            _await(server, process)
            yield server
        finally:
            process.kill()  # an orderly end takes it three seconds, and its folder is thrown away
            process.wait()


def _await(server: Orthanc, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if _answers(server):
            return
        time.sleep(0.1)
    pytest.fail("Orthanc did not start:\n" + (server.folder / "log.txt").read_text(errors="replace")[-2000:])


def _answers(server: Orthanc) -> bool:
    try:
        return bool(server.get("/system"))
    except HTTPError:
        return True  # it asks for a password
    except (URLError, OSError):
        return False


@pytest.fixture(scope="module")
def shared_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One server for the tests of a module."""
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """A server of a test's own, empty."""
    with running_orthanc(tmp_path / "orthanc") as server:
        yield server
