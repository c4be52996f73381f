"""What the node takes and what it refuses, with real clients on loopback."""

import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import BasicTextSRStorage, CTImageStorage, Verification

from anomalib_zsad.node.receive import CONFLICT, NO_ROOM, NOT_UNDERSTOOD, WRONG_OBJECT
from tests.node.node_builders import AET, dcmtk, make_node, send, send_to, storescu, write_series


def stored(node) -> list[str]:
    return [row["sop_uid"] for row in node.queue.rows("SELECT sop_uid FROM instances")]


def test_echo_and_store_of_dcmtk_are_answered_and_each_file_lies_whole_under_a_name_that_tells_nothing(tmp_path: Path):
    paths = write_series(tmp_path / "in")
    with make_node(tmp_path) as node:
        echo = [dcmtk("echoscu"), "-aet", "CT1", "-aec", AET, "127.0.0.1", str(node.receiver.port)]
        assert subprocess.run(echo, timeout=30, check=False).returncode == 0
        done = storescu(node.receiver.port, *paths)
        assert done.returncode == 0, done.stderr
        assert len(stored(node)) == len(paths)
        kept = sorted((tmp_path / "node" / "received").rglob("*.dcm"))
        assert len(kept) == len(paths)
        pixels = {pydicom.dcmread(path).SOPInstanceUID: pydicom.dcmread(path).PixelData for path in kept}
        assert pixels == {pydicom.dcmread(path).SOPInstanceUID: pydicom.dcmread(path).PixelData for path in paths}
        assert (tmp_path / "node" / "received").stat().st_mode & 0o077 == 0


def test_every_transfer_syntax_that_the_reader_decodes_is_taken_as_it_is(tmp_path: Path):
    (path, *_) = write_series(tmp_path / "in", slices=3)
    packed = tmp_path / "packed.dcm"
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.RLELossless)
    dataset.save_as(packed)
    with make_node(tmp_path) as node:
        entity = AE()
        entity.add_requested_context(CTImageStorage, pydicom.uid.RLELossless)
        association = entity.associate("127.0.0.1", node.receiver.port, ae_title=AET)
        assert association.send_c_store(packed).Status == 0
        association.release()
        (kept,) = (tmp_path / "node" / "received").rglob("*.dcm")
        assert pydicom.dcmread(kept).file_meta.TransferSyntaxUID == pydicom.uid.RLELossless
        assert pydicom.dcmread(kept).PixelData == pydicom.dcmread(packed).PixelData


def test_a_resend_is_acknowledged_and_stored_once_and_another_content_under_its_uid_is_refused(tmp_path: Path):
    paths = write_series(tmp_path / "in")
    with make_node(tmp_path) as node:
        assert send(node, paths) == [0] * len(paths)
        assert send(node, paths) == [0] * len(paths)
        implicit = AE()
        implicit.add_requested_context(CTImageStorage, pydicom.uid.ImplicitVRLittleEndian)
        association = implicit.associate("127.0.0.1", node.receiver.port, ae_title=AET)
        assert [association.send_c_store(path).Status for path in paths] == [0] * len(paths)  # in another encoding
        association.release()
        assert storescu(node.receiver.port, *paths).returncode == 0
        other = pydicom.dcmread(paths[0])
        other.PixelData = bytes(len(other.PixelData))
        other.save_as(paths[0])
        assert send(node, paths[:1]) == [CONFLICT]
        kept = list((tmp_path / "node" / "received").rglob("*.dcm"))
        assert len(kept) == len(paths) == len(stored(node))
        assert all(any(pydicom.dcmread(path).PixelData) for path in kept)


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="this system has no such option")
def test_what_arrives_is_acknowledged_at_once(tmp_path: Path, monkeypatch):
    (path, *_) = write_series(tmp_path / "in", slices=3)
    known, told = socket.socket.setsockopt, []

    def noted(connection, *option):
        told.append(option)
        return known(connection, *option)

    with make_node(tmp_path) as node:
        monkeypatch.setattr(socket.socket, "setsockopt", noted, raising=False)
        assert storescu(node.receiver.port, path).returncode == 0
    assert (socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1) in told


def test_strangers_are_turned_away(tmp_path: Path):
    paths = write_series(tmp_path / "in", slices=2)
    with make_node(tmp_path, callers=("CT1",)) as node:
        assert send(node, paths, aet="OTHER") == [-1, -1]
        assert send(node, paths, called="OTHER") == [-1, -1]
        assert storescu(node.receiver.port, *paths, aet="OTHER").returncode != 0
        assert stored(node) == []
        assert send(node, paths) == [0, 0]
    with make_node(tmp_path / "b", networks=("10.0.0.0/8",)) as node:
        assert send(node, paths) == [-1, -1]
        assert stored(node) == []


def test_what_is_no_image_is_refused_in_the_negotiation(tmp_path: Path):
    with make_node(tmp_path) as node:
        entity = AE()
        for kind in (BasicTextSRStorage, "1.2.840.10008.5.1.4.1.1.66.4", Verification):
            entity.add_requested_context(kind)
        association = entity.associate("127.0.0.1", node.receiver.port, ae_title=AET)
        assert [context.abstract_syntax for context in association.accepted_contexts] == [Verification]
        association.release()


def test_bytes_that_are_no_dicom_harm_nobody(tmp_path: Path):
    paths = write_series(tmp_path / "in", slices=2)
    with make_node(tmp_path) as node:
        for content in (b"GET / HTTP/1.1\r\n\r\n", bytes(5000), b"\x01\x00\xff\xff\xff\xff" + bytes(100), b"\x04"):
            with socket.create_connection(("127.0.0.1", node.receiver.port), timeout=10) as connection:
                connection.sendall(content)
        assert send(node, paths) == [0, 0]


def damaged(path: Path, **changes: object) -> Path:
    dataset = pydicom.dcmread(path)
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_instances_that_cannot_be_kept_are_refused_with_a_status_that_says_why(tmp_path: Path, monkeypatch):
    paths = write_series(tmp_path / "in", slices=4)
    damaged(paths[0], StudyInstanceUID="")
    damaged(paths[1], SeriesInstanceUID=None)
    with make_node(tmp_path) as node:
        assert send(node, paths) == [WRONG_OBJECT, WRONG_OBJECT, 0, 0]
        entity = AE()
        entity.add_requested_context(CTImageStorage)
        association = entity.associate("127.0.0.1", node.receiver.port, ae_title=AET)
        for garbage in (b"\xff" * 500, b"GET / HTTP/1.1"):
            monkeypatch.setattr("pynetdicom.association.encode", lambda *_, content=garbage: content)
            assert association.send_c_store(pydicom.dcmread(paths[2])).Status in (NOT_UNDERSTOOD, WRONG_OBJECT)
        monkeypatch.undo()
        association.release()
        assert len(stored(node)) == 2
        assert len([path for path in (tmp_path / "node" / "received").rglob("*") if path.is_file()]) == 2


def test_an_aborted_association_leaves_what_was_acknowledged_and_nothing_half(tmp_path: Path):
    paths = write_series(tmp_path / "in")
    with make_node(tmp_path) as node:
        entity = AE()
        entity.add_requested_context(CTImageStorage)
        association = entity.associate("127.0.0.1", node.receiver.port, ae_title=AET)
        assert [association.send_c_store(path).Status for path in paths[:2]] == [0, 0]
        association.abort()
        time.sleep(0.3)
        files = [path for path in (tmp_path / "node" / "received").rglob("*") if path.is_file()]
        assert len(files) == 2 == len(stored(node))


@pytest.mark.slow
def test_two_hundred_associations_at_a_time(tmp_path: Path):
    """Of as many processes, with DCMTK's patience of two minutes; what was acknowledged is there."""
    paths = write_series(tmp_path / "in", slices=200)
    client = [dcmtk("storescu"), "-to", "120", "-ta", "120", "-td", "120", "-aec", AET, "127.0.0.1"]
    with make_node(tmp_path, max_associations=250) as node:
        port = str(node.receiver.port)
        started = [subprocess.Popen([*client, port, str(path)], stderr=subprocess.DEVNULL) for path in paths]
        codes = [process.wait(300) for process in started]
        taken = {str(pydicom.dcmread(path).SOPInstanceUID) for path, code in zip(paths, codes, strict=True) if not code}
        assert taken <= set(stored(node))
        assert codes == [0] * 200
        assert send(node, paths) == [0] * 200
        assert len(stored(node)) == 200


def test_more_associations_than_allowed_are_rejected_and_what_was_acknowledged_is_there(tmp_path: Path):
    paths = write_series(tmp_path / "in", slices=40)
    with make_node(tmp_path, max_associations=3) as node, ThreadPoolExecutor(40) as pool:
        found = list(pool.map(lambda path: send_to(node.receiver.port, [path])[0], paths))
        assert set(found) <= {0, -1}
        assert found.count(0) == len(stored(node)) >= 3
        assert send(node, paths) == [0] * 40


def test_a_disk_that_is_almost_full_refuses_with_a700_and_loses_nothing(tmp_path: Path, monkeypatch):
    paths = write_series(tmp_path / "in")
    with make_node(tmp_path) as node:
        assert send(node, paths[:3]) == [0] * 3
        monkeypatch.setattr("anomalib_zsad.node.receive.shutil.disk_usage", lambda _: SimpleNamespace(free=1))
        assert send(node, paths) == [0] * 3 + [NO_ROOM] * (len(paths) - 3)  # what is there needs no room
        assert len(stored(node)) == 3
        monkeypatch.undo()
        assert send(node, paths) == [0] * len(paths)
        assert len(stored(node)) == len(paths)


def test_a_write_that_fails_refuses_with_a700_and_leaves_no_file(tmp_path: Path, monkeypatch):
    paths = write_series(tmp_path / "in", slices=2)
    with make_node(tmp_path) as node:

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(node.queue, "_add", fail)
        assert send(node, paths) == [NO_ROOM] * 2
        assert [path for path in (tmp_path / "node" / "received").rglob("*") if path.is_file()] == []
        monkeypatch.undo()
        assert send(node, paths) == [0, 0]


def test_an_instance_above_the_limit_ends_its_association_alone(tmp_path: Path):
    (large,) = write_series(tmp_path / "large", slices=1)
    dataset = pydicom.dcmread(large)
    dataset.Rows = dataset.Columns = 1600
    dataset.PixelData = bytes(2 * 1600 * 1600)
    dataset.save_as(large)
    paths = write_series(tmp_path / "in", seed="small", slices=2)
    others = set(threading.enumerate())  # associations of nodes of other tests may still be winding down

    def associations() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if "Acceptor" in t.name and t not in others]

    with make_node(tmp_path, max_instance_mib=1) as node:
        assert send(node, [large])[0] == -2
        end = time.monotonic() + 10
        while associations() and time.monotonic() < end:
            time.sleep(0.05)
        assert not associations()
        assert send(node, paths) == [0, 0]
        assert len(stored(node)) == 2


def test_the_rate_is_kept(tmp_path: Path):
    (path,) = write_series(tmp_path / "large", slices=1)
    dataset = pydicom.dcmread(path)
    dataset.Rows = dataset.Columns = 1024
    dataset.PixelData = bytes(2 << 20)
    dataset.save_as(path)
    with make_node(tmp_path, max_rate_mib=1.0) as node:
        started = time.monotonic()
        assert send(node, [path]) == [0]
        assert time.monotonic() - started > 0.8


def certificate(folder: Path) -> tuple[Path, Path]:
    key, cert = folder / "key.pem", folder / "cert.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    try:
        subprocess.run([*words, "-keyout", key, "-out", cert], check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return cert, key


def test_tls_is_spoken_where_a_certificate_is_given_and_nothing_else(tmp_path: Path):
    paths = write_series(tmp_path / "in", slices=2)
    cert, key = certificate(tmp_path)
    with make_node(tmp_path, certificate=cert, key=key) as node:
        silent = [socket.create_connection(("127.0.0.1", node.receiver.port)) for _ in range(5)]
        entity = AE()
        entity.add_requested_context(CTImageStorage)
        context = ssl.create_default_context(cafile=str(cert))
        context.check_hostname = False
        association = entity.associate("127.0.0.1", node.receiver.port, ae_title=AET, tls_args=(context, None))
        assert association.is_established  # although five others have begun no handshake
        assert [association.send_c_store(path).Status for path in paths] == [0, 0]
        association.release()
        assert send(node, paths) == [-1, -1]
        for connection in silent:
            connection.close()


def test_nobody_else_can_open_the_nodes_folder_while_it_works(tmp_path: Path):
    from anomalib_zsad.outputs.output_folder import OutputInUseError

    with make_node(tmp_path), pytest.raises(OutputInUseError, match="another node"), make_node(tmp_path):
        pass
    assert threading.active_count() < 100
    (tmp_path / "other" / "node").mkdir(parents=True)
    (tmp_path / "other" / "node" / "notes.txt").touch()
    with pytest.raises(OutputInUseError, match="no node's queue"), make_node(tmp_path / "other"):
        pass
    (tmp_path / "other" / "node" / "queue.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(OutputInUseError, match="cannot be used as a node's queue"), make_node(tmp_path / "other"):
        pass


def large_series(folder: Path, count: int) -> list[Path]:
    """Instances of 0.6 MiB."""
    paths = write_series(folder, slices=count)
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.Rows = dataset.Columns = 560
        dataset.PixelData = bytes(2 * 560 * 560)
        dataset.save_as(path)
    return paths


def push(association, path: Path, number: int) -> None:
    """Send an instance, and wait for no answer."""
    dataset = pydicom.dcmread(path)
    request = C_STORE()
    request.MessageID, request.Priority = number, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    request.DataSet = BytesIO(encode(dataset, False, True))
    (context,) = association.accepted_contexts
    association.dimse.send_msg(request, context.context_id)


def test_a_peer_that_waits_for_no_answer_is_ended_before_it_fills_the_memory(tmp_path: Path):
    paths = large_series(tmp_path / "in", 6)
    entity = AE()
    entity.add_requested_context(CTImageStorage, pydicom.uid.ExplicitVRLittleEndian)
    with make_node(tmp_path, max_instance_mib=1) as node:
        allowed, known = threading.Semaphore(0), node.receiver._take

        def take(event):
            allowed.acquire()
            return known(event)

        node.receiver._take = take
        association = entity.associate("127.0.0.1", node.receiver.port, ae_title=AET)
        for number, path in enumerate(paths[:3], 1):
            push(association, path, number)
        allowed.release()
        assert node.wait_until(lambda _: len(stored(node)) == 1, 20)
        assert association.is_established  # 1.2 MiB wait
        for number, path in enumerate(paths[3:5], 4):
            push(association, path, number)
        assert node.wait_until(lambda _: not association.is_established, 20)
        assert list(node.receiver.refusals) == ["more than fits the memory: the association was aborted"]
        allowed.release(10)
        node.receiver._take = known
        assert send(node, paths) == [0] * len(paths)


def test_a_peer_that_waits_for_answers_may_send_for_ever(tmp_path: Path):
    paths = large_series(tmp_path / "in", 6)
    with make_node(tmp_path, max_instance_mib=1) as node:
        entity = AE()
        entity.add_requested_context(CTImageStorage)
        entity.add_requested_context(Verification)
        association = entity.associate("127.0.0.1", node.receiver.port, ae_title=AET)
        for path in paths:
            assert association.send_c_store(path).Status == 0
            assert association.send_c_echo().Status == 0
        (flow,) = node.receiver._flows.values()
        assert flow.waiting == 0
        association.release()
