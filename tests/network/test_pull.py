"""`pull` as a user calls it, against a real server: query, fetch, screen, send back, go on."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.dataset import Dataset

from anomalib_zsad.cli import main
from anomalib_zsad.network.targets import parse_target
from anomalib_zsad.scoring import build
from anomalib_zsad.screening.options import OutputType
from tests.network.faulty_servers import answers, dicom_server, web_server
from tests.network.orthanc import Orthanc, free_port
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.volume_builders import write_series

CT, FIND = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.2.2.1"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SECRETS = ("PHANTOM", "ZZPATIENT", "19121212", "ZZDESCRIPTION")


def call(*arguments: object) -> int:
    return int(main([str(argument) for argument in arguments]))


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> BrightSpotScorer:
    model = BrightSpotScorer()
    monkeypatch.setattr(build, "build_scorer", lambda *_: model)
    return model


def name_patient(dataset: Dataset, _: int) -> None:
    dataset.PatientID, dataset.PatientName = "ZZPATIENT", "ZZPATIENT^NAME"
    dataset.StudyDate, dataset.SeriesDescription = "19121212", "ZZDESCRIPTION"


@pytest.fixture
def filled(orthanc: Orthanc, tmp_path: Path) -> Orthanc:
    """A server with two series that can be screened."""
    for name in "ab":
        folder = write_series(tmp_path / "series" / name, seed=name, edit=name_patient)
        parse_target(orthanc.entity).send(sorted(folder.iterdir()))
    return orthanc


def segmentations(server: Orthanc) -> list[Dataset]:
    client = DICOMwebClient(server.web)
    found = client.search_for_series(search_filters={"Modality": "SEG"}, fields=["StudyInstanceUID"])
    return [
        instance
        for item in map(Dataset.from_json, found)
        for instance in client.iter_series(item.StudyInstanceUID, item.SeriesInstanceUID)
    ]


def state_of(output: Path) -> dict:
    return json.loads((output / "pull.json").read_text())["series"]


def pull(source: str, output: Path, *more: object) -> int:
    return call(
        "pull", "--from", source, "--series-modality", "CT", "-o", output, "--allow-untrained", "--window", "900/450",
        *more,
    )  # fmt: skip


@contextmanager
def forwarded(server: Orthanc) -> Iterator[tuple[str, list[str]]]:
    """Another address of the server's STOW."""

    def forward(handler):
        kind = handler.headers["Content-Type"]
        answer = requests.post(server.web + "/studies", data=handler.body, headers={"Content-Type": kind}, timeout=10)
        answers(answer.status_code, answer.content, answer.headers["Content-Type"])(handler)

    with web_server(forward) as served:
        yield served


@pytest.mark.parametrize("way", ["web", "get", "move"])
def test_series_are_fetched_screened_and_answered(
    filled: Orthanc, scorer: BrightSpotScorer, tmp_path: Path, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    place = filled.web if way == "web" else filled.entity
    more = [] if way == "web" else ["--retrieve", way, "--receive-at", f"127.0.0.1:{filled.receiver_port}"]
    output = tmp_path / "out"
    assert pull(place, output, "--send-to", place, "--send-to", tmp_path / "sent", *more) == 0
    told = "".join(capsys.readouterr())
    assert "research use only" in told
    assert f"sent to {place}" in told
    assert not any(secret in told for secret in SECRETS)
    assert len(scorer.batches) == 2
    results = sorted(path.name for path in output.iterdir() if path.is_dir())
    assert results == sorted(state_of(output))
    for name in results:
        assert (output / name / "report.html").is_file()
        assert (output / name / "lesions_seg.dcm").is_file()
    assert "research use only" in (output / "index.html").read_text()
    assert json.loads((output / "summary.json").read_text())["counts"]["done"] == 2
    texts = [path for path in output.rglob("*") if path.suffix in {".json", ".csv", ".html"}]
    assert not any(secret in path.read_text() for path in texts for secret in SECRETS)
    stored = {one.SOPInstanceUID: one for one in segmentations(filled)}
    originals = {one.SeriesInstanceUID for one in map(dcmread, (tmp_path / "series").rglob("*.dcm"))}
    assert {one.ReferencedSeriesSequence[0].SeriesInstanceUID for one in stored.values()} == originals
    for name in results:
        written = dcmread(output / name / "lesions_seg.dcm")
        assert stored[written.SOPInstanceUID].PixelData == written.PixelData
        assert (tmp_path / "sent" / f"{written.SOPInstanceUID}.dcm").is_file()
    assert not list(output.rglob("image-*"))


@pytest.mark.usefixtures("scorer")
def test_a_dry_run_lists_and_does_nothing_else(
    filled: Orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, held = sorted(tmp_path.rglob("*")), filled.get("/statistics")
    for place in (filled.web, filled.entity):
        assert call("pull", "--from", place, "--patient-id", "ZZ*", "--dry-run", "-o", tmp_path / "out") == 0
        out = capsys.readouterr().out
        assert out.count("series-") == 2
        assert out.count("study-") == 2
        assert "2 series would be screened" in out
        assert not any(secret in out for secret in SECRETS)
        assert call("pull", "--from", place, "--patient-id", "ZZ*", "--dry-run", "--show-identifiers") == 0
        out = capsys.readouterr().out
        assert all(out.count(secret) == 2 for secret in SECRETS[1:])
    after = [path for path in sorted(tmp_path.rglob("*")) if path.parent.name != "storage"]
    assert [path for path in before if path.parent.name != "storage"] == after
    assert filled.get("/statistics")["CountInstances"] == held["CountInstances"]


def test_what_is_done_is_not_fetched_again_and_what_was_not_sent_is_sent(
    filled: Orthanc, scorer: BrightSpotScorer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port, output = free_port(), tmp_path / "out"
    late = f"http://127.0.0.1:{port}/dicom-web"
    assert pull(filled.web, output, "--send-to", late, "--send-to", filled.web) == 4
    assert (
        "results of 2 series were not sent to every target; the same command with --resume" in capsys.readouterr().err
    )
    assert [list(state["targets"].values())[1] for state in state_of(output).values()] == ["sent", "sent"]
    stored = filled.instances()
    write_series(tmp_path / "c", seed="c", edit=name_patient)
    parse_target(filled.entity).send(sorted((tmp_path / "c").iterdir()))

    with forwarded(filled) as (url, asked):
        again = pull(filled.web, output, "--resume", "--send-to", url, "--send-to", filled.web)
    assert again == 0
    assert len(asked) == 3
    assert len(scorer.batches) == 3
    assert len(filled.instances()) == len(stored) + 6 + 1
    assert {tuple(state["targets"]) for state in state_of(output).values()} == {(filled.web, url), (url, filled.web)}
    capsys.readouterr()
    assert pull(filled.web, output, "--resume", "--send-to", filled.web) == 0
    assert "nothing left to do" in capsys.readouterr().out
    assert pull(filled.web, output, "--send-to", filled.web) == 2
    assert "give --resume" in capsys.readouterr().err


def test_a_series_that_grew_is_fetched_again(orthanc: Orthanc, scorer: BrightSpotScorer, tmp_path: Path) -> None:
    files = sorted(write_series(tmp_path / "s").iterdir())
    parse_target(orthanc.entity).send(files[:4])
    assert pull(orthanc.web, tmp_path / "out") == 0
    parse_target(orthanc.entity).send(files)
    assert pull(orthanc.web, tmp_path / "out", "--resume") == 0
    (state,) = state_of(tmp_path / "out").values()
    assert state["images"] == state["entries"][0]["slices"] == 6
    assert len(scorer.batches) == 2


@pytest.mark.usefixtures("scorer")
def test_one_bad_series_does_not_stop_the_others(orthanc: Orthanc, tmp_path: Path) -> None:
    def short(dataset: Dataset, _: int) -> None:
        dataset.PixelData = dataset.PixelData[:-30]

    for name, edit in {"a": None, "b": short}.items():
        parse_target(orthanc.entity).send(sorted(write_series(tmp_path / name, seed=name, edit=edit).iterdir()))
    assert pull(orthanc.web, tmp_path / "out", "--send-to", tmp_path / "sent") == 4
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["counts"]["done"] == summary["counts"]["refused"] == 1
    assert len(list((tmp_path / "sent").iterdir())) == 1
    assert not (tmp_path / "out" / "images").exists()


def test_a_series_that_cannot_be_fetched_is_told_and_tried_again(
    filled: Orthanc, scorer: BrightSpotScorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    assert pull(filled.web, output, "--max-series-gib", "1e-6") == 5
    summary = json.loads((output / "summary.json").read_text())
    assert all(entry["reason"].startswith("not fetched: the series is larger") for entry in summary["series"])
    assert not scorer.batches
    assert pull(filled.web, output, "--resume", "--keep-images") == 0
    assert len(scorer.batches) == 2
    assert len(list((output / "images").rglob("image-*.dcm"))) == 12


def test_a_series_that_found_no_memory_is_tried_again(
    filled: Orthanc, scorer: BrightSpotScorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, score, full = tmp_path / "out", BrightSpotScorer.__call__, [True]

    def without_memory(self, images):
        if full and full.pop():
            raise MemoryError
        return score(self, images)

    monkeypatch.setattr(BrightSpotScorer, "__call__", without_memory)
    assert pull(filled.web, output, "--send-to", tmp_path / "sent") == 4
    assert sorted(state["screened"] for state in state_of(output).values()) == [False, True]
    assert not (output / "images").exists()
    assert pull(filled.web, output, "--resume", "--send-to", tmp_path / "sent") == 0
    assert [state["screened"] for state in state_of(output).values()] == [True, True]
    assert len(list((tmp_path / "sent").iterdir())) == len(scorer.batches) == 2


@pytest.mark.usefixtures("scorer")
def test_an_application_that_nothing_can_be_fetched_from_is_told_for_each_series(tmp_path: Path) -> None:
    def found(event):
        for number in range(2):
            item = Dataset()
            item.QueryRetrieveLevel, item.StudyInstanceUID, item.Modality = "STUDY", "1.2.3", "CT"
            item.SeriesInstanceUID = f"1.2.3.{number}"
            yield 0xFF00, item
            if event.identifier.QueryRetrieveLevel == "STUDY":
                return

    with dicom_server(classes=[FIND, CT], EVT_C_FIND=found) as at:
        assert pull(at, tmp_path / "out") == 5
    entries = json.loads((tmp_path / "out" / "summary.json").read_text())["series"]
    assert ["cannot do this" in entry["reason"] for entry in entries] == [True, True]


@pytest.mark.usefixtures("scorer")
@pytest.mark.parametrize("way", ["web", "entity"])
def test_all_results_are_stored_once_and_not_screened_in_turn(
    filled: Orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    place, kinds = getattr(filled, way), get_args(OutputType)
    before = filled.instances()
    assert pull(place, tmp_path / "out", "--send-to", place, "-ot", *kinds) == 0
    written = {dcmread(path).SOPInstanceUID for path in (tmp_path / "out").rglob("*.dcm")}
    assert len(written) > 2 * (len(kinds) - 1)
    assert filled.instances() == before | written
    assert pull(place, tmp_path / "again", "--send-to", place, "-ot", *kinds) == 0
    assert filled.instances() == before | written
    capsys.readouterr()
    for criterion in (["--limit", 50], ["--series-modality", "CT", "OT"]):
        assert call("pull", "--from", place, *criterion, "--dry-run") == 0
        captured = capsys.readouterr()
        assert "2 series would be screened" in captured.out
        assert "series hold no images of a patient" in captured.err


STOPPED = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite started in the background would ignore it
sys.path.insert(0, sys.argv[1])
from anomalib_zsad.cli import main
from anomalib_zsad.scoring import build
from anomalib_zsad.screening.options import OutputType
from tests.screening.bright_spot import BrightSpotScorer
import time
class Slow(BrightSpotScorer):
    def __call__(self, images):
        if self.batches:
            print("second", flush=True)
            time.sleep(60)
        return super().__call__(images)
model = Slow()
build.build_scorer = lambda *_: model
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("kind", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_run_that_was_stopped_goes_on(
    filled: Orthanc, scorer: BrightSpotScorer, tmp_path: Path, kind: signal.Signals
) -> None:
    root, output = Path(__file__).resolve().parents[2], tmp_path / "out"
    words = ["pull", "--from", filled.web, "--series-modality", "CT", "-o", str(output), "--allow-untrained"]
    words += ["--window", "900/450", "--send-to", filled.web]
    command = [sys.executable, "-c", STOPPED, str(root), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"second\n"
    os.kill(process.pid, kind)
    _, error = process.communicate()
    if kind == signal.SIGINT:
        assert process.returncode == 130
        assert b"the same command with --resume goes on" in error
    (done,) = (key for key, state in state_of(output).items() if state["screened"])
    stamp = (output / done / "report.json").stat().st_mtime_ns

    assert pull(filled.web, output, "--resume", "--send-to", filled.web) == 0
    assert len(scorer.batches) == 1
    assert (output / done / "report.json").stat().st_mtime_ns == stamp
    assert len(segmentations(filled)) == 2
    assert len(state_of(output)) == 2
    assert not list(output.rglob("*partial*"))
    assert not (output / "work").exists()


@pytest.mark.usefixtures("scorer")
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--from", "PACS", "--limit", "1"], 2, "'PACS' is no source; the forms are"),
        (["--from", "PACS@127.0.0.1:1"], 2, "say which series, such as --study-date"),
        (["--from", "PACS@127.0.0.1:1", "--limit", "1"], 2, "no -o was given"),
        (["--from", "PACS@127.0.0.1:1", "--limit", "1", "-o", "OUT"], 2, "no --checkpoint was given"),
        (["--from", "PACS@127.0.0.1:1", "--limit", "1", "--dry-run"], 2, "no connection"),
        (["--from", "http://127.0.0.1:1/x", "--limit", "1", "--dry-run"], 2, "no connection, or it was lost; try"),
        (["--from", "http://u:hunter2@h/x", "--limit", "1", "--dry-run"], 2, "holds a user name or password"),
        (["--from", "PACS@h:1", "--limit", "1", "--send-to", "PACS", "--dry-run"], 2, "'PACS' is no target"),
        (["--from", "PACS@h:1", "--limit", "1", "-o", "OUT", "--send-to", "./x", "-ot", "nifti"], 2, "add dicom_seg"),
        (["--from", "PACS@h:1", "--study-date", "today", "--dry-run"], 2, "'today' is no date"),
        (["--from", "PACS@h:1", "--limit", "1", "--token-variable", "hunter2", "--dry-run"], 2, "takes HOST=NAME"),
        (["--from", "PACS@h:1", "--limit", "1", "--max-series-gib", "0", "--dry-run"], 2, "above 0, got 0"),
        (["--from", "PACS@h:1", "--limit", "1", "--receive-at", "x", "--dry-run"], 2, "no address to listen at"),
    ],
)
def test_wrong_usage_is_said_in_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    out = [str(tmp_path / "out") if word == "OUT" else word for word in words]
    assert call("pull", *out) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert "hunter2" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("scorer")
def test_nothing_found(orthanc: Orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pull(orthanc.web, tmp_path / "out", "--patient-id", "ZZPATIENT") == 3
    error = capsys.readouterr().err
    assert "has no images that meet the criteria" in error
    assert "ZZPATIENT" not in error
    assert not (tmp_path / "out").exists()


def test_a_token_goes_to_its_host_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FIRST_TOKEN", "hunter2")
    seen: list[str | None] = []

    def answer(handler):
        seen.append(handler.headers["Authorization"])
        answers(200, b"[]")(handler)

    with web_server(answer) as (first, _), web_server(answer) as (second, _):
        host = first.split("/")[2]
        words = ["--limit", "1", "--dry-run", "--token-variable", f"{host}=FIRST_TOKEN"]
        assert call("pull", "--from", first, *words) == 3
        assert call("pull", "--from", second, *words) == 3
    assert seen == ["Bearer hunter2", None]
    assert "hunter2" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("package", ["pynetdicom", "dicomweb_client"])
def test_a_missing_package_is_told_with_the_command_that_installs_it(package: str) -> None:
    program = (
        f"import sys\nsys.modules[{package!r}] = None\nfrom anomalib_zsad.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    place = "PACS@127.0.0.1:1" if package == "pynetdicom" else "http://127.0.0.1:1/dicom-web"
    command = [sys.executable, "-c", program, "pull", "--from", place, "--limit", "1", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'is not installed; pip install "anomalib-zsad[node]" installs' in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("scorer")
def test_the_commands_of_the_page_run_as_they_are_written(orthanc: Orthanc, tmp_path: Path) -> None:
    def edit(dataset: Dataset, _: int) -> None:
        dataset.Modality, dataset.StudyDate = "MR", "20260131"

    parse_target(orthanc.entity).send(sorted(write_series(tmp_path / "s", edit=edit).iterdir()))
    page = (Path(__file__).resolve().parents[2] / "docs" / "deployment.md").read_text()
    page = re.sub(r"### With DICOMweb only\n.*?(?=### )", "", page, flags=re.DOTALL)  # tested by itself
    lines = page.replace("\\\n", " ").splitlines()
    here = {":8042": f":{orthanc.http_port}", ":4242": f":{orthanc.dicom_port}", " OUT ": f" {tmp_path / 'out'} "}
    commands = [line for line in lines if line.startswith("anomalib-zsad pull")]
    assert len(commands) >= 3
    for command in commands:
        pattern = re.compile("|".join(map(re.escape, here)))
        assert call(*shlex.split(pattern.sub(lambda found: here[found[0]], command))[1:]) == 0
    assert len(segmentations(orthanc)) == 1
    entry = re.findall(r'"DicomModalities": (.*)', page)[0]  # the node's section has one too, for another application
    known = json.loads((orthanc.folder / "orthanc.json").read_text())["DicomModalities"]["anomalib"]
    assert json.loads(entry)["anomalib"][:2] == known[:2]


@pytest.mark.usefixtures("scorer")
def test_a_real_series_by_c_get(orthanc: Orthanc, shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "schwannoma_dicom").iterdir())
    parse_target(orthanc.entity).send(files)
    words = ["--from", orthanc.entity, "--series-modality", "MR", "-o", tmp_path / "out", "--allow-untrained"]
    assert call("pull", *words, "--send-to", orthanc.entity) == 0
    (state,) = state_of(tmp_path / "out").values()
    assert state["entries"][0]["slices"] == state["images"] == len(files) == 37
    (stored,) = segmentations(orthanc)
    assert stored.SeriesInstanceUID != dcmread(files[0]).SeriesInstanceUID
    assert stored.StudyInstanceUID == dcmread(files[0]).StudyInstanceUID


@pytest.mark.slow
def test_the_demo_model_screens_what_is_stored(orthanc: Orthanc, tmp_path: Path) -> None:
    samples = Path(__file__).resolve().parents[2] / "sample_data" / "medical" / "head_ct" / "images" / "bleed"
    parse_target(orthanc.entity).send(sorted(samples.rglob("*.dcm")))
    words = ["--from", orthanc.entity, "--series-modality", "CT", "-o", tmp_path / "out", "--send-to", orthanc.web]
    words += ["--allow-untrained", "--model.backbone", "demo", "--class-name", "brain", "--threshold", "0.4"]
    assert call("pull", *words) == 0
    (written,) = (tmp_path / "out").rglob("lesions_seg.dcm")
    (stored,) = segmentations(orthanc)
    assert stored.SOPClassUID == SEG
    assert stored.PixelData == dcmread(written).PixelData
    source = {dcmread(path).SOPInstanceUID for path in samples.rglob("*.dcm")}
    instances = stored.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {item.ReferencedSOPInstanceUID for item in instances} <= source
