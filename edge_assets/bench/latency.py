"""`edge bench latency`: from the sensor's publish to the commit that holds the reading, at 30 messages a second.

Each message carries the time at which it was sent; the commit's time is that of its file in the table's log, which is
when every reader can see it. Measured on a whole platform, at a trigger of one second and at the one that is set. The
reference of the same run: the same messages from the broker to another MQTT client, and nothing else.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_assets.bench import whole_platform
from edge_assets.bench.figures import percentiles
from edge_assets.delta_log import commits
from edge_assets.platform import endpoints
from edge_assets.service import lock_holder, read_status
from edge_assets.settings import Settings

MESSAGES_PER_SECOND = 30
SECONDS = 600.0
WARM_UP_SECONDS = 30
TOPIC = "zigbee2mqtt/bench"


def run(settings: Settings, seconds: float = SECONDS) -> dict[str, Any]:
    """Milliseconds, as p50, p95 and max, at each trigger."""
    found: dict[str, Any] = {"messages_per_second": MESSAGES_PER_SECOND, "seconds_each": seconds}
    for trigger in sorted({1.0, settings.stream.trigger_seconds}):
        found[f"trigger_{trigger:g}_s"] = _measure(settings, trigger, seconds)
    return found


def _measure(settings: Settings, trigger: float, seconds: float) -> dict[str, Any]:
    stream = settings.stream.model_copy(update={"trigger_seconds": trigger})
    simulators = settings.simulators.model_copy(update={"enabled": False})
    own = whole_platform.own_settings(settings, f"latency_{trigger:g}")
    own = own.model_copy(update={"stream": stream, "simulators": simulators})
    whole_platform.prepare(own)
    with whole_platform.running(own):
        resolved = endpoints.remembered(own)
        wait_for_services(own)
        echoes = _publish(resolved, seconds)
        _wait_for_batches(own, trigger)
    latencies = sorted(_latencies(own.lake_path / "silver" / "readings", WARM_UP_SECONDS * MESSAGES_PER_SECOND))
    shutil.rmtree(own.home)
    return {
        "messages": len(latencies),
        **percentiles(latencies, "ms"),
        "reference_mqtt_only": percentiles(echoes, "ms"),
    }


def wait_for_services(settings: Settings, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not (lock_holder(settings, "bridge") and "batch" in read_status(settings, "stream_writer")):
        if time.monotonic() > deadline:
            raise RuntimeError(f"bridge and stream writer did not start: see {settings.home}")
        time.sleep(0.5)


def _publish(settings: Settings, seconds: float) -> list[float]:
    """Publish for the set time. Returns the milliseconds after which another client had each message."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    echoes: list[float] = []
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda *args: echoes.append(time.time() * 1e3 - json.loads(args[2].payload)["sent_us"] / 1e3)
    client.connect("127.0.0.1", settings.mqtt.port)
    client.subscribe(TOPIC, qos=1)
    client.loop_start()
    begun = time.monotonic()
    for number in range(int((seconds + WARM_UP_SECONDS) * MESSAGES_PER_SECOND)):
        time.sleep(max(0.0, begun + number / MESSAGES_PER_SECOND - time.monotonic()))
        client.publish(TOPIC, json.dumps({"sent_us": time.time_ns() // 1_000, "number": number}), qos=1)
    time.sleep(1)
    client.loop_stop()
    return echoes


def _wait_for_batches(settings: Settings, trigger: float) -> None:
    number = read_status(settings, "stream_writer").get("batch", 0)
    deadline = time.monotonic() + 60 + 3 * trigger
    while read_status(settings, "stream_writer").get("batch", 0) < number + 1 and time.monotonic() < deadline:
        time.sleep(0.5)


def _latencies(folder: Path, leave_out: int) -> Iterator[float]:
    import pyarrow.parquet as parquet

    for commit in commits(folder):
        seen_us = commit.path.stat().st_mtime_ns / 1e3
        for action in commit.actions():
            if "add" not in action:
                continue
            rows = parquet.read_table(folder / action["add"]["path"], columns=["measurement", "value", "kafka_offset"])
            for row in rows.to_pylist():
                if row["measurement"] == "sent_us" and row["kafka_offset"] >= leave_out:
                    yield (seen_us - row["value"]) / 1e3
