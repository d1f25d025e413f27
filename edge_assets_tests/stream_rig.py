"""The stream writer as a process on a real Kafka, and what tests write into and read out of it."""

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

from edge_assets import object_store
from edge_assets.log_record import Header, headers_of
from edge_assets.platform import log as kafka_log
from edge_assets.settings import Settings

START = 1_790_000_000_000_000


class Log:
    """Writes to the test's topic what a bridge would."""

    def __init__(self, settings: Settings) -> None:
        from confluent_kafka import Producer

        self._settings = settings
        self.topic = settings.bridge.routes[0].topic or ""
        kafka_log.ensure_topic(settings, self.topic)
        self._producer = Producer({**kafka_log.client_options(settings), "acks": "all"})
        self.written = 0

    def put(self, topic: str, payload: bytes | str | dict | list, to: str | None = None, **header: Any) -> None:
        """`to`: another Kafka topic, made where it is missing."""
        if to is not None:
            kafka_log.ensure_topic(self._settings, to)
        if isinstance(payload, dict | list):
            payload = json.dumps(payload)
        value = payload.encode() if isinstance(payload, str) else payload
        self.written += 1
        known: dict[str, Any] = {
            "by": "bridge",
            "inc": 1,
            "epoch": "e",
            "at": START + self.written * 1_000_000,
            "sync": True,
        }
        known |= {"mono": self.written, "boot": "b", "qos": 1, "retain": False, "dup": False, "mid": 1, **header}
        self._producer.produce(to or self.topic, value, topic.encode(), headers=headers_of(Header(**known)))

    def flush(self) -> None:
        assert self._producer.flush(30) == 0


@contextmanager
def writer(settings: Settings, trigger: float = 0.2, log: Path | None = None) -> Iterator[subprocess.Popen]:
    """`log`: what it says; by default `writer.log` in its home."""
    environment = {**os.environ, **settings.environment(), "EDGE_STREAM__TRIGGER_SECONDS": str(trigger)}
    settings.home.mkdir(parents=True, exist_ok=True)
    output = (log or settings.home / "writer.log").open("a")
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_assets.stream"], env=environment, stdout=output, stderr=output
    )
    try:
        yield process
        if process.poll() is None:
            assert not _imported(process, "pandas"), "95 MB that no step of a batch needs"
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        output.close()


def _imported(process: subprocess.Popen, package: str) -> bool:
    return f"/{package}/" in Path(f"/proc/{process.pid}/maps").read_text()


def until(condition: Callable[[], Any], what: str, process: subprocess.Popen, seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        assert process.poll() is None, f"the writer ended while waiting for {what}"
        time.sleep(0.25)
    raise AssertionError(f"no {what} in {seconds} s")


def table(settings: Settings, name: str) -> list[dict[str, Any]]:
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    try:
        place = settings.lake_path / name.replace(".", "/")
        return DeltaTable(place.as_uri(), None, object_store.deltalake_options(settings)).to_pyarrow_table().to_pylist()
    except TableNotFoundError:
        return []


def damage(settings: Settings, name: str, condition: str) -> None:
    """Take rows out of a table, as nobody should."""
    from deltalake import DeltaTable

    DeltaTable((settings.lake_path / name.replace(".", "/")).as_uri()).delete(condition)


def records(settings: Settings) -> list[dict[str, Any]]:
    return sorted(table(settings, "bronze.events"), key=lambda row: row["kafka_offset"])
