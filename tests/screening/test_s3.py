"""Screening from S3 into S3, on a real server, by the command with local workers and with Ray."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.object_store import StorePlace
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen
from tests.screening.bright_spot import BrightSpotScorer
from tests.screening.test_object_stores import fetched, upload
from tests.screening.test_shared_runs import contents, write_tree

moto_server = pytest.importorskip("moto.server", reason="moto, an S3 server, is not installed")
pytest.importorskip("s3fs", reason="s3fs is not installed")

OPTIONS = ScreeningOptions(volume=VolumeOptions(window="900/450", previews=1), progress=False)
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = str(Path(sys.executable).with_name("anomalib-zsad"))
COMMAND = [PROGRAM, "screen", "--no-progress", "--window", "900/450", "--previews", "1"]
MODEL = ["--model", "BayesPFL", "--model.backbone", "demo", "--allow-untrained"]


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    """A server with a bucket, which the environment names."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "name")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        StorePlace.of("s3://bucket/x").files.mkdir("bucket")
        yield
    server.stop()


@pytest.fixture
def place(server: None) -> StorePlace:
    """An empty place in the bucket."""
    del server
    return StorePlace.of(f"s3://bucket/{secrets.token_hex(4)}")


def test_s3_gets_what_a_folder_gets(place: StorePlace, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "in")
    code, alone = screen(source, tmp_path / "alone", BrightSpotScorer(), OPTIONS)
    assert screen(upload(source, place / "in"), place / "out", BrightSpotScorer(), OPTIONS) == (code, alone)
    assert fetched(place / "out", tmp_path / "out") == contents(tmp_path / "alone")


@pytest.mark.parametrize(
    "workers",
    [
        [],
        pytest.param(["--devices", "2"], marks=pytest.mark.slow),
        pytest.param(["--executor", "ray", "--devices", "1"], marks=pytest.mark.slow),
    ],
)
def test_the_command_with_every_kind_of_worker(workers: list[str], place: StorePlace, tmp_path: Path) -> None:
    if "ray" in workers:
        pytest.importorskip("ray", reason="Ray is not installed")
    upload(write_tree(tmp_path / "in"), place / "in")
    places = ["-i", str(place / "in"), "-o", str(place / "out")]
    ran = subprocess.run(
        [*COMMAND, *places, *MODEL, *workers],
        env={**os.environ, "RAY_memory_monitor_refresh_ms": "0"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == ExitCode.SOME_REFUSED, ran.stderr
    assert f"written to {place / 'out'} (exit code 4" in ran.stdout
    assert f"look at {place / 'out'}/index.html" in ran.stdout
    names = (place / "out").names()
    assert sum(name.startswith("series-") for name in names) == 6
    assert {"summary.json", "summary.csv", "index.html", "run.json"} <= set(names)


def test_a_bucket_that_is_not_there(server: None, tmp_path: Path) -> None:
    del server
    write_tree(tmp_path / "in")
    ran = subprocess.run(
        [*COMMAND, "-i", str(tmp_path / "in"), "-o", "s3://another/out", *MODEL],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == ExitCode.DISK, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "the store s3://another does not answer as asked" in ran.stdout + ran.stderr
