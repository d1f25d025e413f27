"""The platform's metrics: in whatever state the home is, a scrape is answered, at once and in Prometheus' own terms."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edge_assets.platform import process
from edge_assets.platform.endpoints import resolve
from edge_assets.platform_metrics import disk_use, jvm, lake, log_ends, page
from edge_assets.platform_metrics.catalogue import METRICS, Sample
from edge_assets.platform_metrics.collector import PlatformCollector, Source
from edge_assets.service import service_lock, status_path, write_json
from edge_assets.settings import Settings, load_settings
from edge_assets.tables import BRONZE_EVENTS, READINGS, all_tables
from edge_assets.warehouse.lake import snapshot
from edge_assets_tests.bridge_rig import with_settings
from edge_assets_tests.lake_tables import reading, sound_lake, write

ROOT = Path(__file__).parents[2]
STREAM_WRITER = {
    "service": "stream_writer",
    "started_at": "2026-03-01T12:00:00.000+00:00",
    "updated_at": "2026-03-01T12:10:00.000+00:00",
    "batch": 7,
    "written": {"read": 40, "dead_letter": 2, "readings": 90, "implausible": 1},
    "tables": {"silver.readings": {"rows": 90, "last_event_at": "2026-03-01T12:09:59+00:00"}},
    "positions": {"sensor-events/0": 42, "telemetry.lab/1": 3},
    "progress": {
        "batch_duration_ms": 560,
        "input_rows": 20,
        "input_rows_per_second": 2.0,
        "processed_rows_per_second": 35.7,
        "lag": 5,
        "unread": {"telemetry.lab/1": 5},
    },
    "state_rows": {"devices": 7, "open_sessions": 2},
    "problem": "the disk is full",
}


@pytest.fixture
def registry(settings: Settings) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(PlatformCollector(settings))
    return registry


def scraped(registry: CollectorRegistry) -> dict[str, float]:
    """The samples of one scrape, as Prometheus reads them: `name{label="value",…}` → value."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_a_home_without_a_platform(registry: CollectorRegistry) -> None:
    found = scraped(registry)
    assert "edge_platform_up" not in found, "nobody has called `edge up` here"
    assert found['edge_service_up{service="bridge"}'] == 0
    assert 'edge_service_up{service="simulators"}' not in found, "not wanted by these settings"
    assert found['edge_metrics_source_up{source="bridge"}'] == 1


def test_a_service_that_lives_and_what_it_counts(settings: Settings, registry: CollectorRegistry) -> None:
    write_json(status_path(settings, "stream_writer"), STREAM_WRITER)
    with service_lock(settings, "stream_writer"):
        found = scraped(registry)
    assert found['edge_service_up{service="stream_writer"}'] == 1
    assert found['edge_service_problem{service="stream_writer"}'] == 1
    assert found['edge_process_resident_memory_bytes{process="stream_writer"}'] > 1e6
    assert found["edge_stream_batches_total"] == 7
    assert found["edge_stream_batch_duration_seconds"] == 0.56
    assert found['edge_stream_partition_lag_records{partition="1",topic="telemetry.lab"}'] == 5
    assert found['edge_stream_records_total{outcome="dead_letter"}'] == 2
    assert found["edge_stream_input_records_per_second"] == 2
    assert found["edge_stream_processed_records_per_second"] == 35.7
    assert found['edge_stream_state_rows{state="open_sessions"}'] == 2
    assert found['edge_table_last_event_timestamp_seconds{table="silver.readings"}'] == 1772366999
    dead = scraped(registry)
    assert dead['edge_service_up{service="stream_writer"}'] == 0
    assert dead["edge_stream_batches_total"] == 7, "a counter stays what it was"


def test_a_platform_that_was_killed(settings: Settings, registry: CollectorRegistry) -> None:
    part = {"state": "up", "pid": 1, "restarts": 2, "since": "2026-03-01T12:00:00+00:00"}
    write_json(status_path(settings, "supervisor"), {"state": "running", "services": {"kafka": part}})
    found = scraped(registry)
    assert (found["edge_platform_up"], found['edge_part_up{part="kafka"}']) == (0, 0)
    assert 'edge_process_threads{process="kafka"}' not in found, "its pid may be another process by now"
    with service_lock(settings, "supervisor"):
        found = scraped(registry)
    assert (found["edge_platform_up"], found['edge_part_restarts_total{part="kafka"}']) == (1, 2)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(key=st.sampled_from(sorted(STREAM_WRITER)), value=JSON)
def test_no_status_file_ends_a_scrape(tmp_path_factory: pytest.TempPathFactory, key: str, value: Any) -> None:
    settings = load_settings(_env_file=None, home=tmp_path_factory.mktemp("home"))
    write_json(status_path(settings, "stream_writer"), {**STREAM_WRITER, key: value})
    registry = CollectorRegistry()
    registry.register(PlatformCollector(settings))
    assert scraped(registry)['edge_metrics_source_up{source="processes"}'] in (0, 1)


def test_broken_files_silence_their_source_alone(settings: Settings, registry: CollectorRegistry) -> None:
    write_json(status_path(settings, "bridge"), {"received": 3})
    write_json(status_path(settings, "stream_writer"), {"progress": "none"})
    (settings.home / "run" / "backup.json").write_text("{")
    collector = PlatformCollector(settings)
    for path in ("dagster/history/runs.db", "dagster/history/runs/index.db"):
        (settings.home / path).parent.mkdir(parents=True, exist_ok=True)
        (settings.home / path).write_text("no database")
    states = _when(collector, "folders")
    assert states == {
        **dict.fromkeys(("processes", "bridge", "alerter", "simulators", "log_ends", "lake", "folders"), 1),
        **dict.fromkeys(("stream_writer", "disk", "dagster"), 0),
    }


def test_a_scrape_does_not_wait_for_what_is_dear(settings: Settings) -> None:
    go_on = threading.Event()

    def slow(_: Settings) -> Iterator[Sample]:
        assert go_on.wait(30)
        yield "edge_table_rows", ("silver.readings",), 5.0

    def quick(_: Settings) -> Iterator[Sample]:
        yield "edge_platform_up", (), 1.0

    collector = PlatformCollector(settings, [Source("lake", slow, 60), Source("processes", quick)])
    names = {family.name for family in collector.collect()}
    assert "edge_platform_up" in names and "edge_table_rows" not in names
    go_on.set()
    _when(collector, "lake")
    assert "edge_table_rows" in {family.name for family in collector.collect()}


def test_what_is_not_declared_is_a_fault_of_its_source(settings: Settings) -> None:
    def odd(_: Settings) -> Iterable[Sample]:
        return [("edge_unheard_of", (), 1.0)]

    assert _when(PlatformCollector(settings, [Source("odd", odd)]), "odd") == {"odd": 0}


def _when(collector: PlatformCollector, source: str) -> dict[str, float]:
    """Scrape until a source has been read. Returns which of them could be read."""
    states: dict[str, float] = {}

    def has_been_read() -> bool:
        families = [family for family in collector.collect() if family.name == "edge_metrics_source_up"]
        states.update({sample.labels["source"]: sample.value for family in families for sample in family.samples})
        return source in states

    assert process.wait_until(has_been_read, 30)
    return states


# --- the lake --------------------------------------------------------------------------------------------------------


def _figures(source: lake.Lake, settings: Settings, table: str) -> dict[str, float]:
    return {name: value for name, labels, value in source(settings) if labels == (table,)}


def _expected(settings: Settings, rows: int) -> dict[str, float]:
    found = snapshot(settings, ("silver", "readings"))
    return {
        "edge_table_rows": rows,
        "edge_table_files": len(found.files),
        "edge_table_size_bytes": sum(file.bytes for file in found.files),
        "edge_table_version": found.version or 0,
    }


def test_tables_are_what_their_logs_say(settings: Settings) -> None:
    sound_lake(settings)
    source, path = lake.Lake(), settings.lake_path / "silver" / "readings"
    rows = DeltaTable(path).to_pyarrow_table().num_rows
    assert _figures(source, settings, "silver.readings").items() >= _expected(settings, rows).items()

    write(settings, READINGS, [reading(n, "power") for n in range(5)])
    figures = _figures(source, settings, "silver.readings")
    assert figures.items() >= _expected(settings, rows + 5).items()
    assert figures["edge_table_log_commits"] == 2

    DeltaTable(path).optimize.compact()
    assert _figures(source, settings, "silver.readings").items() >= _expected(settings, rows + 5).items()


def test_a_log_that_was_cut_meanwhile_is_read_from_its_checkpoint(settings: Settings) -> None:
    sound_lake(settings)
    source = lake.Lake()
    rows = _figures(source, settings, "silver.readings")["edge_table_rows"]
    path = settings.lake_path / "silver" / "readings"
    for n in range(3):
        write(settings, READINGS, [reading(n, "power")])
    DeltaTable(path).create_checkpoint()
    write(settings, READINGS, [reading(9, "power")])
    for version in range(3):
        (path / "_delta_log" / f"{version:020d}.json").unlink()
    for each in (source, lake.Lake()):
        figures = _figures(each, settings, "silver.readings")
        assert figures.items() >= _expected(settings, int(rows) + 4).items()
        assert figures["edge_table_log_commits"] == 1


def test_a_look_at_the_lake_is_bounded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(5):
        write(settings, READINGS, [reading(n, "power")])
    monkeypatch.setattr(lake, "MOST_COMMITS", 2)
    source = lake.Lake()
    rows = [_figures(source, settings, "silver.readings")["edge_table_rows"] for _ in range(4)]
    assert rows == [2, 4, 5, 5]


def test_every_table_is_looked_at(settings: Settings) -> None:
    for table in all_tables(settings):
        if table in (BRONZE_EVENTS, READINGS):
            write(settings, table, [])
    found = {labels[0] for name, labels, _ in lake.Lake()(settings) if name == "edge_table_version"}
    assert found == {BRONZE_EVENTS.full_name, READINGS.full_name}


# --- the embedded Kafka's log -----------------------------------------------------------------------------------------

CHECKPOINT = "0\n3\nsensor-events 0 349\n__consumer_offsets 0 12\ntelemetry.lab 1 340\n"


def _kafkas_file(settings: Settings, text: str) -> None:
    path = settings.home / log_ends.FILE
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_the_logs_ends_are_what_kafka_notes(settings: Settings) -> None:
    assert list(log_ends.log_ends(settings)) == []
    _kafkas_file(settings, CHECKPOINT)
    ends = [
        ("edge_log_end_offset", ("sensor-events", "0"), 349.0),
        ("edge_log_end_offset", ("telemetry.lab", "1"), 340.0),
    ]
    assert list(log_ends.log_ends(settings)) == ends
    assert list(log_ends.log_ends(resolve(settings))) == ends, "as a service has its settings"
    own = with_settings(settings, kafka={"bootstrap": "kafka.lan:9092"})
    assert list(log_ends.log_ends(own)) == [], "what an embedded one has left behind says nothing of yours"


def test_a_kafka_that_notes_it_otherwise_is_a_fault_of_that_source_alone(
    settings: Settings, registry: CollectorRegistry
) -> None:
    _kafkas_file(settings, "1\n0\n")
    found = scraped(registry)
    assert found['edge_metrics_source_up{source="log_ends"}'] == 0
    assert found['edge_metrics_source_up{source="disk"}'] == 1


# --- disks, backups, JVMs ---------------------------------------------------------------------------------------------


def test_folders_and_backups(settings: Settings) -> None:
    (settings.home / "kafka" / "data").mkdir(parents=True)
    (settings.home / "kafka" / "data" / "log").write_bytes(b"x" * 1000)
    found = {(name, labels): value for name, labels, value in disk_use.folders(settings)}
    assert found["edge_folder_size_bytes", ("kafka",)] == 1000
    assert list(disk_use.backup(settings)) == []
    write_json(settings.home / "run" / "backup.json", {"ended_at": "2026-03-01T12:00:00+00:00", "bytes": 5})
    assert [value for _, _, value in disk_use.backup(settings)] == [1772366400, 5]


def counters_file(counters: dict[str, int]) -> bytes:
    """A JVM's file of counters, little endian."""
    entries = b""
    for name, value in counters.items():
        text = name.encode() + b"\0"
        padded = text + b"\0" * (-(20 + len(text)) % 8)
        data_at = 20 + len(padded)
        entries += struct.pack("<iiibbbbi", data_at + 8, 20, 0, ord("J"), 0, 4, 3, data_at) + padded
        entries += struct.pack("<q", value)
    return jvm.MAGIC + struct.pack("<bbbbiiqii", 1, 2, 0, 1, len(entries), 0, 0, 32, len(counters)) + entries


def test_a_jvms_heap() -> None:
    counters = {
        "sun.gc.generation.0.space.0.used": 10,
        "sun.gc.generation.1.space.0.used": 32,
        "sun.gc.generation.0.capacity": 100,
        "sun.gc.generation.1.maxCapacity": 400,
        "sun.gc.collector.1.time": 3_000,
        "sun.os.hrt.frequency": 1_000,
    }
    found = jvm.longs(counters_file(counters))
    assert found == counters
    assert jvm.heap_of(found) == jvm.Heap(42, 100, 400, 3.0)


@given(cut=st.integers(0, 120), at=st.integers(0, 119), byte=st.integers(0, 255))
def test_a_damaged_file_of_counters_is_refused_or_read(cut: int, at: int, byte: int) -> None:
    data = bytearray(counters_file({"sun.gc.collector.0.time": 1, "sun.os.hrt.frequency": 2}))
    data[at % len(data)] = byte
    with suppress(ValueError, struct.error):
        assert len(jvm.longs(bytes(data[:cut]))) <= 2


# --- names and page ---------------------------------------------------------------------------------------------------


def test_names_keep_to_the_conventions() -> None:
    for name, metric in METRICS.items():
        assert re.fullmatch(r"edge(_[a-z0-9]+)+", name), name
        assert (metric.kind == "counter") == name.endswith("_total"), name
        assert not re.search(r"_(ms|kb|mb|minutes|hours|percent)(_|$)", name), f"{name}: a base unit"
        assert "timestamp" not in name or name.endswith("_timestamp_seconds"), name
        assert metric.words and "|" not in metric.words


def test_promtool_finds_nothing_to_say(settings: Settings, registry: CollectorRegistry) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH; on Debian: `apt install prometheus`")
    write_json(status_path(settings, "stream_writer"), STREAM_WRITER)
    write_json(status_path(settings, "bridge"), {"received": 3, "connected": True, "routes": {"a/#": 3}})
    checked = subprocess.run([promtool, "check", "metrics"], input=generate_latest(registry), capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, b"")


def test_the_page_in_the_repository_is_not_stale() -> None:
    stale = "stale: `python -m edge_assets.platform_metrics > docs/metrics.md`"
    assert (ROOT / "docs" / "metrics.md").read_text() == page.markdown(), stale
