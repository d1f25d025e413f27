"""What was told, and what is still to be handed over: one SQLite file, `EDGE_HOME/notices/notices.db`.

The memory of the engine and the messages that follow from it are one transaction, forced to the disk: a kill between
two looks neither loses a message nor makes it twice. What a channel took in the instant of a kill may come to it again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_assets.errors import AlertError
from edge_assets.notices.engine import Known, Level, Memory
from edge_assets.notices.words import Message
from edge_assets.settings import AlertSettings, Settings

BUSY_SECONDS = 10.0
DAY_SECONDS = 86_400.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parcels (
    id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT, title TEXT, body TEXT, kind TEXT, made_at REAL, due_at REAL,
    attempts INTEGER DEFAULT 0, done_at REAL, problem TEXT
);
CREATE INDEX IF NOT EXISTS waiting ON parcels (channel, due_at) WHERE done_at IS NULL;
"""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message for one channel. Times are seconds since 1970."""

    number: int
    message: Message
    made_at: float
    attempts: int


def path(settings: Settings) -> Path:
    return settings.home / "notices" / "notices.db"


def memory(settings: Settings) -> Memory:
    """What the last look left; that of a first one where there is nothing. Raises `AlertError`."""
    if not path(settings).exists():
        return Memory()
    with _opened(settings) as opened:
        row = opened.execute("SELECT value FROM meta WHERE name = 'memory'").fetchone()
    return decoded(row[0]) if row else Memory()


def keep(settings: Settings, remember: Memory, message: Message | None, now: float) -> None:
    """What a look has left, and what it has to tell, in one transaction. Raises `AlertError`."""
    channels = list(settings.alerts.notify) if settings.notices.channels is None else settings.notices.channels
    with _opened(settings) as opened, _transaction(opened):
        opened.execute("INSERT OR REPLACE INTO meta VALUES ('memory', ?)", (encoded(remember),))
        for channel in channels if message else ():
            assert message
            opened.execute(
                "INSERT INTO parcels (channel, title, body, kind, made_at, due_at) VALUES (?, ?, ?, ?, ?, ?)",
                (channel, message.title, message.body, message.kind, now, now),
            )
        before = now - settings.alerts.keep_days * DAY_SECONDS
        opened.execute("DELETE FROM parcels WHERE done_at < ?", (before,))


def waiting(settings: Settings, now: float) -> list[str]:
    """The channels whose next message is due, those that no setting names among them."""
    if not path(settings).exists():
        return []
    with _opened(settings) as opened:
        first = "SELECT channel, min(id) AS id FROM parcels WHERE done_at IS NULL GROUP BY channel"
        rows = opened.execute(
            f"SELECT channel FROM ({first}) JOIN parcels USING (id, channel) WHERE due_at <= ? ORDER BY channel", (now,)
        )
        return [row[0] for row in rows]


def due(settings: Settings, channel: str, now: float) -> list[Parcel]:
    """What a channel is to be given, in the order in which it happened: none before the one before it is due."""
    with _opened(settings) as opened:
        rows = opened.execute(
            "SELECT id, title, body, kind, made_at, attempts, due_at FROM parcels "
            "WHERE channel = ? AND done_at IS NULL ORDER BY id",
            (channel,),
        ).fetchall()
    parcels = []
    for row in rows:
        if row[6] > now:
            break
        parcels.append(Parcel(row[0], Message(row[1], row[2], row[3]), row[4], row[5]))
    return parcels


def settle(settings: Settings, parcel: Parcel, problem: str | None, now: float) -> None:
    """A channel has taken a message, or not: then it is tried again, later and later, and given up after days."""
    alerts = settings.alerts
    given_up = problem is not None and now - parcel.made_at > alerts.give_up_days * DAY_SECONDS
    with _opened(settings) as opened, _transaction(opened):
        opened.execute(
            "UPDATE parcels SET attempts = attempts + 1, due_at = ?, done_at = ?, problem = ? WHERE id = ?",
            (
                now + _pause(alerts, parcel.attempts),
                now if problem is None or given_up else None,
                problem,
                parcel.number,
            ),
        )


def _pause(alerts: AlertSettings, failures: int) -> float:
    return min(alerts.retry_seconds * 2.0 ** min(failures, 30), alerts.retry_most_seconds)


def encoded(remember: Memory) -> str:
    return json.dumps(
        {"resumed_at": remember.resumed_at, "things": {name: asdict(one) for name, one in remember.things.items()}}
    )


def decoded(text: str) -> Memory:
    said = json.loads(text)
    levels = ("last", "before", "told")
    things = {
        name: Known(**{**one, **{key: Level(one[key]) for key in levels}, "below": tuple(one["below"])})
        for name, one in said["things"].items()
    }
    return Memory(things, said["resumed_at"])


@contextmanager
def _opened(settings: Settings) -> Iterator[sqlite3.Connection]:
    file = path(settings)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)) as opened:
            opened.execute("PRAGMA journal_mode = WAL")
            opened.execute("PRAGMA synchronous = FULL")
            opened.executescript(_SCHEMA)
            yield opened
    except (OSError, sqlite3.Error) as error:
        raise AlertError(
            f"using {file}: {error}; is the disk full? A file that is damaged may be moved away"
        ) from error


@contextmanager
def _transaction(opened: sqlite3.Connection) -> Iterator[None]:
    opened.execute("BEGIN IMMEDIATE")
    try:
        yield
        opened.execute("COMMIT")
    finally:
        if opened.in_transaction:
            opened.execute("ROLLBACK")
