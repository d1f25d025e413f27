"""`edge bench stream`: how fast the log becomes tables, beside a plain deltalake loop over the same records.

300,000 Zigbee2MQTT payloads of about 210 bytes with 10 readings each, from a real Kafka into bronze.events,
bronze.dead_letters, silver.readings and silver.devices. The clock runs from the writer's first batch to the commit
that holds the last record, so the JVM's start is not in it; the first batch, in which it compiles, is told apart.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_assets.bench import whole_platform
from edge_assets.log_record import Header, headers_of
from edge_assets.platform import log as kafka_log
from edge_assets.service import read_status
from edge_assets.settings import Settings

PAYLOADS = 300_000
DEVICES = 20
READINGS = 10


def run(settings: Settings, payloads: int = PAYLOADS) -> dict[str, Any]:
    """Measure in a home of its own below the platform's. Returns figures; rates are payloads per second."""
    own = whole_platform.own_settings(settings, "stream")
    stream = own.stream.model_copy(update={"trigger_seconds": 0.0, "compact_minutes": 0.0})
    own = own.model_copy(update={"stream": stream})
    whole_platform.prepare(own)
    kafka = kafka_log.start(own)
    try:
        topic = own.bridge.routes[0].topic or ""
        fill(own, topic, payloads)
        return {
            "payloads": payloads,
            "readings": payloads * READINGS,
            "stream": _measure_stream(own, payloads),
            "reference_deltalake": _measure_reference(own, topic, payloads),
        }
    finally:
        kafka_log.stop(kafka)


def fill(settings: Settings, topic: str, payloads: int) -> None:
    """Write the payloads as a bridge would, after a description of the devices."""
    from confluent_kafka import Producer

    kafka_log.ensure_topic(settings, topic)
    producer = Producer({**kafka_log.client_options(settings), "acks": "all", "linger.ms": 50})
    now = time.time_ns() // 1_000
    producer.produce(topic, json.dumps(_devices()), "zigbee2mqtt/bridge/devices", headers=_header(now, 0))
    for number in range(payloads):
        device = number % DEVICES
        while True:
            try:
                key = f"zigbee2mqtt/plug {device}"
                producer.produce(topic, payload(number), key, headers=_header(now + number, number % 65_535 + 1))
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def payload(number: int) -> bytes:
    """About 210 bytes, 10 readings."""
    power = 20 + number % 1_800 / 7
    return (
        f'{{"current":{power / 230:.2f},"energy":{100 + number / 1e4:.2f},"energy_month":{12 + number / 1e4:.2f},'
        f'"energy_today":1.{number % 90 + 10},"energy_yesterday":2.31,"linkquality":{90 + number % 100},'
        f'"network_indicator":true,"power":{power:.1f},"power_on_behavior":"previous","state":"ON"}}'
    ).encode()


def _header(at: int, mid: int) -> list[tuple[str, str | bytes | None]]:
    return headers_of(Header("bridge", 1, "bench", at, True, at, "bench", 1, False, False, mid))


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


def _measure_stream(settings: Settings, payloads: int) -> dict[str, Any]:
    with Writer(settings) as writer:
        writer.wait_until_reading()
        begun, already, cpu = time.monotonic(), writer.records(), writer.cpu_seconds()
        writer.wait_for(already + 1)
        warm, warm_records, warm_cpu = time.monotonic(), writer.records(), writer.cpu_seconds()
        writer.wait_for(payloads + 1)
        ended, ended_cpu = time.monotonic(), writer.cpu_seconds()
        status = read_status(settings, "stream_writer")
        figures = {
            "payloads_per_second": round((payloads - already) / (ended - begun)),
            "seconds": round(ended - begun, 1),
            "cpu_seconds": round(ended_cpu - cpu, 1),
            "batches": status["batch"],
            "peak_pss_mb": round(writer.peak_mb),
            "pss_mb_at_end": round(writer.memory_mb()),
        }
        if rest := payloads - warm_records:
            figures["after_first_batch_per_second"] = round(rest / (ended - warm))
            figures["after_first_batch_cpu_us"] = round((ended_cpu - warm_cpu) / rest * 1e6)
        return figures


class Writer:
    """The real stream writer as a process, watched through its status file."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __enter__(self) -> Writer:
        environment = {**os.environ, **self._settings.environment()}
        output = (self._settings.home / "writer.log").open("w")
        command = [sys.executable, "-m", "edge_assets.stream"]
        self._process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        self.peak_mb = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def records(self) -> int:
        return read_status(self._settings, "stream_writer").get("written", {}).get("records", 0)

    def wait_until_reading(self) -> None:
        """Until its query has started: the JVM is up, the tables are there."""
        self._wait(lambda: "batch" in read_status(self._settings, "stream_writer"))

    def wait_for(self, records: int) -> None:
        self._wait(lambda: self.records() >= records)

    def _wait(self, condition: Callable[[], bool], seconds: float = 900) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the stream writer made no headway: see {self._settings.home / 'writer.log'}")
            self.peak_mb = max(self.peak_mb, self.memory_mb())
            time.sleep(0.2)

    def cpu_seconds(self) -> float:
        return sum(sum(p.cpu_times()[:2]) for p in self._family())

    def memory_mb(self) -> float:
        """Proportional set size of Python and JVM: a process that is just being forked shares its parent's pages."""
        return sum(map(whole_platform.pss_mb, self._family()))

    def _family(self) -> list[Any]:
        import psutil

        me = psutil.Process(self._process.pid)
        return [me, *me.children(recursive=True)]


def _measure_reference(settings: Settings, topic: str, payloads: int) -> dict[str, Any]:
    """What the same work costs in a plain loop: consume, json.loads, two Delta tables by deltalake, no checks."""
    begun = time.monotonic()
    written = reference_loop(settings, [topic], payloads, settings.home / "reference")
    return {"payloads_per_second": round(written / (time.monotonic() - begun))}


def reference_loop(settings: Settings, topics: list[str], payloads: int, folder: Path, batch: int = 50_000) -> int:
    """Read so many JSON payloads, and write them and their properties to two tables. Returns how many they were."""
    import pyarrow as pa
    from confluent_kafka import Consumer
    from deltalake import write_deltalake

    options = {"group.id": "reference", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({**kafka_log.client_options(settings), **options})
    consumer.subscribe(topics)
    seen = 0
    while seen < payloads:
        messages = consumer.consume(batch, timeout=5)
        raw = [(m.partition(), m.offset(), (m.key() or b"").decode(), m.value() or b"") for m in messages]
        rows = [
            (key, offset, name, float(value) if isinstance(value, int | float) else None, str(value))
            for _, offset, key, body in raw
            if not key.endswith("/bridge/devices")
            for name, value in json.loads(body).items()
        ]
        write_deltalake(folder / "events", _arrow(pa, raw, ("partition", "offset", "key", "value")), mode="append")
        names = ("key", "offset", "measurement", "value", "text")
        write_deltalake(folder / "readings", _arrow(pa, rows, names), mode="append")
        seen += len(messages)
    consumer.close()
    return seen


def _arrow(pa: Any, rows: list[tuple[Any, ...]], names: tuple[str, ...]) -> Any:
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
