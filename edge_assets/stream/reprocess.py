"""Recomputing what follows from records that are in the lake already: `edge reprocess`.

A request is planned once: the positions that the tables hold at that moment are its upper bound, so that records which
come meanwhile are the stream's alone; the range of received times becomes a range of offsets for each place. The plan
is kept beside the request and done in steps of `stream.reprocess_offsets`. A step decodes its records with what is
known today, and puts the rows in the place of those that are there:

1. `bronze.events`: the records' outcomes; with `from_log` the records themselves, where the log still has them;
2. `bronze.dead_letters`, `silver.device_states`, `silver.alerts`, `silver.room_telemetry`, `silver.readings`.

Each table gets one commit that replaces the rows of the step's offsets, or none where the new rows are the old ones. So
a step that is done again, whole or after a kill in its midst, ends in the same rows, and what is right is not written.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from edge_assets import log_record
from edge_assets.errors import LogError
from edge_assets.settings import Settings
from edge_assets.stream import control, ranges, source
from edge_assets.stream.batch import DERIVED, BatchWriter, Summary
from edge_assets.stream.decode import POSITION_COLUMNS, RECORD_COLUMNS, Knowledge, text
from edge_assets.stream.lake import Lake
from edge_assets.stream.ranges import Range
from edge_assets.stream.requests import Request
from edge_assets.tables import BRONZE_EVENTS, DEAD_LETTERS, RECOMPUTED, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

ATTEMPTS = 5
"""so often one step is begun, each time by a writer that has started anew, before its request is given up"""

AS_FIRST_KNOWN = ("batch", "date")
"""columns of `bronze.events` that stay as they were when the record came"""


@dataclass(frozen=True, slots=True)
class Done:
    """What a step did."""

    records: int
    rewritten: Mapping[str, int]
    """table → rows written in the place of others"""
    not_in_log: int = 0
    """offsets that were to be read from the log, and that it no longer has"""


class Reprocessing:
    """Carries out the requests `reprocess`, a step at a time."""

    def __init__(
        self,
        spark: SparkSession,
        lake: Lake,
        batches: BatchWriter,
        settings: Settings,
        force: Callable[[], None],
    ) -> None:
        self._spark = spark
        self._lake = lake
        self._batches = batches
        self._settings = settings
        self._force = force

    def step(self, request: Request) -> dict[str, Any] | None:
        """Do the next step; the answer when that was the last. Raises `ValueError` with what cannot be done."""
        wanted = request.arguments
        from_log, tables = wanted["from_log"], tables_of(wanted["table"])
        progress = request.progress
        if not progress:
            plan = self.plan(wanted["from_us"], wanted["to_us"], from_log)
            progress = planned(ranges.chunks(plan, self._settings.stream.reprocess_offsets))
        return self.proceed(request, progress, lambda step: self.replace(step, tables, request.kind, from_log))

    def proceed(
        self, request: Request, progress: dict[str, Any], carry_out: Callable[[list[Range]], Done]
    ) -> dict[str, Any] | None:
        """Do the next step of a plan, and keep how far it is; the answer when there are no more."""
        if progress["done"] < len(progress["steps"]):
            if progress["attempts"] >= ATTEMPTS:
                raise ValueError(f"a step failed {ATTEMPTS} times; the stream writer's log says why")
            request.remember({**progress, "attempts": progress["attempts"] + 1})
            began = time.monotonic()
            done = carry_out(ranges.from_json(progress["steps"][progress["done"]]))
            self._force()  # before anybody is told that it is done
            progress = _added(progress, done)
            log.info(
                "%s: step %d of %d: %d records, written: %s, %.1f s",
                *(request.kind, progress["done"], len(progress["steps"]), done.records, dict(done.rewritten)),
                time.monotonic() - began,
            )
            request.remember(progress)
        if progress["done"] < len(progress["steps"]):
            return None
        answer = {name: progress[name] for name in ("records", "rewritten", "not_in_log")}
        log.info("%s: %s", request.kind, answer)
        return answer

    # -- planning ----------------------------------------------------------------------------------------------------

    def plan(self, from_us: int, to_us: int | None, from_log: bool) -> list[Range]:
        """The offsets of each place that hold all records received in that time, among those that the tables have."""
        positions = self._batches.note.positions
        until = f" AND received_at < timestamp_micros({to_us}L)" if to_us is not None else ""
        events = self._lake.read(BRONZE_EVENTS).where(f"received_at >= timestamp_micros({from_us}L){until}")
        ends = F.expr("min(kafka_offset) AS first"), F.expr("max(kafka_offset) AS last")
        rows = events.groupBy("log_id", "kafka_topic", "kafka_partition").agg(*ends).collect()
        found = [Range(*row) for row in rows]
        if from_log:
            found += self._asking_the_log(lambda: source.offsets_between(self._settings, positions, from_us, to_us))
        return ranges.below(ranges.united(found), dict(positions))

    @staticmethod
    def _asking_the_log(ask: Any) -> Any:
        try:
            return ask()
        except LogError as error:
            raise ValueError(str(error)) from error

    # -- a step ------------------------------------------------------------------------------------------------------

    def replace(
        self,
        step: Sequence[Range],
        tables: Collection[Table],
        work: str,
        from_log: bool = False,
        only: DataFrame | None = None,
    ) -> Done:
        """Put what the records of these ranges give into the place of what is there.

        Of the tables that are not among `tables`, rows are replaced only where the records' account in bronze demands
        it: another outcome, or another number of rows. `only`: the positions to which it is limited.
        """
        within = ranges.condition(step)
        before = self._lake.read(BRONZE_EVENTS).where(within)
        held = before if only is None else before.join(only, POSITION_COLUMNS, "left_semi")
        with self._records(step, held.select(*RECORD_COLUMNS), from_log) as (records, in_log):
            knowledge = self._knowledge(step, records)
            with self._batches.decoded_with(records, knowledge) as (decoded, summary):
                rewritten = self._put(decoded, summary, before, within, tables, work, only)
        self._batches.resolve_pending()
        missing = sum(each.offsets for each in step) - in_log if from_log else 0
        return Done(summary.records, rewritten, missing)

    @contextmanager
    def _records(self, step: Sequence[Range], held: DataFrame, from_log: bool) -> Iterator[tuple[DataFrame, int]]:
        """The step's records, as bronze holds them or as the log has them; and how many of them the log had."""
        if not from_log:
            yield held, 0
            return
        kept = self._asking_the_log(lambda: source.read_ranges(self._spark, self._settings, step))
        if kept is None:
            yield held, 0
            return
        kept = kept.select(*RECORD_COLUMNS).persist()
        try:
            gone = held.join(kept.select(*POSITION_COLUMNS), POSITION_COLUMNS, "left_anti")
            yield kept.unionByName(gone.select(*RECORD_COLUMNS)), kept.count()
        finally:
            kept.unpersist()

    def _knowledge(self, step: Sequence[Range], records: DataFrame) -> Knowledge:
        """What is known today, with each barrier that ever was in these places: the notes keep the newest only."""
        behind = " OR ".join(replace(each, first=0).condition for each in step)
        is_barrier = f"key = {text(log_record.BARRIER_KEY)}"
        barriers = self._lake.read(BRONZE_EVENTS).where(f"{is_barrier} AND ({behind})").select(*RECORD_COLUMNS)
        knowledge = self._batches.note.knowledge
        for record in barriers.unionByName(records.where(is_barrier)).collect():
            knowledge = control.apply(knowledge, record, kept=2**31)
        knowledge = self._batches.learn_again(records, knowledge)
        here = {(each.log_id, each.partition): each.first for each in step}
        mine = tuple(fence for fence in knowledge.fences if (fence.log_id, fence.kafka_partition) in here)
        return replace(knowledge, fences=mine).from_here(here)

    def _put(
        self,
        decoded: DataFrame,
        summary: Summary,
        before: DataFrame,
        within: str,
        tables: Collection[Table],
        work: str,
        only: DataFrame | None,
    ) -> dict[str, int]:
        batches = self._batches
        known = batches.note
        note = batches.with_pending(replace(known, batch=known.batch + 1, follows=()), decoded, summary)
        rewritten: dict[str, int] = {}
        events = _as_first_known(batches.events_of(decoded, summary), before, note.batch)
        events = _with_rest(events.select(*before.columns), before, only)
        columns = [name for name in before.columns if name not in AS_FIRST_KNOWN]
        are = fingerprint(events, columns)
        if changed := are != fingerprint(before, columns):
            self._lake.replace_where(BRONZE_EVENTS, within, events, replace(note, work=work))
            rewritten[BRONZE_EVENTS.full_name] = are[0]
        elif note.pending != known.pending:
            self._lake.tell(BRONZE_EVENTS, replace(note, work=work))
        for table in DERIVED:
            old = self._lake.read(table).where(within)
            columns = [name for name in old.columns if name != "batch"]
            were = fingerprint(old, columns)
            if not were[0] and table not in summary.derived:
                continue
            rows = batches.rows_of(table, decoded, summary, note.batch).select(*old.columns)
            new = _with_rest(rows, old, only)
            are = fingerprint(new, columns)
            if are != were and (changed or table in tables or are[0] != were[0]):
                self._lake.replace_where(table, within, new, replace(note, work=work))
                rewritten[table.full_name] = are[0]
        if rewritten or note.pending != known.pending:
            batches.note = note
        return rewritten


def _as_first_known(events: DataFrame, before: DataFrame, batch: int) -> DataFrame:
    """Rows of `bronze.events` with the batch and the day that they had; those that were missing get this one's."""
    earliest = F.expr("min(batch) AS first_batch"), F.expr("min(date) AS first_date")
    first = before.groupBy(*POSITION_COLUMNS).agg(*earliest)
    joined = events.join(first, POSITION_COLUMNS, "left")
    dated = joined.selectExpr("*", f"coalesce(first_batch, {batch}L) AS batch", "coalesce(first_date, date) AS day")
    return dated.drop("date").withColumnRenamed("day", "date")


def _with_rest(new: DataFrame, old: DataFrame, only: DataFrame | None) -> DataFrame:
    """New rows for some positions, and of all others the rows that are there."""
    return new if only is None else new.unionByName(old.join(only, POSITION_COLUMNS, "left_anti").select(*old.columns))


def tables_of(name: str) -> list[Table]:
    """The tables that a request names: `silver` and `bronze` mean all that follow."""
    if name in ("silver", "bronze"):
        return list(DERIVED)
    return [DEAD_LETTERS, *(table for table in RECOMPUTED if table.full_name == name)]


def fingerprint(rows: DataFrame, columns: Sequence[str]) -> tuple[Any, ...]:
    """(number of rows, two sums of their hashes): equal for equal rows in whatever order, and, but for one chance in
    2^64, for no others."""
    # A hash passes over nulls, so that each column also says whether it is one.
    seen = ", ".join(f"`{name}`, `{name}` IS NULL" for name in columns)
    hashed = rows.selectExpr(f"xxhash64({seen}) AS hashed")
    row = hashed.selectExpr("count(1)", "sum(CAST(hashed AS decimal(20, 0)))", "bit_xor(hashed)").first()
    return tuple(row) if row else (0, None, None)


def planned(steps: Iterable[Sequence[Range]]) -> dict[str, Any]:
    """The progress of work that has not begun."""
    none: dict[str, Any] = {"done": 0, "attempts": 0, "records": 0, "rewritten": {}, "not_in_log": 0}
    return {"steps": [ranges.as_json(step) for step in steps], **none}


def _added(progress: dict[str, Any], done: Done) -> dict[str, Any]:
    rewritten = dict(progress["rewritten"])
    for name, rows in done.rewritten.items():
        rewritten[name] = rewritten.get(name, 0) + rows
    return {
        **progress,
        "done": progress["done"] + 1,
        "attempts": 0,
        "records": progress["records"] + done.records,
        "rewritten": rewritten,
        "not_in_log": progress["not_in_log"] + done.not_in_log,
    }
