"""Who else listens during `edge bench live`: `python -m edge_assets.bench.live_listeners HOST MQTT_PORT PAGE_PORT N`.

N plain WebSocket clients, which read their frames and answer pings and do nothing else, but for the first, which notes
when each point of `sent_ms` arrived; and a plain MQTT client that notes the same of the message. Says `ready` when all
are there; at the end of its input it prints what it noted, in milliseconds after the sending, as one line of JSON.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

MEASUREMENT = "sent_ms"
_TEXT, _PING, _PONG = 1, 9, 10


class PlainViewer:
    """A WebSocket client of a server that neither compresses nor splits frames (RFC 6455)."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self._buffer = bytearray()
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        self.socket.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self.socket.recv(65_536)
        if not self._buffer.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(f"no WebSocket at {host}:{port}: {bytes(self._buffer[:80])!r}")
        del self._buffer[: self._buffer.index(b"\r\n\r\n") + 4]

    def read(self) -> list[bytes]:
        """The texts that have arrived."""
        received = self.socket.recv(1 << 20)
        if not received:
            raise RuntimeError("the server cut a viewer off")
        self._buffer += received
        texts = []
        for code, payload in self._frames():
            if code == _PING:
                self.socket.sendall(bytes((0x80 | _PONG, 0x80 | len(payload))) + bytes(4) + payload)
            elif code == _TEXT:
                texts.append(payload)
        return texts

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        while len(self._buffer) >= 2:
            length, start = self._buffer[1], 2
            if length >= 126:
                width, start = ("!H", 4) if length == 126 else ("!Q", 10)
                if len(self._buffer) < start:
                    return
                (length,) = struct.unpack_from(width, self._buffer, 2)
            if len(self._buffer) < start + length:
                return
            code, payload = self._buffer[0] & 15, bytes(self._buffer[start : start + length])
            del self._buffer[: start + length]
            yield code, payload


def listen(host: str, mqtt_port: int, page_port: int, viewers: int) -> dict[str, list[float]]:
    """Until the end of standard input."""
    heard: dict[str, list[float]] = {"mqtt_only": [], "at_a_viewer": []}
    client = _subscriber(host, mqtt_port, heard["mqtt_only"])
    selector = selectors.DefaultSelector()
    for number in range(viewers):
        viewer = PlainViewer(host, page_port)
        selector.register(viewer.socket, selectors.EVENT_READ, (viewer, number == 0))
    selector.register(sys.stdin, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                client.disconnect()
                return heard
            viewer, notes = key.data
            texts = viewer.read()
            if notes:
                _note(texts, heard["at_a_viewer"])


def _note(texts: list[bytes], heard: list[float]) -> None:
    now = time.time() * 1e3
    for text in texts:
        if text.startswith(b'{"type":"points"'):
            heard += (now - point[3] for point in json.loads(text)["points"] if point[1] == MEASUREMENT)


def _subscriber(host: str, port: int, heard: list[float]) -> Any:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    subscribed = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda *said: heard.append(time.time() * 1e3 - json.loads(said[2].payload)[MEASUREMENT])
    client.connect(host, port)
    client.subscribe("zigbee2mqtt/+", 1)
    client.loop_start()
    if not subscribed.wait(10):
        raise RuntimeError(f"the broker at {host}:{port} does not answer")
    return client


if __name__ == "__main__":
    found = listen(sys.argv[1], *map(int, sys.argv[2:5]))
    print(json.dumps(found), flush=True)
    os._exit(0)  # no goodbyes to so many
