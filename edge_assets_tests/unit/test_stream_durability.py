"""What a power cut leaves of a table, and how it is made whole."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from edge_assets import delta_log
from edge_assets.errors import LakeError
from edge_assets.stream import durability
from edge_assets.tables import BRONZE_EVENTS, DEVICE_STATES, READINGS, Table

TABLES = (BRONZE_EVENTS, READINGS)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Two tables with three batches each."""
    for table in TABLES:
        for batch in (1, 2, 3):
            commit(tmp_path, table, batch)
    return tmp_path


def commit(lake: Path, table: Table, batch: int, reached: int | None = None) -> None:
    note = {"batch": batch, "positions": [["log", "topic", 0, (reached or batch) * 10]]}
    metadata = CommitProperties(custom_metadata={"userMetadata": json.dumps(note)})
    rows = pa.table({"batch": [batch] * 10})
    write_deltalake(lake / table.layer / table.name, rows, mode="append", commit_properties=metadata)


def folder(lake: Path, table=READINGS) -> Path:
    return lake / table.layer / table.name


def batches(lake: Path, table=READINGS) -> list[int]:
    return sorted(set(DeltaTable(folder(lake, table)).to_pyarrow_table()["batch"].to_pylist()))


def data_file(lake: Path, version: int, table=READINGS) -> Path:
    commit = delta_log.commits(folder(lake, table))[version]
    return next(file for file, _ in durability._added(folder(lake, table), commit))


def test_a_whole_lake_is_left_alone(lake: Path) -> None:
    assert durability.mend(lake) is None
    assert batches(lake) == [1, 2, 3]


@pytest.mark.parametrize("damage", ["missing", "empty", "short", "zeroed"])
def test_a_torn_data_file_takes_all_tables_back_to_the_batch_before(lake: Path, damage: str) -> None:
    file = data_file(lake, 2)
    size = file.stat().st_size
    match damage:
        case "missing":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case "short":
            file.write_bytes(file.read_bytes()[:-100])
        case "zeroed":
            file.write_bytes(bytes(size))
    assert durability.mend(lake) == 2
    assert [batches(lake, table) for table in TABLES] == [[1, 2], [1, 2]]
    assert durability.mend(lake) is None


@pytest.mark.parametrize("content", [b"", b'{"commitInfo":{"oper', bytes(300)])
def test_a_torn_commit_is_forgotten(lake: Path, content: bytes) -> None:
    delta_log.commits(folder(lake, BRONZE_EVENTS))[1].path.write_bytes(content)
    assert durability.mend(lake) == 1
    assert [batches(lake, table) for table in TABLES] == [[1], [1]]


def test_a_commit_of_bronze_that_never_reached_the_disk_takes_the_others_back(lake: Path) -> None:
    delta_log.commits(folder(lake, BRONZE_EVENTS))[2].path.unlink()
    assert durability.mend(lake) == 2
    assert [batches(lake, table) for table in TABLES] == [[1, 2], [1, 2]]


@pytest.mark.parametrize("tear", [b"", b"data"])
def test_a_table_that_is_rarely_written_costs_the_others_one_batch(lake: Path, tear: bytes) -> None:
    for batch in (4, 5, 6):
        commit(lake, BRONZE_EVENTS, batch)
    commit(lake, READINGS, 6)
    if tear:
        data_file(lake, 3).write_bytes(tear)
    else:
        delta_log.commits(folder(lake))[3].path.write_bytes(tear)
    assert durability.mend(lake) == 5
    assert [batches(lake, table) for table in TABLES] == [[1, 2, 3, 4, 5], [1, 2, 3]]


def test_a_repair_that_writes_a_derived_table_alone_is_no_tear(lake: Path) -> None:
    commit(lake, READINGS, 4, reached=3)
    assert durability.mend(lake) is None


def test_a_file_that_was_replaced_may_be_gone(lake: Path) -> None:
    old = data_file(lake, 1)
    DeltaTable(folder(lake)).optimize.compact()
    old.unlink()
    assert durability.mend(lake) is None


def test_a_table_torn_from_its_first_commit_on_says_what_to_do(lake: Path) -> None:
    delta_log.commits(folder(lake))[0].path.write_bytes(b"")
    with pytest.raises(LakeError, match="restore a backup"):
        durability.mend(lake)


def test_sync_forces_each_new_commit_once_data_before_log(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[Path] = []
    watch = durability.Durability(lake, TABLES)
    monkeypatch.setattr(durability, "_force", forced.append)
    write_deltalake(folder(lake), pa.table({"batch": [4]}), mode="append")
    watch.sync()
    watch.sync()
    commit = delta_log.commits(folder(lake))[3]
    assert [path for path in forced if path.suffix in (".parquet", ".json")] == [data_file(lake, 3), commit.path]


GOLD = Table("gold", "telemetry_5s_agg", "a window", ())


@pytest.fixture
def with_gold(lake: Path) -> Path:
    for batch in (1, 2, 3):
        commit(lake, GOLD, batch)
    return lake


def test_gold_that_is_torn_is_taken_back_alone(with_gold: Path) -> None:
    data_file(with_gold, 1, GOLD).unlink()
    assert durability.mend(with_gold) is None
    assert [batches(with_gold, table) for table in (*TABLES, GOLD)] == [[1, 2, 3], [1, 2, 3], [1]]


def test_gold_goes_back_with_the_batches_that_it_was_made_of(with_gold: Path) -> None:
    data_file(with_gold, 1).unlink()
    assert durability.mend(with_gold) == 1
    assert [batches(with_gold, table) for table in (*TABLES, GOLD)] == [[1], [1], [1]]


def test_gold_of_which_no_commit_is_whole_is_made_anew(with_gold: Path) -> None:
    delta_log.commits(folder(with_gold, GOLD))[0].path.write_text("")
    assert durability.mend(with_gold) is None
    assert not folder(with_gold, GOLD).exists()
    assert batches(with_gold) == [1, 2, 3]


# -- tables that were being made --------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b'{"commitInfo":{"oper', bytes(300)])
def test_a_table_that_was_cut_off_as_it_was_made_is_forgotten(lake: Path, content: bytes) -> None:
    fresh = folder(lake, DEVICE_STATES)
    DeltaTable.create(fresh, pa.schema([("batch", pa.int64())]))
    delta_log.commits(fresh)[0].path.write_bytes(content)
    assert durability.mend(lake) is None
    assert not fresh.exists()
    assert [batches(lake, table) for table in TABLES] == [[1, 2, 3], [1, 2, 3]]


def test_a_table_is_forced_from_its_creation_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[Path] = []
    watch = durability.Durability(tmp_path, TABLES)
    DeltaTable.create(folder(tmp_path), pa.schema([("batch", pa.int64())]))
    monkeypatch.setattr(durability, "_force", forced.append)
    watch.sync()
    made = folder(tmp_path)
    assert forced[0] == delta_log.commits(made)[0].path
    assert {made / delta_log.FOLDER, made, made.parent, tmp_path} < set(forced)
