"""Answers as MQTT messages, with a real broker (mosquitto): in order, none lost, also where the broker was away."""

import importlib.util
import json
import queue
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from anomalib_zsad.cli import main
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.extras import MissingExtraError
from anomalib_zsad.station.arrivals import Arrival
from anomalib_zsad.station.journal import PUBLISHED, Journal, NewEntry
from anomalib_zsad.station.mqtt import Broker, Publisher, parse_broker

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


class Mosquitto:
    """A broker that can be stopped and started again at the same port."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder, self.process = folder, None
        accounts = folder / "accounts"
        settings = f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        (folder / "broker.conf").write_text(settings)
        accounts.touch()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [PROGRAM, "-c", str(self.folder / "broker.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError("mosquitto does not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed")
    started = Mosquitto(tmp_path)
    started.start()
    yield started
    started.stop()


class Listener:
    """What comes under a topic, as (topic, content, retained)."""

    def __init__(self, port: int, topic: str = "#") -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.messages: queue.Queue = queue.Queue()
        self.subscribed: queue.Queue = queue.Queue()
        self.client = Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self.client.on_subscribe = lambda *_: self.subscribed.put(1)
        self.client.on_message = lambda _, __, message: self.messages.put(
            (message.topic, message.payload.decode(), message.retain)
        )
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.subscribed.get(timeout=20)

    def take(self, topic: str, count: int) -> list[dict]:
        """So many messages of a topic."""
        found = []
        while len(found) < count:
            name, content, _ = self.messages.get(timeout=20)
            if name == topic:
                found.append(json.loads(content))
        return found

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def answers(journal: Journal, first: int, count: int, kind: str = "picture") -> None:
    now = time.time()
    for number in range(first, first + count):
        arrival = Arrival(f"{number}.png", Path(f"{number}.png"), "1 1", 1)
        journal.note([NewEntry(kind, {"image": arrival.name}, arrival if kind == "picture" else None, now)])


def test_answers_come_in_order_and_alarms_stay(tmp_path: Path, broker: Mosquitto) -> None:
    listener = Listener(broker.port)
    journal = Journal(tmp_path / "journal.sqlite3")
    answers(journal, 0, 3)  # before the first publisher: not its business
    with Publisher(Broker("127.0.0.1", broker.port, "line3/camera1"), journal) as publisher:
        answers(journal, 10, 120)
        answers(journal, 200, 1, "drift")
        publisher.news()
        found = listener.take("line3/camera1/answers", 120)
        assert [one["image"] for one in found] == [f"{number}.png" for number in range(10, 130)]
        assert [one["number"] for one in found] == list(range(4, 124))
        assert listener.take("line3/camera1/drift", 1)[0]["kind"] == "drift"
    assert journal.marked(PUBLISHED)[0] == journal.last_number() == 124
    late = Listener(broker.port)
    kept = {late.messages.get(timeout=20)[:2] for _ in range(2)}
    assert {topic for topic, _ in kept} == {"line3/camera1/drift", "line3/camera1/status"}
    assert ("line3/camera1/status", "offline") in kept
    for one in (listener, late):
        one.close()
    journal.close()


def test_what_comes_while_the_broker_is_away_is_sent_once_it_is_back(tmp_path: Path, broker: Mosquitto) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    with Publisher(Broker("127.0.0.1", broker.port, "line"), journal) as publisher:
        listener = Listener(broker.port, "line/answers")
        answers(journal, 0, 5)
        publisher.news()
        assert len(listener.take("line/answers", 5)) == 5
        listener.close()
        broker.stop()
        answers(journal, 5, 60)
        publisher.news()
        time.sleep(1)
        broker.start()
        listener = Listener(broker.port, "line/answers")
        end = time.monotonic() + 40
        while journal.marked(PUBLISHED)[0] < 65 and time.monotonic() < end:
            time.sleep(0.05)
        assert journal.marked(PUBLISHED)[0] == 65
        listener.close()
    journal.close()


def test_a_new_start_goes_on_where_the_last_one_was(tmp_path: Path, broker: Mosquitto) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    with Publisher(Broker("127.0.0.1", broker.port, "line"), journal):
        pass
    answers(journal, 0, 3)
    listener = Listener(broker.port, "line/answers")
    with Publisher(Broker("127.0.0.1", broker.port, "line"), journal):
        assert [one["number"] for one in listener.take("line/answers", 3)] == [1, 2, 3]
    listener.close()
    journal.close()


def test_without_a_broker_nothing_waits_and_nothing_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    journal = Journal(tmp_path / "journal.sqlite3")
    answers(journal, 0, 1)
    with Publisher(Broker("127.0.0.1", port, "line"), journal):
        answers(journal, 1, 2)
        end = time.monotonic() + 10
        while not caplog.records and time.monotonic() < end:
            time.sleep(0.05)
    assert [record.message for record in caplog.records] == ["the MQTT broker cannot be reached"]
    assert journal.marked(PUBLISHED)[0] == 1
    journal.close()


def note_alarm(journal: Journal, kind: str) -> None:
    journal.note([NewEntry(kind, {"statement": kind}, None, time.time())])


def kept_alarm(port: int) -> str | None:
    """What a dashboard that comes later is told of drift; `None` for nothing. The status shows that all has come."""
    late = Listener(port)
    try:
        found = {}
        with suppress(queue.Empty):
            while True:
                topic, content, _ = late.messages.get(timeout=1)
                found[topic] = content
        return found.get("line/drift")
    finally:
        late.close()


def test_a_new_test_for_drift_withdraws_the_alarm_that_the_broker_holds(tmp_path: Path, broker: Mosquitto) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    listener = Listener(broker.port, "line/answers")
    with Publisher(Broker("127.0.0.1", broker.port, "line"), journal):
        note_alarm(journal, "drift")
        answers(journal, 0, 1)
        listener.take("line/answers", 1)
    assert json.loads(kept_alarm(broker.port))["kind"] == "drift"
    note_alarm(journal, "drift_restart")  # as the next start with --restart-drift does
    with Publisher(Broker("127.0.0.1", broker.port, "line"), journal):
        answers(journal, 1, 1)
        (found,) = listener.take("line/answers", 1)
        assert found["kind"] == "picture"
    assert kept_alarm(broker.port) is None
    listener.close()
    journal.close()


def test_the_first_publisher_tells_how_it_stands_with_drift(tmp_path: Path, broker: Mosquitto) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    listener = Listener(broker.port, "line/answers")
    answers(journal, 0, 1)
    for number, kind in enumerate(["drift", "drift_restart", "drift"], 1):
        note_alarm(journal, kind)  # while there was no broker
        with Publisher(Broker("127.0.0.1", broker.port, "line"), journal):
            answers(journal, number, 1)
            (found,) = listener.take("line/answers", 1)
            assert found["image"] == f"{number}.png"
        kept = kept_alarm(broker.port)
        assert kept is None if kind == "drift_restart" else json.loads(kept)["kind"] == kind
        journal.unmark(PUBLISHED)  # as a start without --mqtt does
    listener.close()
    journal.close()


@pytest.mark.parametrize("step", ["after", "mark"])
def test_a_journal_that_fails_for_a_while_ends_no_publishing(
    tmp_path: Path, broker: Mosquitto, step: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    working, failed = getattr(Journal, step), []

    def failing(self: Journal, *words: object) -> object:
        if len(failed) < 3:
            failed.append(1)
            raise sqlite3.OperationalError("disk I/O error")
        return working(self, *words)

    listener = Listener(broker.port, "line/answers")
    with Publisher(Broker("127.0.0.1", broker.port, "line"), journal):
        monkeypatch.setattr(Journal, step, failing)
        answers(journal, 0, 3)
        assert [one["number"] for one in listener.take("line/answers", 3)] == [1, 2, 3]
        answers(journal, 3, 1)
        assert [one["number"] for one in listener.take("line/answers", 1)] == [4]  # none came twice
    assert len(failed) == 3
    assert journal.marked(PUBLISHED)[0] == 4
    said = [record.message for record in caplog.records]
    assert said.count("the MQTT broker gets no messages (OperationalError: disk I/O error); it is tried again") == 1
    assert said.count("the MQTT broker gets messages again") == 1
    listener.close()
    journal.close()


def test_a_connection_that_is_lost_at_the_very_end_leaves_nothing_open(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paho.mqtt.client import MQTTMessageInfo
    from paho.mqtt.enums import MQTTErrorCode

    lost = MQTTMessageInfo(1)
    lost.rc = MQTTErrorCode.MQTT_ERR_NO_CONN
    journal = Journal(tmp_path / "journal.sqlite3")
    with Publisher(Broker("127.0.0.1", broker.port, "line"), journal) as publisher:
        end = time.monotonic() + 20
        while not publisher._client.is_connected() and time.monotonic() < end:
            time.sleep(0.05)
        monkeypatch.setattr(publisher._client, "publish", lambda *_, **__: lost)
    assert not publisher._client.is_connected()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("paho", "mqtt"))]
    journal.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mqtt://line3", Broker("line3", 1883, "anomalib-zsad")),
        ("mqtts://[::1]:1234/a/b/", Broker("::1", 1234, "a/b", encrypted=True)),
        ("mqtts://host", Broker("host", 8883, "anomalib-zsad", encrypted=True)),
    ],
)
def test_addresses_of_brokers(text: str, expected: Broker) -> None:
    assert parse_broker(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("host:1883", "is no address of an MQTT broker; the form is mqtt://host:1883/topic"),
        ("http://host", "is no address of an MQTT broker"),
        ("mqtt://host:x", "is no address of an MQTT broker"),
        ("mqtt://anna:secret@host", "holds an @: a user name and password are put into environment variables"),
        ("mqtt://anna:secret#ret@host/line", "holds an @"),
        ("mqtt://anna:secret/ret@host/line", "holds an @"),
        ("mqtt://anna:12/secret@host/line", "holds an @"),
        ("mqtt://anna:secret@host:x/line", "holds an @"),
        ("mqtt://anna:secret%40host/line", "holds an @"),
        ("anna:secret@host", "holds an @"),
        ("mqtt://host/a/+/b", "is no topic to publish to"),
    ],
)
def test_addresses_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        parse_broker(text)
    assert "secret" not in str(raised.value)


def test_without_the_extra_the_line_says_how_to_install_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "paho" else real(name))
    with pytest.raises(MissingExtraError):
        parse_broker("mqtt://host")
    words = ["watch", "-i", str(tmp_path), "-o", str(tmp_path / "out"), "--allow-untrained", "--mqtt", "mqtt://host"]
    assert main(words) == ExitCode.USAGE
    said = "error: publishing to MQTT needs paho, which is not installed: pip install 'anomalib-zsad[mqtt]'"
    assert capsys.readouterr().err.splitlines()[-1] == said
