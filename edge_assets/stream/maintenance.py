"""Keeping the lake small: joining small files, dropping what was replaced long ago, and cutting the tables' logs.

The stream writer writes a file per table and batch; a day of them is thousands. Joining rewrites rows, it never changes
them. All of it is done by the stream writer, because nobody else may commit to these tables, in slices
(`edge_assets.stream.chores`): one joins at most `stream.join_mb` of one day of one table.

Who starts it: Dagster asks each hour (`edge_assets.defs.lake_care`). The writer itself joins the files of a table as
soon as it has written `join_files` of them or `join_mb`, so that no slice grows with the load; and where nobody has
asked for `compact_minutes` (no daemon runs) it does the whole of it.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from edge_assets import delta_log
from edge_assets.settings import Settings
from edge_assets.stream.chores import Chore, Slice
from edge_assets.stream.lake import Lake
from edge_assets.tables import TABLES, Table, gold_tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

FEW_FILES = 8
"""small files of a day that still grows: fewer are left until there are more"""

LOG_DAYS = 3
"""commits older than this should have been cleaned up: Delta keeps two days of them, and whole days"""

LOOK_SECONDS = 30.0
"""between two looks at what was written"""

_OPTIMIZE = "spark.databricks.delta.optimize"


@dataclass(slots=True)
class DayFiles:
    """The active files of one day of a table, in bytes; `day` None: the table has no days."""

    day: str | None
    sizes: list[int] = field(default_factory=list)

    def small(self, limit: int) -> list[int]:
        return sorted(size for size in self.sizes if size < limit)


def tables(lake: Lake, settings: Settings) -> tuple[Table, ...]:
    """The tables that are kept small. Those of gold are made with the first room."""
    there = (table for table in gold_tables(settings) if delta_log.newest(lake.folder(table)) >= 0)
    return (*TABLES, *there)


class Maintenance:
    def __init__(self, spark: SparkSession, lake: Lake, settings: Settings) -> None:
        self._spark = spark
        self._lake = lake
        self._settings = settings
        self._growth = Growth(lake, settings)
        self._asked = time.monotonic()
        self._next_look = 0.0
        for name, value in {
            # By default Delta lists a table's folders with ten thousand tasks, which took 35 s for a table of two days.
            "spark.sql.sources.parallelPartitionDiscovery.parallelism": "1",
            # Below Delta's own week: there is one writer, and readers here hold a snapshot for seconds.
            "spark.databricks.delta.retentionDurationCheck.enabled": "false",
            # Two commits for each time that nothing was there to delete would push the batches' notes out of the log.
            "spark.databricks.delta.vacuum.logging.enabled": "false",
            f"{_OPTIMIZE}.maxFileSize": str(self.file_bytes),
        }.items():
            spark.conf.set(name, value)

    @property
    def file_bytes(self) -> int:
        return self._settings.stream.join_mb << 20

    def due(self) -> tuple[str, dict[str, Any]] | None:
        """(kind, arguments) of what the writer should begin by itself now."""
        minutes, now = self._settings.stream.compact_minutes, time.monotonic()
        if minutes <= 0 or now < self._next_look:
            return None
        self._next_look = now + LOOK_SECONDS
        if now - self._asked > minutes * 60:
            return "maintain", {}
        grown = self._growth.beyond(self._settings.stream.join_files, self.file_bytes)
        return ("join", {"tables": [table.full_name for table in grown]}) if grown else None

    # -- chores --------------------------------------------------------------------------------------------------

    def join(self, arguments: Mapping[str, Any]) -> Chore:
        """Join the small files of some tables."""
        joined = {}
        for table in tables(self._lake, self._settings):
            if table.full_name in arguments["tables"]:
                joined[table.full_name] = yield from self._join(table)
        return {"joined": joined}

    def maintain(self, arguments: Mapping[str, Any]) -> Chore:
        """All of it for all tables. Answers with each table's files and bytes, before and after."""
        self._asked = time.monotonic()
        told = {}
        for table in tables(self._lake, self._settings):
            before = self.figures(table)
            joined = yield from self._join(table)
            if self._settings.stream.vacuum_hours >= 1:
                self._vacuum(table)  # commits nothing, and no batch under way has files so old: no turn is needed
            else:
                yield Slice(f"dropping replaced files of {table.full_name}", partial(self._vacuum, table))
            if self._has_old_commits(table):
                yield Slice(f"cutting the log of {table.full_name}", partial(self._cut_log, table))
            told[table.full_name] = {"before": before, "after": self.figures(table), "joined": joined}
        return {"tables": told}

    def figures(self, table: Table) -> dict[str, int]:
        """Active files, their bytes, the most of a day, and the commits that the log holds."""
        days = self.days(table)
        return {
            "files": sum(len(day.sizes) for day in days),
            "bytes": sum(sum(day.sizes) for day in days),
            "most_files_a_day": max((len(day.sizes) for day in days), default=0),
            "log": len(delta_log.commits(self._lake.folder(table))),
        }

    # -- joining -------------------------------------------------------------------------------------------------

    def days(self, table: Table) -> list[DayFiles]:
        """The table's active files by day, oldest first."""
        found: dict[str | None, DayFiles] = {}
        dated = "date" in table.partitioned_by
        for row in self._lake.files(table).selectExpr("partitionValues", "size").collect():
            day = row.partitionValues["date"] if dated else None
            found.setdefault(day, DayFiles(day)).sizes.append(row["size"])
        return [found[day] for day in sorted(found, key=lambda day: day or "")]

    def _join(self, table: Table) -> Generator[Slice, None, int]:
        """Join day by day, so much at once as a slice may; returns how many files were joined."""
        self._growth.forget(table)
        joined = 0
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        for day in self.days(table):
            open_still = day.day is not None and date.fromisoformat(day.day) >= yesterday
            left = day
            while limit := part_below(
                left.small(self.file_bytes // 4), self.file_bytes, FEW_FILES if open_still else 2
            ):
                name = f"joining files of {table.full_name}" + (f" of {day.day}" if day.day else "")
                yield Slice(name, partial(self._optimize, table, day.day, limit))
                now = next((each for each in self.days(table) if each.day == day.day), DayFiles(day.day))
                if len(now.sizes) >= len(left.sizes):
                    break  # none could be joined with another
                joined += len(left.sizes) - len(now.sizes)
                left = now
        return joined

    def _optimize(self, table: Table, day: str | None, limit: int) -> None:
        self._spark.conf.set(f"{_OPTIMIZE}.minFileSize", str(limit))
        where = f"WHERE date = DATE'{day}'" if day else ""
        with self._lake.saying(table):
            self._spark.sql(f"OPTIMIZE delta.`{self._lake.location(table)}` {where}").collect()

    def _vacuum(self, table: Table) -> None:
        hours = self._settings.stream.vacuum_hours
        self._spark.sql(f"VACUUM delta.`{self._lake.location(table)}` RETAIN {hours} HOURS").collect()

    # -- the log -------------------------------------------------------------------------------------------------

    def _has_old_commits(self, table: Table) -> bool:
        """Whether the log keeps commits that are past their time. Delta cleans up at each checkpoint, of which a table
        that is rarely written has few."""
        there = delta_log.commits(self._lake.folder(table))
        return len(there) > 1 and there[0].path.stat().st_mtime < time.time() - LOG_DAYS * 86_400

    def _cut_log(self, table: Table) -> None:
        """Make a checkpoint; Delta then deletes the commits before it that are older than the log's retention. The
        newest commit always stays, and has a note."""
        self._lake.checkpoint(table)


def part_below(sizes: list[int], at_once: int, least: int) -> int | None:
    """Of small files (sizes ascending): the size below which they come to no more than `at_once` bytes; None where
    there are fewer than `least` of them to join."""
    if len(sizes) < least:
        return None
    total = 0
    for size in sizes:
        total += size
        if total > at_once and size > sizes[1]:  # two are smaller at least
            return size
    return sizes[-1] + 1


class Growth:
    """What was written to each table since its files were last joined, from the commits' own files."""

    def __init__(self, lake: Lake, settings: Settings) -> None:
        self._lake = lake
        self._settings = settings
        self._read = {table: delta_log.newest(lake.folder(table)) for table in tables(lake, settings)}
        self._files: dict[Table, int] = defaultdict(int)
        self._bytes: dict[Table, int] = defaultdict(int)

    def beyond(self, files: int, size: int) -> list[Table]:
        """The tables that have grown by more than so many files or bytes."""
        there = tables(self._lake, self._settings)
        for table in there:
            for size_of_file in self._news(table):
                self._files[table] += 1
                self._bytes[table] += size_of_file
        return [table for table in there if self._files[table] > files or self._bytes[table] > size]

    def forget(self, table: Table) -> None:
        self._files[table] = self._bytes[table] = 0

    def _news(self, table: Table) -> Iterator[int]:
        """The sizes of files that are new; those that were only joined are not."""
        for commit in delta_log.since(self._lake.folder(table), self._read.get(table, -1)):
            added = (action["add"] for action in commit.actions() if "add" in action)
            yield from (about["size"] for about in added if about.get("dataChange", True))
            self._read[table] = commit.version
