"""What the bridge's tests share: a bridge in a thread or a process, a publisher, and the log as a reader sees it."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, TypeVar

import paho.mqtt.client as paho
from confluent_kafka import Consumer, TopicPartition
from paho.mqtt.enums import CallbackAPIVersion

from edge_assets.bridge import loop
from edge_assets.log_record import BARRIER_KEY, HEADER, Header
from edge_assets.platform.broker import address
from edge_assets.platform.log import client_options, topics, topics_of
from edge_assets.service import read_status, run_service
from edge_assets.settings import Settings

T = TypeVar("T")
DEADLINE_SECONDS = 60.0


def wait_for(
    look: Callable[[], T], good: Callable[[T], bool], seconds: float = DEADLINE_SECONDS, pause_seconds: float = 0.02
) -> T:
    """Look until it is good. Fails with the last that was seen."""
    deadline = time.monotonic() + seconds
    while not good(seen := look()):
        assert time.monotonic() < deadline, f"not in {seconds} s; last seen: {str(seen)[:3_000]}"
        time.sleep(pause_seconds)
    return seen


class RunningBridge:
    """The bridge's loop in a thread, as the service runs it. Leaving the block stops it, and raises what it raised."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="bridge")

    def __enter__(self) -> RunningBridge:
        self._thread.start()
        wait_for(self.status, lambda status: bool(status.get("connected")) or not self._thread.is_alive())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the bridge did not stop in 30 s"
        if self._error and error is None:
            raise self._error

    def status(self) -> dict[str, Any]:
        return read_status(self.settings, "bridge")

    def _run(self) -> None:
        try:
            run_service("bridge", loop.run, self.settings, self._stop)
        except BaseException as error:
            self._error = error


class BridgeProcess:
    """`python -m edge_assets.bridge` as a process that can be killed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.log = settings.home / "logs" / "bridge-test.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, connected: bool = True) -> None:
        environment = {**os.environ, **self.settings.environment(), "PYTHONUNBUFFERED": "1"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edge_assets.bridge"], env=environment, stdout=log, stderr=log
            )
        if connected:
            print(f"the bridge's log: {self.log}")
            self.wait_until_connected()

    def wait_until_connected(self) -> None:
        """Its own word for it: until it says something, the file tells of a predecessor."""
        wait_for(self.status, lambda status: status.get("pid") == self.pid and bool(status.get("connected")))

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def status(self) -> dict[str, Any]:
        assert self._process and self._process.poll() is None, f"the bridge ended: {self.log.read_text()[-2_000:]}"
        return read_status(self.settings, "bridge")

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Signal it and wait for its end."""
        assert self._process
        self._process.send_signal(number)
        return self._process.wait(30)

    @contextmanager
    def keep(self) -> Iterator[None]:
        """While the block looks at it, it runs; then it is stopped."""
        try:
            yield
        finally:
            if self._process and self._process.poll() is None:
                self.kill(signal.SIGTERM)


class Publisher:
    """A client that publishes at QoS 1 and waits, at the end, until the broker has acknowledged everything."""

    def __init__(self, settings: Settings) -> None:
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.max_inflight_messages_set(200)
        self._address = address(settings)
        self._last: list[paho.MQTTMessageInfo] = []

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        self._last.append(self._client.publish(topic, payload, qos=qos, retain=retain))

    def settle(self) -> None:
        """Wait until the broker has it all."""
        for info in self._last:
            info.wait_for_publish(DEADLINE_SECONDS)
            assert info.is_published(), "the broker did not acknowledge"
        self._last.clear()

    def __enter__(self) -> Publisher:
        self._client.connect(*self._address)
        self._client.loop_start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.settle()
        self._client.disconnect()
        self._client.loop_stop()


def read_records(settings: Settings, names: Sequence[str]) -> list[Any]:
    """Everything in these topics now, control records too, partition by partition."""
    consumer = Consumer({**client_options(settings), "group.id": "test", "auto.offset.reset": "earliest"})
    found: list[Any] = []
    try:
        known = topics(settings)
        for at in [TopicPartition(name, number, 0) for name in names for number in range(known.get(name, 0))]:
            _, high = consumer.get_watermark_offsets(at, timeout=10)
            consumer.assign([at])
            part: list[Any] = []
            while len(part) < high:
                part += consumer.consume(min(high - len(part), 10_000), 10)
            found += part
    finally:
        consumer.close()
    return found


def records(settings: Settings, names: Sequence[str] | None = None) -> list[Any]:
    """The records of the routes' topics as a reader sees them: without control records and fenced ones."""
    names = names or list(topics_of(settings.bridge.routes, topics(settings)))
    highest: dict[tuple[Any, ...], int] = {}
    seen = []
    for one in read_records(settings, names):
        place = (one.topic(), one.partition())
        if one.key() == BARRIER_KEY.encode():
            highest[place] = max(highest.get(place, 0), json.loads(one.value())["incarnation"])
        elif not one.key().startswith(b"$edge/") and header_of(one).inc >= highest.get(place, 0):
            seen.append(one)
    return seen


def header_of(record: Any) -> Header:
    return Header.decode(dict(record.headers())[HEADER])


def keys_and_values(found: Sequence[Any]) -> list[tuple[str, bytes]]:
    return [(one.key().decode(), one.value()) for one in found]


def with_settings(settings: Settings, **sections: Mapping[str, Any]) -> Settings:
    """The settings with some fields of some sections changed."""
    changed = {}
    for name, fields in sections.items():
        section = getattr(settings, name)
        changed[name] = type(section).model_validate({**dict(section), **fields})
    return settings.model_copy(update=changed)


class CutWire:
    """A TCP relay to the broker whose connections can be cut, and which can lose what the client says."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._losing = threading.Event()
        self._lock = threading.Lock()

    def cut(self) -> None:
        """Reset every connection, with whatever was on its way."""
        with self._lock:
            for sock in [one for pair in self._pairs for one in pair]:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()
            self._pairs.clear()
            self._losing.clear()

    def lose_acks(self) -> None:
        """Until the next cut, the broker hears nothing from the next PUBACK on; the client hears everything."""
        self._losing.set()

    def __enter__(self) -> CutWire:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            with self._lock:
                self._pairs.append((client, server))
            threading.Thread(target=self._relay, args=(client, server, self._losing), daemon=True).start()
            threading.Thread(target=self._relay, args=(server, client, None), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, losing: threading.Event | None) -> None:
        lost = False
        with suppress(OSError):
            while data := source.recv(65_536):
                # What leaves the bridge after its session is settled begins with a PUBACK; from there on it is lost.
                lost = lost or (losing is not None and losing.is_set() and data[0] == 0x40)
                if not lost:
                    target.sendall(data)
        for sock in (source, target):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
