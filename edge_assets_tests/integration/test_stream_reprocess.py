"""`edge reprocess` and `edge rollback` on a real Kafka, Spark and lake: what is made anew is right, once, and whole."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_assets.log_record import BARRIER_KEY
from edge_assets.service import lock_holder
from edge_assets.settings import Settings
from edge_assets.stream import asking, requests
from edge_assets.tables import TABLES
from edge_assets.warehouse.lake import snapshot
from edge_assets.warehouse.sql import run_sql
from edge_assets.warehouse.verify import verify
from edge_assets_tests.integration.test_stream_writer import DEVICES
from edge_assets_tests.stream_rig import START, Log, damage, records, table, until, writer

pytestmark = [pytest.mark.java, pytest.mark.timeout(900)]

PATIENCE = 300
BEGIN = datetime.fromtimestamp(START / 1e6, UTC)
DERIVED = ("silver.readings", "silver.room_telemetry", "silver.device_states", "bronze.dead_letters")


@pytest.fixture
def log(settings: Settings, kafka: Settings) -> Log:
    return Log(settings)


def with_stream(settings: Settings, **changed: Any) -> Settings:
    return settings.model_copy(update={"stream": settings.stream.model_copy(update=changed)})


def contents(settings: Settings, *names: str) -> dict[str, list[str]]:
    """The rows of tables, without the number of the batch that wrote them."""
    rows = {name: table(settings, name) for name in names}
    return {
        name: sorted(json.dumps({k: v for k, v in row.items() if k != "batch"}, default=str) for row in found)
        for name, found in rows.items()
    }


def versions(settings: Settings) -> dict[str, int | None]:
    return {each.full_name: snapshot(settings, (each.layer, each.name)).version for each in TABLES}


@contextmanager
def putting(log: Log) -> Iterator[None]:
    """Readings that go on coming while something else is done."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(0.5):
            log.put("zigbee2mqtt/door", {"voltage": log.written}, inc=13)
            log.flush()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def asked(process: subprocess.Popen, ask: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    """The answer to a request; fails at once where the writer ends over it."""
    until(lambda: lock_holder(arguments[0], "stream_writer") == process.pid, "the writer", process, PATIENCE)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, *arguments, **more)
        try:
            until(answer.done, "the answer", process, PATIENCE)
        except AssertionError:
            lay_off(arguments[0])
            raise
        return answer.result()


def lay_off(settings: Settings) -> None:
    """Whoever waits for an answer goes home."""
    for path in requests.folder(settings).glob("*.json"):
        path.with_suffix(".answer").write_text('{"error": "laid off"}')


def put_a_home(log: Log) -> None:
    """A described device, one below a base topic that is not in the settings, a retained state, dead bridges' words."""
    log.put("zigbee2mqtt/bridge/devices", DEVICES)
    for number in range(150):
        log.put("zigbee2mqtt/door", {"contact": number % 2 == 0, "voltage": 2900 + number})
        log.put("attic/window", {"voltage": number})
    log.put("zigbee2mqtt/door", {"contact": False}, retain=True)
    begin_again(log, 2, 7)


def begin_again(log: Log, first: int, last: int) -> None:
    """A bridge's starts, each with the last words of the one before."""
    for incarnation in range(first, last):
        log.put(BARRIER_KEY, {"bridge": "bridge", "incarnation": incarnation, "epoch": "e"}, inc=incarnation)
        log.put("zigbee2mqtt/door", {"voltage": -1}, inc=incarnation - 1)
    log.flush()


def what_the_document_asks(settings: Settings, before: int) -> None:
    """The queries of docs/replay.md are understood, and the comparison shows what the repair has added."""
    text = (Path(__file__).parents[2] / "docs" / "replay.md").read_text()
    first, second = (" ".join(query.split()) for query in re.findall(r'^    edge sql "(.+?)"$', text, re.M | re.S))
    assert json.loads(run_sql(settings, first, "json")) == []
    found = json.loads(run_sql(settings, second.replace("VERSION => 12", f"VERSION => {before}"), "json"))
    assert {(row["device_name"], row["n"]) for row in found if row["device_name"] != "door"} == {("window", 150)}


def test_a_wrong_decoder_is_repaired_and_taken_back(settings: Settings, log: Log) -> None:
    put_a_home(log)
    settings = with_stream(settings, reprocess_offsets=400)
    with writer(settings) as process:
        until(lambda: len(records(settings)) == log.written, "all records", process, PATIENCE)
        begin_again(log, 7, 13)  # by now more of them than a note keeps
        until(lambda: len(records(settings)) == log.written, "all records", process, PATIENCE)
        assert verify(settings, wait_seconds=PATIENCE).holds
        before, at = contents(settings, "bronze.events", *DERIVED), versions(settings)
        answer = asked(process, asking.recompute, settings, BEGIN, None)
        assert answer == {"records": log.written, "rewritten": {}, "not_in_log": 0}
        assert versions(settings) == at, "what is right is not written"
        assert contents(settings, "bronze.events", *DERIVED) == before
        wrong = at["silver.readings"]
        assert wrong is not None

    attic = [DEVICES[0], {**DEVICES[1], "ieee_address": "0xa1", "friendly_name": "window"}]
    mended = with_stream(settings, base_topics=("zigbee2mqtt", "attic"), reprocess_offsets=200)
    told: list[dict[str, Any]] = []
    with writer(mended) as process:
        made = log.written
        with putting(log):
            answer = asked(process, asking.recompute, mended, BEGIN, None, progress=told.append)
        assert answer["rewritten"]["silver.readings"] > 150
        assert {progress["done"] for progress in told} >= {0, 1}, "two steps, and a word on how far it is"
        assert verify(mended, wait_seconds=PATIENCE).holds
        assert not table(mended, "bronze.dead_letters")
        meanwhile = [row["kafka_offset"] for row in table(mended, "silver.readings") if row["kafka_offset"] >= made]
        assert sorted(meanwhile) == list(range(made, log.written)) and meanwhile, "the stream has gone on"
        window = [row for row in table(mended, "silver.readings") if row["device_name"] == "window"]
        assert sorted(row["value"] for row in window) == list(map(float, range(150)))
        assert {(row["device_id"], row["pending"]) for row in window} == {("window", True)}
        assert {row["reason"] for row in records(mended) if row["outcome"] == "ignored"} == {
            "control",
            "fenced",
            "retained",
        }
        what_the_document_asks(mended, wrong)
        at = versions(mended)
        end = BEGIN + timedelta(seconds=326)
        assert asked(process, asking.recompute, mended, BEGIN, end)["rewritten"] == {}
        assert versions(mended) == at, "twice changes nothing"

        # The device is described at last: its readings are known as pending.
        log.put("attic/bridge/devices", attic)
        log.flush()

        def resolved() -> bool:
            rows = [row for row in table(mended, "silver.readings") if row["device_name"] == "window"]
            return {row["device_id"] for row in rows} == {"0xa1"}

        until(resolved, "the resolved readings", process, PATIENCE)
        right = contents(mended, "silver.readings")

        rolled = asked(process, asking.rollback, mended, "silver.readings", wrong)
        assert rolled["rewritten"]["silver.readings"] > 0
        assert verify(mended, wait_seconds=PATIENCE).holds
        assert contents(mended, "silver.readings") == right, "what the account in bronze says is derived again"


@pytest.mark.slow  # seven minutes on two busy cores; the other one has the steps, and kills are in the faults
def test_damaged_bronze_is_read_again_from_the_log_across_a_kill(settings: Settings, log: Log) -> None:
    put_a_home(log)
    settings = with_stream(settings, reprocess_offsets=160)
    with writer(settings) as process:
        until(lambda: len(records(settings)) == log.written, "all records", process, PATIENCE)
        assert verify(settings, wait_seconds=PATIENCE).holds
    before = contents(settings, "bronze.events", *DERIVED)
    damage(settings, "bronze.events", "kafka_offset >= 30 AND kafka_offset < 90")
    damage(settings, "bronze.events", "kafka_offset = 0 OR kafka_offset = 200")
    damage(settings, "silver.readings", "kafka_offset >= 50 AND kafka_offset < 150")
    assert not verify(settings).holds
    began = datetime.now(UTC) - timedelta(hours=1)
    pool = ThreadPoolExecutor(1)
    with writer(settings) as process:
        until(lambda: lock_holder(settings, "stream_writer") == process.pid, "the writer", process, PATIENCE)
        damaged = versions(settings)["bronze.events"]
        waiting = pool.submit(asking.recompute, settings, began, None, from_log=True)
        until(lambda: versions(settings)["bronze.events"] != damaged, "the first commit", process, PATIENCE)
        process.kill()  # between the first step's commits
        process.wait()
    with writer(settings) as process:
        until(waiting.done, "the answer", process, PATIENCE)
        assert waiting.result()["rewritten"]
        report = verify(settings, wait_seconds=PATIENCE)
        assert report.holds, report.render()
        assert contents(settings, "bronze.events", *DERIVED) == before
        at = versions(settings)
        answer = asked(process, asking.recompute, settings, began, None, from_log=True, table="bronze")
        assert answer["rewritten"] == {} and answer["not_in_log"] == 0
        assert versions(settings) == at
