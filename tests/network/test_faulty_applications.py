"""Finding and fetching at DICOM applications that refuse, abort, send too much or nothing."""

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from anomalib_zsad.network.addresses import ConnectionOptions, TlsFiles
from anomalib_zsad.network.associations import build_context
from anomalib_zsad.network.errors import RetrievalError
from anomalib_zsad.network.query_retrieve import _Store
from anomalib_zsad.network.receiving import Receiver
from anomalib_zsad.network.series import FoundSeries, SeriesQuery
from anomalib_zsad.network.sources import parse_source
from tests.network.faulty_servers import CT, FIND, GET, MOVE, PATIENT, QUICK, dicom_server
from tests.network.orthanc import free_port
from tests.volumes.volume_builders import write_series

BUDGET = 1 << 30


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
