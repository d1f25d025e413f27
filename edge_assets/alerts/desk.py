"""Alerts as other processes see them: list, acknowledge, mute. Works whether the alerter runs or not.

An acknowledgement is kept at once, with the event that the alerter publishes within a second (`edge/alerts/<rule>`). A
mute concerns telling people, not alerts: they fire, are listed and are in the lake.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from typing import Any

from edge_assets.alert_record import AlertEvent
from edge_assets.alerts import store
from edge_assets.alerts.engine import ACKNOWLEDGED
from edge_assets.alerts.outbox import MQTT, is_muted, now_micros, put
from edge_assets.errors import AlertError
from edge_assets.settings import Settings

MOST_MINUTES = 366 * 24 * 60


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. Times are microseconds since 1970 UTC."""

    alert_id: str
    rule: str
    severity: str
    kind: str
    device_id: str
    device_name: str
    measurement: str | None
    value: float | None
    unit: str | None
    since: int
    fired_at: int
    cleared_at: int | None
    acknowledged_at: int | None
    acknowledged_by: str | None
    message: str
    muted: bool
    """nobody was told, or would be now"""


@dataclass(frozen=True, slots=True)
class Mute:
    rule: str
    device: str
    until: int


def alerts(settings: Settings, *, open_only: bool = False, limit: int = 200) -> list[Alert]:
    """The newest first. Empty where the alerter never ran. Raises `AlertError` where the file cannot be read."""
    if not store.path(settings).exists():
        return []
    where = "WHERE cleared_at IS NULL" if open_only else ""
    with _opened(settings) as opened:
        rows = opened.execute(f"SELECT * FROM alerts {where} ORDER BY fired_at DESC, alert_id LIMIT ?", (limit,))
        muted = mutes_of(opened)
        return [_alert(row, muted) for row in rows.fetchall()]


def acknowledge(settings: Settings, alert_id: str, by: str = "") -> Alert:
    """Say that a person has seen it: nobody is reminded of it again. Twice is once, and the first is kept.

    Raises `AlertError` where there is no such open alert.
    """
    now = now_micros()
    if store.path(settings).exists():
        with _opened(settings) as opened, store.transaction(opened, forced=True):
            row = opened.execute("SELECT * FROM alerts WHERE alert_id = ?", (alert_id,)).fetchone()
            if row is not None and row["cleared_at"] is None:
                if row["acknowledged_at"] is None:
                    opened.execute(
                        "UPDATE alerts SET acknowledged_at = ?, acknowledged_by = ? WHERE alert_id = ?",
                        (now, by, alert_id),
                    )
                    _put_event(opened, row, now)
                row = opened.execute("SELECT * FROM alerts WHERE alert_id = ?", (alert_id,)).fetchone()
                return _alert(row, mutes_of(opened))
    raise AlertError(f"acknowledging {alert_id!r}: there is no such open alert; `edge alerts list` lists them")


def mute(settings: Settings, rule: str = "*", device: str = "*", minutes: float = 60) -> Mute:
    """Tell nobody of alerts of these rules and devices (patterns of names) for so long. Raises `AlertError`."""
    if not 0 < minutes <= MOST_MINUTES:
        raise AlertError(f"muting {rule}: expected more than 0 minutes, and a year at most, got {minutes:g}")
    until = now_micros() + int(minutes * 60e6)
    with _opened(settings) as opened, store.transaction(opened, forced=True):
        opened.execute("INSERT OR REPLACE INTO mutes VALUES (?, ?, ?)", (rule, device, until))
    return Mute(rule, device, until)


def unmute(settings: Settings, rule: str = "*", device: str = "*") -> int:
    """Take a mute back, in the words in which it was said; `*` and `*`: all of them. Returns how many were."""
    if not store.path(settings).exists():
        return 0
    with _opened(settings) as opened, store.transaction(opened, forced=True):
        if (rule, device) == ("*", "*"):
            done = opened.execute("DELETE FROM mutes WHERE until > ?", (now_micros(),))
        else:
            done = opened.execute("DELETE FROM mutes WHERE rule = ? AND device = ?", (rule, device))
        return done.rowcount


def mutes(settings: Settings) -> list[Mute]:
    """The mutes that are in force."""
    if not store.path(settings).exists():
        return []
    with _opened(settings) as opened:
        return mutes_of(opened)


def mutes_of(opened: sqlite3.Connection) -> list[Mute]:
    rows = opened.execute("SELECT rule, device, until FROM mutes WHERE until > ? ORDER BY until", (now_micros(),))
    return [Mute(*row) for row in rows.fetchall()]


def _alert(row: sqlite3.Row, muted: list[Mute]) -> Alert:
    said: dict[str, Any] = {field.name: row[field.name] for field in fields(Alert)}
    now = row["cleared_at"] is None and any(
        is_muted(one.rule, one.device, row["rule"], row["device_id"], row["device_name"]) for one in muted
    )
    return Alert(**{**said, "muted": bool(said["muted"]) or now})


def _put_event(opened: sqlite3.Connection, row: sqlite3.Row, now: int) -> None:
    event = AlertEvent(
        event_id=f"{row['alert_id']}-{ACKNOWLEDGED}",
        transition="acknowledged",
        event_time=now,
        **{field.name: row[field.name] for field in fields(AlertEvent) if field.name in _SHARED},
    )
    put(opened, event, event.event_id, MQTT, now, now)


_SHARED = {field.name for field in fields(AlertEvent)} & {field.name for field in fields(Alert)}


@contextmanager
def _opened(settings: Settings) -> Iterator[sqlite3.Connection]:
    with closing(store.connect(settings)) as opened:
        try:
            yield opened
        except sqlite3.Error as error:
            raise AlertError(f"reading {store.path(settings)}: {error}") from error
