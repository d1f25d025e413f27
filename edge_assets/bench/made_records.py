"""Records in Kafka as a bridge writes them: of plugs with ten readings each; of rooms as the simulators make them."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from edge_assets.log_record import Header, headers_of
from edge_assets.platform import log as kafka_log
from edge_assets.settings import Settings
from edge_assets.sources import rooms

DEVICES = 20
READINGS = 10
"""of each payload of a plug"""


class Producer:
    """Writes records with a bridge's header."""

    def __init__(self, settings: Settings) -> None:
        import confluent_kafka

        self._settings = settings
        self._topics: set[str] = set()
        options = {"acks": "all", "linger.ms": 20, "queue.buffering.max.messages": 200_000}
        self._producer = confluent_kafka.Producer({**kafka_log.client_options(settings), **options})

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.flush(60)

    def put(self, topic: str, key: str, payload: bytes, at: int) -> None:
        if topic not in self._topics:
            kafka_log.ensure_topic(self._settings, topic)
            self._topics.add(topic)
        header = headers_of(Header("bridge", 1, "bench", at, True, at, "bench", 1, False, False, at % 65_535 + 1))
        while True:
            try:
                return self._producer.produce(topic, payload, key, headers=header)
            except BufferError:
                self._producer.poll(0.1)


def fill_plugs(settings: Settings, topic: str, payloads: int) -> None:
    """Write a description of the devices, and so many of their payloads."""
    now = time.time_ns() // 1_000
    with Producer(settings) as producer:
        producer.put(topic, "zigbee2mqtt/bridge/devices", json.dumps(_devices()).encode(), now)
        for number in range(payloads):
            producer.put(topic, f"zigbee2mqtt/plug {number % DEVICES}", payload(number), now + number)


def fill_rooms(settings: Settings, messages: int) -> None:
    """Write so many messages of the rooms, received in the time up to now."""
    simulators = settings.simulators
    span = timedelta(seconds=messages / max(simulators.rooms, 1) * simulators.rooms_interval_seconds)
    start = datetime.now(UTC) - span
    with Producer(settings) as producer:
        for message in islice(rooms.messages(simulators, start), messages):
            at = int((start.timestamp() + message.at_seconds) * 1e6)
            room = message.topic.split("/")[1]
            producer.put(f"telemetry.{room}", message.topic, message.payload, at)


def payload(number: int) -> bytes:
    """About 210 bytes, 10 readings."""
    power = 20 + number % 1_800 / 7
    return (
        f'{{"current":{power / 230:.2f},"energy":{100 + number / 1e4:.2f},"energy_month":{12 + number / 1e4:.2f},'
        f'"energy_today":1.{number % 90 + 10},"energy_yesterday":2.31,"linkquality":{90 + number % 100},'
        f'"network_indicator":true,"power":{power:.1f},"power_on_behavior":"previous","state":"ON"}}'
    ).encode()


def _devices() -> list[dict[str, Any]]:
    units = {"current": "A", "energy": "kWh", "energy_month": "kWh", "energy_today": "kWh", "energy_yesterday": "kWh"}
    units |= {"linkquality": "lqi", "power": "W"}
    exposes: list[dict[str, Any]] = [{"type": "numeric", "property": p, "unit": u} for p, u in units.items()]
    exposes.append({"type": "binary", "property": "state", "value_on": "ON", "value_off": "OFF"})
    exposes.append({"type": "binary", "property": "network_indicator", "value_on": True, "value_off": False})
    exposes.append({"type": "enum", "property": "power_on_behavior", "values": ["off", "previous", "on"]})
    definition = {"model": "S60ZBTPF", "vendor": "SONOFF", "description": "Smart plug", "exposes": exposes}
    return [
        {"ieee_address": f"0x{i:016x}", "friendly_name": f"plug {i}", "type": "Router", "definition": definition}
        for i in range(DEVICES)
    ]
