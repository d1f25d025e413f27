"""Taking a table of silver back to one of its versions: `edge rollback`.

1. Delta's RESTORE, which is a new commit: the versions in between stay in the history.
2. What the records behind that version's position give is derived again, so that nothing is missing.
3. Where the number of rows is no longer what `bronze.events` says of a record (it was a dead letter then, or decoded by
   other rules in between), that record is derived again, too.

Until it is done the table lacks rows, and `edge verify` says so. A writer that is killed goes on with the next step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edge_assets.settings import Settings
from edge_assets.stream import ranges
from edge_assets.stream.batch import BatchWriter
from edge_assets.stream.decode import POSITION_COLUMNS
from edge_assets.stream.lake import Lake
from edge_assets.stream.ranges import Range
from edge_assets.stream.reprocess import Done, Reprocessing, planned
from edge_assets.stream.requests import Request
from edge_assets.tables import ALERTS, BRONZE_EVENTS, DEVICE_STATES, READINGS, RECOMPUTED, ROOM_TELEMETRY, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LARGER = 4
"""A step that only counts rows takes so many times the offsets of one that derives them."""


class Rollbacks:
    """Carries out the requests `rollback`, a step at a time."""

    def __init__(
        self,
        lake: Lake,
        batches: BatchWriter,
        reprocessing: Reprocessing,
        settings: Settings,
        force: Callable[[], None],
    ) -> None:
        self._lake = lake
        self._batches = batches
        self._reprocessing = reprocessing
        self._offsets = settings.stream.reprocess_offsets
        self._force = force

    def step(self, request: Request) -> dict[str, Any] | None:
        """Do the next step; the answer when that was the last. Raises `ValueError` with what cannot be done."""
        table = next(table for table in RECOMPUTED if table.full_name == request.arguments["table"])
        progress = request.progress
        if not progress:
            progress = self._begin(table, request.arguments["version"])
            self._force()
            request.remember(progress)
            return None

        def carry_out(step: list[Range]) -> Done:
            behind = request.progress["done"] < progress["behind"]
            return self._derive(table, step) if behind else self._reconcile(table, step)

        answer = self._reprocessing.proceed(request, progress, carry_out)
        if answer is not None and table is READINGS:
            self._resolve_pending()
        return answer

    def _begin(self, table: Table, version: int) -> dict[str, Any]:
        """Restore, and plan what comes after. The upper bound are the positions of now: nobody commits meanwhile."""
        before = self._lake.note_at(table, version)
        self._restore(table, version)
        first = self._first_offsets()
        now = [Range(*place, first.get(place, 0), end - 1) for place, end in self._batches.note.positions.items()]
        then = dict(before.positions) if before else {}
        later = [replace(each, first=max(each.first, then.get(each.place, 0))) for each in now]
        behind = list(ranges.chunks((each for each in later if each.offsets > 0), self._offsets))
        checks = ranges.chunks(ranges.below(now, then), self._offsets * LARGER) if table is not DEVICE_STATES else ()
        return {**planned([*behind, *checks]), "behind": len(behind)}

    def _restore(self, table: Table, version: int) -> None:
        from py4j.protocol import Py4JJavaError
        from pyspark.errors import PySparkException

        note = replace(self._batches.note, batch=self._batches.note.batch + 1)
        try:
            self._lake.restore(table, version, replace(note, work="rollback"))
        except (PySparkException, Py4JJavaError) as error:
            raise ValueError(f"{table.full_name} has no version {version} any more: {_first_line(error)}") from error
        self._batches.note = note
        self._batches.know_columns()  # the schema is that of the version

    def _first_offsets(self) -> dict[tuple[str, str, int], int]:
        """The first offset of each place that bronze still holds."""
        places = self._lake.read(BRONZE_EVENTS).groupBy("log_id", "kafka_topic", "kafka_partition")
        return {(row[0], row[1], row[2]): row[3] for row in places.agg({"kafka_offset": "min"}).collect()}

    def _derive(self, table: Table, step: list[Range]) -> Done:
        return self._reprocessing.replace(step, [table], "rollback")

    def _reconcile(self, table: Table, step: list[Range]) -> Done:
        """Derive again the records of which the tables do not have as many rows as bronze says."""
        unequal = self._unequal(ranges.condition(step)).persist()
        try:
            if unequal.isEmpty():
                return Done(0, {})
            return self._reprocessing.replace(step, [table], "rollback", only=unequal)
        finally:
            unequal.unpersist()

    def _unequal(self, within: str) -> DataFrame:
        gave = self._lake.read(BRONZE_EVENTS).where(within)
        gave = gave.selectExpr(
            *POSITION_COLUMNS, "CASE WHEN outcome = 'read' THEN coalesce(readings, 0) ELSE 0 END gave"
        )
        tables = (self._lake.read(table).where(within) for table in (READINGS, ROOM_TELEMETRY, ALERTS))
        readings, rooms, alerts = (rows.select(*POSITION_COLUMNS) for rows in tables)
        has = readings.unionByName(rooms).unionByName(alerts).groupBy(*POSITION_COLUMNS).count()
        joined = gave.join(has, POSITION_COLUMNS, "left")
        return joined.where("gave <> coalesce(`count`, 0)").select(*POSITION_COLUMNS)

    def _resolve_pending(self) -> None:
        """Readings that were pending at that version are so again: of who is known by now they are resolved."""
        rows = self._lake.read(READINGS).where("pending = true").groupBy("device_name").agg({"date": "min"}).collect()
        known = self._batches.note
        pending = {**{row[0]: str(row[1]) for row in rows}, **known.pending}
        if pending != known.pending:
            self._batches.note = replace(known, batch=known.batch + 1, pending=pending, follows=())
            self._lake.tell(BRONZE_EVENTS, replace(self._batches.note, work="rollback"))
            self._force()
        self._batches.resolve_pending()


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
