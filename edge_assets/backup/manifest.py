"""A backup is its manifest: which tables at which version, and which files, by checksum.

    <destination>/manifests/<id>.json               written last, in one go: without it there is no backup
    <destination>/files/<2 signs>/<sha256><ending>  what manifests name; several may name the same one

A file that the manifest calls `lake/…` belongs to the lake, each other one to the home, at that path.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from edge_assets.backup.place import Place, content_of
from edge_assets.errors import BackupError

FORMAT = 1
MANIFESTS = "manifests"
FILES = "files"
LAKE = "lake/"
ROW_HASH = "md5/1"
"""how `edge_assets.backup.rows` hashes rows; one that was made in another way cannot be compared"""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a backup. `rows` and `hash` (see `edge_assets.backup.rows`) are those of a table's data file."""

    sha256: str
    size: int
    rows: int | None = None
    hash: int | None = None

    def stored_as(self, name: str) -> str:
        """Its name at the destination. The ending is kept, so that Parquet files can be read where they lie."""
        return f"{FILES}/{self.sha256[:2]}/{self.sha256}{PurePosixPath(name).suffix}"


@dataclass(frozen=True, slots=True)
class TableState:
    """A table at its version: rows, their hash, data files and their bytes."""

    version: int
    rows: int
    hash: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    id: str
    taken_at: str
    """the moment that the lake's tables are of, ISO 8601 in UTC"""
    edge_assets: str
    """the version that made it"""
    site: str
    home: str
    lake: str
    lake_id: str
    """the identity of `bronze.events`"""
    secrets_left_out: tuple[str, ...]
    """settings that were set, and are not in the backup"""
    tables: Mapping[str, TableState] = field(default_factory=dict)
    files: Mapping[str, StoredFile] = field(default_factory=dict)
    row_hash: str = ROW_HASH
    format: int = FORMAT

    @property
    def size(self) -> int:
        """Bytes that it takes at the destination by itself; other backups share most of it."""
        return sum({file.sha256: file.size for file in self.files.values()}.values())

    def encode(self) -> bytes:
        files = {name: {k: v for k, v in asdict(file).items() if v is not None} for name, file in self.files.items()}
        return json.dumps({**asdict(self), "files": files}, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, content: bytes) -> Manifest:
        """Raises `ValueError` where it is none that this version understands."""
        try:
            raw: dict[str, Any] = json.loads(content)
            if raw["format"] != FORMAT:
                raise ValueError(f"format {raw['format']}, made by edge_assets {raw['edge_assets']}; expected {FORMAT}")
            tables = {name: TableState(**about) for name, about in raw["tables"].items()}
            files = {name: StoredFile(**about) for name, about in raw["files"].items()}
            return cls(**{**raw, "tables": tables, "files": files, "secrets_left_out": tuple(raw["secrets_left_out"])})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a manifest: {error!r}") from error


def new_id(taken_at: datetime) -> str:
    """Sorts as the backups were taken."""
    return taken_at.astimezone(UTC).strftime("%Y-%m-%dT%H%M%S.%f")[:-3] + "Z"


def ids(place: Place) -> list[str]:
    """The backups of a place, oldest first."""
    names = (PurePosixPath(name) for name in place.listed(MANIFESTS))
    return sorted(name.stem for name in names if name.suffix == ".json")


def read(place: Place, id: str) -> Manifest:
    """Raises `BackupError`."""
    name = f"{MANIFESTS}/{id}.json"
    try:
        return Manifest.decode(content_of(place, name))
    except FileNotFoundError:
        raise BackupError(f"{place.address} has no backup {id}; `edge backup --list` shows which it has") from None
    except ValueError as error:
        raise BackupError(
            f"reading {name} in {place.address}: {error}; take another one, or the version that made it, or delete "
            "this file"
        ) from error


def write(place: Place, manifest: Manifest) -> None:
    """From now on it is a backup."""
    place.put(f"{MANIFESTS}/{manifest.id}.json", io.BytesIO(manifest.encode()))


def newest(place: Place) -> Manifest | None:
    found = ids(place)
    return read(place, found[-1]) if found else None


def chosen(place: Place, at: str | None = None) -> Manifest:
    """The newest backup, or the newest one at or before a time (ISO 8601, UTC where it says no zone), or one by its id.

    Raises `BackupError` where there is none.
    """
    there = ids(place)
    if not there:
        raise BackupError(f"{place.address} has no backup: no manifest lies in its folder {MANIFESTS}")
    if at is None or at in there:
        return read(place, at or there[-1])
    moment = _moment(at)
    fitting = [id for id in there if id <= new_id(moment)]
    if not fitting:
        raise BackupError(f"{place.address} has no backup of {at} or before; the oldest is {there[0]}")
    return read(place, fitting[-1])


def _moment(text: str) -> datetime:
    """A day means its end."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BackupError(
            f"--at {text}: expected the id of a backup, or a time like 2026-11-22T03:00; `edge backup --list` has them"
        ) from None
    if len(text) == len("2026-11-22"):
        found = found.replace(hour=23, minute=59, second=59, microsecond=999_999)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
