"""Answers as MQTT messages, in the order of the journal, at least once each, also where the broker was away."""

import json
import logging
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from typing_extensions import Self

from anomalib_zsad.outputs.extras import require
from anomalib_zsad.station.journal import PUBLISHED, Entry, Journal
from anomalib_zsad.station.results import as_record

_LOG = logging.getLogger("anomalib_zsad.station")
_AT_A_TIME = 50
_PAUSE = 0.5
_LAST_SECONDS = 5.0
_LONGEST_TOPIC = 1000
_ALARM_IS_UNTOLD = "alarm is untold"  # with the mark of a first publisher


@dataclass(frozen=True)
class Broker:
    """Where messages go.

    Attributes:
        host: Of the broker.
        port: Of the broker.
        topic: What topics begin with.
        encrypted: Whether the connection is by TLS.
        user: Name of the user; empty for none.
        password: Of the user.
    """

    host: str
    port: int
    topic: str
    encrypted: bool = False
    user: str = ""
    password: str = ""


def parse_broker(text: str, user: str = "", password: str = "") -> Broker:
    """The broker of an address such as `mqtt://host:1883/line3/camera1`; `mqtts` is by TLS.

    Args:
        text: The address; without a port 1883 or 8883, without a topic `anomalib-zsad`.
        user: Name of the user.
        password: Of the user.

    Raises:
        ValueError: If it is none, or holds an @, as before a host comes a user; such a text is not repeated.
        MissingExtraError: If paho-mqtt is not installed.
    """
    require("mqtt", "publishing to MQTT", "paho")
    # Looked at before all else, and never shown: what is mistyped may hold a password anywhere.
    if "@" in unquote(text):
        raise ValueError(
            "the address of the MQTT broker holds an @: a user name and password are put into environment variables, "
            "where no list of processes shows them, and no topic has one; the form is mqtt://host:1883/topic"
        )
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("mqtt", "mqtts") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is no address of an MQTT broker; the form is mqtt://host:1883/topic")
    topic = parts.path.strip("/") or "anomalib-zsad"
    if any(character in topic for character in "+#\0") or len(topic.encode()) > _LONGEST_TOPIC:
        raise ValueError(f"{topic!r} is no topic to publish to: without + and #, and not longer than {_LONGEST_TOPIC}")
    encrypted = parts.scheme == "mqtts"
    return Broker(parts.hostname or "", parts.port or (8883 if encrypted else 1883), topic, encrypted, user, password)


class Publisher:
    """Publishes what is in the journal, in a thread, as a context.

    - `TOPIC/answers`: one message for each picture, as in the JSON lines, quality of service 1. After a kill the last
      ones may come twice; their `number` tells.
    - `TOPIC/drift`: the alarm, retained until a new test begins, which an empty message tells.
    - `TOPIC/status`: `online`, or `offline`, which the broker itself says where the station vanished; retained.

    While the broker cannot be reached, answers wait in the journal.

    Args:
        broker: Where to.
        journal: The journal. Answers that it held before the first publisher came are not published.
    """

    def __init__(self, broker: Broker, journal: Journal) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self._broker, self._journal = broker, journal
        self._stop, self._news = threading.Event(), threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 30)
        self._client.max_inflight_messages_set(_AT_A_TIME)
        if broker.user:
            self._client.username_pw_set(broker.user, broker.password)
        if broker.encrypted:
            self._client.tls_set(cert_reqs=ssl.CERT_REQUIRED)
        self._client.will_set(f"{broker.topic}/status", "offline", qos=1, retain=True)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_publish = self._acknowledged
        self._client.on_connect_fail = lambda *_: self._say("cannot be reached")
        self._said = ""
        self._taken, self._taken_messages = threading.Condition(), set[int]()
        self._end = 0.0
        self._number: int | None = None  # up to which the broker has taken them; `None` until the journal says it
        self._marked, self._untold = 0, None
        if not journal.is_marked(PUBLISHED):
            journal.mark(PUBLISHED, journal.last_number(), _ALARM_IS_UNTOLD)
        self._thread = threading.Thread(target=self._work, name="mqtt", daemon=True)

    def __enter__(self) -> Self:
        """Start; the broker may come later."""
        self._client.connect_async(self._broker.host, self._broker.port, keepalive=30)
        self._client.loop_start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; what could not be sent in a few seconds is sent after the next start."""
        self._end = time.monotonic() + _LAST_SECONDS
        self._stop.set()
        self._news.set()
        self._thread.join(2 * _LAST_SECONDS)
        try:
            if self._client.is_connected():
                self._client.publish(f"{self._broker.topic}/status", "offline", qos=1, retain=True).wait_for_publish(1)
        except (RuntimeError, ValueError) as lost:  # the connection went meanwhile: the broker says so by itself
            self._say(f"could not be told that the station is offline: {lost}")
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def news(self) -> None:
        """There is something new in the journal."""
        self._news.set()

    def _say(self, text: str) -> None:
        """A line in the log, but not the same one again and again."""
        if text != self._said:
            self._said = text
            _LOG.warning("the MQTT broker %s", text)

    def _connected(self, client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._say(f"refuses the station: {reason}")
            return
        self._say("is connected")
        client.publish(f"{self._broker.topic}/status", "online", qos=1, retain=True)
        self._news.set()

    def _disconnected(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not self._stop.is_set():
            self._say(f"is gone: {reason}")

    def _acknowledged(self, _client: Any, _data: Any, message: int, _reason: Any, _properties: Any) -> None:
        with self._taken:
            self._taken_messages.add(message)
            self._taken.notify_all()

    def _work(self) -> None:
        failed = False
        while not self._is_over():
            try:
                sent = self._send()
            except Exception as error:  # whatever it is: without this thread nothing would ever be published again
                self._say(f"gets no messages ({type(error).__name__}: {error}); it is tried again")
                failed = True
                time.sleep(_PAUSE)
                continue
            if failed:
                self._say("gets messages again")
                failed = False
            if sent:
                continue
            if self._stop.is_set():
                return
            self._news.wait(_PAUSE)
            self._news.clear()

    def _send(self) -> bool:
        """Send what comes next; returns whether there was something."""
        if self._number is None:
            self._number, self._untold = self._journal.marked(PUBLISHED)
            self._marked = self._number
        if not self._client.is_connected():
            entries = []
        elif self._untold:
            # The broker may hold an alarm of earlier that was withdrawn since, or none although one stands.
            alarm = self._journal.alarm()
            entries = [] if alarm is None else [alarm]
            if alarm is None or self._publish(0, entries) == alarm.number:
                self._journal.mark(PUBLISHED, self._number)
                self._untold = None
        else:
            entries = self._journal.after(self._number, _AT_A_TIME)
            self._number = self._publish(self._number, entries)
        if self._number != self._marked:  # also where it could not be noted the last time
            self._journal.mark(PUBLISHED, self._number)
            self._marked = self._number
        return bool(entries)

    def _is_over(self) -> bool:
        """Whether the time is up in which the last messages are sent."""
        return self._stop.is_set() and time.monotonic() > self._end

    def _publish(self, number: int, entries: Sequence[Entry]) -> int:
        """Send the entries after a number; returns the number up to which the broker has taken them."""
        sent = []
        with self._taken:
            self._taken_messages.clear()
        for entry in entries:
            drift = entry.kind != "picture"
            topic = f"{self._broker.topic}/{'drift' if drift else 'answers'}"
            # A retained message is withdrawn by an empty one.
            payload = "" if entry.kind == "drift_restart" else json.dumps(as_record(entry), allow_nan=False)
            sent.append((entry.number, self._client.publish(topic, payload, qos=1, retain=drift).mid))
        for own, message in sent:
            # paho keeps what it was given, and sends it itself once a broker that is gone is back.
            with self._taken:
                while message not in self._taken_messages:
                    if self._is_over():
                        return number
                    self._taken.wait(_PAUSE)
            number = own
        return number
