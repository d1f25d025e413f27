"""A log that a power cut has shortened behind the tables: its offsets are not given out a second time."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from edge_assets.log_record import CLOCK_KEY, LOST_KEY
from edge_assets.platform import log as kafka_log
from edge_assets.platform.log_repair import fill_up
from edge_assets.settings import Settings
from edge_assets.warehouse.verify import verify
from edge_assets_tests.bridge_rig import read_records
from edge_assets_tests.stream_rig import Log, records, table, until, writer

pytestmark = [pytest.mark.java, pytest.mark.timeout(300)]


def hold(settings: Settings, topic: str, first: int, last: int) -> None:
    """Let the tables hold the offsets from `first` to `last`, as if the log had had them once."""
    log_id = kafka_log.log_ids(settings, [topic])[topic]
    there = [row for row in records(settings) if row["kafka_topic"] == topic]
    rows = [
        {**there[-1], "kafka_offset": offset, "key": CLOCK_KEY, "outcome": "ignored", "readings": 0}
        for offset in range(first, last + 1)
    ]
    note = {"batch": 1_000, "positions": [[log_id, topic, 0, last + 1]]}
    note |= {"registry_version": None, "fences": [], "clocks": {}, "bad_registry": [], "pending": {}}
    schema = DeltaTable(settings.lake_path / "bronze" / "events").to_pyarrow_table().schema
    batch = pa.Table.from_pylist([{**row, "batch": 1_000} for row in rows], schema=schema)
    properties = CommitProperties(custom_metadata={"userMetadata": json.dumps(note)})
    write_deltalake(settings.lake_path / "bronze" / "events", batch, mode="append", commit_properties=properties)


def test_offsets_that_the_tables_hold_are_not_given_out_again(settings: Settings, kafka: Settings) -> None:
    log = Log(settings)
    for number in range(10):
        log.put("zigbee2mqtt/door", {"seq": number})
    log.flush()
    assert fill_up(settings) == {}, "there are no tables yet"
    with writer(settings) as process:
        until(lambda: len(records(settings)) == 10, "the first records", process)
    assert fill_up(settings) == {}
    hold(settings, log.topic, 10, 14)
    assert {problem.kind for problem in verify(settings).problems} == {"beyond_log"}

    assert list(fill_up(settings).values()) == [5]
    assert fill_up(settings) == {}
    found = read_records(settings, [log.topic])
    assert [one.key().decode() for one in found[10:]] == [LOST_KEY] * 5

    for number in range(10, 20):
        log.put("zigbee2mqtt/door", {"seq": number})
    log.flush()
    with writer(settings) as process:
        until(lambda: len(table(settings, "silver.readings")) >= 20, "the records behind", process)
    values = sorted(row["value"] for row in table(settings, "silver.readings"))
    assert values == list(map(float, range(20)))
    assert verify(settings).holds
