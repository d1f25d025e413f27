"""Delta tables of the lake, as SQL that reads their files as they are now. What was read of a log is kept for a second.

A question about a range reads only the files of the days that it touches: windows and sessions lie in a folder for each
UTC day of their begin.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from edge_assets import object_store
from edge_assets.errors import LakeError
from edge_assets.serving.times import Span
from edge_assets.settings import Settings
from edge_assets.warehouse import lake

LOOK_SECONDS = 1.0
"""so often is looked whether a table has a new version"""

BEGINS = {"window_start", "session_start"}
"""a table with one of these is cut into days by it"""

_DAY = re.compile(r"/date=(\d{4}-\d\d-\d\d)/")


@dataclass(frozen=True, slots=True)
class Relation:
    """A SELECT of a table's rows, and the version that it was taken of."""

    sql: str
    version: str


@dataclass(slots=True)
class _Known:
    looked_at: float
    newest: str | None
    """name of the log's newest entry"""
    snapshot: lake.Snapshot


class Relations:
    """Used from the threads of `turns`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[lake.TableName, _Known] = {}
        self._lock = threading.Lock()

    def of(self, name: lake.TableName, span: Span) -> Relation:
        """The table in a span of time: rows of other days may be there as well. Raises `LakeError`."""
        snapshot = self._snapshot(name)
        version = f"{'.'.join(name)}@{snapshot.version}"
        if "date" in snapshot.partitioned_by and BEGINS & snapshot.columns.keys():
            snapshot = snapshot.only(lambda file: _may_hold(file.path, span))
        return Relation(snapshot.select(), version)

    def forget(self) -> None:
        """A file has gone: look at every log anew."""
        with self._lock:
            self._known.clear()

    def _snapshot(self, name: lake.TableName) -> lake.Snapshot:
        with self._lock:
            known = self._known.get(name)
            if known is not None and time.monotonic() - known.looked_at < LOOK_SECONDS:
                return known.snapshot
            newest = self._newest_entry(name)
            if known is None or newest is None or newest != known.newest:
                known = _Known(0, newest, lake.snapshot(self._settings, name))
                self._known[name] = known
            known.looked_at = time.monotonic()
            return known.snapshot

    def _newest_entry(self, name: lake.TableName) -> str | None:
        log = self._settings.lake_path / name[0] / name[1] / "_delta_log"
        try:
            with object_store.in_words(self._settings):
                return max((path.name for path in log.glob("*.json")), default=None)
        except OSError as error:
            raise LakeError(f"reading {'.'.join(name)}: {error}; `edge doctor` says what is amiss") from error


def _may_hold(path: str, span: Span) -> bool:
    match = _DAY.search(path)
    if match is None:
        return True
    day = date.fromisoformat(match[1])
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return begin < span.end and (span.begin is None or begin + timedelta(days=1) > span.begin)
