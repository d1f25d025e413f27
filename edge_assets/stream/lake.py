"""The lake as its one writer sees it: tables, commits that happen once, and what each commit says of itself.

Every commit carries a JSON note (`Note`) with the number of the batch that it belongs to, so that a batch which is
finished after a crash is written only where it is not yet. The note on `bronze.events` is the stream's position: no
other file decides where reading resumes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from edge_assets import delta_log, object_store
from edge_assets.log_record import Place
from edge_assets.retention import Expired
from edge_assets.stream import durability, losses
from edge_assets.stream.decode import POSITION_COLUMNS, Fence, Knowledge, text
from edge_assets.stream.losses import Loss
from edge_assets.stream.registry import Entry, Registry, Source, small_frame
from edge_assets.tables import (
    ALERTS,
    BRONZE_EVENTS,
    DEAD_LETTERS,
    DEVICE_STATES,
    DEVICES,
    READINGS,
    ROOM_TELEMETRY,
    TABLES,
    Table,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PROPERTIES = {
    "delta.checkpointInterval": "50",
    "delta.logRetentionDuration": "interval 2 days",
    "delta.deletedFileRetentionDuration": "interval 1 days",
    "delta.enableDeletionVectors": "false",  # read by engines that know none
}

# Statistics are gathered value by value while a file is written: only of what queries and repairs are cut down by.
STATISTICS = {
    BRONZE_EVENTS: ("kafka_partition", "kafka_offset", "received_at", "batch", "key"),
    DEAD_LETTERS: ("kafka_partition", "kafka_offset", "received_at"),
    READINGS: ("kafka_partition", "kafka_offset", "received_at", "event_time", "device_id", "measurement"),
    ROOM_TELEMETRY: ("kafka_partition", "kafka_offset", "received_at", "event_time", "room_id"),
    DEVICE_STATES: ("kafka_partition", "kafka_offset", "received_at", "device_id"),
    ALERTS: ("kafka_partition", "kafka_offset", "received_at", "event_time", "rule"),
    DEVICES: ("device_id", "device_name"),
}
STATISTICS_OF_GOLD = ("window_start", "session_start", "session_end", "room_id")

COMMIT_NOTE = "spark.databricks.delta.commitInfo.userMetadata"
"""the option of a session that gives a commit its note where it has no writer of its own"""

# Times of the registry are integers in Python, microseconds since 1970 UTC: a naive datetime would depend on the
# machine's zone, twice a year for the worse.
_TIMES = ("valid_from", "valid_to", "told_at")

_SAME_POSITION = " AND ".join(f"t.{name} = s.{name}" for name in POSITION_COLUMNS)


@dataclass(frozen=True, slots=True)
class Note:
    """What a commit says of itself, and all that the stream writer needs to go on from it."""

    batch: int = 0
    positions: Mapping[Place, int] = field(default_factory=dict)
    """the offset after the last one that the table holds"""
    registry_version: int | None = None
    """version of `silver.devices` that the batch was decoded with"""
    knowledge: Knowledge = field(default_factory=Knowledge)
    pending: Mapping[str, str] = field(default_factory=dict)
    """names of devices that are not known yet → day (ISO) of their first pending reading"""
    follows: tuple[str, ...] | None = None
    """tables that get rows of the batch after `bronze.events`; None: not told, it may be any"""
    watermark: int | None = None
    """no room is waited for before this event time, µs since 1970; None: no room has spoken"""
    late: int | None = None
    """messages of rooms in the batch that were behind the watermark; None: not told, there may be any"""
    lost: tuple[Loss, ...] = ()
    """what had expired in the log before it was read, oldest first"""
    work: str | None = None
    """what the commit is of, where it is not of a batch of the stream: redrive, resolve, reprocess, rollback"""

    def encode(self) -> str:
        fences = [asdict(fence) for fence in self.knowledge.fences]
        return json.dumps(
            {
                "batch": self.batch,
                "positions": [[*place, offset] for place, offset in sorted(self.positions.items())],
                "registry_version": self.registry_version,
                "fences": fences,
                "clocks": dict(self.knowledge.clocks),
                "bad_registry": sorted(map(list, self.knowledge.bad_registry)),
                "pending": dict(self.pending),
                "follows": self.follows,
                "watermark": self.watermark,
                "late": self.late,
                "lost": [loss.encode() for loss in self.lost],
                "work": self.work,
            }
        )

    @classmethod
    def decode(cls, text: str) -> Note:
        raw = json.loads(text)
        return cls(
            batch=raw["batch"],
            positions={(log_id, topic, partition): offset for log_id, topic, partition, offset in raw["positions"]},
            registry_version=raw["registry_version"],
            knowledge=Knowledge(
                tuple(Fence(**fence) for fence in raw["fences"]),
                raw["clocks"],
                frozenset((log_id, partition, offset) for log_id, partition, offset in raw["bad_registry"]),
            ),
            pending=raw["pending"],
            follows=None if raw.get("follows") is None else tuple(raw["follows"]),
            watermark=raw.get("watermark"),
            late=raw.get("late"),
            lost=losses.decoded(raw),
            work=raw.get("work"),
        )


class Encoded(Protocol):
    """A commit's note: JSON, with the number of the newest `batch` that the commit knows of."""

    def encode(self) -> str: ...


SINCE = "edge.since"
"""In a column's metadata: when the first message that has the field was received, ISO 8601."""


@dataclass(frozen=True, slots=True)
class MoreColumn:
    """A column that was added to a table while it ran."""

    type: str
    """Spark SQL's"""
    description: str = ""
    since: str = ""
    """see `SINCE`; empty: somebody else has added it"""


class Lake:
    """The tables, for writing. One instance per process, one process per lake."""

    def __init__(self, spark: SparkSession, path: Path) -> None:
        self._spark = spark
        self._path = path

    def location(self, table: Table) -> str:
        return object_store.spark_uri(self.folder(table))

    def folder(self, table: Table) -> Path:
        return self._path / table.layer / table.name

    @contextmanager
    def saying(self, table: Table, **more: Any) -> Iterator[None]:
        """What is committed to the table meanwhile belongs to no batch, and carries the note before it on."""
        with self._noting(durability.carried(self.folder(table), **more)):
            yield

    @contextmanager
    def _noting(self, note: str) -> Iterator[None]:
        """The note of commits that take theirs from the session. Nobody else may use this one's meanwhile."""
        self._spark.conf.set(COMMIT_NOTE, note)
        try:
            yield
        finally:
            self._spark.conf.unset(COMMIT_NOTE)

    def files(self, table: Table) -> DataFrame:
        """The active files as the table's log has them: `path`, `partitionValues`, `size` and so on."""
        return DataFrame(self._snapshot(table).allFiles().toDF(), self._spark)

    def properties(self, table: Table) -> dict[str, str]:
        return dict(
            self._spark._jvm.scala.jdk.javaapi.CollectionConverters.asJava(  # type: ignore[union-attr]
                self._snapshot(table).metadata().configuration()
            )
        )

    def set_property(self, table: Table, name: str, value: str, **more: Any) -> None:
        with self.saying(table, **more):
            location = self.location(table)
            self._spark.sql(f"ALTER TABLE delta.`{location}` SET TBLPROPERTIES ({text(name)} = {text(value)})")

    def delete(self, table: Table, condition: str, **more: Any) -> int:
        """Delete rows. Returns how many."""
        with self.saying(table, **more):
            return self._spark.sql(f"DELETE FROM delta.`{self.location(table)}` WHERE {condition}").collect()[0][0]

    def checkpoint(self, table: Table) -> None:
        self._log(table).checkpoint()

    def create_tables(self, tables: Iterable[Table] = TABLES) -> None:
        """Make the tables that are not there, as `edge_assets.tables` has them; give those that are the columns that
        it has gained since."""
        from delta.tables import DeltaTable

        for table in tables:
            if durability.newest(self.folder(table)) >= 0:
                self._widen(table)
            else:
                self._forget_half_made(table)
            builder = DeltaTable.createIfNotExists(self._spark).location(self.location(table)).comment(table.row)
            for column in table.columns:
                builder = builder.addColumn(column.name, column.type, comment=column.description)
            kept = STATISTICS.get(table) or [c.name for c in table.columns if c.name in STATISTICS_OF_GOLD]
            statistics = {"delta.dataSkippingStatsColumns": ",".join(kept)}
            for name, value in {**PROPERTIES, **statistics}.items():
                builder = builder.property(name, value)
            builder.partitionedBy(*table.partitioned_by).execute() if table.partitioned_by else builder.execute()

    def _forget_half_made(self, table: Table) -> None:
        """Remove what a creation has left that was killed before its commit: Delta makes the log's folder first, and
        takes one without a commit for a table that is there, and cannot be found."""
        folder = self._spark._jvm.org.apache.hadoop.fs.Path(self.location(table))  # type: ignore[union-attr]
        files = folder.getFileSystem(self._spark._jsc.hadoopConfiguration())
        if not files.exists(folder):
            return
        if all(entry.getPath().getName() == delta_log.FOLDER for entry in files.listStatus(folder)):
            files.delete(folder, True)

    def _widen(self, table: Table) -> None:
        there = set(self._snapshot(table).schema().names())
        missing = {c.name: MoreColumn(c.type, c.description) for c in table.columns if c.name not in there}
        if missing:
            self.add_columns(table, missing)

    def read(self, table: Table, version: int | None = None) -> DataFrame:
        reader = self._spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.location(table))

    def more_columns(self, table: Table) -> dict[str, MoreColumn]:
        """The columns of a table beyond those that it began with, by name."""
        schema = self._snapshot(table).schema()
        own = {column.name for column in table.columns}
        told = (about for about in json.loads(schema.json())["fields"] if about["name"] not in own)
        return {about["name"]: _more_column(about) for about in told}

    def add_columns(self, table: Table, columns: Mapping[str, MoreColumn]) -> None:
        """Widen a table: a commit without rows and without a note, as it is of no batch. Older rows have null."""
        types = {name: column.type for name, column in columns.items()}
        types |= dict.fromkeys(table.partitioned_by, "date")
        rows = self._spark.range(0).selectExpr(*(f"CAST(NULL AS {kind}) AS `{name}`" for name, kind in types.items()))
        for name, column in columns.items():
            rows = rows.withMetadata(name, {"comment": column.description, SINCE: column.since})
        writer = rows.write.format("delta").option("mergeSchema", "true").mode("append")
        writer.save(self.location(table))

    def append(self, table: Table, rows: DataFrame, note: Encoded, more: Collection[str] = ()) -> None:
        """Add a batch's rows: the columns of the table, and of `more_columns` those that are named."""
        columns = [*(column.name for column in table.columns), *(f"`{name}`" for name in more)]
        self._writer(rows.select(*columns), note).mode("append").save(self.location(table))

    def replace_where(self, table: Table, condition: str, rows: DataFrame, note: Note) -> None:
        """Put `rows` in the place of all rows that match, in one commit. They need not match themselves."""
        more = (name for name in self.more_columns(table) if name in rows.columns)
        columns = [*(column.name for column in table.columns), *(f"`{name}`" for name in more)]
        self._spark.conf.set("spark.databricks.delta.replaceWhere.constraintCheck.enabled", "false")
        writer = self._writer(rows.select(*columns), note).mode("overwrite")
        writer.option("replaceWhere", condition).save(self.location(table))

    def tell(self, table: Table, note: Note) -> None:
        """Commit a note without rows."""
        self.append(table, self.read(table).where("false"), note)

    def restore(self, table: Table, version: int, note: Note) -> None:
        """Let the table be what it was at a version, in a new commit. Raises what Spark and Delta raise."""
        from delta.tables import DeltaTable

        with self._noting(note.encode()):
            DeltaTable.forPath(self._spark, self.location(table)).restoreToVersion(version)

    def note_at(self, table: Table, version: int) -> Note | None:
        """The newest note of the commits up to a version; None where none is left."""
        note = durability.note_before(self.folder(table), version + 1)
        return Note.decode(json.dumps(note)) if note else None

    def update_outcomes(self, decoded: DataFrame) -> None:
        """Let `bronze.events` say what records have become, where that differs from what it says."""
        from delta.tables import DeltaTable

        told = ["outcome", "reason", "readings", "refused"]
        source = decoded.select(*POSITION_COLUMNS, *told)
        differs = " OR ".join(f"NOT (t.{name} <=> s.{name})" for name in told)
        table = DeltaTable.forPath(self._spark, self.location(BRONZE_EVENTS))
        changes: dict[str, Any] = {name: f"s.{name}" for name in told}
        table.alias("t").merge(source.alias("s"), _SAME_POSITION).whenMatchedUpdate(differs, changes).execute()

    def merge(self, table: Table, keys: Collection[str], rows: DataFrame, note: Encoded) -> None:
        """Put rows in the place of those with the same keys, add those that are new, and take away those that are
        `gone` (a boolean column of `rows`, beside the table's), in one commit. `keys` should hold the partition's."""
        from delta.tables import DeltaTable

        columns: dict[str, Any] = {column.name: f"s.{column.name}" for column in table.columns}
        same = " AND ".join(f"t.{name} = s.{name}" for name in keys)
        target = DeltaTable.forPath(self._spark, self.location(table)).alias("t")
        merged = target.merge(rows.alias("s"), same).whenMatchedDelete("s.gone")
        merged = merged.whenMatchedUpdate(set=columns).whenNotMatchedInsert("NOT s.gone", values=columns)
        with self._noting(note.encode()):
            merged.execute()

    def delete_positions(self, table: Table, positions: DataFrame) -> None:
        from delta.tables import DeltaTable

        target = DeltaTable.forPath(self._spark, self.location(table)).alias("t")
        target.merge(positions.alias("s"), _SAME_POSITION).whenMatchedDelete().execute()

    def _writer(self, rows: DataFrame, note: Encoded) -> Any:
        # The batch number in the note is the transaction's identity; `BatchWriter.recover` compares it. Delta's own
        # (`txnVersion`) would say the same, and rebuild a table's state from its log at each commit to check it, which
        # took a third of a small batch's time.
        return rows.write.format("delta").option("userMetadata", note.encode())

    def version(self, table: Table) -> int:
        return self._snapshot(table).version()

    def _log(self, table: Table) -> Any:
        log = self._spark._jvm.org.apache.spark.sql.delta.DeltaLog  # type: ignore[union-attr]
        return log.forTable(self._spark._jsparkSession, self.location(table))

    def _snapshot(self, table: Table) -> Any:
        return self._log(table).unsafeVolatileSnapshot()

    def _is_new(self, table: Table) -> bool:
        """Whether nothing was ever written to it. To read no rows takes a Spark that has just started seconds."""
        return self.version(table) == 0

    def latest_note(self, table: Table) -> Note | None:
        """The newest commit's note; None where the table has none. From the log's own files: to ask Spark for a table's
        history takes it a second, for each table, at each start."""
        note = durability.note_before(self.folder(table))
        return Note.decode(json.dumps(note)) if note else None

    def positions_from_rows(self) -> tuple[int, dict[Place, int]]:
        """(batch, positions) as the rows of `bronze.events` themselves tell them: the way back without a note."""
        if self._is_new(BRONZE_EVENTS):
            return 0, {}
        gone = Expired.of(self.properties(BRONZE_EVENTS)).offsets
        rows = self.read(BRONZE_EVENTS)
        places = rows.groupBy("log_id", "kafka_topic", "kafka_partition").agg({"kafka_offset": "max"}).collect()
        batch = rows.agg({"batch": "max"}).first()[0] or 0  # type: ignore[index]
        return batch, {**gone, **{(row[0], row[1], row[2]): row[3] + 1 for row in places}}

    def bronze_begins(self) -> date:
        """The first day of which no record of `bronze.events` has gone for its age."""
        return Expired.of(self.properties(BRONZE_EVENTS)).before or date.min

    def read_registry(self, version: int | None = None) -> Registry:
        if self._is_new(DEVICES):
            return Registry()
        rows = self.read(DEVICES, version).withColumns({name: F.unix_micros(name) for name in _TIMES}).collect()
        return Registry(sorted(map(_entry, rows), key=lambda e: (e.source.received_at, e.base_topic, e.device_id)))

    def write_registry(self, registry: Registry, site: str, note: Note) -> int:
        """Replace `silver.devices`. Returns its new version."""
        columns = ", ".join(f"{c.name} {'bigint' if c.name in _TIMES else c.type}" for c in DEVICES.columns)
        frame = small_frame(self._spark, [_row(entry, site) for entry in registry.entries], columns)
        frame = frame.withColumns({name: F.timestamp_micros(name) for name in _TIMES})
        self._writer(frame, note).mode("overwrite").save(self.location(DEVICES))
        return self.version(DEVICES)


def _more_column(about: Mapping[str, Any]) -> MoreColumn:
    kind = about["type"] if isinstance(about["type"], str) else about["type"]["type"]
    words = about["metadata"]
    return MoreColumn({"long": "bigint"}.get(kind, kind), words.get("comment", ""), words.get(SINCE, ""))


def _row(entry: Entry, site: str) -> tuple[Any, ...]:
    source = entry.source
    return (
        site,
        entry.base_topic,
        entry.device_id,
        entry.device_name,
        entry.kind,
        entry.model,
        entry.vendor,
        entry.description,
        entry.exposes,
        entry.valid_from,
        entry.valid_to,
        source.received_at,
        source.log_id,
        source.kafka_topic,
        source.kafka_partition,
        source.kafka_offset,
    )


def _entry(row: Any) -> Entry:
    return Entry(
        row.base_topic,
        row.device_id,
        row.device_name,
        row.kind,
        row.model,
        row.vendor,
        row.description,
        {name: about.asDict() for name, about in row.exposes.items()},
        row.valid_from,
        row.valid_to,
        Source(row.log_id, row.kafka_topic, row.kafka_partition, row.kafka_offset, row.told_at),
    )
