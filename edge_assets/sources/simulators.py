"""The service that publishes all simulated devices: real time, the real broker, the real ones' manners.

A Zigbee2MQTT network, a Pico W and the rooms of a building, merged by time over one connection. It is the network's,
whose last will says offline; the others have none. While the broker is away it is tried again with growing pauses, and
what falls due then is *skipped*: so does Zigbee2MQTT, and a burst of stale readings after an outage would be a thing
that no real device sends. When it is back, the retained topics are published again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from heapq import merge
from operator import attrgetter
from typing import Any

from paho.mqtt.client import Client

from edge_assets import rooms as described
from edge_assets.service import Report
from edge_assets.settings import Settings, SimulatorSettings
from edge_assets.sources import pico_w, rooms
from edge_assets.sources.message import Message
from edge_assets.sources.publisher import client_for, connect, where
from edge_assets.sources.zigbee2mqtt import Network, last_will

logger = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
FAREWELL_SECONDS = 2.0


def run(settings: Settings, stop: threading.Event, report: Report) -> None:
    """Publish what `settings.simulators` asks for until `stop` is set.

    Reports `connected`, `problem`, `broker`, `devices` (of the network), `rooms`, `pico`, and counts of messages:
    `published` (and `published_below` each base topic), `skipped` (due while the broker was away), `republished`
    (retained ones, after it was back).
    """
    connection = Connection(settings, last_will(settings.simulators))
    simulated = settings.simulators.model_copy(update={"enabled": True})  # who runs this wants it
    described.add_missing(settings, rooms.described(simulated))
    counts = {"devices": 0, "rooms": simulated.rooms, "pico": int(simulated.pico)}
    counts |= {"published": 0, "skipped": 0, "republished": 0}
    below: Counter[str] = Counter()

    def tell() -> None:
        counts["republished"] += connection.catch_up()
        report({**counts, "published_below": dict(below), **connection.status()})

    try:
        if not connection.wait(stop, tell):
            return
        counts["devices"] = simulated.doors + simulated.plugs
        for message in paced(everything(simulated), simulated.speed, stop, tell):
            if connection.publish(message):
                counts["published"] += 1
                below[simulated.base_of(message.topic) or ""] += 1
            else:
                counts["skipped"] += 1
            tell()
    finally:
        connection.close()
        report({**counts, "connected": False})


def everything(simulated: SimulatorSettings) -> Iterator[Message]:
    """The messages of all simulated devices from now on, in order of `at_seconds`, without end."""
    start, began = datetime.now(UTC), time.monotonic()
    sources = [Network(simulated, start).messages()]
    if simulated.pico:
        sources.append(pico_w.messages(simulated, start))
    # A clock that is set (a Pi without a battery, at its start) is followed by the rooms' own timestamps.
    sources.append(rooms.messages(simulated, start, lambda: time.time() - (time.monotonic() - began)))
    return merge(*sources, key=attrgetter("at_seconds"))


class Connection:
    """The client, and what the broker must hold for this network: its retained messages."""

    def __init__(self, settings: Settings, last_will: Message) -> None:
        self._where = where(settings)
        self._last_will = last_will
        self._retained: dict[str, Message] = {}
        self._fresh = threading.Event()
        self._problem: str | None = f"no connection to {self._where} yet"
        self._client = client_for(settings, "zigbee2mqtt-simulated")
        self._client.will_set(last_will.topic, last_will.payload, qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        connect(self._client, settings)

    def wait(self, stop: threading.Event, tick: Callable[[], None]) -> bool:
        """Wait for the first connection: a network that knows no broker has nothing to say. False: told to stop."""
        while not self._client.is_connected():
            tick()
            if stop.wait(0.2):
                return False
        return True

    def publish(self, message: Message) -> bool:
        """Whether it was handed to a connected client; a retained message is remembered for `catch_up`."""
        connected = self._client.is_connected()
        if message.retain:
            self._retained[message.topic] = message
            if connected and not message.payload:
                del self._retained[message.topic]
        if not connected:
            return False
        return self._client.publish(message.topic, message.payload, message.qos, message.retain).rc == 0

    def catch_up(self) -> int:
        """After each new connection publish the retained messages once more; how many there were."""
        if not self._fresh.is_set():
            return 0
        self._fresh.clear()
        return sum(self.publish(message) for message in list(self._retained.values()))

    def status(self) -> dict[str, Any]:
        return {"connected": self._client.is_connected(), "problem": self._problem, "broker": self._where}

    def close(self) -> None:
        """Say offline, as Zigbee2MQTT does before it stops (at QoS 0), and leave in order."""
        if self._client.is_connected():
            last = replace(self._last_will, qos=0)
            self._client.publish(last.topic, last.payload, last.qos, last.retain).wait_for_publish(FAREWELL_SECONDS)
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._lament(f"the broker at {self._where} refused the connection: {reason}")
            return
        if self._problem:
            logger.info("connected to the broker at %s", self._where)
        self._problem = None
        self._fresh.set()

    def _on_disconnect(self, client: Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._lament(f"the connection to the broker at {self._where} is lost: {reason}")

    def _lament(self, problem: str) -> None:
        if problem != self._problem:
            logger.warning(problem)
        self._problem = problem


def paced(
    messages: Iterator[Message], speed: float, stop: threading.Event, tick: Callable[[], None]
) -> Iterator[Message]:
    """The messages, each when its time has come; ends when `stop` is set. Calls `tick` each second while it waits."""
    begin = time.monotonic()
    for message in messages:
        due = begin + message.at_seconds / speed
        while (left := due - time.monotonic()) > 0:
            if stop.wait(min(left, REPORT_SECONDS)):
                return
            tick()
        if stop.is_set():
            return
        yield message
