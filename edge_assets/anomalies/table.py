"""gold.anomalies: the Delta table whose one committer is the run that finds them, by deltalake.

A run's anomalies are one commit, so that all of them or none are there. The table itself says up to which time it was
told everything: the latest end of a window. There are few rows, and so it is one folder without partitions.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edge_assets import object_store
from edge_assets.anomalies.detector import QUIET_SECONDS, Found
from edge_assets.anomalies.memory import Memory, Series
from edge_assets.delta_log import Commit, commits
from edge_assets.errors import LakeError
from edge_assets.settings import Settings
from edge_assets.tables import ANOMALIES
from edge_assets.warehouse import lake

NAME = (ANOMALIES.layer, ANOMALIES.name)
FILES = 50
"""when so many lie there they are made one"""
KEEP_HOURS = 24
PROPERTIES: Mapping[str, str | None] = {
    "delta.logRetentionDuration": "interval 30 days",
    "delta.deletedFileRetentionDuration": f"interval {KEEP_HOURS} hours",
}


@dataclass(frozen=True, slots=True)
class Told:
    """What the table was told already."""

    until: int | None
    """the latest end of a window (seconds since 1970); None: nothing was ever told"""
    lately: Mapping[Series, int]
    """of the series that were told of in the days before that, the latest end"""

    def is_news(self, series: Series, found: Found) -> bool:
        """Whether an anomaly has not been told, nor another one of its event."""
        if self.until is not None and found.end <= self.until:
            return False
        return series not in self.lately or found.begin - self.lately[series] > QUIET_SECONDS


def folder(settings: Settings) -> Path:
    return settings.lake_path / ANOMALIES.layer / ANOMALIES.name


def told(settings: Settings) -> Told:
    """What the table holds. Raises `LakeError` where it cannot be read.

    Windows of the future are of a clock that was wrong, and count for nothing.
    """
    with lake.connection(settings) as opened:
        lake.show(opened, settings, NAME)
        latest = "(SELECT epoch_us(max(window_end)) FROM gold.anomalies WHERE window_end <= now())"
        rows = opened.execute(
            f"SELECT {', '.join(Series._fields)}, epoch_us(max(window_end)) // 1000000 FROM gold.anomalies "
            f"WHERE window_end <= now() AND epoch_us(window_end) >= {latest} - {2 * QUIET_SECONDS * 1_000_000} "
            "GROUP BY ALL"
        ).fetchall()
    ends = {Series(*row[:-1]): int(row[-1]) for row in rows}
    return Told(max(ends.values(), default=None), ends)


def append(settings: Settings, memory: Memory, found: Iterable[Found]) -> int:
    """Commit anomalies, all at once, and force them to the disk. Returns how many."""
    import pyarrow as pa
    from deltalake import write_deltalake

    now = datetime.now(UTC)
    rows = [_row(memory, one, now) for one in sorted(found, key=lambda one: (one.end, one.series))]
    if not rows:
        return 0
    types = {"string": pa.string(), "double": pa.float64(), "timestamp": pa.timestamp("us", "UTC"), "date": pa.date32()}
    schema = pa.schema([(column.name, types[column.type]) for column in ANOMALIES.columns])
    place = folder(settings)
    with object_store.in_words(settings):
        if not object_store.is_bucket(place):
            place.mkdir(parents=True, exist_ok=True)
        write_deltalake(
            _address(place),
            pa.Table.from_pylist(rows, schema=schema),
            mode="append",
            configuration=PROPERTIES,
            storage_options=object_store.deltalake_options(settings),
        )
    _force_newest(place)
    return len(rows)


def tidy(settings: Settings, files: int = FILES) -> bool:
    """Make one file of many, and let go what was replaced a day ago. Says whether it did."""
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    with object_store.in_words(settings):
        try:
            table = DeltaTable(_address(folder(settings)), storage_options=object_store.deltalake_options(settings))
        except TableNotFoundError:
            return False
        if len(table.file_uris()) < files:
            return False
        table.optimize.compact()
        table.vacuum(KEEP_HOURS, dry_run=False)
    _force_newest(folder(settings))
    return True


def mend(settings: Settings) -> int:
    """Take back the newest commits that a power cut has torn; returns how many. They are found again by the run.

    A bucket's commits are whole or not there.
    """
    place, torn = folder(settings), 0
    if object_store.is_bucket(place):
        return 0
    for commit in reversed(commits(place)):
        if _is_whole(place, commit):
            break
        commit.path.unlink()
        for checkpoint in (place / "_delta_log").glob(f"{commit.version:020d}.checkpoint*"):
            checkpoint.unlink()
        (place / "_delta_log" / "_last_checkpoint").unlink(missing_ok=True)
        torn += 1
    return torn


def _is_whole(place: Path, commit: Commit) -> bool:
    try:
        added = [action["add"] for action in commit.actions() if "add" in action]
        return all((place / each["path"]).stat().st_size == each["size"] for each in added)
    except (ValueError, FileNotFoundError):
        return False


def _force_newest(place: Path) -> None:
    if object_store.is_bucket(place):
        return
    newest = commits(place)[-1]
    added = [place / action["add"]["path"] for action in newest.actions() if "add" in action]
    for path in (*added, place, newest.path, newest.path.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _address(place: Path) -> str:
    if odd := sorted(set("[]%") & set(str(place))):
        raise LakeError(f"writing {place}: deltalake cannot write below a folder named with {odd[0]}; set lake.path")
    return place.as_uri()


def _row(memory: Memory, found: Found, now: datetime) -> dict[str, Any]:
    begin = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=found.begin)
    return {
        **memory.series[found.series]._asdict(),
        "device_name": memory.names[found.series],
        "type": found.type,
        "window_start": begin,
        "window_end": begin + timedelta(seconds=found.end - found.begin),
        "value": found.value,
        "expected": found.expected,
        "tolerance": found.limit,
        "score": found.score,
        "detected_at": now,
        "date": begin.date(),
    }
