"""`edge bench backlog`: a day of eight rooms behind, and how long it takes until the tables have caught up.

The rooms' messages, as the simulators make them, lie in Kafka when the stream writer starts; meanwhile live readings
come in, one a second each: of a device, of a room without a backlog, and of a room behind its own backlog, whose turn
comes only after it (the order within a topic counts). A reading's latency is from its sending to the commit that holds
it. The reference of the same run: a plain deltalake loop over the same records, which checks nothing.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_assets.bench import made_records
from edge_assets.bench.figures import percentiles
from edge_assets.bench.writer_process import Writer, log_alone, reference_rate
from edge_assets.delta_log import commits
from edge_assets.platform import log as kafka_log
from edge_assets.service import read_status
from edge_assets.settings import Settings

MESSAGES = 1_382_400
"""a day of eight rooms that report twice a second"""
PROBE = "bench_probe"


def run(settings: Settings, messages: int = MESSAGES) -> dict[str, Any]:
    """Measure in a home of its own below the platform's. Rates are records per second."""
    with log_alone(settings, "backlog") as own:
        kafka_log.ensure_topic(own, f"telemetry.{PROBE}")
        made_records.fill_rooms(own, messages)
        drained = drain(own, messages)
        topics = [topic for topic in kafka_log.read_topics(own) if topic.startswith("telemetry.")]
        reference = {"records_per_second": reference_rate(own, topics, messages)}
        return {"messages": messages, **drained, "reference_deltalake": reference}


def drain(settings: Settings, messages: int) -> dict[str, Any]:
    """Start the stream writer, and live readings with it, and wait until it is behind by no record of the backlog."""
    topics = kafka_log.read_topics(settings).keys() - {f"telemetry.{PROBE}"}
    behind = next(topic for topic in sorted(topics) if topic.startswith("telemetry."))
    with made_records.Producer(settings) as producer, Writer(settings) as writer:
        writer.wait_until_reading()
        begun, cpu = time.monotonic(), writer.cpu_seconds()
        with _Probes(producer, settings, behind) as probes:
            writer.wait_for(messages)
            writer.wait_for(messages + probes.sent)
            seconds, cpu = time.monotonic() - begun, writer.cpu_seconds() - cpu
        writer.wait_for(messages + probes.sent)
        status = read_status(settings, "stream_writer")
        peak, last = writer.peak_mb, writer.memory_mb()
    return {
        "records_per_second": round(messages / seconds),
        "seconds_to_drain": round(seconds, 1),
        "cpu_us_a_record": round(cpu / messages * 1e6),
        "batches": status["batch"],
        "peak_pss_mb": round(peak),
        "pss_mb_at_end": round(last),
        "live_while_draining": dict(probes.latencies()),
    }


class _Probes:
    """Live readings, one a second in each of three topics, while a backlog is drained."""

    def __init__(self, producer: made_records.Producer, settings: Settings, behind: str) -> None:
        self._producer, self._settings = producer, settings
        room = behind.removeprefix("telemetry.")
        self._sources: dict[str, tuple[str, str, Callable[[int], bytes]]] = {
            "device": (settings.bridge.routes[0].topic or "", f"zigbee2mqtt/{PROBE}", _device),
            "room": (f"telemetry.{PROBE}", f"building/{PROBE}/telemetry", lambda at: _room(PROBE, at)),
            "room_behind_its_backlog": (behind, f"building/{room}/telemetry", lambda at: _room(room, at)),
        }
        self._begun_us = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, name="probes")
        self.sent = 0

    def __enter__(self) -> _Probes:
        self._begun_us = time.time_ns() // 1_000
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        while not self._stop.wait(1.0):
            for topic, key, payload in self._sources.values():
                at = time.time_ns() // 1_000
                self._producer.put(topic, key, payload(at), at)
                self.sent += 1

    def latencies(self) -> Iterator[tuple[str, dict[str, float]]]:
        """Of each source: seconds as p50, p95 and max, and the most batches that one of its readings waited for."""
        lake = self._settings.lake_path
        ended = sorted(commit.path.stat().st_mtime for commit in commits(lake / "bronze" / "events"))
        for name, (topic, _, _) in self._sources.items():
            folder = lake / "silver" / ("room_telemetry" if topic.startswith("telemetry.") else "readings")
            found = sorted(_arrived(folder, topic, self._begun_us), key=lambda pair: pair[1] - pair[0])
            waits = [sum(sent < end <= seen for end in ended) for sent, seen in found]
            yield (
                name,
                {
                    **percentiles([seen - sent for sent, seen in found], "s", digits=2),
                    "most_batches": max(waits, default=0),
                },
            )


def _device(at: int) -> bytes:
    return json.dumps({"temperature": 21.5, "sent_us": at}).encode()


def _room(room: str, at: int) -> bytes:
    stamp = datetime.fromtimestamp(at / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    air = {"temperature": 21.5, "humidity": 45.0, "co2_ppm": 600, "light_lux": 300, "occupancy_count": 1}
    rest = {"motion_detected": True, "energy_kwh": 1.0, "air_quality_index": 20}
    return json.dumps({"room_id": room, "timestamp": stamp, **air, **rest}).encode()


def _arrived(folder: Path, topic: str, since_us: int) -> Iterator[tuple[float, float]]:
    """(sent, seen) in seconds since 1970 of the live readings of a Kafka topic: each record once."""
    import pyarrow.compute as pc
    import pyarrow.parquet as parquet

    for commit in commits(folder):
        seen = commit.path.stat().st_mtime
        for action in commit.actions():
            if not action.get("add", {}).get("dataChange"):
                continue  # files that are joined hold rows that had arrived before
            rows = parquet.read_table(folder / action["add"]["path"], columns=["kafka_topic", "received_at"])
            sent = pc.cast(pc.cast(rows["received_at"], "timestamp[us]", safe=False), "int64")
            live = pc.and_(pc.equal(rows["kafka_topic"], topic), pc.greater_equal(sent, since_us))
            yield from ((each / 1e6, seen) for each in set(sent.filter(live).to_pylist()))
