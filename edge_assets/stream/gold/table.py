"""What all tables of gold have in common: steps forward with the watermark, and repairs backward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_assets.stream import durability
from edge_assets.stream.gold.silver import State
from edge_assets.stream.gold.windows import SECOND
from edge_assets.tables import Column, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from edge_assets.stream.gold.tables import Gold

STEP_SECONDS = 3_600
"""so much event time is closed in one step at most, so that a backlog is no burden on the memory"""
CLOSE_ENOUGH = 1e-9
"""Two computations of a mean may differ in their last bits, as its sum is taken in another order: that is no change."""


@dataclass(slots=True)
class Counts:
    """Since the service's start."""

    rows: int = 0
    corrected: int = 0


class GoldTable(ABC):
    """One table of gold, written by one process."""

    def __init__(self, gold: Gold, table: Table) -> None:
        self.table = table
        self.name = table.full_name
        self.counts = Counts()
        self._gold = gold
        self._lake = gold.lake
        note = durability.note_before(gold.lake.folder(table))
        self.state = State.of(note) if note else State(repaired=gold.silver.version())

    # -- forward -------------------------------------------------------------------------------------------------------

    def advance(self, watermark: int, batch: int) -> bool:
        """Write what is over by the watermark, at most `STEP_SECONDS` of it. Whether there was a step to take."""
        if self.state.until is None and not self._begin():
            return False
        begin = self.state.until or 0
        if begin - self._reach > self._gold.newest:  # all that was said is written
            return False
        aim = self._aligned(watermark)
        until = min(aim, self._aligned(begin + max(STEP_SECONDS * SECOND, self._step)))
        if until <= begin:
            return False
        if not self._emit(begin, until, replace(self.state, batch=batch, until=until)) and until < aim:
            self._skip(until)
        return True

    def _begin(self) -> bool:
        first = self._gold.silver.first_time(None)
        if first is not None:
            self.state = replace(self.state, until=self._aligned(first))
        return first is not None

    def _skip(self, until: int) -> None:
        """Nothing was there for an hour: go on where something is."""
        first = self._gold.silver.first_time(until - self._reach)
        if first is not None:
            self.state = replace(self.state, until=max(until, self._aligned(first)))

    def _aligned(self, time: int) -> int:
        return time // self._step * self._step

    @property
    @abstractmethod
    def _step(self) -> int:
        """µs; the times between two steps are multiples of it"""

    @property
    @abstractmethod
    def _reach(self) -> int:
        """µs; so long after its messages something may still have to be written"""

    @abstractmethod
    def _emit(self, begin: int, until: int, state: State) -> int:
        """Write what ends in (begin, until], and go on to `state`. Returns how many rows."""

    # -- backward ------------------------------------------------------------------------------------------------------

    def repair(self, version: int, files: Sequence[Path] | None, batch: int) -> int:
        """Compute again what late messages, up to a version of silver, belong to. Returns how many rows changed."""
        if self.state.until is None:
            return 0
        state = replace(self.state, batch=batch)
        changed = 0
        if files is None:
            first = self._gold.silver.first_time(None)
            changed = self.recompute(first, self.state.until, batch) if first is not None else 0
        elif files:
            changed = self._repair(self._gold.event_times(files), state)
        # In memory only: the next commit's note says it, and to repair twice changes nothing.
        self.state = replace(self.state, repaired=version)
        return changed

    @abstractmethod
    def _repair(self, event_times: DataFrame, state: State) -> int:
        """(room_id, event_time) of messages that were added or taken away."""

    @abstractmethod
    def recompute(self, begin: int, until: int, batch: int) -> int:
        """Compute again what lies in this range of event time and is written. Returns how many rows changed."""

    def _correct(self, made: DataFrame, keys: Sequence[str], there: DataFrame, state: State) -> list[Any]:
        """Merge what differs between what is there and what it should be. Returns it, times in µs."""
        columns = [column.name for column in self.table.columns]
        values = [name for name in columns if name not in keys]
        pairs = made.alias("n").join(there.alias("o"), [*keys], "full_outer")
        differs = " OR ".join(_differ(column) for column in self.table.columns if column.name in values)
        marked = pairs.selectExpr(
            *keys,
            *(f"n.{name} AS {name}" for name in made.columns if name not in keys),
            "n.date IS NULL AS gone",
            "coalesce(n.date, o.date) AS day",
            f"o.date IS NULL OR n.date IS NULL OR {differs} AS differs",
        )
        changes = marked.where("differs").drop("date").withColumnRenamed("day", "date").persist()
        try:
            found = micros(changes).collect()
            if found:
                self._before_merge(found)
                self._lake.merge(self.table, [*keys, "date"], changes.select(*columns, "gone"), state)
                self.state = state
            self.counts.corrected += len(found)
            return found
        finally:
            changes.unpersist()

    @abstractmethod
    def _before_merge(self, rows: list[Any]) -> None:
        """Tell others of corrections: before the commit, which says that it need not be done again. Rows that
        are `gone` have their keys and no more."""


def _differ(column: Column) -> str:
    name = column.name
    if column.type != "double":
        return f"NOT (n.{name} <=> o.{name})"
    near = f"abs(n.{name} - o.{name}) <= {CLOSE_ENOUGH} * greatest(abs(n.{name}), abs(o.{name}))"
    return f"NOT (n.{name} <=> o.{name} OR coalesce({near}, false))"


def micros(rows: DataFrame) -> DataFrame:
    """Times as µs since 1970: as Python's they would be of the machine's zone."""
    times = {name for name, kind in rows.dtypes if kind == "timestamp"}
    return rows.selectExpr(*(f"unix_micros({name}) AS {name}" if name in times else name for name in rows.columns))


def span_of() -> list[Any]:
    """Aggregates of columns `begin` and `end`, in µs: from the `first` begin to the `last` end."""
    from pyspark.sql import functions as F

    return [F.expr("min(begin) AS first"), F.expr("max(end) AS last")]
