"""Pictures over HTTP: answers, maps, batches of what waits, limits, who may ask, drift, metrics."""

import base64
import io
import json
import logging
import shlex
import shutil
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from anomalib_zsad.calibration import CalibrationMismatchError
from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.network import prompt_protocol
from anomalib_zsad.network.web_server import Guard
from anomalib_zsad.station.options import ServeOptions
from anomalib_zsad.station.service import Service
from tests.data.broken_pictures import eps, png_whose_profile_is_cut_off
from tests.inspection.bright_image import SIDE, BrightImageScorer
from tests.station.service_builders import Client, form, picture, serving
from tests.station.station_builders import NORMAL, calibrated


class Slow(BrightImageScorer):
    """Takes its time, or waits until it may go on."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds, self.begun, self.may_go_on = seconds, threading.Event(), threading.Event()
        if seconds:
            self.may_go_on.set()

    def __call__(self, batch: torch.Tensor):
        self.begun.set()
        assert self.may_go_on.wait(60)
        time.sleep(self.seconds)
        return super().__call__(batch)


def numbers(client: Client) -> dict[str, float]:
    """Metrics by name and outcome."""
    families = text_string_to_metric_families(client.get("/metrics").body.decode())
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


# Answers ------------------------------------------------------------------------------------------------------------


def test_a_picture_as_the_body_or_in_a_form_has_the_same_answer() -> None:
    content = picture(240)
    body, kind = form(content, field=True)
    with serving() as client:
        replies = [client.score(content), client.score(body, Content_Type=kind)]
        assert [reply.status for reply in replies] == [200, 200]
        first, second = (reply.told for reply in replies)
    assert (first.pop("number"), second.pop("number")) == (1, 2)
    first.pop("drift"), second.pop("drift")
    assert first == second
    assert first["score"] == pytest.approx(240 / 255, abs=1e-3)
    assert first["p_value"] == pytest.approx(1 / 101)
    assert (first["flagged"], first["decision"]) == (True, "abnormal")
    assert (first["width"], first["height"]) == (12, 12)
    assert first["brightness"] == pytest.approx(240 / 255, abs=1e-3)
    assert "image" not in first


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_requests_of_the_documentation_are_answered_as_they_are_written(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "station.md").read_text(encoding="utf-8")
    commands = [line for line in page.splitlines() if line.startswith("curl ")]
    assert len(commands) == 2
    (tmp_path / "part.png").write_bytes(picture(100))
    with serving() as client:
        for command in commands:
            words = shlex.split(command.replace("127.0.0.1:8000", f"127.0.0.1:{client.port}"))
            ended = subprocess.run([*words, "--silent"], cwd=tmp_path, capture_output=True, timeout=60, check=True)
            assert json.loads(ended.stdout)["score"] == pytest.approx(100 / 255, abs=1e-3), command


@pytest.mark.parametrize(
    ("rule", "decision", "p_known"),
    [
        (DecisionRule("images"), None, False),
        (DecisionRule("images", threshold=0.3, uncertainty=0), "abnormal", False),
        (DecisionRule("images", calibrated(), uncertainty=0), "normal", True),
    ],
)
def test_a_decision_needs_a_calibration_or_a_threshold(rule: DecisionRule, decision: str | None, p_known: bool) -> None:
    with serving(rule=rule) as client:
        told = client.score(picture(100)).told
    assert told["decision"] == decision
    assert (told["p_value"] is not None) == (told["drift"] is not None) == p_known


def test_the_map_comes_as_png_or_array_inside_the_answer_or_alone() -> None:
    content = picture(60)
    with serving() as client:
        told = client.score(content, "?map=npy").told
        array = np.load(io.BytesIO(base64.b64decode(told["map"]["data"])), allow_pickle=False)
        png = Image.open(io.BytesIO(base64.b64decode(client.score(content, "?map=png").told["map"]["data"])))
        alone = client.ask("POST", "/map?format=npy", content)
        plain = client.ask("POST", "/map", content)
    assert array.shape == (SIDE, SIDE)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, 60 / 255, atol=1e-6)
    np.testing.assert_allclose(np.asarray(png) / 65_535, array, atol=1e-5)
    np.testing.assert_array_equal(np.load(io.BytesIO(alone.body)), array)
    assert float(alone.headers["x-score"]) == pytest.approx(60 / 255, abs=1e-3)
    assert alone.headers["x-decision"] == "normal"
    assert plain.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(plain.body)).size == (SIDE, SIDE)


def test_batches_form_from_what_waits_and_no_answer_is_mixed_up() -> None:
    scorer = Slow()
    values = [float(value) for value in np.linspace(1, 254, 40)]
    with serving(scorer, batch_size=16) as client, ThreadPoolExecutor(len(values)) as threads:
        first = threads.submit(client.score, picture(values[0]))
        assert scorer.begun.wait(30)
        others = [threads.submit(client.score, picture(value)) for value in values[1:]]
        end = time.monotonic() + 30
        while client.service._batcher.waiting < len(others) and time.monotonic() < end:
            time.sleep(0.01)
        scorer.may_go_on.set()
        found = [future.result().told["score"] for future in (first, *others)]
        counted = numbers(client)
    np.testing.assert_allclose(found, np.round(values) / 255, atol=1e-3)
    assert scorer.batches == [1, 16, 16, 7]
    assert counted["anomalib_zsad_station_batch_size_count"] == 4
    assert counted["anomalib_zsad_station_requests_total answered"] == 40


# What is refused ----------------------------------------------------------------------------------------------------


def test_what_is_no_picture_is_refused_and_others_go_on() -> None:
    two, two_kind = form(picture(), picture())
    none, none_kind = form()
    cut, cut_kind = form(picture())
    with serving(max_pixels=1000) as client:
        for content, kind, status, said in [
            (b"", "", 400, "the body is empty"),
            (b"hello", "", 422, "the picture cannot be read as an image (it is of no known format)"),
            (eps(), "", 422, "it is of no known format"),  # Pillow would start Ghostscript
            (png_whose_profile_is_cut_off(), "", 422, "the picture cannot be read as an image (IndexError"),
            (picture()[:40], "", 422, "the picture cannot be read as an image"),
            (picture(side=40), "", 422, "1,600 in all, and no more than 1,000 are read"),
            (two, two_kind, 400, "a request holds one picture, and this form holds 2 files"),
            (none, none_kind, 400, "this form holds 0 files"),
            (cut[:-60], cut_kind, 400, "the form is cut off"),
            (cut, "multipart/form-data", 400, "the form has no usable boundary"),
            (cut, "multipart/form-data; boundary=other", 400, "does not hold its own boundary"),
            (b"file=x", "application/x-www-form-urlencoded", 400, "send it as multipart/form-data"),
        ]:
            reply = client.score(content, **({"Content_Type": kind} if kind else {}))
            assert reply.status == status, (said, reply)
            assert said in reply.told["error"]
            assert "object at" not in reply.told["error"]
        assert client.score(picture(), "?map=gif").status == 400
        assert client.ask("POST", "/map?format=tiff", picture()).status == 400
        assert client.get("/score").status == 405
        assert client.get("/docs").status == client.get("/openapi.json").status == 404
        assert client.score(picture()).status == 200
        assert client.get("/healthz").told == {"status": "ok"}


def test_a_small_file_that_claims_to_be_huge_is_not_decoded() -> None:
    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    assert len(stream.getvalue()) < 100_000
    with serving() as client:
        reply = client.score(stream.getvalue())
        assert reply.status == 422
        assert "400,000,000 in all, and no more than 100,000,000 are read" in reply.told["error"]


def raw(client: Client, *parts: bytes, pause: float = 0.0) -> bytes:
    """What comes back for bytes that are sent as they are."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        answer = b""
        try:
            while chunk := connection.recv(65_536):
                answer += chunk
        except ConnectionResetError:
            pass
    return answer


def test_requests_that_are_too_large_are_refused_before_they_are_read() -> None:
    head = b"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    with serving(max_mib=1) as client:
        assert b"413" in raw(client, head + b"Content-Length: 99999999999\r\n\r\n").partition(b"\r\n")[0]
        chunk = b"80000\r\n" + bytes(0x80000) + b"\r\n"
        answer = raw(client, head + b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk, chunk)
        assert b"413" in answer.partition(b"\r\n")[0]
        assert b"at most 1 MiB (--max-mib)" in answer
        assert client.service._room.count == 0
        assert client.service._room._bytes == 0


def test_huge_headers_and_silent_connections_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_protocol, "SECONDS", 0.3)
    with serving() as client:
        many = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 1000) for number in range(100))
        assert b"400" in raw(client, b"GET / HTTP/1.1\r\n", many).partition(b"\r\n")[0]
        assert raw(client) == b""
        assert raw(client, b"GET / HTTP/1.1\r\nHost: 127", b".0.0.1\r\n", pause=0.1) == b""
        whole = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        assert raw(client, whole, b"GET /hea").count(b"HTTP/1.1 200") == 1  # half a second one
        assert client.get("/healthz").status == 200


def test_what_takes_too_long_is_told_so_and_gives_its_place_back() -> None:
    head = b"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n"
    scorer = Slow()
    with serving(scorer, timeout_seconds=0.5) as client:
        slow = raw(client, head + b"half")
        assert b"408" in slow.partition(b"\r\n")[0]
        assert b"the picture took too long to come: a request may take 0.5 s" in slow
        reply = client.score(picture())
        assert reply.status == 504
        assert "too many pictures wait" in reply.told["error"]
        late = client.score(picture(50))
        assert late.status == 504
        scorer.may_go_on.set()
        end = time.monotonic() + 10
        while client.service._room.count and time.monotonic() < end:
            time.sleep(0.01)
        assert client.service._room.count == 0
        assert client.score(picture()).status == 200
        assert scorer.batches == [1, 1]  # what was given up before its turn is not scored
        assert numbers(client)["anomalib_zsad_station_requests_total too late"] == 3


def test_beyond_the_room_requests_are_told_to_come_again() -> None:
    scorer = Slow()
    with serving(scorer, max_waiting=2) as client, ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(client.score, picture()) for _ in range(2)]
        end = time.monotonic() + 20
        while client.service._room.count < 2 and time.monotonic() < end:
            time.sleep(0.01)
        reply = client.score(picture())
        assert reply.status == 503
        assert reply.headers["retry-after"] == "1"
        assert client.get("/healthz").status == 200  # asked without a picture
        scorer.may_go_on.set()
        assert [future.result().status for future in waiting] == [200, 200]
        assert client.score(picture()).status == 200
    with serving(max_mib=1, max_waiting_mib=1) as client:
        client.service._room.take(1 << 20)
        assert client.score(picture()).status == 503


class Choosy(BrightImageScorer):
    """Answers no number for white pictures, and breaks on black ones."""

    def __call__(self, batch: torch.Tensor):
        if (batch.flatten(1).amax(1) < 0.01).any():
            raise RuntimeError("SECRET /place")
        answer = super().__call__(batch)
        answer.score[answer.score > 0.99] = float("nan")
        return answer


def test_a_picture_that_the_model_fails_on_takes_no_other_with_it() -> None:
    scorer = Choosy()
    with serving(scorer) as client, ThreadPoolExecutor(12) as threads:
        values = [255.0 if number % 4 == 0 else 20.0 * number for number in range(1, 13)]
        replies = list(threads.map(lambda value: client.score(picture(value)), values))
        for value, reply in zip(values, replies, strict=True):
            if value == 255.0:
                assert reply.status == 422
                assert "the model cannot score it: the scorer's score holds NaN" in reply.told["error"]
            else:
                assert reply.told["score"] == pytest.approx(value / 255, abs=1e-3)


def test_a_model_that_fails_again_and_again_is_not_well_and_may_recover() -> None:
    with serving(Choosy()) as client:
        for number in range(3):
            reply = client.score(picture(0))
            assert reply.status == 500
            assert reply.told == {"error": "the model failed (RuntimeError)"}
            assert client.get("/healthz").status == (503 if number == 2 else 200)
        assert client.score(picture(100)).status == 200
        assert client.get("/healthz").status == 200


# Who may ask --------------------------------------------------------------------------------------------------------


def test_a_token_is_asked_for_where_it_is_set_and_needed_beyond_this_machine() -> None:
    with pytest.raises(ValueError, match=r"--http-host 192\.0\.2\.1 can be reached from other machines: give a token"):
        Guard.for_host("192.0.2.1", "", "--http-host")
    with serving(token="a secret") as client:  # noqa: S106
        assert client.score(picture()).status == 401
        assert client.get("/metrics").status == 401
        assert client.score(picture(), Authorization="Bearer wrong").status == 401
        assert client.score(picture(), Authorization="Bearer a secret").status == 200
        assert client.get("/healthz").status == 200
        assert client.service._room.count == 0


def test_pages_of_other_sites_cannot_ask() -> None:
    with serving() as client:
        assert client.get("/", Host="evil.example").status == 403
        assert client.score(picture(), Origin="https://evil.example").status == 403
        assert client.score(picture(), Origin="null").status == 403
        assert client.score(picture(), Origin=f"http://127.0.0.1:{client.port}").status == 200
        assert client.score(picture(), Host=f"localhost:{client.port}").status == 200


def test_no_name_of_a_file_goes_into_a_log_or_an_answer(caplog: pytest.LogCaptureFixture, capfd) -> None:
    with caplog.at_level(logging.DEBUG), serving() as client:
        body, kind = form(picture())
        broken, broken_kind = form(b"no picture")
        replies = [client.score(body, Content_Type=kind), client.score(broken, Content_Type=broken_kind)]
    assert [reply.status for reply in replies] == [200, 422]
    said = caplog.text + "".join(capfd.readouterr())
    assert "SECRET" not in said + "".join(reply.body.decode() for reply in replies)


# Drift and facts ----------------------------------------------------------------------------------------------------


def test_drift_is_in_answers_and_metrics_until_a_new_test_begins() -> None:
    random = np.random.default_rng(0)
    with serving() as client:
        values = [*random.choice(NORMAL, 30), *(0.7 * random.choice(NORMAL, 60))]
        alarms = [client.score(picture(value)).told["drift"]["alarm"] for value in values]
        assert not any(alarms[:30])
        assert alarms[-1]
        report = client.get("/drift").told
        assert report["alarm"]["image"] == alarms.index(True) + 1
        assert report["order"] == "arrival"
        assert {change["figure"] for change in report["changes"]} == {"score", "brightness", "sharpness"}
        found = numbers(client)
        assert found["anomalib_zsad_station_drift_alarm"] == 1
        assert found["anomalib_zsad_station_drift_evidence"] == pytest.approx(report["evidence"])
        assert client.ask("POST", "/drift/restart").told["alarm"] is None
        assert numbers(client)["anomalib_zsad_station_drift_alarm"] == 0
        assert client.score(picture(100)).told["drift"]["alarm"] is False


def test_what_answers_is_told() -> None:
    with serving(batch_size=4) as client:
        told = client.get("/").told
    assert told["decided_by"] == "calibration"
    assert told["model"]["model"] == "BrightImage"
    assert told["limits"]["batch_size"] == 4
    assert "at most 5 % are expected to be flagged" in told["statement"]
    assert json.dumps(told)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"http_port": 70_000}, "--http-port is a number from 0 to 65535, not 70000"),
        ({"max_mib": 0}, "are at least 1"),
        ({"max_mib": 10, "max_waiting_mib": 5}, "--max-waiting-mib is at least --max-mib, not 5"),
        ({"timeout_seconds": 0.0}, "--timeout-seconds is above 0"),
        ({"certificate": "a.pem"}, "TLS needs both"),
    ],
)
def test_options_that_make_no_sense(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServeOptions(**wrong)


def test_a_calibration_of_another_model_is_refused() -> None:
    other = calibrated().__class__("images", calibrated().scores, {"model.model": "Another"})
    with pytest.raises(CalibrationMismatchError, match="was 'Another'"):
        Service(BrightImageScorer(), ServeOptions(rule=DecisionRule("images", other)))
