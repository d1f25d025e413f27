"""A Delta table at one version, as something that DuckDB can read. No Spark, and no writing.

The table's log says which files are active; DuckDB reads those Parquet files itself, and so prunes by partition
and by statistics. That is right for tables without deletion vectors and without column mapping, as all of ours
are; others are read by deltalake's own engine, which knows both, and held in a temporary table.

A snapshot stays readable while the stream writer goes on committing: replaced files are kept for
`stream.vacuum_hours`. A reader that finds one gone all the same takes a new snapshot.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from edge_assets import object_store
from edge_assets.errors import LakeError
from edge_assets.settings import Settings
from edge_assets.tables import Table, all_tables
from edge_assets.warehouse.duck_types import from_delta, from_spark, quoted, text

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from duckdb import DuckDBPyConnection

MEMORY_LIMIT = "512MB"
"""What DuckDB may use before it spills to `EDGE_HOME/tmp`."""

SNAPSHOTS = 3
"""So often a new snapshot is taken when a file vanishes under a reader."""

RANGE_COLUMN = "kafka_offset"
"""The column whose range is kept of each file, so that a reader can leave out files."""

TIME_COLUMN = "event_time"
"""And the time whose range is kept."""

TIME_ROUNDED = timedelta(seconds=1)
"""Spark cuts the times in a file's statistics down to milliseconds: a bound is taken for so much wider."""

_PATH_TYPES = {"DATE", "INTEGER", "BIGINT", "VARCHAR"}
"""Types of partition columns that DuckDB reads from a file's path."""

TableName = tuple[str, str]
"""(layer, name)"""


@dataclass(frozen=True, slots=True)
class DataFile:
    """An active file; `low` and `high` bound `RANGE_COLUMN` where the log knows them, `begins` and `ends` its times."""

    path: str
    low: int | None = None
    high: int | None = None
    begins: datetime | None = None
    ends: datetime | None = None
    bytes: int = 0

    def may_hold(self, low: int, high: int) -> bool:
        return self.low is None or self.high is None or (self.low <= high and self.high >= low)

    def may_be_between(self, begin: datetime, end: datetime) -> bool:
        """Whether rows with an event time from `begin` to before `end` can be in it."""
        return self.begins is None or self.ends is None or (self.begins < end and self.ends >= begin)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A table at one version; version None: it is not there yet, and has the contract's columns and no rows."""

    name: TableName
    version: int | None
    columns: dict[str, str]
    """DuckDB's type of each column"""
    partitioned_by: tuple[str, ...] = ()
    files: tuple[DataFile, ...] = ()
    properties: Mapping[str, str | None] = field(default_factory=dict)
    """the table's own, `edge.expired` among them (`edge_assets.retention`)"""
    delta: DeltaTable | None = None
    """set where DuckDB cannot read the files itself"""

    @property
    def sql_name(self) -> str:
        return ".".join(map(quoted, self.name))

    def select(self, low: int | None = None, high: int | None = None) -> str:
        """A SELECT of all rows, or of the files only that may hold offsets from `low` to `high`.

        Raises `LakeError` where DuckDB cannot read the table itself; `show` can.
        """
        if self.delta is not None:
            raise LakeError(
                f"reading {'.'.join(self.name)}: expected plain files, got deletion vectors or column mapping, "
                "which its one writer does not use; who else has written to it?"
            )
        files = self.files
        if low is not None and high is not None:
            files = tuple(file for file in files if file.may_hold(low, high))
        nothing = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in self.columns.items())
        if not files:
            return f"SELECT {nothing} WHERE false"
        # By name and united with an empty relation: a column that a file does not have is null, and every column
        # has the type that the table's log gives it, whichever writer wrote the file.
        casts = ", ".join(f"CAST({quoted(name)} AS {kind}) AS {quoted(name)}" for name, kind in self.columns.items())
        return f"SELECT {casts} FROM (SELECT {nothing} WHERE false UNION ALL BY NAME SELECT * FROM {self._scan(files)})"

    def only(self, wanted: Callable[[DataFile], bool]) -> Snapshot:
        """The same table with some of its files."""
        return replace(self, files=tuple(file for file in self.files if wanted(file)))

    def _scan(self, files: Iterable[DataFile]) -> str:
        listed = ", ".join(text(not_a_pattern(file.path)) for file in files)
        partitions = ", ".join(f"{quoted(name)}: {self.columns[name]}" for name in self.partitioned_by)
        hive = f"hive_partitioning = true, hive_types = {{{partitions}}}" if partitions else "hive_partitioning = false"
        return f"read_parquet([{listed}], union_by_name = true, {hive})"


def names(settings: Settings) -> list[TableName]:
    """The tables of the lake: those of the contract, and whatever else lies in its folders."""
    with object_store.in_words(settings):
        found = {path.parent for path in settings.lake_path.glob("*/*/_delta_log")}
    contract = {(table.layer, table.name) for table in all_tables(settings)}
    return sorted(contract | {(path.parent.name, path.name) for path in found})


def snapshot(settings: Settings, name: TableName, version: int | None = None) -> Snapshot:
    """The table as it is now, or was at a version. Raises `LakeError` where its log cannot be read."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    path = settings.lake_path / name[0] / name[1]
    with object_store.in_words(settings):
        if not any((path / "_delta_log").glob("*.json")):
            return _missing(settings, name)
    _refuse_odd_paths(path)
    for attempt in range(1, SNAPSHOTS + 1):
        try:
            return _of(name, path, DeltaTable(path.as_uri(), version, object_store.deltalake_options(settings)))
        except TableNotFoundError:
            return _missing(settings, name)
        except (DeltaError, OSError, KeyError) as error:  # perhaps the log is being cleaned up at this moment
            if attempt == SNAPSHOTS:
                raise LakeError(
                    f"reading {'.'.join(name)} in {path}: {str(error).splitlines()[0]}; "
                    "`edge doctor` says whether the table is whole"
                ) from error
            time.sleep(0.1)
    raise AssertionError


def connection(settings: Settings, memory_limit: str | None = None) -> DuckDBPyConnection:
    """A DuckDB connection of its own: in memory, bounded, spilling into the home, times in UTC."""
    import duckdb

    spill = settings.home / "tmp" / "duckdb"
    spill.mkdir(parents=True, exist_ok=True)
    opened = duckdb.connect(
        ":memory:", config={"memory_limit": memory_limit or MEMORY_LIMIT, "temp_directory": str(spill)}
    )
    opened.execute("SET TimeZone = 'UTC'")
    object_store.let_duckdb_read(opened, settings)
    for layer in sorted({table.layer for table in all_tables(settings)}):
        opened.execute(f"CREATE SCHEMA {quoted(layer)}")
    return opened


def show(opened: DuckDBPyConnection, settings: Settings, name: TableName) -> None:
    """Show a table as `layer.name`, as it is now; one that was shown before is replaced. Raises `LakeError`."""
    import duckdb

    opened.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(name[0])}")
    for attempt in range(1, SNAPSHOTS + 1):
        try:
            _show(opened, snapshot(settings, name))
            return
        except duckdb.IOException as error:  # a file that maintenance took away just now
            if attempt == SNAPSHOTS:
                raise LakeError(
                    f"reading {'.'.join(name)} in {settings.lake_path}: {str(error).splitlines()[0]}; "
                    "`edge doctor` says whether the table is whole"
                ) from error


def _show(opened: DuckDBPyConnection, table: Snapshot) -> None:
    show_as(opened, table, table.sql_name)


def show_as(opened: DuckDBPyConnection, table: Snapshot, name: str) -> None:
    """Show a snapshot by a name of the asker's, as SQL has it. Raises DuckDB's own errors."""
    if table.delta is None:
        opened.execute(f"CREATE OR REPLACE VIEW {name} AS {table.select()}")
        return
    reader = table.delta.scan()  # noqa: F841 (DuckDB finds it by its name)
    opened.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM reader")


def contract_table(settings: Settings, name: TableName) -> Table | None:
    return next((table for table in all_tables(settings) if (table.layer, table.name) == name), None)


def _refuse_odd_paths(path: Path) -> None:
    # delta-rs 1.6 takes brackets for an IP address, and panics; and it decodes an escaped % twice.
    if odd := sorted(set("[]%") & set(str(path))):
        raise LakeError(f"reading {path}: deltalake cannot read below a folder named with {odd[0]}; set lake.path")


def _missing(settings: Settings, name: TableName) -> Snapshot:
    table = contract_table(settings, name)
    if table is None:
        raise LakeError(f"reading {'.'.join(name)}: there is no such table; `edge sql 'SHOW ALL TABLES'` lists them")
    return Snapshot(name, None, {column.name: from_spark(column.type) for column in table.columns})


def _of(name: TableName, path: Path, delta: DeltaTable) -> Snapshot:
    columns = {field["name"]: from_delta(field["type"]) for field in json.loads(delta.schema().to_json())["fields"]}
    about = delta.metadata()
    partitioned_by = tuple(about.partition_columns)
    actions = _add_actions(delta, partitioned_by)
    if _plain(delta, actions, columns, partitioned_by):
        files = tuple(_file(path, action) for action in actions if action["num_records"] != 0)
        return Snapshot(name, delta.version(), columns, partitioned_by, files, about.configuration)
    return Snapshot(name, delta.version(), columns, partitioned_by, properties=about.configuration, delta=delta)


def _add_actions(delta: DeltaTable, partitioned_by: tuple[str, ...]) -> list[dict[str, Any]]:
    """Of each active file what is asked of it here; all its statistics would take ten times as long to unfold.

    By the Arrow that deltalake brings: pyarrow would be some 80 MB more in each process that only reads.
    """
    from arro3.core import DataType

    actions = delta.get_add_actions(flatten=True)
    wanted = ["path", "num_records", "size_bytes", *(f"partition.{name}" for name in partitioned_by)]
    wanted += [f"{bound}.{name}" for name in (RANGE_COLUMN, TIME_COLUMN) for bound in ("min", "max")]
    found = {}
    for name in wanted:
        if name in actions.schema.names:
            column = actions.column(name)
            if name.endswith(TIME_COLUMN):  # as a number: a time outside of Python's range is no bound
                column = column.cast(DataType.timestamp("us")).cast(DataType.int64())
            found[name] = column.to_pylist()
    return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]


def _plain(
    delta: DeltaTable, actions: list[dict[str, Any]], columns: dict[str, str], partitioned_by: tuple[str, ...]
) -> bool:
    """Whether the files hold the table's rows as they are, and their paths the partition values."""
    features = set(delta.protocol().reader_features or ())
    if delta.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        return False
    if "deletionVectors" in features and any(batch.num_rows for batch in delta.deletion_vectors()):
        return False
    if any(columns[name] not in _PATH_TYPES for name in partitioned_by):
        return False
    return all(_path_tells(action, partitioned_by) for action in actions)


def _path_tells(action: dict[str, Any], partitioned_by: tuple[str, ...]) -> bool:
    """Whether a file lies below the table's folder, in folders `column=value` that say what the log says."""
    folders = unquote(action["path"]).split("/")[:-1]
    if action["path"].startswith("/") or "://" in action["path"] or len(folders) != len(partitioned_by):
        return False
    return all(
        unquote(folder) == f"{column}={_hive(action[f'partition.{column}'])}"
        for folder, column in zip(folders, partitioned_by, strict=True)
    )


def _hive(value: Any) -> str:
    return "__HIVE_DEFAULT_PARTITION__" if value is None else str(value)


def _file(path: Path, action: dict[str, Any]) -> DataFile:
    low, high = action.get(f"min.{RANGE_COLUMN}"), action.get(f"max.{RANGE_COLUMN}")
    begins, ends = _time(action.get(f"min.{TIME_COLUMN}")), _time(action.get(f"max.{TIME_COLUMN}"))
    size = action.get("size_bytes") or 0
    return DataFile(str(path / unquote(action["path"])), low, high, begins, ends and ends + TIME_ROUNDED, size)


def _time(micros: Any) -> datetime | None:
    """Microseconds since 1970 as a time; None for a bound that the log does not know, or that is no time of ours."""
    if not isinstance(micros, int):
        return None
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    except OverflowError:
        return None


def not_a_pattern(path: str) -> str:
    """DuckDB takes a path for a pattern: `[`, `*` and `?` in a folder's name must stand for themselves."""
    return "".join(f"[{sign}]" if sign in "[*?" else sign for sign in path)
