"""`edge bench bridge`: how fast a queue at the broker drains into Kafka, acknowledged only when Kafka has it.

300,000 queued QoS 1 messages of 140 bytes on a real Mosquitto; a real Kafka, `acks=all`, idempotent. Three drain the
same load, each from a queue of its own:

    raw     a bare socket that reads and acknowledges in bulk, and does nothing with the messages: the reference
    plain   the plainest loop of paho and confluent-kafka that acknowledges late
    bridge  ours, as the service runs

The clock runs from the first record in the log to the last (for raw: from the first message to the last).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edge_assets.errors import PlatformError
from edge_assets.platform import broker, endpoints
from edge_assets.platform import log as kafka_log
from edge_assets.settings import Route, Settings

MESSAGES = 300_000
PAYLOAD_BYTES = 140
DEVICES = 20
DEADLINE_SECONDS = 300
AT_ONCE = 1_000


def run(settings: Settings, messages: int = MESSAGES) -> dict[str, Any]:
    """Measure in a home of its own below the platform's. Rates are messages per second, memory is the peak RSS."""
    own = _own_settings(settings)
    with _parts(own):
        found: dict[str, Any] = {"messages": messages, "payload_bytes": PAYLOAD_BYTES, "cores": os.cpu_count()}
        found["raw"] = _drain_raw(_contestant(own, "raw"), messages)
        found["plain"] = _drain(_contestant(own, "plain"), messages, "edge_assets.bench.plain_bridge")
        found["bridge"] = _drain(_contestant(own, "bridge"), messages, "edge_assets.bridge")
        return found


def _own_settings(settings: Settings) -> Settings:
    import shutil

    home = settings.home / "bench" / "bridge"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    ports = {"port": endpoints.free_port(), "controller_port": endpoints.free_port(), "bootstrap": None}
    mqtt = settings.mqtt.model_copy(update={"host": None, "port": endpoints.free_port(), "tls": False})
    return endpoints.resolve(
        settings.model_copy(update={"home": home, "mqtt": mqtt, "kafka": settings.kafka.model_copy(update=ports)})
    )


@contextmanager
def _parts(settings: Settings) -> Iterator[None]:
    mosquitto = broker.start(settings)
    try:
        kafka = kafka_log.start(settings)
        try:
            yield
        finally:
            kafka_log.stop(kafka)
    finally:
        broker.stop(mosquitto)


def _contestant(settings: Settings, name: str) -> Settings:
    """A queue, a topic and a home of its own."""
    bridge = settings.bridge.model_copy(
        update={"id": f"bench-{name}", "routes": (Route(filter=f"bench/{name}/#", topic=f"bench-{name}"),)}
    )
    return settings.model_copy(update={"bridge": bridge})


def _drain_raw(settings: Settings, messages: int) -> dict[str, Any]:
    with _Raw(settings, settings.bridge.id) as client:
        client.subscribe(settings.bridge.routes[0].filter)
    _fill(settings, messages)
    with _Raw(settings, settings.bridge.id) as client:
        begun = time.monotonic()
        client.drain(messages)
        return {"messages_per_second": round(messages / (time.monotonic() - begun))}


def _drain(settings: Settings, messages: int, module: str) -> dict[str, Any]:
    """Once to make the session, then with the queue full."""
    kafka_log.ensure_topic(settings, settings.bridge.routes[0].topic or "")
    with _process(settings, module):
        _until(lambda: _is_subscribed(settings))
    _fill(settings, messages)
    with _log_end(settings) as log_end, _process(settings, module) as process:
        return {**_watched(process, log_end, messages), **_counted(settings, messages)}


def _watched(process: subprocess.Popen[bytes], log_end: Callable[[], int], messages: int) -> dict[str, Any]:
    import psutil

    watched, peak, before = psutil.Process(process.pid), 0, log_end()
    _until(lambda: log_end() > before + AT_ONCE)
    begun, already = time.monotonic(), log_end() - before
    while log_end() - before < messages:
        peak = max(peak, watched.memory_info().rss)
        time.sleep(0.02)
    return {
        "messages_per_second": round((messages - already) / (time.monotonic() - begun)),
        "peak_rss_mb": round(peak / 1e6),
        "cpu_seconds": round(sum(watched.cpu_times()[:2]), 1),
    }


@contextmanager
def _process(settings: Settings, module: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, **settings.environment()}
    with (settings.home / f"{settings.bridge.id}.log").open("ab") as output:
        process = subprocess.Popen([sys.executable, "-m", module], env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _is_subscribed(settings: Settings) -> bool:
    """Whether a message to the filter reaches the log: so is any client known to be there."""
    probe = settings.bridge.routes[0].filter.replace("#", "probe")
    with _Raw(settings, "bench-probe") as client:
        client.publish([(probe, b"probe")])
    return any(value == b"probe" for value in _values(settings))


def _fill(settings: Settings, messages: int) -> None:
    prefix = settings.bridge.routes[0].filter.removesuffix("/#")
    with _Raw(settings, "bench-publisher") as client:
        for start in range(0, messages, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, messages))
            client.publish(
                [(f"{prefix}/plug {n % DEVICES}", b"%09d" % n + b"x" * (PAYLOAD_BYTES - 9)) for n in numbers]
            )


def _counted(settings: Settings, messages: int) -> dict[str, int]:
    """The proof: every number once."""
    numbers = [int(value[:9]) for value in _values(settings) if len(value) == PAYLOAD_BYTES]
    return {"missing": messages - len(set(numbers)), "repeated": len(numbers) - len(set(numbers))}


def _values(settings: Settings) -> Iterator[bytes]:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({**kafka_log.client_options(settings), "group.id": "bench", "auto.offset.reset": "earliest"})
    try:
        place = TopicPartition(settings.bridge.routes[0].topic or "", 0, 0)
        left = consumer.get_watermark_offsets(place, timeout=10)[1]
        consumer.assign([place])
        while left > 0:
            batch = consumer.consume(min(left, 10_000), 10)
            left -= len(batch)
            yield from (one.value() or b"" for one in batch)
    finally:
        consumer.close()


@contextmanager
def _log_end(settings: Settings) -> Iterator[Callable[[], int]]:
    """The log's end, asked for over one connection that is kept: it costs the contestants next to nothing."""
    from confluent_kafka import Consumer, TopicPartition

    topic = settings.bridge.routes[0].topic or ""
    consumer = Consumer({**kafka_log.client_options(settings), "group.id": "bench", "log_level": 0})
    try:
        yield lambda: consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)[1]
    finally:
        consumer.close()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise PlatformError(f"bench bridge: no progress in {DEADLINE_SECONDS} s; see the logs in the bench's home")
        time.sleep(0.02)


class _Raw:
    """MQTT by hand on a bare socket: as fast as Python can, and nothing more."""

    def __init__(self, settings: Settings, identifier: str) -> None:
        self._socket = socket.create_connection(broker.address(settings), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._send(0x10, b"\x00\x04MQTT\x04\x00\x00\x00" + _text(identifier))
        self._expect(0x20, 4)

    def __enter__(self) -> _Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._send(0xE0, b"")
        self._socket.close()

    def subscribe(self, topic_filter: str) -> None:
        self._send(0x82, b"\x00\x01" + _text(topic_filter) + b"\x01")
        self._expect(0x90, 5)

    def publish(self, messages: list[tuple[str, bytes]]) -> None:
        """QoS 1, all at once; returns when all are acknowledged."""
        bodies = [_text(topic) + number.to_bytes(2, "big") + value for number, (topic, value) in enumerate(messages, 1)]
        self._socket.sendall(b"".join(b"\x32" + _length(len(body)) + body for body in bodies))
        self._expect(0x40, 4 * len(messages))

    def drain(self, messages: int) -> None:
        """Read, and acknowledge everything that a reading held in one piece. All packets must have one size class."""
        data, seen = b"", 0
        while seen < messages:
            data += self._socket.recv(1 << 18)
            acks, at = [], 0
            while len(data) - at >= 3:
                length, start = data[at + 1], at + 2
                if length & 0x80:
                    length, start = (length & 0x7F) | data[at + 2] << 7, at + 3
                if start + length > len(data):
                    break
                mid = start + 2 + (data[start] << 8 | data[start + 1])
                acks.append(b"\x40\x02" + data[mid : mid + 2])
                at = start + length
            data = data[at:]
            seen += len(acks)
            self._socket.sendall(b"".join(acks))

    def _expect(self, first: int, size: int) -> None:
        """Read so many bytes, and none of what follows them."""
        answer = bytearray()
        while len(answer) < size and (data := self._socket.recv(size - len(answer))):
            answer += data
        if len(answer) < size or answer[0] != first:
            raise PlatformError(f"bench bridge: the broker answered {bytes(answer[:4])!r}, not a packet {first:#x}")

    def _send(self, first: int, body: bytes) -> None:
        self._socket.sendall(bytes([first]) + _length(len(body)) + body)


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


def _length(length: int) -> bytes:
    return bytes([length]) if length < 0x80 else bytes([length & 0x7F | 0x80, length >> 7])
