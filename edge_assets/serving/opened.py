"""`edge.duckdb` as it is now: opened read-only once, and kept until the next one has taken its place.

Rollups are swapped in by rename every few minutes, so the file behind the path is another one then (its inode and its
time say so). Whoever asks after that gets the new one; who has begun with the one before ends on it, and the last of
them closes it. Before the first update there is no file: tables of the lake can be asked all the same.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge_assets.serving.refusals import Away
from edge_assets.settings import Settings
from edge_assets.warehouse import lake
from edge_assets.warehouse.duck_types import text
from edge_assets.warehouse.rollups.layout import database_path
from edge_assets.warehouse.rollups.publish import CATALOG

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY_LIMIT = "96MB"
"""What DuckDB may take for all questions together; larger ones spill to `EDGE_HOME/tmp`."""

THREADS = 1
"""A query runs on the thread that asks it, and no others: two at a time, on a Pi whose other cores have their work."""

NO_FILE = "none"


@dataclass(slots=True)
class Opened:
    """One opening of the file, or of none."""

    identity: str
    """another file has another one; `NO_FILE` before the first update"""
    connection: DuckDBPyConnection
    known: dict[str, Any] = field(default_factory=dict)
    """what has been learned of this file's views; it goes with it"""
    _users: int = 0
    _retired: bool = False

    @property
    def has_rollups(self) -> bool:
        return self.identity != NO_FILE


class Warehouse:
    """Hands out cursors on the newest file. Used from the threads of `turns`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._path = database_path(settings)
        self._lock = threading.Lock()
        self._newest: Opened | None = None

    def identity(self) -> str:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return NO_FILE
        return f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"

    @contextmanager
    def cursor(self) -> Iterator[tuple[Opened, DuckDBPyConnection]]:
        """A cursor on the file as it is now, its views by their bare names. Raises `Away` where it cannot be opened."""
        opened = self._take()
        try:
            with opened.connection.cursor() as cursor:
                cursor.execute("SET TimeZone = 'UTC'")
                if opened.has_rollups:
                    cursor.execute(f"USE {CATALOG}")
                yield opened, cursor
        finally:
            self._give_back(opened)

    def forget(self, opened: Opened) -> None:
        """A file that its views name has gone: let the next one who asks open it anew."""
        with self._lock:
            if self._newest is opened:
                self._retire()

    def close(self) -> None:
        with self._lock:
            self._retire()

    def _take(self) -> Opened:
        with self._lock:
            identity = self.identity()
            if self._newest is None or self._newest.identity != identity:
                fresh = _open(self._settings, identity)
                self._retire()
                self._newest = fresh
            self._newest._users += 1
            return self._newest

    def _give_back(self, opened: Opened) -> None:
        with self._lock:
            opened._users -= 1
            _close_if_done(opened)

    def _retire(self) -> None:
        if self._newest is not None:
            self._newest._retired = True
            _close_if_done(self._newest)
            self._newest = None


def _close_if_done(opened: Opened) -> None:
    if opened._retired and not opened._users:
        opened.connection.close()


def _open(settings: Settings, identity: str) -> Opened:
    import duckdb

    connection = lake.connection(settings, MEMORY_LIMIT)
    try:
        connection.execute(f"SET threads = {THREADS}; SET parquet_metadata_cache = true")
        if identity != NO_FILE:
            connection.execute(f"ATTACH {text(str(database_path(settings)))} AS {CATALOG} (READ_ONLY)")
    except duckdb.Error as error:
        connection.close()
        raise Away(
            f"edge.duckdb cannot be opened: {str(error).splitlines()[0]}; it is made anew every ten minutes"
        ) from error
    return Opened(identity, connection)
