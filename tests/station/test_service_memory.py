"""What a service holds of requests: bounded while they wait, let go of once they are given up, read beside the loop."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from anomalib_zsad.station import request_body
from anomalib_zsad.station import service as services
from anomalib_zsad.station.request_body import BodyError, picture_in
from anomalib_zsad.station.service import Service
from tests.station.service_builders import form, picture, serving
from tests.station.test_batcher import Stuck, becomes


class StuckOnTiles(Stuck):
    """Takes whole pictures, one at a time; remembers them."""

    one_by_one = True

    def __init__(self) -> None:
        super().__init__()
        self.prepared: list[weakref.ref[torch.Tensor]] = []

    def prepare(self, image: torch.Tensor) -> torch.Tensor:
        whole = image.clone()
        self.prepared.append(weakref.ref(whole))
        return whole

    @property
    def alive(self) -> int:
        gc.collect()
        return sum(reference() is not None for reference in self.prepared)


def test_decoded_pictures_that_wait_are_bounded_however_small_their_files_are() -> None:
    scorer, content = StuckOnTiles(), picture(side=280)  # 0.9 MiB as a model takes it
    assert len(content) < 2000
    with serving(scorer, max_mib=1, max_waiting_mib=1) as client, ThreadPoolExecutor(12) as threads:
        first = threads.submit(client.score, content)
        assert scorer.begun.wait(20)
        second = threads.submit(client.score, content)
        assert becomes(lambda: client.service._batcher.waiting == 1)
        others = list(threads.map(lambda _: client.score(content), range(10)))
        assert [reply.status for reply in others] == [503] * 10
        assert others[0].headers["retry-after"] == "1"
        assert scorer.alive == 2
        scorer.may_go_on.set()
        assert (first.result().status, second.result().status) == (200, 200)
        assert client.score(content).status == 200


def test_requests_that_gave_up_leave_nothing_behind_a_stuck_model() -> None:
    scorer = StuckOnTiles()
    with serving(scorer, timeout_seconds=0.3, max_mib=1, max_waiting_mib=1) as client:
        for _ in range(6):
            assert client.score(picture(side=280)).status == 504
        assert becomes(lambda: scorer.alive == 1)  # the one that the model has
        assert client.service._batcher.waiting == 0
        assert client.service._room.count == 0
        scorer.may_go_on.set()


class Body(bytearray):
    """What was sent, and can be referred to."""


def test_requests_that_gave_up_leave_nothing_behind_stuck_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[weakref.ref[Body]] = []
    take = Service._body

    async def remember(self, request, place):
        body = Body(await take(self, request, place))
        sent.append(weakref.ref(body))
        return body

    monkeypatch.setattr(Service, "_body", remember)
    may_go_on = threading.Event()
    with serving(timeout_seconds=0.3) as client:
        for _ in range(2):
            client.service._threads.submit(may_go_on.wait, 60)
        for _ in range(3):
            assert client.score(picture()).status == 504
        gc.collect()
        assert [reference() for reference in sent] == [None] * 3
        assert client.service._room.count == 0
        assert client.service._room._bytes == 0
        may_go_on.set()


def test_a_map_that_takes_too_long_is_told_so_and_has_a_place_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_go_on = threading.Event(), threading.Event()

    def slow(*_):
        begun.set()
        may_go_on.wait(60)
        return b""

    monkeypatch.setitem(services._MAP_FILES, "png", slow)
    with serving(timeout_seconds=1.0) as client, ThreadPoolExecutor(1) as threads:
        asked = threads.submit(client.ask, "POST", "/map", picture())
        assert begun.wait(20)
        assert client.service._room.count == 1
        reply = asked.result()
        assert reply.status == 504
        assert "making the map took too long: a request may take 1 s" in reply.told["error"]
        may_go_on.set()
        assert becomes(lambda: client.service._room.count == 0)
        assert client.ask("POST", "/map?format=npy", picture()).status == 200


def many(count: int) -> tuple[bytes, str]:
    """A form of parts with nothing in them."""
    return b"--a\r\nX:\r\n\r\n\r\n" * count + b"--a--\r\n", "multipart/form-data; boundary=a"


def test_a_form_of_very_many_parts_is_refused_before_they_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    body, kind = many(1_000_000)
    looked_at, look = [], request_body._is_file
    monkeypatch.setattr(request_body, "_is_file", lambda headers: looked_at.append(1) or look(headers))
    with pytest.raises(BodyError, match="a form has at most 100 parts"):
        picture_in(body, kind)
    assert len(looked_at) == 101
    with pytest.raises(BodyError, match="this form holds 0 files"):
        picture_in(*many(100))
    with serving() as client:
        assert client.score(body, Content_Type=kind).status == 400


def test_forms_are_taken_apart_beside_the_loop_which_answers_others(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_go_on = threading.Event(), threading.Event()

    def slow(body, kind):
        begun.set()
        may_go_on.wait(60)
        return picture_in(body, kind)

    monkeypatch.setattr(services, "picture_in", slow)
    body, kind = form(picture())
    with serving() as client, ThreadPoolExecutor(1) as threads:
        asked = threads.submit(client.score, body, Content_Type=kind)
        assert begun.wait(20)
        assert client.get("/healthz").status == 200
        may_go_on.set()
        assert asked.result().status == 200
