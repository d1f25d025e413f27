"""What survives a crash: one SQLite file, `EDGE_HOME/alerts/alerts.db`, in WAL mode. Times are microseconds UTC.

The alerter alone writes what it knows; other processes (`edge_assets.alerts.desk`) read alerts, acknowledge and mute.
A commit is one transaction: the engine's state, the alerts, and what is to be told of them. One that holds an event is
forced to the disk; the others may be lost by a power cut (not by a kill), and their messages then were acknowledged.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_assets.alert_record import AlertEvent
from edge_assets.alerts.engine import Saved, SavedWatch
from edge_assets.alerts.presence import Presence
from edge_assets.errors import AlertError
from edge_assets.listening.heard import Device
from edge_assets.settings import Settings

BUSY_SECONDS = 10.0
HANDED = 256
"""so many messages are remembered by their packet identifiers, to know them when the broker sends them again"""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS devices (kind TEXT, device_id TEXT, state TEXT, PRIMARY KEY (kind, device_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series (
    kind TEXT, device_id TEXT, measurement TEXT, at INTEGER, value REAL, text TEXT, unit TEXT,
    PRIMARY KEY (kind, device_id, measurement)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS watches (
    rule TEXT, kind TEXT, device_id TEXT, fingerprint TEXT, state TEXT, PRIMARY KEY (rule, kind, device_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS handed (slot INTEGER PRIMARY KEY, mid INTEGER, digest INTEGER);
CREATE TABLE IF NOT EXISTS alerts (
    alert_id TEXT PRIMARY KEY, rule TEXT, severity TEXT, kind TEXT, device_id TEXT, device_name TEXT, measurement TEXT,
    value REAL, unit TEXT, since INTEGER, fired_at INTEGER, cleared_at INTEGER, acknowledged_at INTEGER,
    acknowledged_by TEXT, message TEXT, muted INTEGER, reminded_at INTEGER, reminders INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS alerts_by_time ON alerts (fired_at);
CREATE INDEX IF NOT EXISTS alerts_open ON alerts (fired_at) WHERE cleared_at IS NULL;
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT, alert_id TEXT, target TEXT, body TEXT, created_at INTEGER,
    due_at INTEGER, held INTEGER, attempts INTEGER DEFAULT 0, done_at INTEGER, problem TEXT, UNIQUE (event_id, target)
);
CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (target, due_at) WHERE done_at IS NULL;
CREATE INDEX IF NOT EXISTS outbox_by_alert ON outbox (alert_id, target);
CREATE TABLE IF NOT EXISTS mutes (rule TEXT, device TEXT, until INTEGER, PRIMARY KEY (rule, device)) WITHOUT ROWID;
"""

log = logging.getLogger(__name__)


def path(settings: Settings) -> Path:
    return settings.home / "alerts" / "alerts.db"


def connect(settings: Settings) -> sqlite3.Connection:
    """A connection of its own, the tables made where they are not there. Raises `AlertError`."""
    file = path(settings)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        opened = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
        opened.row_factory = sqlite3.Row
        opened.execute("PRAGMA journal_mode = WAL")
        opened.execute("PRAGMA synchronous = NORMAL")
        opened.executescript(_SCHEMA)
    except (OSError, sqlite3.Error) as error:
        raise AlertError(f"opening {file}: {error}; is the disk full, or the file damaged?") from error
    return opened


@contextmanager
def transaction(opened: sqlite3.Connection, forced: bool = False) -> Iterator[None]:
    """All of it or nothing. `forced`: it is on the disk when the block is over. Raises `AlertError`."""
    try:
        if forced:
            opened.execute("PRAGMA synchronous = FULL")
        opened.execute("BEGIN IMMEDIATE")
        yield
        opened.execute("COMMIT")
    except sqlite3.Error as error:
        raise AlertError(f"writing what the alerter knows: {error}; is the disk full?") from error
    finally:
        if opened.in_transaction:
            opened.execute("ROLLBACK")
        if forced:
            opened.execute("PRAGMA synchronous = NORMAL")


class Store:
    """The alerter's side of the file."""

    def __init__(self, settings: Settings) -> None:
        try:
            self.connection = connect(settings)
        except AlertError as error:
            if not isinstance(error.__cause__, sqlite3.DatabaseError) or "not a database" not in str(error):
                raise
            self.connection = _anew(settings, error)
        self._slot = 0

    def close(self) -> None:
        self.connection.close()

    def load(self) -> Saved:
        """All that an engine has put away."""
        ask = self.connection.execute
        meta = dict(ask("SELECT name, value FROM meta WHERE name IN ('clock', 'listening_since')").fetchall())
        return Saved(
            meta.get("clock", 0),
            meta.get("listening_since", 0),
            [_presence(*row) for row in ask("SELECT kind, device_id, state FROM devices")],
            [(Device(row[0], row[1]), *row[2:]) for row in map(tuple, ask("SELECT * FROM series"))],
            [SavedWatch(row[0], row[1], row[2], row[3], json.loads(row[4])) for row in ask("SELECT * FROM watches")],
        )

    def save(self, changes: Saved) -> None:
        """What has changed of it, within a transaction."""
        put = self.connection.executemany
        put(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
            [("clock", changes.clock), ("listening_since", changes.listening_since)],
        )
        put("INSERT OR REPLACE INTO devices VALUES (?, ?, ?)", [(*one.device, _told(one)) for one in changes.devices])
        put(
            "INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(*one[0], *one[1:]) for one in changes.series],
        )
        # First what is gone: a watch may have come again.
        put("DELETE FROM watches WHERE rule = ? AND kind = ? AND device_id = ?", changes.gone)
        put(
            "INSERT OR REPLACE INTO watches VALUES (?, ?, ?, ?, ?)",
            [(*one[:4], json.dumps(one.state)) for one in changes.watches],
        )

    def remember(self, handed: Iterable[tuple[int, int]]) -> None:
        """Messages (packet identifier, digest) whose consequences this transaction holds."""
        rows = []
        for mid, digest in handed:
            self._slot = (self._slot + 1) % HANDED
            rows.append((self._slot, mid, digest))
        self.connection.executemany("INSERT OR REPLACE INTO handed VALUES (?, ?, ?)", rows)

    def handed(self) -> set[tuple[int, int]]:
        return {(row[0], row[1]) for row in self.connection.execute("SELECT mid, digest FROM handed")}

    def note(self, event: AlertEvent, muted: bool) -> bool:
        """Keep a firing or a clearing as what people see. False: it was there already."""
        if event.transition == "firing":
            row = (event.alert_id, event.rule, event.severity, event.kind, event.device_id, event.device_name)
            row += (event.measurement, event.value, event.unit, event.since, event.event_time, event.message, muted)  # type: ignore[assignment]
            done = self.connection.execute(
                "INSERT INTO alerts (alert_id, rule, severity, kind, device_id, device_name, measurement, value, unit, "
                "since, fired_at, message, muted, reminders) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,0) "
                "ON CONFLICT (alert_id) DO UPDATE SET cleared_at = NULL WHERE cleared_at IS NOT NULL",
                row,
            )
        else:
            done = self.connection.execute(
                "UPDATE alerts SET cleared_at = ? WHERE alert_id = ? AND cleared_at IS NULL",
                (event.event_time, event.alert_id),
            )
        return done.rowcount > 0

    def text(self, name: str) -> str | None:
        """A text that was kept by name."""
        row = self.connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def keep_text(self, name: str, text: str) -> None:
        with transaction(self.connection):
            self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, text))

    def purge(self, before: int) -> None:
        """Forget alerts that were cleared before then, and what was told of them."""
        with transaction(self.connection):
            ask = self.connection.execute
            ask("DELETE FROM alerts WHERE cleared_at < ?", (before,))
            ask(
                "DELETE FROM outbox WHERE done_at < ? AND NOT EXISTS "
                "(SELECT 1 FROM alerts WHERE alerts.alert_id = outbox.alert_id)",
                (before,),
            )
            ask("DELETE FROM mutes WHERE until < ?", (before,))


def _told(presence: Presence) -> str:
    return json.dumps(
        {
            "name": presence.name,
            "network": presence.network,
            "available": presence.available,
            "told_at": presence.told_at,
            "changed_at": presence.changed_at,
            "heard_at": presence.heard_at,
            "silences": presence.silences,
            "longest": presence.longest,
            "measurements": sorted(presence.measurements),
        }
    )


def _presence(kind: Any, device_id: str, state: str) -> Presence:
    said = json.loads(state)
    return Presence(Device(kind, device_id), **{**said, "measurements": set(said["measurements"])})


def _anew(settings: Settings, error: AlertError) -> sqlite3.Connection:
    """An alerter that does not start tells nobody anything: what is damaged is set aside."""
    file = path(settings)
    aside = file.with_name(f"{file.name}.damaged-{int(time.time())}")
    log.error("%s: %s; it was moved to %s, and the alerter begins anew", file, error, aside)
    file.rename(aside)
    for rest in ("-wal", "-shm"):
        file.with_name(file.name + rest).unlink(missing_ok=True)
    return connect(settings)
