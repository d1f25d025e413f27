"""One batch, from records to commits: the body of the stream's one `foreachBatch`.

`BatchWriter.write` does, in this order; a kill -9 between any two steps is mended by `recover` at the next start:

1. decode with the registry as it is known, and summarise (one pass over the batch);
2. where the batch tells of devices, bridges or clocks, or rooms have fields that are new: learn that first, and decode
   anew;
3. commit `silver.devices`, if it changed; give `silver.room_telemetry` the new columns;
4. commit `bronze.events`: the records, their outcomes, the positions, the registry's version. From here on the
   batch *is*: the positions in this commit are the only ones from which reading resumes;
5. commit `bronze.dead_letters` and the tables of silver, from the same decoded rows;
6. resolve pending readings whose devices have become known;
7. force it all to the disk.

A batch that died between 4 and 5 is derived again from `bronze.events`, with the registry that its commit names,
and under its own number: a table whose newest commit has that number is passed over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pyspark.sql import Observation
from pyspark.sql import functions as F

from edge_assets import log_record
from edge_assets.decoding import contract, fields
from edge_assets.log_record import Place
from edge_assets.settings import Settings
from edge_assets.stream import control, decode, losses, room_columns
from edge_assets.stream.decode import POSITION_COLUMNS, RECORD_COLUMNS, Knowledge, Lookup
from edge_assets.stream.lake import Lake, MoreColumn, Note
from edge_assets.stream.losses import Loss
from edge_assets.stream.registry import BadRegistry, Registry, Source
from edge_assets.tables import (
    ALERTS,
    BRONZE_EVENTS,
    DEAD_LETTERS,
    DEVICE_STATES,
    DEVICES,
    OUTCOMES,
    READINGS,
    ROOM_TELEMETRY,
    TABLES,
    Table,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

MAX_PENDING_NAMES = 1_000
ONE_FILE_RECORDS = 5_000

DERIVED = (DEAD_LETTERS, DEVICE_STATES, ALERTS, ROOM_TELEMETRY, READINGS)
"""the tables that follow from bronze, in the order in which they are written"""


NUMBERS = ("readings", "refused", "implausible")
"""of a record: what it gave, what of it is no reading, and what of its readings is beyond what its unit allows. Of what
is refused, `beyond` is what has no column: fields of rooms"""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a decoded batch holds."""

    records: int
    outcomes: Mapping[str, int]
    teaching: int
    """records that change how others are decoded: registry, barriers, clocks"""
    firsts: Mapping[Place, int]
    """the first offset of each place"""
    ends: Mapping[Place, int]
    last_received_us: int
    pending: frozenset[str]
    nested: bool
    """whether some payload may have objects or lists within"""
    rooms: int
    """messages of rooms that were read"""
    alerts: int
    """events of alerts that were read"""
    states: int
    """retained messages that tell a device's state"""
    room_time_us: int | None
    """the latest event time of a room's message that had come by then; None: no room spoke"""
    slowest_topic_us: int | None
    """of the topics with rooms' messages the earliest of such times: how far those are that lag behind"""
    room_newest_us: int | None
    """the latest of all, also of those whose clock is ahead"""
    late: int
    """messages of rooms that were behind the watermark"""
    odd: int
    """messages of rooms that were read and have fields without a column"""

    @property
    def derived(self) -> list[Table]:
        """The tables that follow from bronze and get rows of this batch."""
        rows = {
            DEAD_LETTERS: self.outcomes.get("dead_letter", 0),
            DEVICE_STATES: self.states,
            ROOM_TELEMETRY: self.rooms,
            ALERTS: self.alerts,
            READINGS: self.outcomes.get("read", 0) - self.rooms - self.alerts,
        }
        return [table for table in DERIVED if rows[table]]


class BatchWriter:
    """Decodes and commits. Holds what the last commit knew: batch number, positions, registry."""

    def __init__(self, spark: SparkSession, lake: Lake, settings: Settings) -> None:
        self._spark = spark
        self._lake = lake
        self._settings = settings
        self.note = Note()
        self.catching_up = False
        """whether topics differ in how far they have been read"""
        self.registry = Registry()
        self._lookup: Lookup = self._lookup_of(self.registry)
        self.room_columns: dict[str, MoreColumn] = {}
        """columns that rooms have brought to `silver.room_telemetry`"""
        self._last_received_us = 0
        counted = ("records", *NUMBERS, "beyond", "rooms", "alerts", "states", "late", *OUTCOMES)
        self.written: dict[str, int] = dict.fromkeys(counted, 0)

    # -- start ---------------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Read where the tables stand, and finish the batch that the last writer did not."""
        note = self._lake.latest_note(BRONZE_EVENTS)
        if note is None:
            batch, positions = self._lake.positions_from_rows()
            note = Note(batch, positions)
        self.note = note
        self.know_columns()
        self._derive_again(self.note)
        self._know(self._lake.read_registry())
        # A number that any table has seen is spent, even where bronze has not: one batch, one number.
        spent = max(map(self._last_batch, TABLES))
        self.note = replace(self.note, batch=max(spent, self.note.batch))
        self.resolve_pending()

    def _last_batch(self, table: Any) -> int:
        note = self._lake.latest_note(table)
        return note.batch if note else 0

    def _derive_again(self, note: Note) -> None:
        """Finish the batch of a commit in bronze, in those tables that have not got it."""
        wanted = (table for table in DERIVED if note.follows is None or table.full_name in note.follows)
        missing = [table for table in wanted if self._last_batch(table) < note.batch]
        if not missing:
            return
        log.warning("batch %d was not finished: deriving it again from bronze.events", note.batch)
        registry = self._lake.read_registry(note.registry_version)
        lookup = self._lookup_of(registry)
        records = self._lake.read(BRONZE_EVENTS).where(F.col("batch") == note.batch).select(*RECORD_COLUMNS)
        decoded = decode.decode(records, lookup, note.knowledge, self._settings)
        self._write_derived(decoded, lookup, note, missing)

    def give_up(self, lost: Collection[Loss]) -> None:
        """Go on behind what the log no longer has. The next commit says so."""
        losses.announce(lost)
        behind = {loss.place: loss.last + 1 for loss in lost}
        positions = {**self.note.positions, **behind}
        self.note = replace(self.note, positions=positions, lost=losses.joined(self.note.lost, lost))

    # -- each batch ----------------------------------------------------------------------------------------------

    def write(
        self,
        records: DataFrame,
        expected: Mapping[Place, int] = MappingProxyType({}),
        confirm: Callable[[set[str]], bool] = lambda topics: True,
    ) -> Summary | None:
        """Write a batch of the stream. `records` has `decode.RECORD_COLUMNS`; it is read anew as often as the batch
        teaches something: devices and clocks once, fields of rooms until all are known.

        `expected`: where places begin that the tables do not know yet. `confirm` is asked of the batch's topics once
        the records are read; if it denies, nothing is written, and None returned.
        """
        note = replace(self.note, batch=self.note.batch + 1)
        here = {(log_id, partition): offset for (log_id, _, partition), offset in note.positions.items()}
        confirmed = learned = False
        while True:
            with self._decoded(records, note.knowledge.from_here(here)) as (decoded, summary):
                if not confirmed:
                    if not confirm({topic for _, topic, _ in summary.ends}):
                        return None
                    confirmed, note = True, replace(note, lost=self._lost(expected, summary))
                teaching = summary.teaching and not learned
                odd = summary.odd and not teaching
                columns = room_columns.news(decoded, note.knowledge, self._settings) if odd else {}
                if not teaching and not columns:
                    summary = self._commit(decoded, summary, note)
                    break
            if teaching:
                note, learned = self._learned(records, note), True
            else:
                note = replace(note, knowledge=self._widened(columns, note.knowledge))
        if learned:
            self.resolve_pending()
        return summary

    def know_columns(self) -> None:
        """Read from the table which columns rooms have brought: at the start, and after whatever changes its schema."""
        self.room_columns = self._lake.more_columns(ROOM_TELEMETRY)
        known = {name: column.type for name, column in self.room_columns.items()}
        self.note = replace(self.note, knowledge=replace(self.note.knowledge, room_fields=known))

    def _learned(self, records: DataFrame, note: Note) -> Note:
        """What the batch's teaching records tell, with the registry committed where it changed."""
        registry, knowledge = self._learn(records, note.knowledge)
        if registry is not self.registry:
            version = self._lake.write_registry(registry, self._settings.site, note)
            self._know(registry)
            note = replace(note, registry_version=version)
        return replace(note, knowledge=knowledge)

    def _widened(self, columns: dict[str, MoreColumn], knowledge: Knowledge) -> Knowledge:
        room_columns.add(self._lake, columns)
        self.know_columns()
        if len(self.room_columns) >= self._settings.stream.max_room_fields:
            log.warning(
                "%s has as many columns of the rooms' own as it may: %s", ROOM_TELEMETRY.full_name, room_columns.FULL
            )
        return replace(knowledge, room_fields=self.note.knowledge.room_fields)

    def _lost(self, expected: Mapping[Place, int], summary: Summary) -> tuple[Loss, ...]:
        """All that is known as lost, with what this batch shows to be: retention has overtaken its reader."""
        found = losses.found({**expected, **self.note.positions}, summary.firsts)
        losses.announce(found)
        return losses.joined(self.note.lost, found)

    @contextmanager
    def _decoded(self, records: DataFrame, knowledge: Knowledge) -> Iterator[tuple[DataFrame, Summary]]:
        decoded = decode.decode(records, self._lookup, knowledge, self._settings).persist()
        try:
            summary = _summarise(decoded, self.note.watermark)
            # From here on it is read from memory: few rows are one task, and one file in each table.
            yield decoded.coalesce(1) if summary.records <= ONE_FILE_RECORDS else decoded, summary
        finally:
            decoded.unpersist()

    def _commit(self, decoded: DataFrame, summary: Summary, note: Note) -> Summary:
        if not summary.records:
            return summary
        pending = {name: str(day) for name, day in self.note.pending.items()}
        day = _day(summary.last_received_us)
        for name in sorted(summary.pending)[: MAX_PENDING_NAMES - len(pending)]:
            pending.setdefault(name, day)
        follows = tuple(table.full_name for table in summary.derived)
        note = replace(note, positions={**note.positions, **summary.ends}, pending=pending, follows=follows)
        note = replace(note, watermark=self._watermark(summary), late=summary.late)
        bronze = self._bronze(
            decoded,
            f"{_number(note.batch)} AS batch",
            knowledge=note.knowledge,
            nested=summary.nested,
            rooms=summary.rooms + summary.alerts > 0,
            odd=summary.odd > 0,
        )
        told = Observation()
        bronze = bronze.observe(told, *(F.expr(f"sum({name}) AS {name}") for name in (*NUMBERS, "beyond")))
        self._lake.append(BRONZE_EVENTS, bronze, note)
        self.note = note
        self._write_derived(decoded, self._lookup, note, summary.derived, nested=summary.nested)
        self._last_received_us = max(self._last_received_us, summary.last_received_us)
        self.written["records"] += summary.records
        for name, number in told.get.items():
            self.written[name] += number
        for outcome, number in summary.outcomes.items():
            self.written[outcome] += number
        self.written["rooms"] += summary.rooms
        self.written["alerts"] += summary.alerts
        self.written["states"] += summary.states
        self.written["late"] += summary.late
        return summary

    def _watermark(self, summary: Summary) -> int | None:
        """The watermark behind a batch; it never goes back. Nobody's clock moves it beyond ours. While there is much to
        catch up with, it waits for the rooms that are furthest behind: one that is not would make all others late."""
        told = summary.slowest_topic_us if self.catching_up else summary.room_time_us
        if told is None:
            return self.note.watermark
        reached = min(told, time.time_ns() // 1000)
        reached -= int(self._settings.windows.watermark_seconds * 1e6)
        return max(reached, self.note.watermark or reached)

    def raise_watermark(self, to_us: int) -> None:
        """Wait for no room before this time any more, though none has said that it is over. Between two batches."""
        if self.note.watermark is None or self.note.watermark < to_us:
            self.note = replace(self.note, watermark=to_us)

    def _write_derived(
        self, decoded: DataFrame, lookup: Lookup, note: Note, tables: Collection[Table], *, nested: bool = True
    ) -> None:
        """What follows from a batch's rows in bronze. `silver.readings` is last: it ends the batch."""
        if DEAD_LETTERS in tables:
            self._lake.append(DEAD_LETTERS, _dead_letters(decoded, note.batch), note)
        if DEVICE_STATES in tables:
            states = decode.states_of(decoded, lookup, self._settings, nested=nested)
            self._lake.append(DEVICE_STATES, states, note)
        if ALERTS in tables:
            self._lake.append(ALERTS, decode.alerts_of(decoded, self._settings), note)
        if ROOM_TELEMETRY in tables:
            columns = note.knowledge.room_fields
            rooms = decode.rooms_of(decoded, self._settings, columns)
            self._lake.append(ROOM_TELEMETRY, rooms, note, fields.written(columns))
        if READINGS in tables:
            readings = decode.readings_of(decoded, lookup, self._settings, nested=nested)
            self._lake.append(READINGS, readings, note)

    # -- learning ------------------------------------------------------------------------------------------------

    def _know(self, registry: Registry) -> None:
        self.registry = registry
        self._lookup.forget()
        self._lookup = self._lookup_of(registry)

    def _lookup_of(self, registry: Registry) -> Lookup:
        return registry.lookup(self._spark, self._settings.bridge.routes)

    def _learn(self, records: DataFrame, knowledge: Knowledge) -> tuple[Registry, Knowledge]:
        """Take in the batch's teaching records, in the order in which they were received."""
        registry = self.registry
        for record in control.teaching(records, knowledge, self._settings):
            if record.key.startswith(log_record.CONTROL_PREFIX):
                knowledge = control.apply(knowledge, record)
                continue
            source = Source(
                record.log_id, record.kafka_topic, record.kafka_partition, record.kafka_offset, record.received_us
            )
            try:
                registry = registry.apply(record.key, bytes(record.payload), source)
            except BadRegistry as error:
                log.warning("%s: a dead letter", error)
                position = (record.log_id, record.kafka_partition, record.kafka_offset)
                knowledge = replace(knowledge, bad_registry=knowledge.bad_registry | {position})
        return registry, knowledge

    def tables(self) -> dict[str, dict[str, Any]]:
        """For the status: each table's version, rows written since the start, and its last row's received time."""
        last = datetime.fromtimestamp(self._last_received_us / 1e6, UTC).isoformat() if self._last_received_us else None
        rows = {
            BRONZE_EVENTS: self.written["records"],
            DEAD_LETTERS: self.written["dead_letter"],
            READINGS: self.written["readings"] - self.written["rooms"] - self.written["alerts"],
            ROOM_TELEMETRY: self.written["rooms"],
            DEVICE_STATES: self.written["states"],
            ALERTS: self.written["alerts"],
            DEVICES: len(self.registry.entries),
        }
        told: dict[str, dict[str, Any]] = {
            table.full_name: {"version": self._lake.version(table), "rows": number, "last_event_at": last}
            for table, number in rows.items()
        }
        told[ROOM_TELEMETRY.full_name]["more_columns"] = {name: asdict(c) for name, c in self.room_columns.items()}
        return told

    # -- second looks --------------------------------------------------------------------------------------------

    def resolve_pending(self) -> int:
        """Decode again the readings whose devices were not known and are now. Returns how many names that were."""
        known = {name for _, name in self.registry.names()}
        names = sorted(known & set(self.note.pending))
        if names:
            # What has no record in bronze any more cannot be decoded again, and stays as it is.
            since = max(min(self.note.pending[name] for name in names), self._lake.bronze_begins().isoformat())
            condition = f"pending = true AND date >= '{since}' AND device_name IN ({', '.join(map(_quoted, names))})"
            self.derive_again_where(condition)
            rest = {name: day for name, day in self.note.pending.items() if name not in known}
            self.note = replace(self.note, pending=rest)
            log.info("resolved the pending readings of %s", ", ".join(names))
        return len(names)

    def derive_again_where(self, condition: str) -> None:
        """Put what today's knowledge says of them in the place of the rows of `silver.readings` that match."""
        positions = self._lake.read(READINGS).where(condition).select(*POSITION_COLUMNS).distinct()
        with self._decoded_again(positions) as decoded:
            # Bronze first: what finds its rows (the readings that match) must still be there after a crash here.
            self._lake.update_outcomes(self._bronze(decoded))
            rows = decode.readings_of(decoded, self._lookup, self._settings)
            self.note = replace(self.note, batch=self.note.batch + 1)
            self._lake.replace_where(READINGS, condition, rows, replace(self.note, work="resolve"))

    def redrive(self, condition: str = "true") -> dict[str, int]:
        """Decode again the dead letters that match, and let those that can be read now take their place.

        Returns the numbers: looked at, and what became of them. Doing it twice changes nothing.
        """
        positions = self._lake.read(DEAD_LETTERS).where(condition).select(*POSITION_COLUMNS)
        with self._decoded_again(positions) as decoded:
            mended = decoded.where("outcome <> 'dead_letter'")
            numbers = {row[0]: row[1] for row in mended.groupBy("outcome").count().collect()}
            if numbers:
                self._lake.update_outcomes(self._bronze(decoded))
                self.note = replace(self.note, batch=self.note.batch + 1)
                note = replace(self.note, work="redrive")
                columns = self.note.knowledge.room_fields
                rooms = decode.rooms_of(mended, self._settings, columns)
                self.append_missing(ROOM_TELEMETRY, rooms, note, fields.written(columns))
                self.append_missing(ALERTS, decode.alerts_of(mended, self._settings), note)
                self.append_missing(READINGS, decode.readings_of(mended, self._lookup, self._settings), note)
                self._lake.delete_positions(DEAD_LETTERS, mended.select(*POSITION_COLUMNS))
            return {"looked_at": positions.count() + sum(numbers.values()), **numbers}

    def append_missing(self, table: Table, rows: DataFrame, note: Note, more: Collection[str] = ()) -> None:
        """Append what has no row in the table yet."""
        there = self._lake.read(table).select(*POSITION_COLUMNS).distinct()
        self._lake.append(table, rows.join(there, POSITION_COLUMNS, "left_anti"), note, more)

    # -- for work that decodes ranges of records again (`reprocess`, `rollback`) -------------------------------------

    def learn_again(self, records: DataFrame, knowledge: Knowledge) -> Knowledge:
        """Take in what these records teach that is not known yet (what was a dead letter then may be a description
        now). Returns the knowledge with it; barriers of long ago, which it may hold as well, are not kept for later."""
        registry, learned = self._learn(records, knowledge)
        if registry is not self.registry:
            note = replace(self.note, batch=self.note.batch + 1, work="reprocess")
            version = self._lake.write_registry(registry, self._settings.site, note)
            self._know(registry)
            self.note = replace(self.note, batch=note.batch, registry_version=version)
        mine = replace(learned, fences=self.note.knowledge.fences)
        self.note = replace(self.note, knowledge=mine)
        return learned

    @contextmanager
    def decoded_with(self, records: DataFrame, knowledge: Knowledge) -> Iterator[tuple[DataFrame, Summary]]:
        """These records, decoded, and held because the tables that they are read from change under them. What rooms
        say in them that has no column yet gets one, as in a batch."""
        while True:
            decoded = decode.decode(records, self._lookup, knowledge, self._settings).persist()
            try:
                summary = _summarise(decoded, None)
                columns = room_columns.news(decoded, knowledge, self._settings) if summary.odd else {}
                if not columns:
                    yield decoded, summary
                    return
            finally:
                decoded.unpersist()
            knowledge = self._widened(columns, knowledge)

    def events_of(self, decoded: DataFrame, summary: Summary) -> DataFrame:
        """What decoded records are in `bronze.events`, without the batch."""
        return self._bronze(
            decoded, nested=summary.nested, rooms=summary.rooms + summary.alerts > 0, odd=summary.odd > 0
        )

    def rows_of(self, table: Table, decoded: DataFrame, summary: Summary, batch: int) -> DataFrame:
        """What a table that follows from bronze gets of decoded records."""
        if table is DEAD_LETTERS:
            return _dead_letters(decoded, batch)
        if table is DEVICE_STATES:
            return decode.states_of(decoded, self._lookup, self._settings, nested=summary.nested)
        if table is ROOM_TELEMETRY:
            return decode.rooms_of(decoded, self._settings, self.note.knowledge.room_fields)
        if table is ALERTS:
            return decode.alerts_of(decoded, self._settings)
        return decode.readings_of(decoded, self._lookup, self._settings, nested=summary.nested)

    def with_pending(self, note: Note, decoded: DataFrame, summary: Summary) -> Note:
        """The note with the names of these records' devices that nobody has described yet."""
        unknown = summary.pending - {name for _, name in self.registry.names()}
        if not unknown:
            return note
        rows = decoded.where("pending AND outcome = 'read'").groupBy("device_name").agg(F.expr("min(date) AS day"))
        pending = dict(note.pending)
        for name, day in sorted((row.device_name, str(row.day)) for row in rows.collect()):
            if name in unknown and (name in pending or len(pending) < MAX_PENDING_NAMES):
                pending[name] = min(day, pending.get(name, day))
        return replace(note, pending=pending)

    @contextmanager
    def _decoded_again(self, positions: DataFrame) -> Iterator[DataFrame]:
        bronze = self._lake.read(BRONZE_EVENTS)
        records = bronze.join(F.broadcast(positions), POSITION_COLUMNS, "left_semi").select(*RECORD_COLUMNS)
        with self.decoded_with(records, self.note.knowledge) as (decoded, _):
            yield decoded

    def _bronze(
        self,
        decoded: DataFrame,
        *more: str,
        knowledge: Knowledge | None = None,
        nested: bool = True,
        rooms: bool = True,
        odd: bool = True,
    ) -> DataFrame:
        """Decoded records with the numbers of their readings and of their refused properties."""
        known = knowledge or self.note.knowledge
        of_rooms = decode.room_counts(known.room_fields) if rooms else dict.fromkeys(NUMBERS, "0")
        counts = decode.counts_of(decoded, self._lookup, nested=nested)
        joined = decoded.join(F.broadcast(counts).alias("n"), "row", "left")
        if odd:
            others = decode.beyond_of(decoded, known, self._settings)
            joined = joined.join(F.broadcast(others).alias("b"), "row", "left")
            of_rooms = {**of_rooms, "refused": f"{of_rooms['refused']} + coalesce(b.beyond, 0)"}
        numbers = (f"coalesce(n.{name}, {of_room}) AS {name}" for name, of_room in of_rooms.items())
        beyond = "coalesce(b.beyond, 0)" if odd else "0"
        return joined.selectExpr(*decoded.columns, *numbers, f"{beyond} AS beyond", *more)


def _summarise(decoded: DataFrame, watermark: int | None) -> Summary:
    """One small aggregate, which also fills the cache that the writes then read."""
    of_room = "outcome = 'read' AND kind = 'room'"
    late = "0L" if watermark is None else f"count_if({of_room} AND unix_micros(event_time) < {_number(watermark)})"
    aggregates = (
        "count(1) AS records",
        "min(kafka_offset) AS first",
        "max(kafka_offset) AS last",
        "max(unix_micros(received_at)) AS received",
        "count_if(kind IN ('registry', 'control')) AS teaching",
        "collect_set(CASE WHEN pending AND outcome = 'read' THEN device_name END) AS pending",
        "max(nested) AS nested",
        f"count_if({of_room}) AS rooms",
        "count_if(outcome = 'read' AND kind = 'alert') AS alerts",
        # A clock that is ahead must not close the windows of all others: nothing was measured after it had come.
        f"max(CASE WHEN {of_room} THEN unix_micros(least(event_time, received_at)) END) AS room_time",
        f"max(CASE WHEN {of_room} THEN unix_micros(event_time) END) AS room_newest",
        f"{late} AS late",
        f"count_if({decode.STATE} AND properties IS NOT NULL) AS states",
        "count_if(odd AND outcome = 'read') AS odd",
    )
    groups = decoded.groupBy("log_id", "kafka_topic", "kafka_partition", "outcome")
    rows = groups.agg(*map(F.expr, aggregates)).collect()
    reached: dict[str, int] = {}
    for row in rows:
        if row.room_time is not None:
            reached[row.kafka_topic] = max(reached.get(row.kafka_topic, row.room_time), row.room_time)
    outcomes: dict[str, int] = {}
    firsts: dict[Place, int] = {}
    ends: dict[Place, int] = {}
    for row in rows:
        outcomes[row.outcome] = outcomes.get(row.outcome, 0) + row.records
        place = (row.log_id, row.kafka_topic, row.kafka_partition)
        firsts[place] = min(firsts.get(place, row["first"]), row["first"])
        ends[place] = max(ends.get(place, 0), row["last"] + 1)
    return Summary(
        records=sum(outcomes.values()),
        outcomes=outcomes,
        teaching=sum(row.teaching for row in rows),
        firsts=firsts,
        ends=ends,
        last_received_us=max((row.received for row in rows), default=0),
        pending=frozenset(name for row in rows for name in row.pending),
        nested=any(row.nested for row in rows),
        rooms=sum(row.rooms for row in rows),
        alerts=sum(row.alerts for row in rows),
        states=sum(row.states for row in rows),
        room_time_us=max(reached.values(), default=None),
        slowest_topic_us=min(reached.values(), default=None),
        room_newest_us=max((row.room_newest for row in rows if row.room_newest is not None), default=None),
        late=sum(row.late for row in rows),
        odd=sum(row.odd for row in rows),
    )


def _dead_letters(decoded: DataFrame, batch: int) -> DataFrame:
    words = ", ".join(decode.text(part) for pair in contract.REASONS.items() for part in pair)
    specific = "CASE WHEN reason = 'wrong_type' THEN wrong END"
    return decoded.where("outcome = 'dead_letter'").selectExpr(
        "*",
        f"concat_ws(': ', try_element_at(map({words}), reason), {specific}) AS detail",
        f"{decode.text(contract.DECODER)} AS decoder",
        f"{_number(batch)} AS batch",
    )


def _number(number: int) -> str:
    """A number that differs from batch to batch, as SQL. As a plain literal it would be compiled into the code of its
    stage, which the JVM would then compile and optimise anew for each batch; an element of an array is passed to it."""
    return f"get(array({number}L), CASE WHEN kafka_offset IS NULL THEN 1 ELSE 0 END)"


def _day(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).date().isoformat()


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
