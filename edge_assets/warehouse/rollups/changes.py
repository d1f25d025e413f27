"""What a Delta table's log says has changed since a version, from its commits alone: nothing else is opened or listed.

A commit is a JSON file that is named by its version, so the next one is found by its name. Files that maintenance
joined (`dataChange: false`) hold the rows that were there before, and are passed over; so is a commit that gave up rows
for their age (`edge_assets.retention`), as what was rolled up of them stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from edge_assets import delta_log
from edge_assets.errors import LakeError
from edge_assets.retention import is_marked
from edge_assets.warehouse.rollups.layout import Seen

STATISTICS_ROUNDED = timedelta(seconds=1)
"""Spark cuts the times in a file's statistics down to milliseconds: a bound is taken for so much wider"""


class LogGone(Exception):
    """The commits since a version cannot be told any more: cleaned up, or the table is another one."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A data file that a commit has added or removed; `low` and `high` bound its event times where the log says so."""

    path: Path
    low: datetime | None = None
    high: datetime | None = None


@dataclass(slots=True)
class Commit:
    added: list[Changed] = field(default_factory=list)
    removed: list[Changed] = field(default_factory=list)


@dataclass(slots=True)
class News:
    """What happened to a table since it was last looked at."""

    seen: Seen
    commits: list[Commit]


def commit_path(table: Path, version: int) -> Path:
    return delta_log.commit_of(table, version).path


def exists(table: Path) -> bool:
    return delta_log.newest(table) >= 0


def mark(table: Path, version: int) -> str:
    """What tells this commit from another of the same number: a table that was made anew counts from 0 again."""
    return hashlib.sha256(commit_path(table, version).read_bytes()).hexdigest()[:16]


def latest(table: Path) -> Seen:
    """The newest version, found by listing the log: for a first look at a table only. Raises `LogGone` without any."""
    version = delta_log.newest(table)
    if version < 0:
        raise LogGone(f"{table} has no commits")
    return Seen(version, mark(table, version))


def since(table: Path, seen: Seen) -> News:
    """The commits after a version. Raises `LogGone` where they cannot be told."""
    try:
        if mark(table, seen.version) != seen.mark:
            raise LogGone(f"version {seen.version} of {table} is another one than before: the table was made anew")
        known = True
    except FileNotFoundError:
        known = False
    commits, version = [], seen.version
    while commit_path(table, version + 1).exists():
        version += 1
        commits.append(_commit(table, version))
    if version == seen.version:
        if not known:
            raise LogGone(f"the log of {table} no longer holds version {seen.version + 1}")
        return News(seen, [])
    return News(Seen(version, mark(table, version)), commits)


def since_beginning(table: Path) -> News:
    """All commits of a table that is seen for the first time. Raises `LogGone` where the first ones are cleaned up."""
    if not commit_path(table, 0).exists():
        raise LogGone(f"the log of {table} no longer begins with version 0")
    rest = since(table, Seen(0, mark(table, 0)))
    return News(rest.seen, [_commit(table, 0), *rest.commits])


def _commit(table: Path, version: int) -> Commit:
    found = Commit()
    actions = list(_actions(commit_path(table, version)))
    if any(is_marked(action.get("commitInfo", {}).get("userMetadata")) for action in actions):
        return found
    for action in actions:
        for kind, files in (("add", found.added), ("remove", found.removed)):
            # Left out, dataChange of an `add` is true; and what is not told as harmless is not.
            if (about := action.get(kind)) and about.get("dataChange", True):
                files.append(_changed(table, about))
    return found


def _actions(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as lines:
        for line in lines:
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise LakeError(
                        f"reading {path}: expected a commit of Delta's log, got a line that is no JSON; the stream "
                        "writer mends it when it starts"
                    ) from error


def _changed(table: Path, about: dict[str, Any]) -> Changed:
    statistics = json.loads(about.get("stats") or "{}")
    low = _time(statistics.get("minValues", {}).get("event_time"))
    high = _time(statistics.get("maxValues", {}).get("event_time"))
    return Changed(table / unquote(about["path"]), low, high + STATISTICS_ROUNDED if high else None)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
