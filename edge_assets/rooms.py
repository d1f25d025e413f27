"""What people know of rooms and no sensor says: name, floor, kind. A small SQLite file, `EDGE_HOME/rooms.db`.

`edge rooms` writes it; the stream writer puts it beside each window as it is emitted, so that a change is in the next
windows without a restart, and in those before once they are computed again (`edge reprocess`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from edge_assets.errors import SettingsError
from edge_assets.settings import Settings

BUSY_SECONDS = 5.0
"""how long one process waits for another's change"""

_SCHEMA = """CREATE TABLE IF NOT EXISTS rooms (
    room_id TEXT PRIMARY KEY, room_name TEXT, floor TEXT, room_type TEXT
) STRICT, WITHOUT ROWID"""


@dataclass(frozen=True, slots=True)
class Room:
    """One room; None: not said."""

    room_id: str
    room_name: str | None = None
    floor: str | None = None
    room_type: str | None = None


def path(settings: Settings) -> Path:
    return settings.home / "rooms.db"


def known(settings: Settings) -> list[Room]:
    """The rooms that are described, by identifier. Raises `SettingsError` where the file cannot be read."""
    if not path(settings).exists():
        return []
    with _opened(settings) as database:
        rows = database.execute("SELECT room_id, room_name, floor, room_type FROM rooms ORDER BY room_id")
        return [Room(*row) for row in rows]


def names(known: Iterable[Room]) -> dict[str, str]:
    """What people call the rooms, by identifier; of those that have a name."""
    return {room.room_id: room.room_name for room in known if room.room_name}


def describe(settings: Settings, room_id: str, **told: str | None) -> Room:
    """Say something of a room: `room_name`, `floor`, `room_type`. What is not named stays as it is, and an empty text
    takes a word back. Returns the room as it is now."""
    with _opened(settings) as database:
        database.execute("INSERT OR IGNORE INTO rooms (room_id) VALUES (?)", (room_id,))
        for name in ("room_name", "floor", "room_type"):
            if told.get(name) is not None:
                database.execute(f"UPDATE rooms SET {name} = ? WHERE room_id = ?", (told[name] or None, room_id))
    return next(room for room in known(settings) if room.room_id == room_id)


def add_missing(settings: Settings, rooms: Iterable[Room]) -> None:
    """Describe rooms of which nothing is said yet; what a person has said stays."""
    with _opened(settings) as database:
        database.executemany("INSERT OR IGNORE INTO rooms VALUES (?, ?, ?, ?)", map(astuple, rooms))


def forget(settings: Settings, room_id: str) -> bool:
    """Take back all that was said of a room. False: nothing was."""
    if not path(settings).exists():
        return False
    with _opened(settings) as database:
        return database.execute("DELETE FROM rooms WHERE room_id = ?", (room_id,)).rowcount > 0


@contextmanager
def _opened(settings: Settings) -> Iterator[sqlite3.Connection]:
    """One transaction."""
    path(settings).parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(path(settings), timeout=BUSY_SECONDS)) as database, database:
            database.execute(_SCHEMA)
            yield database
    except sqlite3.DatabaseError as error:
        raise SettingsError(
            f"rooms: {path(settings)}: {error}; restore a copy, or move the file away and describe the rooms anew"
        ) from error
