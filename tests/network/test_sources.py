"""Finding and fetching: at a real server by QIDO and WADO, C-FIND with C-GET and C-MOVE, and at faulty ones."""

import json
import logging
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless

from anomalib_zsad.network import dicomweb
from anomalib_zsad.network.addresses import ConnectionOptions, TlsFiles
from anomalib_zsad.network.associations import build_context
from anomalib_zsad.network.errors import RetrievalError
from anomalib_zsad.network.query_retrieve import _Store
from anomalib_zsad.network.receiving import Receiver
from anomalib_zsad.network.series import FoundSeries, SeriesQuery
from anomalib_zsad.network.sources import Source, parse_source
from anomalib_zsad.network.targets import parse_target
from tests.network.faulty_servers import answers, dicom_server, web_server
from tests.network.orthanc import Orthanc, free_port, running_orthanc
from tests.volumes.volume_builders import write_series

BUDGET = 1 << 30
# A busy machine's server may take seconds to answer: only where none ever comes is the wait short.
PATIENT = ConnectionOptions(connect_seconds=30, answer_seconds=30)
QUICK = ConnectionOptions(connect_seconds=3, answer_seconds=3)
WAYS = ["web", "get", "move"]
CT = "1.2.840.10008.5.1.4.1.1.2"
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orthanc, dict[str, Path]]]:
    """A server with three series of two patients, and their files."""
    folder = tmp_path_factory.mktemp("filled")
    described = {
        "a": ("ID 1/+", "20260110", "CT", "Head NATIVE"),
        "b": ("ID-2", "20260120", "MR", "AX flair [fs]"),
        "c": ("ID-2", "20260131", "CT", ""),
    }

    def edit(name: str) -> Callable[[Dataset, int], None]:
        def change(dataset: Dataset, _: int) -> None:
            dataset.PatientID, dataset.StudyDate, dataset.Modality, dataset.SeriesDescription = described[name]

        return change

    series = {name: write_series(folder / name, seed=name, edit=edit(name)) for name in described}
    with running_orthanc(folder / "orthanc") as server:
        for path in series.values():
            parse_target(server.entity).send(sorted(path.iterdir()))
        yield server, series


def source_of(server: Orthanc, way: str, options: ConnectionOptions = PATIENT) -> Source:
    if way == "web":
        return parse_source(server.web, options)
    return parse_source(server.entity, options, retrieve_by=way, receive_at=f"127.0.0.1:{server.receiver_port}")


def uid_of(folder: Path, keyword: str = "SeriesInstanceUID") -> str:
    return str(dcmread(next(folder.iterdir()))[keyword].value)


@pytest.mark.parametrize("way", ["web", "get"])
@pytest.mark.parametrize(
    ("criteria", "names"),
    [
        ({}, "abc"),
        ({"patient_id": "ID-2"}, "bc"),
        ({"patient_id": "id-2"}, ""),
        ({"patient_id": "ID 1/+"}, "a"),
        ({"patient_id": "ID*"}, "abc"),
        ({"patient_id": "ID-?"}, "bc"),
        ({"study_date": "20260110"}, "a"),
        ({"study_date": "20260115-20260131"}, "bc"),
        ({"study_date": "20260121-"}, "c"),
        ({"study_date": "-20260120"}, "ab"),
        ({"modalities": ("MR",)}, "b"),
        ({"modalities": ("MR", "CT")}, "abc"),
        ({"modalities": ("US",)}, ""),
        ({"description": "head native"}, "a"),
        ({"description": "*[FS]"}, "b"),
        ({"description": "head"}, ""),
        ({"patient_id": "ID-2", "modalities": ("CT",)}, "c"),
    ],
)
def test_each_criterion(filled: tuple[Orthanc, dict], way: str, criteria: dict, names: str) -> None:
    server, series = filled
    found = source_of(server, way).query(SeriesQuery(**criteria))
    assert {one.series_uid for one in found} == {uid_of(series[name]) for name in names}


@pytest.mark.parametrize("way", ["web", "get"])
def test_uids_limits_and_what_is_told(filled: tuple[Orthanc, dict], way: str) -> None:
    server, series = filled
    source = source_of(server, way)
    study, wanted = uid_of(series["b"], "StudyInstanceUID"), uid_of(series["b"])
    (alone,) = source.query(SeriesQuery(series_uid=wanted))
    assert alone == FoundSeries(study, wanted, "MR", 6, "ID-2", "20260120", "AX flair [fs]")
    assert source.query(SeriesQuery(study_uid=study)) == [alone]
    assert source.query(SeriesQuery(study_uid=study, series_uid=uid_of(series["a"]))) == []
    assert source.query(SeriesQuery(series_uid="1.2.3.4")) == []
    assert len(source.query(SeriesQuery(limit=2))) == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_series_comes_as_it_is_stored(filled: tuple[Orthanc, dict], tmp_path: Path, way: str) -> None:
    server, series = filled
    source = source_of(server, way)
    (found,) = source.query(SeriesQuery(series_uid=uid_of(series["b"])))
    assert source.retrieve(found, tmp_path, BUDGET) == 6
    got = {one.SOPInstanceUID: one for one in map(dcmread, tmp_path.iterdir())}
    for path in series["b"].iterdir():
        original = dcmread(path)
        np.testing.assert_array_equal(got[original.SOPInstanceUID].pixel_array, original.pixel_array)
        assert got[original.SOPInstanceUID] == original
    assert not any("ID" in path.name or "1.2" in path.name for path in tmp_path.iterdir())


@pytest.mark.parametrize("way", WAYS)
def test_compressed_images_stay_as_they_are(orthanc: Orthanc, shared_data: Path, tmp_path: Path, way: str) -> None:
    files = []
    for number, path in enumerate(sorted((shared_data / "ct_j2k_without_uids").iterdir())):
        dataset = dcmread(path)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number}"
        files.append(tmp_path / f"{number}.dcm")
        dataset.save_as(files[-1], enforce_file_format=True)
    parse_target(orthanc.entity).send(files)
    (tmp_path / "out").mkdir()
    source = source_of(orthanc, way)
    (found,) = source.query(SeriesQuery(series_uid="1.2.3.4"))
    assert source.retrieve(found, tmp_path / "out", BUDGET) == len(files)
    got = {one.SOPInstanceUID: one for one in map(dcmread, (tmp_path / "out").iterdir())}
    assert {one.file_meta.TransferSyntaxUID for one in got.values()} == {JPEG2000Lossless}
    original = dcmread(files[0])
    assert got[original.SOPInstanceUID].PixelData == original.PixelData


@pytest.mark.parametrize("way", WAYS)
def test_a_series_over_the_budget_is_not_taken(filled: tuple[Orthanc, dict], tmp_path: Path, way: str) -> None:
    server, series = filled
    source = source_of(server, way)
    (found,) = source.query(SeriesQuery(series_uid=uid_of(series["a"])))
    size = max(path.stat().st_size for path in series["a"].iterdir())
    with pytest.raises(RetrievalError, match=r"larger than .* GiB; --max-series-gib allows more") as failed:
        source.retrieve(found, tmp_path, 3 * size)
    assert not failed.value.retry
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3 * size


@pytest.mark.parametrize("way", ["get", "move"])
def test_an_instance_over_the_budget_is_cut_off_while_it_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    image = dcmread(write_series(tmp_path / "s") / "f000.dcm")
    image.SOPInstanceUID, large = "1.2.3.1", "1.2.3.2"
    receiver_port, kept, keep = free_port(), [], Receiver.keep

    def send(_):
        if way == "move":
            yield "127.0.0.1", receiver_port, {"contexts": [build_context(CT)]}
        yield 2
        yield 0xFF00, image
        image.SOPInstanceUID, image.PixelData = large, bytes(40 << 20)
        yield 0xFF00, image

    def record(self, content, series, instance):
        kept.append(instance)
        keep(self, content, series, instance)

    monkeypatch.setattr(Receiver, "keep", record)
    (tmp_path / "out").mkdir()
    handlers = {"EVT_C_FIND": lambda _: [], "EVT_C_GET": send, "EVT_C_MOVE": send}
    begin = time.monotonic()
    with dicom_server(classes=[FIND, GET, MOVE, CT], **handlers) as at:
        source = parse_source(at, PATIENT, retrieve_by=way, receive_at=f"127.0.0.1:{receiver_port}")
        with pytest.raises(RetrievalError, match=r"larger than .* GiB; --max-series-gib allows more") as failed:
            source.retrieve(FoundSeries(image.StudyInstanceUID, image.SeriesInstanceUID), tmp_path / "out", 1 << 20)
    assert not failed.value.retry
    assert kept == ["1.2.3.1"]
    assert time.monotonic() - begin < PATIENT.answer_seconds


def test_many_instances_are_no_more_than_one_at_a_time(tmp_path: Path) -> None:
    """What was taken no longer counts: together these are four times what may wait at the end."""
    image = dcmread(write_series(tmp_path / "s") / "f000.dcm")
    pixels = bytes(1 << 20)

    def send(_):
        yield 8
        for number in range(8):
            image.SOPInstanceUID, image.PixelData = f"1.2.3.{number}", pixels
            yield 0xFF00, image

    (tmp_path / "out").mkdir()
    with dicom_server(classes=[FIND, GET, CT], EVT_C_FIND=lambda _: [], EVT_C_GET=send) as at:
        series = FoundSeries(image.StudyInstanceUID, image.SeriesInstanceUID, images=8)
        assert parse_source(at, PATIENT).retrieve(series, tmp_path / "out", (8 << 20) + 100_000) == 8


def is_cut_off(connection: socket.socket) -> bool:
    """Whether the other side ends a connection over which it gets the header of an endless PDU, and its beginning."""
    connection.settimeout(10)
    try:
        connection.sendall(b"\x01\x00\x7f\xff\xff\xff" + bytes(1 << 16))
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def test_a_pdu_that_claims_too_much_ends_its_association() -> None:
    port = free_port()
    source = parse_source(f"PACS@127.0.0.1:{port}", PATIENT, retrieve_by="move", receive_at=f"127.0.0.1:{port}")
    with (
        source._listening(_Store(Receiver(Path(), "1.2.3", BUDGET))),
        socket.create_connection(("127.0.0.1", port)) as stranger,
    ):
        assert is_cut_off(stranger)

    told = []

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            told.append(is_cut_off(connection))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        at = f"PACS@127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(RetrievalError, match="aborted or not answered"):
            parse_source(at, PATIENT).query(SeriesQuery(limit=1))
        thread.join(20)
    assert told == [True]


@pytest.mark.parametrize("way", WAYS)
def test_a_series_that_is_gone(filled: tuple[Orthanc, dict], tmp_path: Path, way: str) -> None:
    with pytest.raises(RetrievalError):
        source_of(filled[0], way).retrieve(FoundSeries("1.2", "1.2.3"), tmp_path, BUDGET)


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_that_cannot_be_written_is_an_error_of_the_disk(
    filled: tuple[Orthanc, dict], tmp_path: Path, way: str
) -> None:
    server, series = filled
    source = source_of(server, way)
    (found,) = source.query(SeriesQuery(series_uid=uid_of(series["a"])))
    with pytest.raises(OSError, match="No such file"):
        source.retrieve(found, tmp_path / "none", BUDGET)


def test_an_ae_title_of_ours_that_is_not_known(filled: tuple[Orthanc, dict], tmp_path: Path) -> None:
    stranger = source_of(filled[0], "move", ConnectionOptions(calling_title="STRANGER", answer_seconds=3))
    with pytest.raises(RetrievalError, match="does it know our AE title STRANGER"):
        stranger.query(SeriesQuery(patient_id="ID-2"))
    address = f"127.0.0.1:{free_port()}"

    def nowhere(_):
        yield None, None

    with dicom_server(classes=[MOVE], EVT_C_MOVE=nowhere) as at:
        source = parse_source(at, QUICK, retrieve_by="move", receive_at=address)
        with pytest.raises(RetrievalError, match=f"does not know ANOMALIB; enter it there, at {address}") as failed:
            source.retrieve(FoundSeries("1.2", "1.2.3"), tmp_path, BUDGET)
    assert not failed.value.retry


def test_a_receiver_that_cannot_listen(filled: tuple[Orthanc, dict], tmp_path: Path) -> None:
    server, series = filled
    source = parse_source(server.entity, QUICK, retrieve_by="move", receive_at=f"127.0.0.1:{server.http_port}")
    (found,) = source.query(SeriesQuery(series_uid=uid_of(series["a"])))
    with pytest.raises(RetrievalError, match=r"cannot listen at .*; --receive-at names another place"):
        source.retrieve(found, tmp_path, BUDGET)


def test_nobody_answers() -> None:
    port = free_port()
    for text in (f"PACS@127.0.0.1:{port}", f"http://127.0.0.1:{port}/dicom-web"):
        with pytest.raises(RetrievalError, match="no connection") as failed:
            parse_source(text, QUICK).query(SeriesQuery(patient_id="SECRET"))
        assert failed.value.retry
        assert "SECRET" not in str(failed.value)


@pytest.mark.parametrize(
    ("status", "body", "retry", "words"),
    [
        (401, b"", False, "HTTP 401 Unauthorized; it wants a token"),
        (404, b"", False, "HTTP 404 Not Found; is this its DICOMweb address?"),
        (500, b"", True, "HTTP 500"),
        (200, b"<html>", False, "no DICOM JSON"),
        (200, b'[{"0020000D": 5}]', False, "is not DICOMweb"),
        (200, b'"text"', False, "is not DICOMweb"),
    ],
)
def test_queries_that_are_not_answered(status: int, body: bytes, retry: bool, words: str) -> None:
    with web_server(answers(status, body)) as (url, asked), pytest.raises(RetrievalError) as failed:
        parse_source(url, QUICK).query(SeriesQuery(patient_id="SECRET"))
    assert "PatientID=SECRET" in asked[0]
    assert failed.value.retry is retry
    assert words in str(failed.value)
    assert "SECRET" not in str(failed.value)


def test_a_query_that_is_answered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb, "_QUERY_BYTES", 1000)
    with web_server(answers(200, bytes(2000))) as (url, _), pytest.raises(RetrievalError) as failed:
        parse_source(url, QUICK).query(SeriesQuery(patient_id="SECRET"))
    assert not failed.value.retry
    assert "larger than any true one" in str(failed.value)


def test_a_server_that_knows_neither_pages_nor_criteria() -> None:
    def study(number: int) -> dict:
        values = {"0020000D": ("UI", f"1.2.{number}"), "00100020": ("LO", "ID"), "00080020": ("DA", "20260101")}
        return {tag: {"vr": kind, "Value": [value]} for tag, (kind, value) in values.items()}

    series = {"0020000E": ("UI", "1.2.9"), "00080060": ("CS", "CT")}
    listed = {tag: {"vr": kind, "Value": [value]} for tag, (kind, value) in series.items()}

    def answer(handler):
        items = [listed] if "/series" in handler.path else [study(1), study(2)]
        answers(200, json.dumps(items).encode())(handler)

    with web_server(answer) as (url, asked):
        source = parse_source(url, QUICK)
        assert len(source.query(SeriesQuery(patient_id="ID"))) == 2
        assert len(asked) < 10
        assert source.query(SeriesQuery(patient_id="OTHER")) == []


def wado_answer(*, parts: int, cut: bool = False, close: bool = False, series: str = "1.2.3") -> Callable:
    """A server whose series consists of so many small images; it may end in the middle of a message."""

    def answer(handler):
        import io

        body = b""
        for number in range(parts):
            dataset = dcmread(write_series(Path(handler.server.folder) / "s") / "f000.dcm")
            dataset.SeriesInstanceUID, dataset.SOPInstanceUID = series, f"{series}.{number}"
            with io.BytesIO() as stream:
                dataset.save_as(stream)
                body += b"\r\n--frontier\r\nContent-Type: application/dicom\r\n\r\n" + stream.getvalue()
        body += b"\r\n--frontier--\r\n"
        handler.send_response(200)
        handler.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=frontier')
        if not close:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2] if cut else body)

    return answer


@pytest.mark.parametrize(
    ("answer", "announced", "words", "retry"),
    [
        (wado_answer(parts=3), 4, "only 3 of 4 images were sent", True),
        (wado_answer(parts=3, cut=True), 3, "stopped in the middle of an answer", True),
        (wado_answer(parts=3, cut=True, close=True), None, "stopped in the middle of an answer", True),
        (wado_answer(parts=3, series="1.2.4"), 3, "an image of another series was sent", False),
        (wado_answer(parts=0), 3, "only 0 of 3", True),
        (answers(200, b"junk", "application/octet-stream"), 3, "is not DICOMweb", False),
        (answers(406), 3, "HTTP 406", False),
    ],
)
def test_series_that_do_not_come_whole(
    tmp_path: Path, answer: Callable, announced: int | None, words: str, retry: bool
) -> None:
    (tmp_path / "out").mkdir()

    def here(handler):
        handler.server.folder = tmp_path
        answer(handler)

    with web_server(here) as (url, _), pytest.raises(RetrievalError) as failed:
        parse_source(url, QUICK).retrieve(FoundSeries("1.2", "1.2.3", "CT", announced), tmp_path / "out", BUDGET)
    assert words in str(failed.value)
    assert failed.value.retry is retry


def test_a_stream_without_end_is_cut_off_at_the_budget(tmp_path: Path) -> None:
    def endless(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=frontier')
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(bytes(1 << 20))
        except OSError:
            pass

    with web_server(endless) as (url, _), pytest.raises(RetrievalError, match="--max-series-gib"):
        parse_source(url, QUICK).retrieve(FoundSeries("1.2", "1.2.3"), tmp_path, 10 << 20)


@pytest.mark.parametrize(("status", "retry"), [(0xA702, True), (0xA900, False), (0xC001, False), (0xB000, True)])
def test_retrievals_that_are_refused(tmp_path: Path, status: int, retry: bool) -> None:
    def refuse(_):
        yield 1
        yield status, None

    with (
        dicom_server(classes=[FIND, GET], EVT_C_GET=refuse, EVT_C_FIND=lambda _: []) as at,
        pytest.raises(RetrievalError, match=f"refused the retrieval .status {status:04X}") as failed,
    ):
        parse_source(at, QUICK).retrieve(FoundSeries("1.2", "1.2.3"), tmp_path, BUDGET)
    assert failed.value.retry is retry


def a_query_fails_for_now(answer: Callable[[Any], Any], words: str, options: ConnectionOptions = QUICK) -> None:
    """A query of an application that answers so fails with some words, and may be asked again."""
    with (
        dicom_server(classes=[FIND], EVT_C_FIND=answer) as at,
        pytest.raises(RetrievalError, match=words) as failed,
    ):
        parse_source(at, options).query(SeriesQuery(patient_id="SECRET"))
    assert failed.value.retry


def test_a_query_that_is_refused_or_never_answered() -> None:
    def refuse(_):
        yield 0xA700, None

    def silent(_):
        time.sleep(2)
        yield 0x0000, None

    a_query_fails_for_now(refuse, r"refused the query \(status A700\)")
    a_query_fails_for_now(silent, "in time", ConnectionOptions(answer_seconds=0.5))


def test_an_application_that_aborts_in_the_middle(tmp_path: Path) -> None:
    def abort(event):
        yield 2
        event.assoc.abort()
        yield 0xFF00, dcmread(write_series(tmp_path / "s") / "f000.dcm")

    with (
        dicom_server(EVT_C_GET=abort, EVT_C_FIND=lambda _: [], classes=[FIND, GET, CT]) as at,
        pytest.raises(RetrievalError, match="aborted, or did not answer") as failed,
    ):
        parse_source(at, QUICK).retrieve(FoundSeries("1.2", "1.2.3"), tmp_path, BUDGET)
    assert failed.value.retry


@pytest.mark.parametrize(("way", "missing"), [("get", "GET"), ("move", "MOVE")])
def test_an_application_that_cannot_be_retrieved_from(tmp_path: Path, way: str, missing: str) -> None:
    with dicom_server(classes=[FIND, CT], EVT_C_FIND=lambda _: []) as at:
        source = parse_source(at, QUICK, retrieve_by=way, receive_at=f"127.0.0.1:{free_port()}")
        with pytest.raises(RetrievalError, match=rf"(cannot do this|takes none) .*{missing}") as failed:
            source.retrieve(FoundSeries("1.2", "1.2.3"), tmp_path, BUDGET)
    assert not failed.value.retry


def test_an_association_that_is_lost_between_two_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    from pynetdicom.association import Association

    ask, asked = Association.send_c_find, []

    def lost_before_the_second(self, *arguments):
        asked.append(1)
        if len(asked) == 2:
            self.abort()
        return ask(self, *arguments)

    def found(_):
        study = Dataset()
        study.QueryRetrieveLevel, study.StudyInstanceUID = "STUDY", "1.2.3"
        yield 0xFF00, study

    monkeypatch.setattr(Association, "send_c_find", lost_before_the_second)
    a_query_fails_for_now(found, "the association was lost")


def test_an_application_that_tells_nothing_of_single_images(tmp_path: Path) -> None:
    def refuse(_):
        yield 0xA900, None

    def send(_):
        yield 1
        yield 0xFF00, image

    image = dcmread(write_series(tmp_path / "s") / "f000.dcm")
    (tmp_path / "out").mkdir()
    with dicom_server(classes=[FIND, GET, CT], EVT_C_FIND=refuse, EVT_C_GET=send) as at:
        series = FoundSeries(image.StudyInstanceUID, image.SeriesInstanceUID)
        assert parse_source(at, QUICK).retrieve(series, tmp_path / "out", BUDGET) == 1


def test_a_receiver_over_tls_needs_a_certificate_before_anything_is_asked() -> None:
    options = ConnectionOptions(tls=TlsFiles())
    with pytest.raises(ValueError, match="needs a certificate of their own"):
        parse_source("PACS@127.0.0.1:1", options, retrieve_by="move")
    parse_source("PACS@127.0.0.1:1", options)


def test_an_image_that_cannot_be_read_is_told_without_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(_):
        yield 1
        yield 0xFF00, dcmread(write_series(tmp_path / "s") / "f000.dcm")

    def fail(*_):
        raise IndexError("SECRET")

    monkeypatch.setattr(Receiver, "keep", fail)
    with (
        dicom_server(EVT_C_GET=send, EVT_C_FIND=lambda _: [], classes=[FIND, GET, CT]) as at,
        pytest.raises(RetrievalError, match=r"an image cannot be read .IndexError.$"),
    ):
        parse_source(at, QUICK).retrieve(FoundSeries("1.2", "1.2.3"), tmp_path, BUDGET)


def test_ctrl_c_cancels_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = []

    def many(event):
        for _ in range(200):
            if event.is_cancelled:
                cancelled.append(True)
                yield 0xFE00, None
                return
            study = Dataset()
            study.QueryRetrieveLevel, study.StudyInstanceUID = "STUDY", "1.2.3"
            yield 0xFF00, study
            time.sleep(0.02)

    from anomalib_zsad.network.query_retrieve import QueryRetrieveSource

    inner = QueryRetrieveSource._answers

    def interrupted(self, established, ask, model):
        def stop():
            for number, answer in enumerate(ask()):
                if number == 3:
                    raise KeyboardInterrupt
                yield answer

        return inner(self, established, stop, model)

    monkeypatch.setattr(QueryRetrieveSource, "_answers", interrupted)
    with dicom_server(classes=[FIND], EVT_C_FIND=many) as at:
        with pytest.raises(KeyboardInterrupt):
            parse_source(at, QUICK).query(SeriesQuery(limit=1))
        end = time.monotonic() + 5
        while not cancelled and time.monotonic() < end:
            time.sleep(0.05)
    assert cancelled


@pytest.mark.parametrize("way", WAYS)
def test_logs_hold_no_patient_data(
    filled: tuple[Orthanc, dict], tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    caplog.set_level(logging.DEBUG)
    source = source_of(filled[0], way)
    found = source.query(SeriesQuery(patient_id="ID-2", study_date="20260120"))
    source.retrieve(found[0], tmp_path, BUDGET)
    for place in ("http://127.0.0.1:1/dicom-web", "PACS@127.0.0.1:1"):
        with pytest.raises(RetrievalError):
            parse_source(place, QUICK).query(SeriesQuery(patient_id="ID-2", study_date="20260120"))
    assert not any(secret in caplog.text for secret in ("ID-2", "20260120", "PHANTOM", "flair"))


def test_nothing_is_warned_of_what_slightly_wrong_answers_hold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """pydicom quotes the values that it warns of: whoever asks would find a birth date on the screen."""
    values = {
        "0020000D": ("UI", "1.2.0777"), "0020000E": ("UI", "1.2.0888"), "00080060": ("CS", "CT"),
        "00100030": ("DA", "1970.13.01X"), "00101010": ("AS", "54 years"), "00080020": ("DA", "1970.13.01X"),
    }  # fmt: skip
    item = {tag: {"vr": kind, "Value": [value]} for tag, (kind, value) in values.items()}
    secrets = ("1970.13", "54 years", "0777", "0888")

    def found(_):
        answer = Dataset.from_json(item)
        answer.QueryRetrieveLevel = "STUDY"
        yield 0xFF00, answer

    def send(_):
        yield 1
        image = dcmread(write_series(tmp_path / "s") / "f000.dcm")
        image.SeriesInstanceUID, image.PatientBirthDate = "1.2.0888", "1970.13.01X"
        yield 0xFF00, image

    caplog.set_level(logging.DEBUG)
    classes = {"classes": [FIND, GET, CT], "EVT_C_FIND": found, "EVT_C_GET": send}
    (tmp_path / "out").mkdir()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with web_server(answers(200, json.dumps([item]).encode())) as (url, _):
            assert parse_source(url, QUICK).query(SeriesQuery(modalities=("CT",)))
    assert not any(secret in str(one.message) for one in caught for secret in secrets)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with dicom_server(**classes) as at:
            source = parse_source(at, QUICK)
            (series,) = source.query(SeriesQuery(modalities=("CT",)))
            assert source.retrieve(series, tmp_path / "out", BUDGET) == 1
    assert not any(secret in str(one.message) for one in caught for secret in secrets)
    assert not any(secret in caplog.text for secret in secrets)
