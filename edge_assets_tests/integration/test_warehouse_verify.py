"""`edge verify` against a real Kafka: what it holds against what the tables hold."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from edge_assets.platform import log
from edge_assets.service import lock_path
from edge_assets.settings import Settings
from edge_assets.tables import BRONZE_EVENTS, DEAD_LETTERS, READINGS
from edge_assets.warehouse import verify as module
from edge_assets.warehouse.verify import Report, verify
from edge_assets_tests.lake_tables import dead_letter, event, position, reading, write

pytestmark = pytest.mark.java

HOLD = """
import time
from edge_assets.service import service_lock
from edge_assets.settings import load_settings
with service_lock(load_settings(), "stream_writer"):
    print("held", flush=True)
    time.sleep(300)
"""


class Log:
    """A topic of this test's own in a real Kafka, and tables that say what it holds."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topic = settings.bridge.routes[0].topic or ""
        log.ensure_topic(settings, self.topic)
        log.ensure_topic(settings, settings.bridge.dead_letter_topic)
        self.log_id = log.log_ids(settings, [self.topic])[self.topic]

    def produce(self, count: int) -> None:
        producer = Producer({**log.client_options(self.settings), "acks": "all", "enable.idempotence": True})
        for number in range(count):
            producer.produce(self.topic, f"{number}".encode(), key=b"zigbee2mqtt/door")
        assert producer.flush(30) == 0

    def at(self, offset: int) -> dict[str, object]:
        return position(offset, self.log_id, self.topic)

    def write(self, start: int, end: int, batch: int = 1) -> None:
        """What the stream writer would have made of the records: one reading each; each fifth a dead letter."""
        bad = [n for n in range(start, end) if n % 5 == 0]
        good = [n for n in range(start, end) if n % 5 != 0]
        self.write_events(start, end, batch)
        if bad:
            write(self.settings, DEAD_LETTERS, [dead_letter(n, batch=batch) | self.at(n) for n in bad])
        write(self.settings, READINGS, [reading(n, "contact") | self.at(n) for n in good])

    def write_events(self, start: int, end: int, batch: int = 1) -> None:
        rows = [event(n, "dead_letter" if n % 5 == 0 else "read", 1, batch=batch) for n in range(start, end)]
        write(self.settings, BRONZE_EVENTS, [row | self.at(row["kafka_offset"]) for row in rows])


@pytest.fixture
def kafka_log(settings: Settings, kafka: Settings) -> Log:
    return Log(settings)


@pytest.fixture
def writer_runs(settings: Settings) -> Iterator[None]:
    """A process that holds the stream writer's lock, as a running one does."""
    code = (
        "import sys, time; from edge_assets.service import service_lock; from edge_assets.settings import load_settings"
    )
    hold = f"{code}\nwith service_lock(load_settings(), 'stream_writer'):\n print('held', flush=True); time.sleep(300)"
    environment = settings.environment()
    with subprocess.Popen([sys.executable, "-c", hold], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield
        process.kill()


def line(report: Report) -> dict[str, object]:
    return next(line for line in report.as_dict()["partitions"] if line["topic"].startswith("sensor-events"))


def kinds(report: Report) -> set[str]:
    return {problem.kind for problem in report.problems}


def test_a_complete_lake_holds(kafka_log: Log) -> None:
    kafka_log.produce(20)
    kafka_log.write(0, 20)
    report = verify(kafka_log.settings)
    assert report.holds and not report.partial
    proof = report.as_dict()
    assert json.loads(json.dumps(proof)) == proof
    assert (proof["read"], proof["written"], proof["dead_letters"]) == (20, 16, 4)
    assert proof["read"] == proof["written"] + proof["dead_letters"] + proof["tombstones"] + proof["ignored"]
    expected = {"begin": 0, "end": 20, "first": 0, "last": 19, "lag": 0, "gaps": 0, "repeats": 0}
    assert line(report).items() >= expected.items()
    assert "✓ complete: 20 records read = 16 written + 4 dead letters" in report.render()


def test_what_is_not_written_yet_is_lag(kafka_log: Log) -> None:
    kafka_log.produce(20)
    kafka_log.write(0, 15)
    report = verify(kafka_log.settings)
    assert report.holds and line(report)["lag"] == 5
    assert "5 records are still on their way" in report.render()


def test_waiting_for_what_never_comes_does_not_hold(kafka_log: Log) -> None:
    kafka_log.produce(20)
    kafka_log.write(0, 15)
    report = verify(kafka_log.settings, wait_seconds=1)
    assert not report.holds and kinds(report) == {"lag"}
    assert report.problems[0].count == 5


def test_waiting_ends_when_everything_is_written(kafka_log: Log) -> None:
    kafka_log.produce(20)
    kafka_log.write(0, 15)
    later = threading.Timer(1.0, kafka_log.write, (15, 20))
    later.start()
    report = verify(kafka_log.settings, wait_seconds=60)
    later.join()
    assert report.holds and line(report)["lag"] == 0


def test_a_gap_does_not_hold(kafka_log: Log) -> None:
    kafka_log.produce(20)
    kafka_log.write(0, 9)
    kafka_log.write(11, 20)
    report = verify(kafka_log.settings)
    assert not report.holds and line(report)["gaps"] == 2
    assert report.as_dict()["problems"][0]["positions"] == [[kafka_log.log_id, kafka_log.topic, 0, 9]]
    assert "✗ NOT PROVED" in report.render()


def test_the_log_of_a_former_kafka_is_another_log(kafka_log: Log) -> None:
    """Its records stay proved against the tables alone; the new log's begin at 0 again."""
    kafka_log.produce(10)
    for log_id in ("former", kafka_log.log_id):
        kafka_log.log_id = log_id
        kafka_log.write(0, 10)
    report = verify(kafka_log.settings)
    assert report.holds
    lags = {partition.log_id: partition.lag for partition in report.partitions if partition.records}
    assert lags == {"former": None, kafka_log.log_id: 0}


def test_tables_that_hold_more_than_the_log(kafka_log: Log) -> None:
    kafka_log.produce(10)
    kafka_log.write(0, 12)
    assert kinds(verify(kafka_log.settings)) == {"beyond_log"}


def test_an_unfinished_batch_without_a_writer_does_not_hold(kafka_log: Log) -> None:
    kafka_log.produce(20)
    kafka_log.write(0, 10)
    kafka_log.write_events(10, 20, batch=2)
    report = verify(kafka_log.settings)
    assert kinds(report) == {"reading_missing", "dead_letter_missing"}
    assert "its writer may have died in it" in report.render()


def test_a_batch_that_is_being_written_is_waited_for(kafka_log: Log, writer_runs: None) -> None:
    kafka_log.produce(20)
    kafka_log.write(0, 10)
    kafka_log.write_events(10, 20, batch=2)
    dead, good = [n for n in range(10, 20) if n % 5 == 0], [n for n in range(10, 20) if n % 5]

    def finish() -> None:
        write(kafka_log.settings, DEAD_LETTERS, [dead_letter(n) | kafka_log.at(n) for n in dead])
        write(kafka_log.settings, READINGS, [reading(n, "contact") | kafka_log.at(n) for n in good])

    later = threading.Timer(1.5, finish)
    later.start()
    report = verify(kafka_log.settings)
    later.join()
    assert report.holds


def test_a_fault_that_stays_is_reported_though_a_writer_runs(
    kafka_log: Log, writer_runs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 1.0)
    kafka_log.produce(10)
    kafka_log.write_events(0, 10)
    assert not verify(kafka_log.settings).holds


def test_without_kafka_the_proof_is_partial_and_does_not_hold(settings: Settings) -> None:
    rows = [event(n, readings=0) for n in (0, 1, 3)]
    write(settings, BRONZE_EVENTS, rows)
    report = verify(settings)
    assert report.partial and not report.holds
    assert kinds(report) == {"log_away", "gap"}, "what the tables alone can prove is proved"
    assert "edge status" in report.render()


def test_verify_beside_a_writer_that_goes_on(kafka_log: Log, writer_runs: None) -> None:
    """Commits, table after table, while proofs are made: none of them finds a fault that is none."""
    kafka_log.produce(2_000)
    stop = threading.Event()

    def go_on() -> None:
        for batch in range(200):
            if stop.is_set():
                return
            kafka_log.write(batch * 10, batch * 10 + 10, batch)

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        deadline = time.monotonic() + 20
        proofs = 0
        while writer.is_alive() and time.monotonic() < deadline:
            report = verify(kafka_log.settings)
            assert report.holds, report.render()
            proofs += 1
        assert proofs > 2
    finally:
        stop.set()
        writer.join()


def test_the_memory_limit_is_kept_by_spilling(kafka_log: Log, tmp_path: Path) -> None:
    kafka_log.produce(5_000)
    kafka_log.write(0, 5_000)
    assert verify(kafka_log.settings, memory_limit="64MB").holds
    assert not lock_path(kafka_log.settings, "stream_writer").exists()
