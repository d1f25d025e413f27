"""What is to be told, and to whom: kept in the store until it was, each event once for each target.

Targets are `mqtt` (the event itself, for the lake, the live page and others) and `channel:<name>` (a message to
people). The rows of a firing and of its clearing go to the same channels, in this order. In quiet hours a message to
people is held; what has cleared before they end is not told at all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from sqlite3 import Connection

from edge_assets.alert_record import AlertEvent
from edge_assets.alerts.engine import NOTIFIED_OF_CLEARING, NOTIFIED_OF_FIRING
from edge_assets.alerts.rules import Rule, Rules
from edge_assets.alerts.store import Store
from edge_assets.settings import AlertSettings

MQTT = "mqtt"
CHANNEL = "channel:"
DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Parcel:
    """One event for one target. `again`: it is a reminder."""

    number: int
    event: AlertEvent
    attempts: int
    created_at: int
    again: bool


class Outbox:
    """Rows of the store's outbox. What changes it is called within a transaction of the caller's."""

    def __init__(self, store: Store, settings: AlertSettings) -> None:
        self._store, self._settings = store, settings
        self.channels: tuple[str, ...] = tuple(settings.notify)

    # -- in --------------------------------------------------------------------------------------------------------

    def take(self, event: AlertEvent, rules: Rules) -> bool:
        """Take an event of the engine's: the alert, its MQTT message, and what people are told. False: it was taken
        before."""
        now = now_micros()
        muted = self.muted(event, now)
        if not self._store.note(event, muted):
            return False
        if not self._put(event, event.event_id, MQTT, now, now):
            return True
        rule = next((one for one in rules.rules if one.name == event.rule), None)
        if event.transition == "firing":
            if rule is not None and not muted:
                self._tell(event, event.event_id, rule, rules, now)
        else:
            self._tell_cleared(event, rule, rules, now, muted)
        return True

    def remind(self, rules: Rules) -> int:
        """Remind of open alerts that nobody has acknowledged, by their rules' intervals. Returns of how many."""
        now, count = now_micros(), 0
        by_name = {rule.name: rule for rule in rules.in_force if rule.remind is not None}
        if not by_name:
            return 0
        open_ones = self._store.connection.execute(
            "SELECT * FROM alerts WHERE cleared_at IS NULL AND acknowledged_at IS NULL"
        ).fetchall()
        for row in open_ones:
            rule = by_name.get(row["rule"])
            if rule is None or rule.remind is None or now < (row["reminded_at"] or row["fired_at"]) + rule.remind:
                continue
            event = self._firing(row["alert_id"])
            if event is None or self.muted(event, now) or rules.quiet_until(rule, now) is not None:
                continue
            number = row["reminders"] + 1
            self._tell(event, f"{row['alert_id']}-r{number}", rule, rules, now)
            self._store.connection.execute(
                "UPDATE alerts SET reminded_at = ?, reminders = ? WHERE alert_id = ?", (now, number, row["alert_id"])
            )
            count += 1
        return count

    def muted(self, event: AlertEvent, now: int) -> bool:
        rows = self._store.connection.execute("SELECT rule, device FROM mutes WHERE until > ?", (now,)).fetchall()
        return any(is_muted(row[0], row[1], event.rule, event.device_id, event.device_name) for row in rows)

    def _tell(self, event: AlertEvent, event_id: str, rule: Rule, rules: Rules, now: int) -> None:
        until = rules.quiet_until(rule, now)
        for name in self.channels if rule.notify is None else rule.notify:
            if name in self.channels:
                self._put(event, event_id, CHANNEL + name, now, until or now, held=until is not None)

    def _tell_cleared(self, event: AlertEvent, rule: Rule | None, rules: Rules, now: int, muted: bool) -> None:
        """To whom the firing was told, or is about to be."""
        ask = self._store.connection.execute
        ask(
            "DELETE FROM outbox WHERE alert_id = ? AND target <> ? AND held AND done_at IS NULL AND due_at > ?",
            (event.alert_id, MQTT, now),
        )
        # A reminder that has not gone out yet would only confuse now.
        ask(
            "DELETE FROM outbox WHERE alert_id = ? AND event_id LIKE '%-r%' AND done_at IS NULL AND attempts = 0",
            (event.alert_id,),
        )
        if muted:
            return
        until = None if rule is None else rules.quiet_until(rule, now)
        told = ask(
            "SELECT DISTINCT target FROM outbox WHERE alert_id = ? AND target <> ?", (event.alert_id, MQTT)
        ).fetchall()
        for (target,) in map(tuple, told):
            self._put(event, event.event_id, target, now, until or now)

    def _put(self, event: AlertEvent, event_id: str, target: str, now: int, due: int, held: bool = False) -> bool:
        return put(self._store.connection, event, event_id, target, now, due, held)

    def _firing(self, alert_id: str) -> AlertEvent | None:
        row = self._store.connection.execute(
            "SELECT body FROM outbox WHERE event_id = ? AND target = ?", (f"{alert_id}-1", MQTT)
        ).fetchone()
        return None if row is None else AlertEvent.decode(row[0].encode())

    # -- out -------------------------------------------------------------------------------------------------------

    def due(self, target: str, limit: int = 1, behind: int = 0) -> list[Parcel]:
        """What a target is to be given now: those that were tried least, and of one alert the earlier first; `behind`:
        of parcels with a higher number."""
        rows = self._store.connection.execute(
            "SELECT id, body, attempts, created_at, event_id FROM outbox AS this "
            "WHERE target = ? AND done_at IS NULL AND due_at <= ? AND id > ? AND NOT EXISTS ("
            "  SELECT 1 FROM outbox AS other WHERE other.alert_id = this.alert_id AND other.target = this.target "
            "  AND other.done_at IS NULL AND other.id < this.id AND this.target <> 'mqtt') "
            "ORDER BY attempts, id LIMIT ?",
            (target, now_micros(), behind, limit),
        )
        return [
            Parcel(row[0], AlertEvent.decode(row[1].encode()), row[2], row[3], row[4].rpartition("-")[2][0] == "r")
            for row in rows.fetchall()
        ]

    def done(self, parcel: Parcel) -> AlertEvent | None:
        """It was taken. Returns the event `notified` where it was the last channel of a firing or clearing."""
        ask = self._store.connection.execute
        now = now_micros()
        ask("UPDATE outbox SET done_at = ?, problem = NULL WHERE id = ?", (now, parcel.number))
        event = parcel.event
        (target,) = ask("SELECT target FROM outbox WHERE id = ?", (parcel.number,)).fetchone()
        if target == MQTT or parcel.again:
            return None
        (waiting,) = ask(
            "SELECT count(*) FROM outbox WHERE event_id = ? AND target <> ? "
            "AND (done_at IS NULL OR problem IS NOT NULL)",
            (event.event_id, MQTT),
        ).fetchone()
        if waiting:
            return None
        number = NOTIFIED_OF_FIRING if event.transition == "firing" else NOTIFIED_OF_CLEARING
        event_id = f"{event.alert_id}-{number}"
        notified = replace(event, event_id=event_id, transition="notified", event_time=now)
        self._put(notified, event_id, MQTT, now, now)
        return notified

    def failed(self, parcel: Parcel, problem: str) -> bool:
        """It was not taken: later again. False: it has been tried for long enough, and is given up."""
        now = now_micros()
        ask = self._store.connection.execute
        if now - parcel.created_at > self._settings.give_up_days * DAY:
            ask("UPDATE outbox SET done_at = ?, problem = ? WHERE id = ?", (now, problem, parcel.number))
            return False
        ask(
            "UPDATE outbox SET attempts = attempts + 1, due_at = ?, problem = ? WHERE id = ?",
            (now + self.pause(parcel.attempts), problem, parcel.number),
        )
        return True

    def pause(self, failures: int) -> int:
        """How long to wait after so many failures and one more."""
        seconds = self._settings.retry_seconds * 2.0 ** min(failures, 30)
        return int(min(seconds, self._settings.retry_most_seconds) * 1e6)

    def waiting(self) -> tuple[int, int | None]:
        """How much is to be told still, and since when the oldest of it is."""
        row = self._store.connection.execute(
            "SELECT count(*), min(created_at) FROM outbox WHERE done_at IS NULL"
        ).fetchone()
        return row[0], row[1]

    def drop_unknown(self) -> Sequence[str]:
        """Give up what waits for channels that are no longer set. Returns their names."""
        ask = self._store.connection.execute
        targets = [row[0] for row in ask("SELECT DISTINCT target FROM outbox WHERE done_at IS NULL").fetchall()]
        gone = [one for one in targets if one != MQTT and one.removeprefix(CHANNEL) not in self.channels]
        for target in gone:
            ask(
                "UPDATE outbox SET done_at = ?, problem = 'no such channel' WHERE target = ? AND done_at IS NULL",
                (now_micros(), target),
            )
        return [target.removeprefix(CHANNEL) for target in gone]


def put(
    opened: Connection, event: AlertEvent, event_id: str, target: str, now: int, due: int, held: bool = False
) -> bool:
    """Keep an event for a target. False: it was there already."""
    done = opened.execute(
        "INSERT OR IGNORE INTO outbox (event_id, alert_id, target, body, created_at, due_at, held) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (event_id, event.alert_id, target, event.encode().decode(), now, due, held),
    )
    return done.rowcount > 0


def is_muted(rule_pattern: str, device_pattern: str, rule: str, device_id: str, device_name: str) -> bool:
    """Whether a mute is about an alert."""
    return fnmatchcase(rule, rule_pattern) and any(fnmatchcase(one, device_pattern) for one in (device_id, device_name))


def now_micros() -> int:
    return time.time_ns() // 1000
