"""Deleting rows for their age, as `settings.retention` has it: day by day, oldest first, one day a turn.

For each day and table, in this order:

1. without the turn: which rows go, and what that means for readers (offsets, UTC days of event time);
2. with it: the table's property `edge.expired` says so (`edge_assets.retention.Expired`);
3. then the rows go, in a commit that is marked (`edge_assets.retention.MARK`).

A writer that is killed between 2 and 3 leaves rows that nobody counts on any more; the next time they go. Where a whole
day goes, files are dropped and none is read or written. Rules for some of a day's rows rewrite that day's files.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from edge_assets import retention
from edge_assets.log_record import Place
from edge_assets.retention import Expired
from edge_assets.settings import RetentionRule, Settings
from edge_assets.stream.chores import Chore, Slice
from edge_assets.stream.decode import text
from edge_assets.stream.lake import Lake
from edge_assets.stream.maintenance import tables
from edge_assets.tables import BRONZE_EVENTS, DEAD_LETTERS, READINGS, ROOM_TELEMETRY, Table

log = logging.getLogger(__name__)

RULED = {READINGS: "device_id, device_name", ROOM_TELEMETRY: "room_id"}
"""tables whose rows go by rules, and the columns that a rule's device is held against"""


@dataclass(slots=True)
class Gone:
    """What went of one table."""

    days: int = 0
    rows: int = 0
    postponed: list[str] = field(default_factory=list)
    """days that stay though they are old enough: records of a later day lie before theirs in the log"""

    def as_dict(self) -> dict[str, Any]:
        return {"days": self.days, "rows": self.rows, "postponed": self.postponed}


class Expiry:
    def __init__(self, lake: Lake, settings: Settings) -> None:
        self._lake = lake
        self._settings = settings

    def expire(self, arguments: Mapping[str, Any]) -> Chore:
        """Delete what is too old today. Answers with the days and rows that went, by table."""
        today, rules = datetime.now(UTC).date(), self._settings.retention
        told: dict[str, Gone] = {}
        if rules.bronze_days:
            told |= yield from self._bronze(retention.last_day(today, rules.bronze_days))
        told[READINGS.full_name] = yield from self._by_rules(READINGS, rules.readings, today)
        told[ROOM_TELEMETRY.full_name] = yield from self._by_rules(
            ROOM_TELEMETRY, retention.for_rooms(rules.readings), today
        )
        for table in tables(self._lake, self._settings):
            if days := rules.tables.get(table.full_name):
                told[table.full_name] = yield from self._whole_days(table, retention.last_day(today, days))
        return {"tables": {name: gone.as_dict() for name, gone in told.items()}}

    def _days_until(self, table: Table, last: date) -> list[date]:
        """The days that the table has files of, up to `last`, oldest first."""
        if "date" not in table.partitioned_by:
            return []
        days = {row[0] for row in self._lake.files(table).selectExpr("partitionValues['date']").distinct().collect()}
        return sorted(day for day in map(date.fromisoformat, filter(None, days)) if day <= last)

    def _expired(self, table: Table) -> Expired:
        return Expired.of(self._lake.properties(table))

    def _say(self, table: Table, expired: Expired) -> None:
        self._lake.set_property(table, retention.PROPERTY, expired.encode())

    def _delete(self, table: Table, condition: str, gone: Gone) -> None:
        gone.rows += self._lake.delete(table, condition, **{retention.MARK: True})
        gone.days += 1

    # -- bronze --------------------------------------------------------------------------------------------------

    def _bronze(self, last: date) -> Generator[Slice, None, dict[str, Gone]]:
        events, dead = Gone(), Gone()
        for day in self._days_until(BRONZE_EVENTS, last):
            ends = self._ends(day)
            if self._is_before_others(day, ends):
                yield Slice(f"expiring bronze of {day}", partial(self._expire_bronze, day, ends, events, dead))
            else:
                events.postponed.append(day.isoformat())
        for day in self._days_until(DEAD_LETTERS, last):
            if day.isoformat() not in events.postponed:
                condition = f"date = DATE'{day}'"
                yield Slice(f"expiring dead letters of {day}", partial(self._delete, DEAD_LETTERS, condition, dead))
        return {BRONZE_EVENTS.full_name: events, DEAD_LETTERS.full_name: dead}

    def _ends(self, day: date) -> dict[Place, int]:
        """The offset after the last of each place's records of a day."""
        rows = self._lake.read(BRONZE_EVENTS).where(f"date = DATE'{day}'")
        found = rows.groupBy("log_id", "kafka_topic", "kafka_partition").agg({"kafka_offset": "max"}).collect()
        return {(row[0], row[1], row[2]): row[3] + 1 for row in found}

    def _is_before_others(self, day: date, ends: Mapping[Place, int]) -> bool:
        """Whether the day's records lie before those of later days in the log, so that what is gone is the beginning of
        what was there. A clock that was wrong can put today's records into a day long past. Around midnight two days
        may be mixed."""
        conditions = [f"({_at(place)} AND kafka_offset < {end})" for place, end in ends.items()]
        later = f"date > DATE'{day + timedelta(days=1)}'"
        rows = self._lake.read(BRONZE_EVENTS).where(f"{later} AND ({' OR '.join(conditions) or 'false'})")
        return not rows.select("kafka_offset").take(1)

    def _expire_bronze(self, day: date, ends: Mapping[Place, int], events: Gone, dead: Gone) -> None:
        known = self._expired(BRONZE_EVENTS)
        offsets = {**known.offsets, **{place: max(end, known.offsets.get(place, 0)) for place, end in ends.items()}}
        self._say(BRONZE_EVENTS, replace(known, before=_after(known, day), offsets=offsets))
        condition = f"date = DATE'{day}'"
        self._delete(DEAD_LETTERS, condition, dead)
        self._delete(BRONZE_EVENTS, condition, events)

    # -- silver and gold -----------------------------------------------------------------------------------------

    def _by_rules(self, table: Table, rules: Sequence[RetentionRule], today: date) -> Generator[Slice, None, Gone]:
        gone, looked = Gone(), False
        applied = {retention.key(rule): retention.last_day(today, rule.raw_days) for rule in rules if rule.raw_days}
        for day in self._days_until(table, max(applied.values(), default=date.min)):
            done = self._expired(table).done
            old = [rule for rule in rules if day <= applied.get(retention.key(rule), date.min)]
            condition = retention.too_old(rules, old, RULED[table], "measurement" if table is READINGS else None)
            if condition == "true":
                condition = ""
            elif condition == "false" or all(day <= done.get(retention.key(rule), date.min) for rule in old):
                continue
            looked |= bool(condition)
            yield from self._day(table, day, condition, gone)
        if looked and dict(self._expired(table).done) != applied:
            yield Slice(f"noting what went of {table.full_name}", partial(self._note_done, table, applied))
        return gone

    def _note_done(self, table: Table, done: Mapping[str, date]) -> None:
        self._say(table, replace(self._expired(table), done=done))

    def _whole_days(self, table: Table, last: date) -> Generator[Slice, None, Gone]:
        gone = Gone()
        for day in self._days_until(table, last):
            yield from self._day(table, day, "", gone)
        return gone

    def _day(self, table: Table, day: date, condition: str, gone: Gone) -> Iterator[Slice]:
        """Let a day's rows go, or those that match."""
        where = f"date = DATE'{day}'" + (f" AND {condition}" if condition else "")
        times: list[date] = []
        if any(column.name == "event_time" for column in table.columns):
            rows = self._lake.read(table).where(where).selectExpr("CAST(event_time AS date) AS day").distinct()
            times = [row.day for row in rows.collect()]
            if not times:
                return
        yield Slice(f"expiring {table.full_name} of {day}", partial(self._expire_day, table, day, where, times, gone))

    def _expire_day(self, table: Table, day: date, where: str, times: Sequence[date], gone: Gone) -> None:
        known = self._expired(table)
        self._say(table, replace(known, before=_after(known, day), spans=retention.with_days(known.spans, times)))
        self._delete(table, where, gone)


def _after(known: Expired, day: date) -> date:
    after = day + timedelta(days=1)
    return max(known.before, after) if known.before else after


def _at(place: Place) -> str:
    log_id, topic, partition = place
    return f"log_id = {text(log_id)} AND kafka_topic = {text(topic)} AND kafka_partition = {partition}"
