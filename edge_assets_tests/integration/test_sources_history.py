"""`edge import` on a real Kafka: each line is in the log once, also after a kill, with a file that overlaps, and with a
stream writer that is behind. The stream writer is played here: it writes the topic's records to a real lake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from edge_assets.errors import AlreadyRunning, HistoryError, LogError, NotRunning
from edge_assets.log_record import Header
from edge_assets.platform import log
from edge_assets.service import service_lock, status_path, write_json
from edge_assets.settings import HistorySettings, Settings
from edge_assets.sources.history import importing, known
from edge_assets.sources.history.columns import Options
from edge_assets.sources.history.importing import ImportResult, import_file
from edge_assets.tables import BRONZE_EVENTS, READINGS
from edge_assets_tests import lake_tables

pytestmark = pytest.mark.java
START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=300)


@pytest.fixture
def home(settings: Settings, kafka: Settings) -> Settings:
    """A home with an imports' topic of its own."""
    own = settings.model_copy(update={"history": HistorySettings(topic=f"imports-{uuid.uuid4().hex[:8]}")})
    log.ensure_topic(own, own.history.topic)
    return own


def history(path: Path, lines: int, first: int = 0, bad: tuple[int, ...] = ()) -> Path:
    """A reading of two measurements each minute."""
    rows = [
        "oops,1,1" if n in bad else f"{START + timedelta(minutes=n):%Y-%m-%d %H:%M:%S},{n / 10},{n % 2}"
        for n in range(first, first + lines)
    ]
    path.write_text("\n".join(["time,temperature,open", *rows, ""]))
    return path


def log_of(settings: Settings) -> list[Message]:
    """All records of the imports' topic."""
    consumer = Consumer({**log.client_options(settings), "group.id": "test", "enable.auto.commit": False})
    try:
        partition = TopicPartition(settings.history.topic, 0, 0)
        _, end = consumer.get_watermark_offsets(partition, 10)
        consumer.assign([partition])
        found: list[Message] = []
        while len(found) < end:
            found += [message for message in consumer.consume(10_000, 1) if message.error() is None]
        return found
    finally:
        consumer.close()


def keys(settings: Settings) -> Counter[tuple[str, str, str]]:
    """How often (device, time, measurement) is in the log."""
    found: Counter[tuple[str, str, str]] = Counter()
    for message in log_of(settings):
        said = json.loads(message.value() or b"")
        at = said.pop("last_seen")
        found.update(((message.key() or b"").decode(), at, name) for name in said)
    return found


def write_lake(settings: Settings) -> None:
    """What the stream writer would do with the records that it has not written yet."""
    topic = settings.history.topic
    log_id = log.log_ids(settings, [topic])[topic]
    status = status_path(settings, "stream_writer")
    done = json.loads(status.read_text())["positions"][f"{topic}/0"] if status.exists() else 0
    news = [message for message in log_of(settings) if (message.offset() or 0) >= done]
    events, readings = [], []
    for message in news:
        place = lake_tables.position(message.offset() or 0, log_id, topic)
        said = json.loads(message.value() or b"")
        at = datetime.fromisoformat(said.pop("last_seen"))
        device = (message.key() or b"").decode().removeprefix("import/")
        events.append(lake_tables.event(0) | place)
        row = {"device_id": device, "device_name": device, "event_time": at}
        readings += [
            lake_tables.reading(0, name) | place | row | {"value": float(value)} for name, value in said.items()
        ]
    if news:
        lake_tables.write(settings, BRONZE_EVENTS, events)
        lake_tables.write(settings, READINGS, readings)
    write_json(status, {"positions": {f"{topic}/0": done + len(news)}})


@contextmanager
def stream_writer(settings: Settings) -> Iterator[None]:
    """A stream writer that holds its lock and writes when it gets to it."""
    stop = threading.Event()

    def run() -> None:
        with service_lock(settings, "stream_writer"):
            while not stop.wait(0.5):
                write_lake(settings)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def counts(result: ImportResult) -> tuple[int, int, int]:
    return result.counts.sent, result.counts.sent_before, result.counts.there


def test_each_line_becomes_one_record(home: Settings, tmp_path: Path) -> None:
    path = history(tmp_path / "attic.csv", 500)
    result = import_file(home, path, Options())
    assert counts(result) == (500, 0, 0) and result.complete and result.rejected is None
    records = log_of(home)
    assert len(records) == 500 and {message.key() for message in records} == {b"import/attic"}
    said = json.loads(records[7].value() or b"")
    at = START + timedelta(minutes=7)
    assert said == {"temperature": 0.7, "open": 1, "last_seen": f"{at:%Y-%m-%dT%H:%M:%S}.000Z"}
    headers = dict(records[7].headers() or [])
    header = Header.decode(headers["mqtt"])  # type: ignore[arg-type]
    assert header.by == "import" and abs(header.at / 1e6 - time.time()) < 60


def test_the_same_file_again_sends_nothing(home: Settings, tmp_path: Path) -> None:
    path = history(tmp_path / "attic.csv", 500)
    import_file(home, path, Options())
    write_lake(home)
    assert counts(import_file(home, path, Options())) == (0, 500, 0)
    (ledger,) = (home.home / "imports").glob("*.json")
    ledger.unlink()
    assert counts(import_file(home, path, Options())) == (0, 0, 500), "the lake alone knows it as well"
    assert counts(import_file(home, path, Options(device="loft"))) == (500, 0, 0), "another device is another"
    assert set(keys(home).values()) == {1} and len(log_of(home)) == 1_000


def test_a_file_that_overlaps_sends_what_is_new(home: Settings, tmp_path: Path) -> None:
    with stream_writer(home):
        import_file(home, history(tmp_path / "one.csv", 300), Options(device="attic"))
        result = import_file(home, history(tmp_path / "two.csv", 300, first=200), Options(device="attic"))
    assert counts(result) == (200, 0, 100)
    assert len(log_of(home)) == 500 and set(keys(home).values()) == {1}


def test_a_line_that_is_there_in_part_is_sent_in_part(home: Settings, tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text(f"time,a\n{START:%Y-%m-%d %H:%M},1\n")
    two.write_text(f"time,a,b\n{START:%Y-%m-%d %H:%M},1,2\n")
    import_file(home, one, Options(device="attic"))
    write_lake(home)
    result = import_file(home, two, Options(device="attic"))
    assert (result.counts.sent, result.counts.readings_there) == (1, 1)
    assert set(keys(home).values()) == {1} and len(keys(home)) == 2


def test_killed_again_and_again_each_line_is_there_once(home: Settings, tmp_path: Path) -> None:
    path = history(tmp_path / "attic.csv", 40_000)
    command = [sys.executable, "-m", "edge_assets.cli", "import", str(path), "--json"]
    environment = {**os.environ, **home.environment()}
    with stream_writer(home):
        for records in (1, 12_000):
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            while process.poll() is None and _end(home) < records:
                time.sleep(0.005)
            process.kill()
            process.wait()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["complete"] and found["sent"] + found["sent_before"] + found["there"] == 40_000
    assert len(keys(home)) == 80_000 and set(keys(home).values()) == {1}


def test_with_a_stream_writer_that_is_behind_it_waits_or_says_why(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_file(home, history(tmp_path / "one.csv", 10), Options(device="attic"))
    two = history(tmp_path / "two.csv", 20)
    with pytest.raises(NotRunning, match=r"10 records.*not in the tables yet.*`edge up`"):
        import_file(home, two, Options(device="attic"))
    with monkeypatch.context() as patch, service_lock(home, "stream_writer"):
        patch.setattr(known, "WRITTEN_SECONDS", 0.5)
        with pytest.raises(LogError, match="did not move on"):
            import_file(home, two, Options(device="attic"))
    # Positions of another log, as after Kafka was made anew, say nothing of this one.
    write_json(status_path(home, "stream_writer"), {"positions": {f"{home.history.topic}/0": 99}})
    with pytest.raises(NotRunning):
        import_file(home, two, Options(device="attic"))
    status_path(home, "stream_writer").unlink()
    with stream_writer(home):
        assert counts(import_file(home, two, Options(device="attic"))) == (10, 0, 10)


def test_what_other_topics_hold_is_not_waited_for(home: Settings, tmp_path: Path) -> None:
    """Nor does their end stand for that of the imports."""
    other = str(home.bridge.routes[0].topic)
    log.ensure_topic(home, other)
    producer = Producer(log.client_options(home))
    for _ in range(50):
        producer.produce(other, b"1", b"zigbee2mqtt/plug")
    assert producer.flush(10) == 0
    said: list[str] = []
    assert import_file(home, history(tmp_path / "attic.csv", 5), Options(), progress=said.append).counts.sent == 5
    assert not [line for line in said if "waiting" in line]
    (ledger,) = (home.home / "imports").glob("*.json")
    (entry,) = json.loads(ledger.read_text())["imports"]
    assert entry["ends"] == {"0": 5}


def test_bad_lines_are_left_out_and_kept(home: Settings, tmp_path: Path) -> None:
    path = history(tmp_path / "attic.csv", 50, bad=(3, 4))
    with pytest.raises(HistoryError, match=r"2 of 50 lines are bad, the first: line 5.*--strict"):
        import_file(home, path, Options(), strict=True)
    assert not (tmp_path / "attic.csv.rejected").exists()
    result = import_file(home, path, Options())
    assert result.counts.sent == 48 and not result.complete
    assert result.rejected is not None
    assert [line.split("\t")[0] for line in result.rejected.read_text().splitlines()] == ["5", "6"]
    assert len(log_of(home)) == 48


def test_one_import_at_a_time(home: Settings, tmp_path: Path) -> None:
    with service_lock(home, "import"), pytest.raises(AlreadyRunning):
        import_file(home, history(tmp_path / "attic.csv", 5), Options())


def test_without_a_platform_it_says_the_next_step(settings: Settings, tmp_path: Path) -> None:
    path = history(tmp_path / "attic.csv", 5)
    away = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"bootstrap": "127.0.0.1:1"})})
    with pytest.raises(NotRunning, match="`edge up`") as raised:
        import_file(away, path, Options())
    assert raised.value.exit_code == 5 and "\n" not in str(raised.value)
    assert importing.examine(away, path, Options(), lambda line: None).survey.good == 5, "a look needs none"


def _end(settings: Settings) -> int:
    consumer = Consumer({**log.client_options(settings), "group.id": "test-end"})
    try:
        return consumer.get_watermark_offsets(TopicPartition(settings.history.topic, 0), 5)[1]
    except Exception:  # not there yet
        return 0
    finally:
        consumer.close()
