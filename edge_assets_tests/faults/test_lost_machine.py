"""A machine is lost, and its platform comes back elsewhere from a backup, on a Kafka that has never seen a record.

The broker is the user's own and survives: it keeps the bridge's session, with what is said meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from edge_assets.bridge.memory import load_memory
from edge_assets.service import read_status
from edge_assets.settings import Settings
from edge_assets.warehouse.sql import run_sql
from edge_assets.warehouse.verify import verify
from edge_assets_tests.conftest import Mosquitto
from edge_assets_tests.faults.platform_under_test import Platform, Publisher, until

pytestmark = [pytest.mark.java, pytest.mark.broker, pytest.mark.timeout(900)]

COUNTED = ("counter", "pico/counter", "Lab 1")
WINDOWS = "gold.telemetry_5s_agg"


@pytest.fixture
def fast(settings: Settings, mosquitto: Mosquitto) -> Settings:
    stream = settings.stream.model_copy(update={"trigger_seconds": 0.5})
    windows = settings.windows.model_copy(update={"watermark_seconds": 1, "idle_seconds": 5})
    return settings.model_copy(update={"stream": stream, "windows": windows})


@pytest.fixture
def platforms(fast: Settings) -> Iterator[Any]:
    """Platforms by the names of their homes, each put down at the end."""
    made: list[Platform] = []

    def start(home: Path) -> Platform:
        running = Platform(fast.model_copy(update={"home": home}))
        made.append(running)
        running.up()
        until(lambda: running.pid("bridge") and running.pid("stream_jvm"), "platform", 300)
        until(lambda: read_status(running.settings, "bridge").get("connected"), "subscription", 120)
        return running

    yield start
    for platform in made:
        platform.down()


def edge(settings: Settings, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "edge_assets.cli", *arguments, "--json"]
    done = subprocess.run(command, env={**os.environ, **settings.environment()}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def asked(settings: Settings, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run_sql(settings, query, "json"))
    return found


def rows(settings: Settings, table: str, version: int) -> list[str]:
    """Not by DuckDB, and not by what a backup is compared with."""
    found = DeltaTable((settings.lake_path / table.replace(".", "/")).as_uri(), version).to_pyarrow_table().to_pylist()
    return sorted(map(repr, found))


def count_of(settings: Settings, table: str) -> int:
    return int(asked(settings, f"SELECT count(*) AS n FROM {table}")[0]["n"])


def runs_of(settings: Settings) -> set[str]:
    return {path.name for path in (settings.home / "dagster" / "history" / "runs").glob("*-*.db")}


def numbers(settings: Settings) -> list[list[int]]:
    """The numbers that silver holds, of each kind of publisher."""
    found = []
    for name in COUNTED:
        table, value = ("silver.readings", "value") if name != "Lab 1" else ("silver.room_telemetry", "co2_ppm")
        who = f"device_name = '{name}' AND measurement = 'seq'" if name != "Lab 1" else "room_id = 'Lab 1'"
        query = f"SELECT CAST({value} AS INT) AS n FROM {table} WHERE {who} ORDER BY 1"
        found.append([row["n"] for row in asked(settings, query)])
    return found


def test_a_platform_comes_back_on_a_blank_machine(fast: Settings, platforms: Any, tmp_path: Path) -> None:
    there = str(tmp_path / "usb" / "backups")
    old = platforms(tmp_path / "old")
    publisher = Publisher(old.settings).start()
    until(partial(count_of, old.settings, WINDOWS), "windows", 300)
    amid = edge(old.settings, "backup", there)
    until(lambda: count_of(old.settings, "silver.readings") > amid["tables"]["silver.readings"]["rows"], "more", 60)
    sent = publisher.finish()
    assert verify(old.settings, wait_seconds=60).holds, old.last_words()
    runs = runs_of(old.settings)
    last = edge(old.settings, "backup", there)
    assert 0 < last["files_copied"] < last["files"]
    old.down()

    # What was taken while everything moved is whole in itself.
    edge(fast, "restore", there, "--to", str(tmp_path / "amid"), "--at", amid["id"])
    report = verify(fast.model_copy(update={"home": tmp_path / "amid"}))
    assert [problem.kind for problem in report.problems] == ["log_away"], report.render()

    said = Publisher(old.settings, per_second=200).start()  # to a broker that keeps it for a bridge that is away
    until(lambda: said.sent >= 20, "messages", 60)
    said_meanwhile = said.finish()
    home = tmp_path / "new"
    edge(fast, "restore", there, "--to", str(home))
    new_settings = fast.model_copy(update={"home": home})
    for table, about in last["tables"].items():
        assert rows(new_settings, table, about["version"]) == rows(old.settings, table, about["version"]), table

    new = platforms(home)
    publisher = Publisher(new.settings).start()
    until(lambda: publisher.sent >= 100, "messages", 60)
    sent_there = publisher.finish()
    report = verify(new.settings, wait_seconds=120)
    assert report.holds, f"{report.render()}\n{new.last_words()}"
    expected = sorted([*range(sent), *range(said_meanwhile), *range(sent_there)])
    assert numbers(new.settings) == [expected] * len(COUNTED)
    logs = asked(
        new.settings,
        "SELECT log_id, min(kafka_offset) AS first FROM bronze.events WHERE kafka_topic = 'sensor-events' "
        "GROUP BY 1 ORDER BY min(batch)",
    )
    assert len({row["log_id"] for row in logs}) == len(logs) == 2 and logs[1]["first"] == 0
    before, after = load_memory(old.settings), load_memory(new.settings)
    assert after.incarnation > before.incarnation > 0, "the memory came along: barriers go on counting"
    ends = {f"{each.topic}/{each.partition}": each.end for each in report.partitions if each.end}
    told = "positions of the log that is read, and not of the one that is gone"
    until(lambda: read_status(new.settings, "stream_writer").get("positions") == ends, told, 120)
    windows = last["tables"][WINDOWS]["rows"]
    until(lambda: count_of(new.settings, WINDOWS) > windows, "windows behind those that were there", 300)
    assert runs and runs <= runs_of(new.settings), "Dagster's runs came along"
