"""Real recordings, a simulated network and a file of history, from the wire to the tables: every message accounted for,
byte for byte, and aggregates that pandas computes alike."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pandas
import pytest

from edge_assets.service import read_status
from edge_assets.settings import Settings, SimulatorSettings
from edge_assets.sources.history.columns import Options
from edge_assets.sources.history.importing import import_file
from edge_assets.sources.replay import replay_file
from edge_assets.sources.zigbee2mqtt import events
from edge_assets.warehouse.rollups.update import update
from edge_assets.warehouse.sql import connect
from edge_assets.warehouse.verify import verify

pytestmark = [pytest.mark.java, pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(600)]

RECORDINGS = ("matterbridge_bridge", "matterbridge_payloads", "sonoff_devices")
SIMULATED = 3_000
BUCKETS = {"readings_1m": "min", "readings_1h": "h", "readings_1d": "D"}
FIGURES = {"n": "count", "min": "min", "max": "max", "avg": "mean", "sum": "sum", "first": "first", "last": "last"}
"""column of a rollup → what pandas calls it"""


@contextmanager
def service(settings: Settings, module: str) -> Iterator[None]:
    """A loop as a process of its own, with the test's settings."""
    settings.home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **settings.environment()}
    with (settings.home / f"{module}.log").open("w") as output:
        process = subprocess.Popen([sys.executable, "-m", module], env=environment, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@pytest.fixture
def platform(settings: Settings, mosquitto: Any, kafka: Settings) -> Iterator[Settings]:
    """Bridge and stream writer, up, between a Mosquitto and a Kafka."""
    stream = settings.stream.model_copy(update={"trigger_seconds": 1.0})
    own = settings.model_copy(update={"stream": stream})
    with ExitStack() as stack:
        for module in ("edge_assets.bridge", "edge_assets.stream"):
            stack.enter_context(service(own, module))
        deadline = time.monotonic() + 120
        while not (read_status(own, "bridge").get("connected") and "batch" in read_status(own, "stream_writer")):
            assert time.monotonic() < deadline, [read_status(own, name) for name in ("bridge", "stream_writer")]
            time.sleep(0.2)
        yield own


def test_recordings_and_simulation_reach_the_tables_whole(
    platform: Settings, sample_data: Path, tmp_path: Path
) -> None:
    files = [sample_data / "zigbee2mqtt" / f"{name}.jsonl" for name in RECORDINGS]
    files.append(_simulation(tmp_path / "simulated.jsonl"))
    sent: dict[str, list[str]] = {}
    for file in files:
        assert replay_file(platform, file, qos=1).complete
        for record in map(json.loads, file.open()):
            sent.setdefault(record["topic"], []).append(record["payload"])

    report = verify(platform, wait_seconds=240)
    assert report.holds, report.render()
    with connect(platform) as lake:
        held = dict(
            lake.execute(
                "SELECT key, list(decode(payload) ORDER BY kafka_offset) FROM bronze.events "
                "WHERE key NOT LIKE '$%' GROUP BY key"
            ).fetchall()
        )
        assert held == sent, "each message once, in its order, byte for byte"
        dead = lake.execute("SELECT key, reason, detail FROM bronze.dead_letters").fetchall()
        assert dead == [], "everything that Zigbee2MQTT wrote can be read"
        _check_plug(lake, files[-1])


def _simulation(path: Path) -> Path:
    """A stretch of the simulated network as a recording."""
    with path.open("w") as out:
        for message in islice(events(SimulatorSettings()), SIMULATED):
            line = {"topic": message.topic, "payload": message.payload.decode(), "retain": message.retain}
            out.write(json.dumps(line) + "\n")
    return path


def _check_plug(lake: Any, recording: Path) -> None:
    """Each power of the simulated kettle is a reading, with its unit and the plug's IEEE address."""
    lines = [json.loads(line) for line in recording.open()]
    states = [json.loads(line["payload"]) for line in lines if line["topic"] == "zigbee2mqtt/kitchen/kettle"]
    powers = [state["power"] for state in states if "power" in state]
    rows = lake.execute(
        "SELECT value, unit, device_id FROM silver.readings "
        "WHERE device_name = 'kitchen/kettle' AND measurement = 'power' ORDER BY kafka_offset"
    ).fetchall()
    assert [value for value, _, _ in rows] == powers
    assert {(unit, address) for _, unit, address in rows} == {("W", "0x00124b0031a60001")}


def test_the_aggregates_of_an_imported_file_are_those_of_pandas(platform: Settings, sample_data: Path) -> None:
    """An office in February 2015, as R wrote it: seven names over eight columns."""
    file = sample_data / "series" / "occupancy" / "datatraining.txt"
    frame = pandas.read_csv(file, parse_dates=["date"])
    result = import_file(platform, file, Options(device="office"))
    assert result.complete and result.counts.sent == len(frame)
    assert verify(platform, wait_seconds=240).holds
    assert import_file(platform, file, Options(device="office")).counts.sent == 0, "again, it adds nothing"
    update(platform)
    with connect(platform) as opened:
        for rollup, frequency in BUCKETS.items():
            held = opened.execute(
                f"SELECT measurement, bucket AT TIME ZONE 'UTC' AS bucket, {', '.join(FIGURES)} FROM {rollup}"
            ).df()
            for measurement, buckets in held.groupby("measurement"):
                wanted = frame.groupby(frame["date"].dt.floor(frequency))[measurement].agg(list(FIGURES.values()))
                found = buckets.set_index("bucket").sort_index()[list(FIGURES)].rename(columns=FIGURES)
                pandas.testing.assert_frame_equal(
                    found, wanted, check_dtype=False, check_names=False, check_index_type=False, rtol=1e-9
                )
            assert set(held["measurement"]) == set(frame.columns) - {"date"}
