"""`silver.room_telemetry` as gold reads it, and how far a table of gold has come in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from edge_assets import delta_log
from edge_assets.retention import Expired, is_marked
from edge_assets.stream import durability
from edge_assets.stream.gold.sessions import Session
from edge_assets.stream.lake import Lake
from edge_assets.tables import ROOM_TELEMETRY

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True, slots=True)
class State:
    """How far a table has come: the note of its commits."""

    batch: int = 0
    """the newest batch of the stream that was there: a power cut that takes it takes this commit along"""
    until: int | None = None
    """µs since 1970: all that ends by then is written"""
    repaired: int = 0
    """version of `silver.room_telemetry` up to which late messages are in"""
    open: tuple[Session, ...] = ()
    """sessions that are not over"""

    def encode(self) -> str:
        opened = [asdict(session) for session in self.open]
        return json.dumps({"batch": self.batch, "until": self.until, "repaired": self.repaired, "open": opened})

    @classmethod
    def of(cls, note: Mapping[str, Any]) -> State:
        opened = tuple(Session(**session) for session in note["open"])
        return cls(note["batch"], note["until"], note["repaired"], opened)


class Silver:
    """`silver.room_telemetry`, as gold reads it."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._folder = lake.folder(ROOM_TELEMETRY)

    def messages(self) -> DataFrame:
        return self._lake.read(ROOM_TELEMETRY)

    def version(self) -> int:
        return self._lake.version(ROOM_TELEMETRY)

    def expired(self) -> Expired:
        """What the table has given up for its age: nothing can be made of it again."""
        return Expired.of(self._lake.properties(ROOM_TELEMETRY))

    def first_time(self, since: int | None) -> int | None:
        """The earliest event time, of all or of those since; None: no message is there."""
        rows = self.messages()
        if since is not None:
            rows = rows.where(f"event_time >= timestamp_micros({since}L)")
        return rows.selectExpr("unix_micros(min(event_time)) AS first").collect()[0].first

    def last_time(self, watermark: int) -> int:
        """The latest event time of what came on the watermark's day or later."""
        day = f"date_sub(to_date(timestamp_micros({watermark}L)), 1)"
        rows = self.messages().where(f"date >= {day}").selectExpr("unix_micros(max(event_time)) AS last")
        return rows.collect()[0]["last"] or 0

    def rewritten(self, after: int, until: int) -> list[Path] | None:
        """The files that commits of (after, until] have added or removed, of which rows may be older than the watermark
        was. None: the log no longer has all of these commits."""
        files: list[Path] = []
        for version in range(after + 1, until + 1):
            try:
                files += _late_files(self._folder, delta_log.commit_of(self._folder, version))
            except FileNotFoundError:
                return None
        return files


def _late_files(folder: Path, commit: delta_log.Commit) -> Iterator[Path]:
    actions = commit.actions()
    note = durability.note_of(commit)
    if note is not None and note.get("late") == 0 and not note.get("work"):
        return
    if any(is_marked(action.get("commitInfo", {}).get("userMetadata")) for action in actions):
        return  # what is given up for its age stays in what was made of it
    for action in actions:
        about = action.get("add") or action.get("remove")
        if about and about.get("dataChange", True):
            yield folder / unquote(about["path"])
