"""The real stream writer as a process, and the plain loop that it is measured beside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_assets.bench import whole_platform
from edge_assets.platform import log as kafka_log
from edge_assets.service import read_status
from edge_assets.settings import Settings


@contextmanager
def log_alone(settings: Settings, name: str, **stream: Any) -> Iterator[Settings]:
    """A Kafka of its own, and the settings of a stream writer that reads it in a home of its own; `stream`: what is
    changed of its section."""
    own = whole_platform.own_settings(settings, name)
    own = own.model_copy(update={"stream": own.stream.model_copy(update=stream)})
    whole_platform.prepare(own)
    kafka = kafka_log.start(own)
    try:
        yield own
    finally:
        kafka_log.stop(kafka)


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
        self.wait(lambda: "batch" in read_status(self._settings, "stream_writer"))

    def wait_for(self, records: int, since: str | None = None) -> None:
        """Until it has written so many records; `since`: and it is no longer the one that started then."""
        self.wait(lambda: self.records() >= records and self._started() != since)

    def _started(self) -> str | None:
        return read_status(self._settings, "stream_writer").get("started_at")

    def wait(self, condition: Callable[[], bool], seconds: float = 900) -> None:
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


def reference_rate(settings: Settings, topics: list[str], payloads: int) -> int:
    """What the same work costs in a plain loop, in payloads per second: consume, json.loads, two Delta tables by
    deltalake, no checks."""
    begun = time.monotonic()
    written = _reference_loop(settings, topics, payloads, settings.home / "reference")
    return round(written / (time.monotonic() - begun))


def _reference_loop(settings: Settings, topics: list[str], payloads: int, folder: Path, batch: int = 50_000) -> int:
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
