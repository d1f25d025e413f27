"""`edge history`: a table's versions, each with what made it, from the table's own log. No Spark; reads only.

A version is there as long as its commit is in the log (`delta.logRetentionDuration`); its rows can be asked for as long
as the files that it names are kept (`stream.vacuum_hours` after they were replaced).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from edge_assets import object_store
from edge_assets.errors import LakeError
from edge_assets.settings import Settings
from edge_assets.warehouse.lake import TableName, names
from edge_assets.warehouse.rendering import table_of

_OPERATIONS = {
    "CREATE TABLE": "created",
    "OPTIMIZE": "small files joined",
    "VACUUM START": "unused files deleted",
    "VACUUM END": "unused files deleted",
    "MERGE": "rows changed",
    "DELETE": "rows deleted",
    "UPDATE": "rows changed",
    "RESTORE": "rollback",
}
_WORKS = {"resolve": "pending resolved"}
_WRITTEN = ("numOutputRows", "numTargetRowsInserted", "numUpdatedRows", "numTargetRowsUpdated", "num_added_rows")
_DELETED = ("numDeletedRows", "numTargetRowsDeleted", "num_deleted_rows")
_ADDED = ("numFiles", "numAddedFiles", "numTargetFilesAdded", "numRestoredFiles", "num_added_files", "numFilesAdded")
_REMOVED = ("numRemovedFiles", "numTargetFilesRemoved", "num_removed_files", "numFilesRemoved", "numDeletedFiles")


@dataclass(frozen=True, slots=True)
class Version:
    """One commit of a table. Numbers that the commit does not tell are None."""

    version: int
    at: datetime
    """UTC"""
    operation: str
    """Delta's word"""
    what: str
    """ours: batch, reprocess, redrive, pending resolved, rollback, small files joined and so on"""
    batch: int | None
    rows_written: int | None
    rows_deleted: int | None
    files_added: int | None
    files_removed: int | None

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {"at": self.at.isoformat()}


def history(settings: Settings, table: str, limit: int | None = None) -> list[Version]:
    """The versions of `layer.name`, newest first. Raises `LakeError` where there is no such table."""
    return [_version(commit) for commit in commits(settings, named(settings, table), limit)]


def named(settings: Settings, table: str) -> TableName:
    """`layer.name` as a name; raises `LakeError` where the lake has no such table."""
    known = [".".join(name) for name in names(settings)]
    if table not in known:
        raise LakeError(f"history: there is no table {table!r}; there are {', '.join(known)}")
    layer, _, name = table.partition(".")
    return layer, name


def commits(settings: Settings, name: TableName, limit: int | None = None) -> list[dict[str, Any]]:
    """What the commits in a table's log say of themselves, newest first. Raises `LakeError`."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    path = settings.lake_path / name[0] / name[1]
    try:
        with object_store.in_words(settings):
            if not any((path / "_delta_log").glob("*.json")):
                raise TableNotFoundError
            return DeltaTable(path.as_uri(), None, object_store.deltalake_options(settings)).history(limit)
    except TableNotFoundError:
        raise LakeError(f"history: {'.'.join(name)} has not been written yet") from None
    except (DeltaError, OSError) as error:
        raise LakeError(f"history: reading {path}: {str(error).splitlines()[0]}") from error


def version_at(settings: Settings, name: TableName, moment: datetime) -> int:
    """The version that was the newest at that time. Raises `LakeError` where the log does not reach back so far."""
    found = commits(settings, name)
    for commit in found:
        if _time(commit) <= moment:
            return int(commit["version"])
    first = found[-1]
    raise LakeError(
        f"{'.'.join(name)} at {moment.isoformat()}: its log begins with version {first['version']} of "
        f"{_time(first).isoformat(timespec='seconds')}; `edge history {'.'.join(name)}` lists them"
    )


def shown(versions: list[Version]) -> str:
    """The versions as a table for a person."""
    columns = ["version", "time (UTC)", "what", "batch", "rows written", "deleted", "files added", "removed"]
    rows = [
        (
            each.version,
            each.at.strftime("%Y-%m-%d %H:%M:%S"),
            each.what,
            each.batch,
            each.rows_written,
            each.rows_deleted,
            each.files_added,
            each.files_removed,
        )
        for each in versions
    ]
    return table_of(columns, rows)


def _time(commit: Mapping[str, Any]) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=commit.get("timestamp") or 0)


def _version(commit: Mapping[str, Any]) -> Version:
    metrics, note = commit.get("operationMetrics") or {}, _note(commit)
    operation = commit.get("operation") or "unknown"
    return Version(
        version=int(commit["version"]),
        at=_time(commit),
        operation=operation,
        what=_what(operation, note),
        batch=note.get("batch"),
        rows_written=_number(metrics, _WRITTEN),
        rows_deleted=_number(metrics, _DELETED),
        files_added=_number(metrics, _ADDED),
        files_removed=_number(metrics, _REMOVED),
    )


def _what(operation: str, note: Mapping[str, Any]) -> str:
    if work := note.get("work"):
        return _WORKS.get(work, work)
    return "batch" if note else _OPERATIONS.get(operation, operation.lower())


def _note(commit: Mapping[str, Any]) -> dict[str, Any]:
    """What the stream writer says of its commit; nothing where it is another's."""
    try:
        note = json.loads(commit.get("userMetadata") or "{}")
    except ValueError:
        return {}
    return note if isinstance(note, dict) and "batch" in note else {}


def _number(metrics: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    found = [int(metrics[name]) for name in names if str(metrics.get(name, "")).isdigit()]
    return sum(found) if found else None
