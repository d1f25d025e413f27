"""What somebody sees who asks the lake: the right rows and times, and one line where the question is wrong."""

from __future__ import annotations

import base64
import csv
import io
import json
import struct
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from edge_assets.errors import LakeError
from edge_assets.settings import Settings, load_settings
from edge_assets.tables import BRONZE_EVENTS, DEVICES, TABLES
from edge_assets.warehouse.lake import snapshot
from edge_assets.warehouse.sql import connect, run_sql
from edge_assets_tests.lake_tables import AT, device, event, sound_lake, write


def rows(settings: Settings, query: str) -> list[dict[str, Any]]:
    return json.loads(run_sql(settings, query, "json"))


def value(settings: Settings, query: str) -> Any:
    return next(iter(rows(settings, query)[0].values()))


def test_before_the_platform_ever_wrote_each_table_is_there_and_empty(settings: Settings) -> None:
    for table in TABLES:
        assert rows(settings, f"FROM {table.full_name}") == []
        described = rows(settings, f"DESCRIBE {table.full_name}")
        assert [row["column_name"] for row in described] == [column.name for column in table.columns]


def test_a_table_that_is_just_being_created_is_empty(settings: Settings) -> None:
    (settings.lake_path / "silver" / "readings" / "_delta_log").mkdir(parents=True)
    assert rows(settings, "FROM silver.readings") == []


def test_columns_and_types_are_the_same_with_rows(settings: Settings) -> None:
    empty = {table: rows(settings, f"DESCRIBE {table.full_name}") for table in TABLES}
    sound_lake(settings)
    for table in TABLES:
        assert sorted(map(str, rows(settings, f"DESCRIBE {table.full_name}"))) == sorted(map(str, empty[table]))


def test_times_are_utc(settings: Settings) -> None:
    sound_lake(settings)
    answer = rows(settings, "SELECT received_at, date FROM bronze.events LIMIT 1")[0]
    assert answer == {"received_at": "2026-03-01T12:00:00Z", "date": "2026-03-01"}


def test_times_as_spark_writes_them_by_default(settings: Settings) -> None:
    """INT96 has no zone of its own; a table may hold files of both kinds."""
    path = settings.lake_path / "silver" / "mixed"
    data = pa.table({"at": pa.array([AT], pa.timestamp("us", "UTC"))})
    write_deltalake(_made(path), data)
    write_deltalake(path, data, mode="append")
    pq.write_table(data, DeltaTable(path.as_uri()).file_uris()[0], use_deprecated_int96_timestamps=True)
    assert rows(settings, "FROM silver.mixed") == [{"at": "2026-03-01T12:00:00Z"}] * 2


def test_the_partition_column_is_read_from_the_path_and_can_be_null(settings: Settings) -> None:
    days = [None, AT.date(), AT.date() - timedelta(days=1)]
    write(settings, BRONZE_EVENTS, [event(n, date=day) for n, day in enumerate(days)])
    answer = rows(settings, "SELECT kafka_offset, date FROM bronze.events ORDER BY kafka_offset")
    assert [row["date"] for row in answer] == [None, "2026-03-01", "2026-02-28"]
    assert value(settings, "SELECT count(*) FROM bronze.events WHERE date = DATE '2026-03-01'") == 1


def test_a_day_is_found_without_reading_the_others(settings: Settings) -> None:
    write(settings, BRONZE_EVENTS, [event(n, date=AT.date() - timedelta(days=n)) for n in range(8)])
    with connect(settings) as opened:
        plan = opened.execute("EXPLAIN ANALYZE SELECT key FROM bronze.events WHERE date = DATE '2026-02-27'").fetchall()
    assert "Total Files Read: 1" in str(plan) or "Scanning Files: 1/8" in str(plan)


def test_a_column_that_came_later_is_null_in_older_rows(settings: Settings) -> None:
    path = _made(settings.lake_path / "silver" / "rooms")
    write_deltalake(path, pa.table({"co2": [400]}))
    write_deltalake(path, pa.table({"co2": [500], "noise": ["low"]}), mode="append", schema_mode="merge")
    answer = rows(settings, "SELECT co2, noise FROM silver.rooms ORDER BY co2")
    assert answer == [{"co2": 400, "noise": None}, {"co2": 500, "noise": "low"}]


def test_files_without_rows_and_tables_without_files(settings: Settings) -> None:
    path = _made(settings.lake_path / "silver" / "empty")
    write_deltalake(path, pa.table({"a": pa.array([], pa.int64())}))
    assert rows(settings, "FROM silver.empty") == []
    write_deltalake(path, pa.table({"a": [1]}), mode="append")
    assert rows(settings, "FROM silver.empty") == [{"a": 1}]


def test_nested_columns(settings: Settings) -> None:
    write(settings, DEVICES, [device("0x01")])
    answer = rows(settings, "SELECT exposes FROM silver.devices")[0]["exposes"]
    assert answer["contact"]["value_off"] == "true"


def test_bytes_are_shown_as_text_where_they_are_text(settings: Settings) -> None:
    payloads = ['{"name":"Tür"}'.encode(), b"\x00\xff", b"", None]
    write(settings, BRONZE_EVENTS, [event(n, payload=payload) for n, payload in enumerate(payloads)])
    query = "SELECT payload FROM bronze.events ORDER BY kafka_offset"
    expected = ['{"name":"Tür"}', "base64:AP8=", "", None]
    assert [row["payload"] for row in rows(settings, query)] == expected
    table = list(csv.reader(io.StringIO(run_sql(settings, query, "csv"))))
    assert table == [["payload"], ['{"name":"Tür"}'], ["base64:AP8="], [""], [""]] or table[1:3] == [
        ['{"name":"Tür"}'],
        ["base64:AP8="],
    ]


def test_values_that_json_has_no_words_for(settings: Settings) -> None:
    query = "SELECT 'nan'::DOUBLE a, 1e400 b, 1.50::DECIMAL(9,2) c, sum(range) d, now() e FROM range(3)"
    answer = rows(settings, query)[0]
    assert (answer["a"], answer["b"], answer["c"], answer["d"]) == ("nan", "inf", 1.5, 3)
    assert answer["e"].endswith("Z")


def test_a_table_for_people(settings: Settings) -> None:
    sound_lake(settings)
    shown = run_sql(settings, "SELECT outcome, count(*) AS n FROM bronze.events GROUP BY ALL ORDER BY ALL")
    assert shown.splitlines() == [
        "outcome       n",
        "-----------  --",
        "dead_letter   2",
        "ignored       2",
        "read         16",
        "(3 rows)",
    ]


def test_a_long_answer_says_that_there_is_more(settings: Settings) -> None:
    shown = run_sql(settings, "SELECT range, 'x' || repeat('y', 100) AS long FROM range(1000)")
    assert shown.splitlines()[-1].startswith("(the first 200 rows; there are more")
    assert "…" in shown
    assert len(run_sql(settings, "FROM range(1000)", "csv").splitlines()) == 1_001


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nonsense FROM bronze.events", "nonsense"),
        ("FROM bronze.event", 'Did you mean "events"'),
        ("FROM gold.nothing", "nothing"),
        ("SELECT 'a'::INT", "Could not convert"),
        ("SELECT 1; SELECT 2", "expected one query, got 2"),
        ("", "got 0"),
        ("DROP TABLE bronze.events", "read-only"),
        ("CREATE TABLE x AS SELECT 1", "read-only"),
        ("COPY (SELECT 1) TO 'x.csv'", "read-only"),
        ("INSERT INTO bronze.events VALUES (1)", "read-only"),
        ("SET threads = 1", "read-only"),
        ("FROM read_csv('nowhere.csv')", "nowhere.csv"),
    ],
)
def test_mistakes_are_told_on_one_line(settings: Settings, query: str, says: str) -> None:
    with pytest.raises(LakeError) as raised:
        run_sql(settings, query)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_format(settings: Settings) -> None:
    with pytest.raises(LakeError, match="table, json, csv"):
        run_sql(settings, "SELECT 1", "xml")


def test_other_tables_of_the_lake_are_found(settings: Settings) -> None:
    write_deltalake(_made(settings.lake_path / "gold" / "Odd name"), pa.table({"a": [1]}))
    assert rows(settings, 'FROM gold."Odd name"') == [{"a": 1}]
    listed = rows(settings, "SHOW ALL TABLES")
    assert {(row["schema"], row["name"]) for row in listed} >= {("gold", "Odd name"), ("silver", "readings")}


def test_a_home_with_signs_that_are_patterns_elsewhere(tmp_path: Path) -> None:
    odd = load_settings(_env_file=None, home=tmp_path / "a *b? c=d ü")
    sound_lake_in_uri(odd)
    assert value(odd, "SELECT count(*) FROM silver.odd") == 2


@pytest.mark.parametrize("name", ["a [b]", "a%20b"])
def test_a_home_that_deltalake_cannot_read_is_refused_in_words(tmp_path: Path, name: str) -> None:
    odd = load_settings(_env_file=None, home=tmp_path / name)
    log = odd.lake_path / "bronze" / "events" / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text("{}")
    with pytest.raises(LakeError, match="cannot read below a folder named with"):
        run_sql(odd, "FROM bronze.events")


def test_a_table_with_deletion_vectors_is_read_as_its_writer_means_it(settings: Settings) -> None:
    path = _made(settings.lake_path / "silver" / "holes")
    write_deltalake(path, pa.table({"a": list(range(10))}))
    _delete_with_a_vector(path)
    found = snapshot(settings, ("silver", "holes"))
    assert found.delta is not None, "DuckDB alone would show deleted rows"
    assert value(settings, "SELECT count(*) FROM silver.holes") == 7


def test_partitions_by_text_with_odd_signs(settings: Settings) -> None:
    places = ["a b/c", "ü%20", None, "x=y"]
    data = pa.table({"place": places, "n": list(range(4))})
    write_deltalake(_made(settings.lake_path / "silver" / "places"), data, partition_by=["place"])
    assert snapshot(settings, ("silver", "places")).delta is None, "DuckDB reads it itself"
    assert [row["place"] for row in rows(settings, "SELECT place FROM silver.places ORDER BY n")] == places


def test_a_notebooks_connection(settings: Settings) -> None:
    sound_lake(settings)
    with connect(settings) as opened:
        assert opened.sql("FROM silver.readings").aggregate("count(*)").fetchall() == [(32,)]
        at = opened.execute("SELECT max(event_time) FROM silver.readings").fetchone()
        assert at is not None and at[0] == datetime(2026, 3, 1, 12, tzinfo=UTC)
        write(settings, BRONZE_EVENTS, [event(999)])
        assert opened.execute("SELECT count(*) FROM bronze.events").fetchone() == (20,), "one version per connection"


def test_a_query_sees_one_version_while_the_table_is_rewritten(settings: Settings) -> None:
    """A writer that appends, compacts and *at once* removes what it replaced: answers stay whole numbers of commits."""
    write(settings, BRONZE_EVENTS, [event(n) for n in range(10)])
    path = settings.lake_path / "bronze" / "events"
    stop = threading.Event()

    def rewrite() -> None:
        number = 1
        while not stop.is_set():
            write(settings, BRONZE_EVENTS, [event(number * 10 + n) for n in range(10)])
            table = DeltaTable(path.as_uri())
            if number % 5 == 0:
                table.optimize.compact()
                table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
            number += 1

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(40):
            answer = rows(settings, "SELECT count(*) AS n, max(kafka_offset) AS last FROM bronze.events")[0]
            assert answer["n"] == answer["last"] + 1
            assert answer["n"] % 10 == 0
    finally:
        stop.set()
        writer.join()


def test_a_table_that_is_broken_says_which(settings: Settings) -> None:
    log = settings.lake_path / "silver" / "readings" / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text("not a log\n")
    with pytest.raises(LakeError, match=r"silver\.readings"):
        run_sql(settings, "FROM silver.readings")
    assert run_sql(settings, "SELECT count(*) FROM bronze.events", "csv").splitlines()[1] == "0"


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def sound_lake_in_uri(settings: Settings) -> None:
    """Two commits to a table whose path needs escaping in a URI."""
    path = _made(settings.lake_path / "silver" / "odd")
    for number in range(2):
        write_deltalake(path.as_uri(), pa.table({"a": [number]}), mode="append")


def _delete_with_a_vector(path: Path) -> None:
    """Delete rows 0, 1 and 7 as Delta's protocol has it: an inline vector, and no file rewritten."""
    log = path / "_delta_log"
    actions = [json.loads(line) for line in (log / "00000000000000000000.json").read_text().splitlines()]
    add = next(action["add"] for action in actions if "add" in action)
    vector = _vector([0, 1, 7])
    descriptor = {
        "storageType": "i",
        "pathOrInlineDv": _z85(vector),
        "sizeInBytes": len(vector),
        "cardinality": 3,
    }
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    commit = [
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}},
        {"remove": {"path": add["path"], "deletionTimestamp": 1, "dataChange": True}},
        {"add": add | {"deletionVector": descriptor}},
    ]
    (log / "00000000000000000001.json").write_text("".join(json.dumps(action) + "\n" for action in commit))


def _vector(deleted: list[int]) -> bytes:
    """A roaring bitmap of few small numbers, in the portable 64-bit form (Delta protocol, deletion vector format)."""
    header = struct.pack("<iQII", 1681511377, 1, 0, 12346)
    container = struct.pack("<IHHI", 1, 0, len(deleted) - 1, 16) + struct.pack(f"<{len(deleted)}H", *deleted)
    raw = header + container
    return raw + bytes(-len(raw) % 4)


def _z85(raw: bytes) -> str:
    ours = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
    theirs = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    return base64.b85encode(raw).translate(bytes.maketrans(ours, theirs)).decode()
