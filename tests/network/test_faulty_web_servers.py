"""Finding and fetching over DICOMweb at servers that answer wrongly, in pieces or without end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread

from anomalib_zsad.network import dicomweb
from anomalib_zsad.network.errors import RetrievalError
from anomalib_zsad.network.series import FoundSeries, SeriesQuery
from anomalib_zsad.network.sources import parse_source
from tests.network.faulty_servers import QUICK, answers, web_server
from tests.volumes.volume_builders import write_series

BUDGET = 1 << 30


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
