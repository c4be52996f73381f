"""Sending: to a real server by C-STORE and by STOW, into folders, and to servers that refuse in every way."""

import json
import logging
import socket
import ssl
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian

from anomalib_zsad.network import dicomweb
from anomalib_zsad.network.addresses import ConnectionOptions, TlsFiles
from anomalib_zsad.network.associations import association, build_context
from anomalib_zsad.network.targets import DeliveryError, parse_target
from tests.network.faulty_servers import CT, PATIENT, QUICK, answers, dicom_server, web_server
from tests.network.orthanc import Orthanc, free_port, running_orthanc
from tests.volumes.volume_builders import write_series

VERIFICATION = "1.2.840.10008.1.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
VARIABLE = "READING_ROOM_TOKEN"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return sorted(write_series(tmp_path / "series", seed=tmp_path.name).iterdir())


def failure(target: str, files: list[Path], options: ConnectionOptions = PATIENT) -> DeliveryError:
    with pytest.raises(DeliveryError) as failed:
        parse_target(target, options).send(files)
    assert "\n" not in str(failed.value)
    assert "PHANTOM" not in str(failed.value)
    return failed.value


@pytest.mark.parametrize("way", ["entity", "web"])
def test_what_is_sent_is_read_back_with_equal_pixels(shared_orthanc: Orthanc, files: list[Path], way: str) -> None:
    target = parse_target(getattr(shared_orthanc, way))
    target.send(files)
    target.send(files)
    header = dcmread(files[0])
    client = DICOMwebClient(shared_orthanc.web)
    (found,) = client.search_for_series(search_filters={"SeriesInstanceUID": header.SeriesInstanceUID})
    assert found["00201209"]["Value"] == [len(files)]
    stored = {one.SOPInstanceUID: one for one in client.iter_series(header.StudyInstanceUID, header.SeriesInstanceUID)}
    for path in files:
        sent = dcmread(path)
        np.testing.assert_array_equal(stored[sent.SOPInstanceUID].pixel_array, sent.pixel_array)


def test_a_message_of_many_megabytes(shared_orthanc: Orthanc, tmp_path: Path) -> None:
    voxels = np.random.default_rng(1).integers(0, 1000, (512, 512, 10)).astype(np.int16)
    files = sorted(write_series(tmp_path / "big", voxels, seed="big").iterdir())
    parse_target(shared_orthanc.web).send(files)
    assert {dcmread(path).SOPInstanceUID for path in files} <= shared_orthanc.instances()


def test_a_server_that_asks_for_a_password(tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"AuthenticationEnabled": True, "RegisteredUsers": {"reader": "hunter2"}}
    with running_orthanc(tmp_path / "orthanc", settings) as server:
        error = failure(server.web, files)
        assert not error.retry
        assert "HTTP 401 Unauthorized; it wants a token" in str(error)
        monkeypatch.setenv(VARIABLE, "Basic " + b64encode(b"reader:hunter2").decode())
        parse_target(server.web, ConnectionOptions(token_variable=VARIABLE)).send(files)


def test_no_piece_of_an_instance_waits_for_the_acknowledgement_of_the_one_before(shared_orthanc: Orthanc) -> None:
    target = parse_target(shared_orthanc.entity)
    with association(target.entity, ConnectionOptions(), [build_context(VERIFICATION)], DeliveryError) as established:
        option = established.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert option


def test_files_of_many_kinds_go_in_one_association(shared_orthanc: Orthanc, shared_data: Path, tmp_path: Path) -> None:
    picked = {}
    for path in sorted((shared_data / "odd_dicom").iterdir()):
        header = dcmread(path, force=True)
        if header.get("SOPInstanceUID") and header.get("SOPClassUID") and "TransferSyntaxUID" in header.file_meta:
            picked[str(header.SOPInstanceUID)] = path
    parse_target(shared_orthanc.entity).send(list(picked.values()))
    assert len({dcmread(path, force=True).file_meta.TransferSyntaxUID for path in picked.values()}) > 2
    assert set(picked) <= shared_orthanc.instances()


def test_an_application_that_takes_implicit_little_endian_alone_gets_it(files: list[Path]) -> None:
    syntaxes = []

    def store(event):
        syntaxes.append(event.context.transfer_syntax)
        return 0x0000

    with dicom_server(store=store) as target:
        parse_target(target).send(files)
    assert len(syntaxes) == len(files)
    from pynetdicom import AE, evt

    entity, port = AE("IMPLICIT"), free_port()
    entity.add_supported_context(CT, ImplicitVRLittleEndian)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        parse_target(f"IMPLICIT@127.0.0.1:{port}").send(files)
    finally:
        server.shutdown()
    assert syntaxes[-1] == ImplicitVRLittleEndian


def test_more_kinds_than_one_association_can_offer(tmp_path: Path) -> None:
    from pynetdicom import AllStoragePresentationContexts

    source, files = write_series(tmp_path / "s") / "f000.dcm", []
    for number, context in enumerate(AllStoragePresentationContexts[:80]):
        dataset = dcmread(source)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = context.abstract_syntax
        dataset.save_as(tmp_path / f"{number:03d}.dcm")
        files.append(tmp_path / f"{number:03d}.dcm")
    stored = []
    with dicom_server(store=lambda event: stored.append(event.request.AffectedSOPClassUID) or 0) as target:
        parse_target(target).send(files)
    assert len(set(stored)) == 80


def test_nobody_listens(files: list[Path]) -> None:
    port = free_port()
    for target in (f"PACS@127.0.0.1:{port}", f"http://127.0.0.1:{port}/dicom-web"):
        error = failure(target, files)
        assert error.retry
        assert "no connection" in str(error)


def test_wrong_ae_titles_are_told_apart(shared_orthanc: Orthanc, files: list[Path]) -> None:
    # Orthanc hangs up right behind its rejection, which now and then is lost by that: as passing as it is told to be.
    for _ in range(5):
        error = failure(shared_orthanc.entity.replace("ORTHANC@", "WRONG@"), files)
        if not error.retry:
            break
    assert not error.retry
    assert "there is no such AE title" in str(error)
    from pynetdicom import AE

    entity, port = AE("STRICT"), free_port()
    entity.add_supported_context(CT)
    entity.require_calling_aet = ["FRIEND"]
    server = entity.start_server(("127.0.0.1", port), block=False)
    try:
        error = failure(f"STRICT@127.0.0.1:{port}", files)
    finally:
        server.shutdown()
    assert not error.retry
    assert "our AE title ANOMALIB is not known there" in str(error)


def test_a_kind_of_object_that_is_not_taken(files: list[Path]) -> None:
    with dicom_server(classes=[MR], store=lambda _: 0) as target:
        error = failure(target, files)
    assert not error.retry
    assert "takes none of what was offered (CT Image Storage)" in str(error)


def test_one_kind_that_is_not_taken_keeps_no_other_back(tmp_path: Path, files: list[Path]) -> None:
    other = write_series(tmp_path / "mr", seed="mr", modality="MR") / "f000.dcm"
    dataset = dcmread(other)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MR
    dataset.save_as(other)
    stored = []
    with dicom_server(classes=[CT], store=lambda event: stored.append(1) or 0) as target:
        error = failure(target, [other, *files])
    assert len(stored) == len(files)
    assert not error.retry
    assert "MR Image Storage" in str(error)
    assert "is not taken there" in str(error)


@pytest.mark.parametrize(
    ("status", "retry"),
    [(0xA700, True), (0xA702, True), (0x0110, True), (0x0122, False), (0xA900, False), (0xC123, False)],
)
def test_a_status_that_says_whether_to_try_again(files: list[Path], status: int, retry: bool) -> None:
    with dicom_server(store=lambda _: status) as target:
        error = failure(target, files)
    assert error.retry is retry
    assert f"status {status:04X}" in str(error)


@pytest.mark.parametrize("status", [0xB000, 0xB007, 0x0111])
def test_warnings_and_what_was_stored_before_count_as_sent(files: list[Path], status: int) -> None:
    with dicom_server(store=lambda _: status) as target:
        parse_target(target).send(files)


def test_an_application_that_aborts_in_the_middle(files: list[Path]) -> None:
    stored = []

    def store(event):
        stored.append(1)
        if len(stored) == 3:
            event.assoc.abort()
        return 0

    with dicom_server(store=store) as target:
        error = failure(target, files)
    assert error.retry
    assert len(stored) == 3


def test_an_application_that_says_nothing(files: list[Path]) -> None:
    def store(_):
        time.sleep(2)
        return 0

    with dicom_server(store=store) as target:
        error = failure(target, files, ConnectionOptions(connect_seconds=1, answer_seconds=0.5))
    assert error.retry


@pytest.mark.parametrize(
    ("status", "retry", "words"),
    [
        (400, False, "HTTP 400 Bad Request"),
        (401, False, "HTTP 401 Unauthorized; it wants a token"),
        (403, False, "HTTP 403 Forbidden"),
        (404, False, "HTTP 404 Not Found; is this its DICOMweb address?"),
        (409, False, "HTTP 409 Conflict"),
        (429, True, "HTTP 429"),
        (500, True, "HTTP 500 Internal Server Error"),
        (503, True, "HTTP 503"),
        (599, True, "HTTP 599"),
    ],
)
def test_http_answers_that_say_no(files: list[Path], status: int, retry: bool, words: str) -> None:
    with web_server(answers(status, b"PatientID=PHANTOM", "text/plain")) as (url, asked):
        error = failure(url, files)
    assert error.retry is retry
    assert words in str(error)
    assert len(asked) == 1


@pytest.mark.parametrize(("reason", "retry"), [(0xA700, True), (0x0122, False), (0xC000, False)])
def test_a_failed_sequence_is_read(files: list[Path], reason: int, retry: bool) -> None:
    uid = dcmread(files[1]).SOPInstanceUID
    items = [{"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [reason]}}]
    body = json.dumps({"00081198": {"vr": "SQ", "Value": items}}).encode()
    with web_server(answers(202, body)) as (url, _):
        error = failure(url, files)
    assert error.retry is retry
    assert f"status {reason:04X}" in str(error)
    if not retry:
        assert files[1].name in str(error)


XML = """<NativeDicomModel><DicomAttribute keyword="FailedSOPSequence" vr="SQ"><Item number="1">
<DicomAttribute keyword="ReferencedSOPInstanceUID" vr="UI"><Value number="1">{uid}</Value></DicomAttribute>
<DicomAttribute keyword="FailureReason" vr="US"><Value number="1">{reason}</Value></DicomAttribute>
</Item></DicomAttribute></NativeDicomModel>"""


def none_stored(path: Path, reason: int, kind: str) -> Callable:
    """The answer of a server that stored none of the files (PS3.18, 10.5.3): 409, and in its body why."""
    uid = str(dcmread(path).SOPInstanceUID)
    items = [{"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [reason]}}]
    body = json.dumps({"00081198": {"vr": "SQ", "Value": items}})
    return answers(409, (XML.format(uid=uid, reason=reason) if "xml" in kind else body).encode(), kind)


@pytest.mark.parametrize(
    "kind", ["application/dicom+json", "application/dicom+json; charset=utf-8", "application/dicom+xml"]
)
def test_a_server_that_stored_nothing_says_why(files: list[Path], kind: str) -> None:
    with web_server(none_stored(files[0], 0xA700, kind)) as (url, _):
        error = failure(url, files[:1])
    assert error.retry
    assert "cannot store now (status A700)" in str(error)
    with web_server(none_stored(files[0], 0xC000, kind)) as (url, _):
        error = failure(url, files[:2])
    assert not error.retry
    assert f"{files[0].name}: status C000" in str(error)
    assert f"{files[1].name}: not confirmed" in str(error)
    with web_server(none_stored(files[0], 0x0111, kind)) as (url, _):
        parse_target(url, PATIENT).send(files[:1])


def test_a_conflict_without_a_reason_is_told_as_what_it_is(files: list[Path]) -> None:
    with web_server(answers(409)) as (url, _):
        assert "HTTP 409 Conflict" in str(failure(url, files))


@pytest.mark.parametrize("kind", ["application/dicom+json", "application/dicom+xml", "text/html"])
@pytest.mark.parametrize("body", [b"", b"{}", b"<html>hello</html>"])
def test_what_is_not_confirmed_does_not_count_as_sent(files: list[Path], kind: str, body: bytes) -> None:
    with web_server(answers(200, body, kind)) as (url, _):
        error = failure(url, files)
    assert not error.retry
    assert "is this its DICOMweb address?" in str(error)


def test_a_web_server_that_answers_without_end(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb, "_QUERY_BYTES", 1000)
    with web_server(answers(200, bytes(2000))) as (url, _):
        error = failure(url, files)
    assert not error.retry
    assert "larger than any true one" in str(error)


def test_a_web_server_that_hangs_up(files: list[Path]) -> None:
    def hang_up(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"{")

    with web_server(hang_up) as (url, _):
        error = failure(url, files)
    assert error.retry


def test_the_token_is_sent_and_not_told(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("READING_ROOM_TOKEN", "hunter2")
    seen = []

    def answer(handler):
        seen.append(handler.headers["Authorization"])
        answers(401)(handler)

    caplog.set_level(logging.DEBUG)
    with web_server(answer) as (url, _):
        error = failure(url, files, ConnectionOptions(token_variable=VARIABLE))
    assert seen == ["Bearer hunter2"]
    assert "hunter2" not in str(error) + caplog.text + url


def test_what_is_no_dicom_file_is_not_sent(tmp_path: Path, shared_orthanc: Orthanc) -> None:
    (tmp_path / "report.json").write_text("{}")
    for target in (shared_orthanc.entity, shared_orthanc.web):
        error = failure(target, [tmp_path / "report.json"])
        assert not error.retry
        assert "report.json is no DICOM file" in str(error)
    with pytest.raises(FileNotFoundError):
        parse_target(shared_orthanc.entity).send([tmp_path / "none.dcm"])


def test_a_folder_gets_whole_files_once(tmp_path: Path, files: list[Path]) -> None:
    target = parse_target(f"{tmp_path}/out/deep")
    (tmp_path / "report.json").write_text("{}")
    target.send([*files, tmp_path / "report.json"])
    placed = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "deep").iterdir()}
    assert set(placed) == {f"{dcmread(path).SOPInstanceUID}.dcm" for path in files} | {"report.json"}
    target.send([*files, tmp_path / "report.json"])
    assert placed == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "deep").iterdir()}
    (tmp_path / "report.json").write_text("{1}")
    assert "holds another file with the name report.json" in str(
        failure(f"{tmp_path}/out/deep", [tmp_path / "report.json"])
    )
    assert (tmp_path / "out" / "deep" / "report.json").read_text() == "{}"


def test_a_folder_that_cannot_be_written(tmp_path: Path, files: list[Path]) -> None:
    (tmp_path / "file").write_text("x")
    error = failure(f"{tmp_path}/file/out", files)
    assert error.retry
    assert "cannot be written" in str(error)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key.pem"]
    command += ["-out", folder / "cert.pem", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    try:
        subprocess.run([str(word) for word in command], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl, which makes the certificate, is not installed")
    return folder / "cert.pem", folder / "key.pem"


def test_an_association_over_tls(files: list[Path], certificate: tuple[Path, Path]) -> None:
    from pynetdicom import AE, evt

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    entity, port, stored = AE("SECURE"), free_port(), []
    entity.add_supported_context(CT)
    handlers = [(evt.EVT_C_STORE, lambda event: stored.append(1) or 0)]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=context)
    try:
        trusting = ConnectionOptions(tls=TlsFiles(authority=certificate[0]), connect_seconds=3)
        parse_target(f"SECURE@127.0.0.1:{port}", trusting).send(files)
        assert len(stored) == len(files)
        failure(f"SECURE@127.0.0.1:{port}", files, ConnectionOptions(tls=TlsFiles(), connect_seconds=3))
        failure(f"SECURE@127.0.0.1:{port}", files, QUICK)
    finally:
        server.shutdown()
    assert len(stored) == len(files)


def test_a_receiver_of_ours_asks_for_certificates(files: list[Path], certificate: tuple[Path, Path]) -> None:
    from pynetdicom import AE, evt

    ours = TlsFiles(certificate[0], *certificate)
    entity, port, stored = AE("OURS"), free_port(), []
    entity.add_supported_context(CT)
    handlers = [(evt.EVT_C_STORE, lambda event: stored.append(1) or 0)]
    server = entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=ours.server_context()
    )
    try:
        parse_target(f"OURS@127.0.0.1:{port}", ConnectionOptions(tls=ours, connect_seconds=3)).send(files)
        failure(f"OURS@127.0.0.1:{port}", files, ConnectionOptions(tls=TlsFiles(certificate[0]), connect_seconds=3))
    finally:
        server.shutdown()
    assert len(stored) == len(files)
    with pytest.raises(ValueError, match="needs a certificate of their own"):
        TlsFiles(certificate[0]).server_context()
