"""`edge verify`: proves, per topic and partition of the log, that every record is in the tables once.

The checks are `proof`'s; this module takes the snapshots, asks Kafka for the ends of its log, waits where that is
wanted, and reports.

The tables are committed one after another (`bronze.events` first), and the stream writer goes on while we look. So
a finding in a table that follows `bronze.events` counts only when it is still there after the writer had time to
finish its batch; where no writer runs, at once.

Records that expired in the log before they were read are a loss, whether it was announced or not: then it does not
hold. But they are named as such (`expired`), with their offsets, so that nobody takes another gap for one of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edge_assets.errors import LakeError
from edge_assets.log_record import Place
from edge_assets.platform import endpoints
from edge_assets.retention import Expired
from edge_assets.service import lock_holder
from edge_assets.settings import Settings
from edge_assets.stream import losses
from edge_assets.stream.durability import note_before
from edge_assets.stream.losses import Loss
from edge_assets.tables import BRONZE_EVENTS
from edge_assets.warehouse import lake, log_ends
from edge_assets.warehouse.log_ends import LogEnds
from edge_assets.warehouse.proof import Problem, Tables, Tally, prove

WRITER = "stream_writer"
PATIENCE_SECONDS = 30.0
"""How long a running writer is given to finish the batch that we caught it in."""
LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class PartitionProof:
    """One place of the log. Offsets are inclusive but for `end`; None where the tables or the log have none."""

    log_id: str
    topic: str
    partition: int
    begin: int | None
    """the log's first offset; None: this log is gone, or Kafka is away"""
    end: int | None
    first: int | None
    last: int | None
    records: int
    gaps: int
    repeats: int
    lag: int | None
    """records of the log that are not in the tables yet"""
    read: int
    dead_letters: int
    tombstones: int
    ignored: int
    refused_properties: int
    readings: int
    """rows of silver.readings"""
    kept_from: int
    """records before this offset were given up for their age; 0: none"""


@dataclass(frozen=True, slots=True)
class Report:
    """What was proved. `holds`: nothing is amiss, and all of it could be compared with the log."""

    holds: bool
    partial: bool
    """Kafka could not be asked: the tables are proved against themselves alone"""
    partitions: tuple[PartitionProof, ...]
    problems: tuple[Problem, ...]

    @property
    def expired_alone(self) -> bool:
        """Nothing is amiss but what the log gave up before it was read."""
        return bool(self.problems) and all(problem.kind == "expired" for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON has it; `read` is the number of records that were taken from the log."""
        return {
            "holds": self.holds,
            "partial": self.partial,
            "read": self._sum("records"),
            "written": self._sum("read"),
            "dead_letters": self._sum("dead_letters"),
            "tombstones": self._sum("tombstones"),
            "ignored": self._sum("ignored"),
            "refused_properties": self._sum("refused_properties"),
            "readings": self._sum("readings"),
            "gaps": self._sum("gaps"),
            "repeats": self._sum("repeats"),
            "lag": self._sum("lag"),
            "partitions": [_as_dict(partition) for partition in self.partitions],
            "problems": [_problem_as_dict(problem) for problem in self.problems],
        }

    def render(self) -> str:
        """The report for a person: a line per place, then what is amiss, then the verdict."""
        lines = [_table(self.partitions)] if self.partitions else ["the tables and the log are empty"]
        for problem in self.problems:
            lines.append(f"✗ {problem}")
            if problem.query:
                lines.append(f'    edge sql "{_one_line(problem.query)}"')
        return "\n".join([*lines, self._verdict()])

    def __str__(self) -> str:
        return self.render()

    def _verdict(self) -> str:
        numbers = (
            f"{self._sum('records'):,} records read = {self._sum('read'):,} written + "
            f"{self._sum('dead_letters'):,} dead letters + {self._sum('tombstones'):,} tombstones + "
            f"{self._sum('ignored'):,} ignored; {self._sum('gaps'):,} gaps, {self._sum('repeats'):,} repeats; "
            f"{self._sum('readings'):,} readings, {self._sum('refused_properties'):,} properties refused"
        )
        lag = f"; {self._sum('lag'):,} records are still on their way" if self._sum("lag") else ""
        aged = sum(partition.kept_from > 0 for partition in self.partitions)
        given_up = f"; of {aged} partitions the beginning was given up for its age" if aged else ""
        return f"{'✓ complete' if self.holds else '✗ NOT PROVED'}: {numbers}{lag}{given_up}"

    def _sum(self, name: str) -> int:
        return sum(getattr(partition, name) or 0 for partition in self.partitions)


def verify(settings: Settings, wait_seconds: float = 0, memory_limit: str | None = None) -> Report:
    """Compare the tables with the log and with one another. Reads only, and may run beside the stream writer.

    With `wait_seconds`, first waits until everything is written that the log held at the beginning; what is not by
    then is a problem. Raises `LakeError` where a table cannot be read.
    """
    settings = endpoints.remembered(settings)
    late = _wait(settings, wait_seconds) if wait_seconds else ()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        report = _look(settings, memory_limit, late)
        amiss = [problem for problem in report.problems if problem.kind != "expired"]
        unsettled = bool(amiss) and all(problem.derived for problem in amiss)
        if not unsettled or lock_holder(settings, WRITER) is None or time.monotonic() > deadline:
            return report
        time.sleep(LOOK_SECONDS)


def _look(settings: Settings, memory_limit: str | None, late: Sequence[Problem]) -> Report:
    """One proof over one snapshot. The log is asked after it, so that it cannot be behind."""
    tables = _tables(settings)
    ends = log_ends.ask(settings)
    note = note_before(settings.lake_path / BRONZE_EVENTS.layer / BRONZE_EVENTS.name)
    lost = losses.decoded(note) if note else ()
    tallies, problems = _proved(settings, memory_limit, tables, ends, lost)
    away = ends.problem
    if away:
        says = f"the tables could not be compared with the log, but only with one another: {away}"
        problems = [Problem("log_away", says, None, 1), *problems]
    everything = (*problems, *late)
    return Report(not everything, away is not None, tuple(map(_partition, tallies)), everything)


def _proved(
    settings: Settings, memory_limit: str | None, tables: Tables, ends: LogEnds, lost: Sequence[Loss]
) -> tuple[list[Tally], list[Problem]]:
    import duckdb

    for attempt in range(1, lake.SNAPSHOTS + 1):
        try:
            with lake.connection(settings, memory_limit) as opened:
                return prove(opened, tables, ends, lost)
        except duckdb.IOException as error:  # maintenance took a file away: once more, with a new snapshot
            if attempt == lake.SNAPSHOTS:
                raise LakeError(f"verifying the tables in {settings.lake_path}: {_one_line(str(error))}") from error
            tables = _tables(settings)
    raise AssertionError


def _tables(settings: Settings) -> Tables:
    """`bronze.events` first: whatever it holds, the tables that follow it must hold, too."""
    return Tables(
        events=lake.snapshot(settings, ("bronze", "events")),
        dead_letters=lake.snapshot(settings, ("bronze", "dead_letters")),
        readings=lake.snapshot(settings, ("silver", "readings")),
        rooms=lake.snapshot(settings, ("silver", "room_telemetry")),
        states=lake.snapshot(settings, ("silver", "device_states")),
        alerts=lake.snapshot(settings, ("silver", "alerts")),
    )


# --- waiting -----------------------------------------------------------------------------------------------------


def _wait(settings: Settings, seconds: float) -> tuple[Problem, ...]:
    """Wait until `bronze.events` holds what the log holds now. Returns what it still lacks at the end."""
    ends = log_ends.ask(settings)
    reached = _Reached(settings)
    deadline = time.monotonic() + seconds
    while True:
        last = reached()
        behind = {place: end for place, end in ends.ends.items() if _behind(last.get(place), ends.begins[place], end)}
        if not behind or time.monotonic() > deadline:
            break
        time.sleep(LOOK_SECONDS)
    missing = {place: end - 1 - last.get(place, ends.begins[place] - 1) for place, end in behind.items()}
    return tuple(
        Problem("lag", f"{count} records are not written after {seconds:g} s", place, count)
        for place, count in missing.items()
    )


def _behind(last: int | None, begin: int, end: int) -> bool:
    return end > begin and (last is None or last < end - 1)


class _Reached:
    """The last offset of each place in `bronze.events`, or the last that it has given up for its age. Looks only into
    files that it has not seen."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: set[str] = set()
        self._last: dict[Place, int] = {}

    def __call__(self) -> dict[Place, int]:
        table = lake.snapshot(self._settings, ("bronze", "events"))
        query = "SELECT log_id, kafka_topic, kafka_partition, max(kafka_offset) FROM ({}) GROUP BY ALL"
        fresh = table.only(lambda file: file.path not in self._seen)
        with lake.connection(self._settings) as opened:
            for *place, last in opened.execute(query.format(fresh.select())).fetchall():
                self._last[tuple(place)] = max(last, self._last.get(tuple(place), -1))  # type: ignore[index]
        for given_up, end in Expired.of(table.properties).offsets.items():
            self._last[given_up] = max(end - 1, self._last.get(given_up, -1))
        self._seen |= {file.path for file in table.files}
        return self._last


# --- the report --------------------------------------------------------------------------------------------------


def _partition(tally: Tally) -> PartitionProof:
    log_id, topic, partition = tally.place
    return PartitionProof(
        log_id=log_id,
        topic=topic,
        partition=partition,
        begin=tally.begin,
        end=tally.end,
        first=tally.first,
        last=tally.last,
        records=tally.total("records"),
        gaps=tally.gaps + tally.expired,
        repeats=tally.total("records") - tally.total("distinct"),
        lag=tally.lag,
        read=tally.outcome("read"),
        dead_letters=tally.outcome("dead_letter"),
        tombstones=tally.outcome("tombstone"),
        ignored=tally.outcome("ignored"),
        refused_properties=tally.total("refused"),
        readings=tally.total("reading_rows"),
        kept_from=tally.kept_from,
    )


def _as_dict(partition: PartitionProof) -> dict[str, Any]:
    return {name: getattr(partition, name) for name in PartitionProof.__slots__}


def _problem_as_dict(problem: Problem) -> dict[str, Any]:
    return {
        "kind": problem.kind,
        "says": str(problem),
        "count": problem.count,
        "positions": [[*problem.place, offset] for offset in problem.offsets] if problem.place else [],
        "query": problem.query and _one_line(problem.query),
    }


_COLUMNS: tuple[tuple[str, Callable[[PartitionProof], Any]], ...] = (
    ("topic", lambda p: f"{p.topic}[{p.partition}]"),
    ("log", lambda p: p.log_id[:8]),
    ("log holds", lambda p: "-" if p.end is None else f"{p.begin}..{p.end}"),
    ("tables hold", lambda p: "-" if p.last is None else f"{p.first}..{p.last}"),
    ("records", lambda p: p.records),
    ("gaps", lambda p: p.gaps),
    ("repeats", lambda p: p.repeats),
    ("lag", lambda p: "-" if p.lag is None else p.lag),
    ("read", lambda p: p.read),
    ("dead", lambda p: p.dead_letters),
    ("tombstones", lambda p: p.tombstones),
    ("ignored", lambda p: p.ignored),
    ("readings", lambda p: p.readings),
)


def _table(partitions: Sequence[PartitionProof]) -> str:
    rows = [[name for name, _ in _COLUMNS], *([str(of(p)) for _, of in _COLUMNS] for p in partitions)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(_COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _one_line(text: str) -> str:
    return " ".join(text.split())
