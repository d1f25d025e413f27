"""What one run does to the files: recompute what was touched, and merge what has closed. No state is written here.

Everything may be done twice: buckets are recomputed from silver and never added to, and a merge reads files that stay
until the state that no longer needs them is in its place.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_assets.settings import Settings
from edge_assets.warehouse.rollups import buckets, days, files, times
from edge_assets.warehouse.rollups.layout import Layout, State
from edge_assets.warehouse.rollups.model import (
    DEVICE_HEALTH,
    DOOR_ACTIVITY,
    ENERGY_DAILY,
    MESSAGES_DAILY,
    READINGS_1D,
    READINGS_1M,
    ROLLUPS,
    ROOM_COMFORT,
    Rollup,
)
from edge_assets.warehouse.rollups.silver import Silver

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

DAYS_AT_ONCE = 8
"""so many days are one query"""

TIER_CLOSES = ("day", "month", "year")
DERIVED = tuple(rollup for rollup in ROLLUPS if rollup.from_minutes is not None)
SERIES = "kind, site, device_id, measurement"
MINUTE = times.bucket("event_time", times.MINUTE)
TOUCHED = f"SELECT DISTINCT {times.utc_day('event_time')} AS day, {SERIES}, {MINUTE} AS bucket"


@dataclass(slots=True)
class Written:
    """What a run has written of one rollup."""

    rows: int = 0
    bytes: int = 0
    files: int = 0
    days: set[date] = field(default_factory=set)


class Work:
    """One run's work on the files of one state."""

    def __init__(self, settings: Settings, opened: DuckDBPyConnection, silver: Silver, state: State) -> None:
        self.silver = silver
        self.written: dict[str, Written] = defaultdict(Written)
        self._settings = settings
        self._opened = opened
        self._whole: set[date] = set()
        self.layout = Layout(settings, state)
        opened.execute(
            "CREATE OR REPLACE TEMP TABLE touched (day DATE, kind VARCHAR, site VARCHAR, device_id VARCHAR, "
            "measurement VARCHAR, bucket TIMESTAMPTZ)"
        )

    @property
    def state(self) -> State:
        return self.layout.state

    def touch(self, rows: str) -> None:
        """The buckets of these rows (a SELECT of `measurements`) are to be recomputed."""
        self._opened.execute(f"INSERT INTO touched {TOUCHED} FROM ({rows})")

    def touch_day(self, day: date) -> None:
        """Every bucket of a day is to be recomputed: those that silver has, and those that the files have."""
        start = times.day_start(day)
        end = start + timedelta(days=1)
        self.touch(self.silver.between(start, end))
        known = self._relation(READINGS_1M, start, end)
        self._opened.execute(
            f"INSERT INTO touched SELECT DISTINCT {times.date_literal(day)}, {SERIES}, bucket FROM ({known})"
        )
        self._whole.add(day)

    def touched(self) -> tuple[int, datetime | None]:
        """(how many buckets of a minute, the latest of them)"""
        count, latest = self._one("SELECT count(*), max(bucket) FROM touched")
        return count, latest

    def touched_days(self) -> set[date]:
        return {day for (day,) in self._all("SELECT DISTINCT day FROM touched")}

    def recompute(self) -> int:
        """Recompute what was touched, day by day. Returns how many buckets of a minute there were.

        Where raw rows have gone for their age, what is there stays as it is, and only what is new is added.
        """
        for day in sorted(self.touched_days()):
            self._spare(day)
        count, _ = self.touched()
        affected = sorted(self.touched_days())
        for day in affected:
            self._minutes(day)
            self._larger(day)
        self._daily(affected)
        self._health(affected)
        self._opened.execute("DELETE FROM touched")
        self._whole.clear()
        return count

    def _spare(self, day: date) -> None:
        """Let a day's buckets whose raw rows have gone not be recomputed; and where only its minutes have gone, let all
        of it be, as its hours are made of all of its minutes."""
        if str(day) < (self.state.minutes_begin or "") and day not in self._whole:
            self.touch_day(day)
        if not (kinds := self.silver.expired_kinds(day)):
            return
        self._whole.discard(day)
        start = times.day_start(day)
        known = self._relation(READINGS_1M, start, start + timedelta(days=1))
        self._opened.execute(
            f"DELETE FROM touched AS t USING ({known}) AS k WHERE t.day = {times.date_literal(day)} "
            f"AND t.kind IN ({_texts(kinds)}) AND {_same(('bucket', *SERIES.split(', ')), 't', 'k')}"
        )

    def keep(self, day: date, before: Layout) -> None:
        """Take over from another generation what this day's raw rows cannot give any more."""
        for rollup in ROLLUPS:
            if rollup is not DEVICE_HEALTH and (spared := self._spared(rollup, day)) != "false":
                start = times.day_start(day)
                paths = before.files(rollup, start, start + timedelta(days=1))
                rows = f"SELECT * FROM ({files.scan(rollup, paths)}) WHERE {_within(rollup.time, day)} AND {spared}"
                self._replace_days(rollup, {day: rows})

    def keep_health(self, before: Layout) -> None:
        """And the devices that nothing has been heard of since."""
        old = files.scan(DEVICE_HEALTH, [before.path(DEVICE_HEALTH, "all", "all")])
        self._rewrite(DEVICE_HEALTH, "all", "all", f"SELECT * FROM ({old})")

    def _spared(self, rollup: Rollup, day: date) -> str:
        """SQL: whether a row of this day stays as it is, because raw rows that it came from have gone."""
        kinds = self.silver.expired_kinds(day)
        if rollup is DOOR_ACTIVITY:  # it looks at the day before as well
            kinds = (kinds | self.silver.expired_kinds(day - timedelta(days=1))) & {"device"}
        elif rollup is ROOM_COMFORT:
            kinds &= {"room"}
        elif kinds:
            return f"kind IN ({_texts(kinds)})"
        return "true" if kinds else "false"

    def close(self, latest: datetime) -> bool:
        """Merge what is closed once event times up to `latest` are seen; says whether anything was.

        The layout is then the new state's. Merged files stay, for readers and for a run that does it again.
        """
        before, now = self.layout, Layout(self._settings, self.state.reaching(latest))
        moved = [tier for tier in TIER_CLOSES if now.state.closed_until(tier) > before.state.closed_until(tier)]
        for tier in moved:
            for rollup in ROLLUPS:
                self._merge(rollup, tier, before.state.closed_until(tier), now.state.closed_until(tier))
        state = replace(now.state, closed_at=time.time()) if moved else now.state
        self.layout = Layout(self._settings, state)
        return bool(moved)

    def _merge(self, rollup: Rollup, tier: str, begin: datetime, end: datetime) -> None:
        if tier in rollup.tiers[1:]:
            lower = rollup.tiers[rollup.tiers.index(tier) - 1]
            for unit, parts in self._units_to_merge(rollup, lower, tier, begin, end).items():
                rows = files.scan(rollup, parts)
                # What is in parts that were closed is above the limit of what counts in them, so nothing is doubled.
                self._rewrite(rollup, tier, unit, rows)
        if tier == "day" and rollup.from_minutes is not None:
            for unit, turns in self.layout.turns(READINGS_1M, "day").items():
                at = times.unit_start(unit, "day")
                if begin <= at < end:
                    self._derive(rollup, at.date(), turns[-1:])

    def _units_to_merge(
        self, rollup: Rollup, lower: str, tier: str, begin: datetime, end: datetime
    ) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = defaultdict(list)
        for part, turns in self.layout.turns(rollup, lower).items():
            at = times.unit_start(part, lower)
            if begin <= at < end:
                found[times.unit_name(at, tier)].append(turns[-1])
        return found

    def _minutes(self, day: date) -> None:
        low, high = self._one(f"SELECT min(bucket), max(bucket) FROM touched WHERE day = {times.date_literal(day)}")
        high += timedelta(minutes=1)
        these = f"(SELECT {SERIES}, bucket FROM touched WHERE day = {times.date_literal(day)})"
        rows = self.silver.between(low, high)
        if day not in self._whole:
            rows = (
                f"SELECT * EXCLUDE (bucket) FROM (SELECT *, {MINUTE} AS bucket FROM ({rows})) "
                f"SEMI JOIN {these} USING ({SERIES}, bucket)"
            )
        self._opened.execute(f"CREATE OR REPLACE TEMP TABLE fresh AS {buckets.minutes(rows)}")
        for tier, unit in self._places(READINGS_1M, day, low, high):
            start = times.unit_start(unit, tier)
            within = f"bucket >= {times.literal(start)} AND bucket < {times.literal(times.after(start, tier))}"
            old = files.scan(READINGS_1M, [self.layout.path(READINGS_1M, tier, unit)])
            self._rewrite(
                READINGS_1M,
                tier,
                unit,
                f"SELECT * FROM ({old}) ANTI JOIN {these} USING ({SERIES}, bucket) "
                f"UNION ALL BY NAME SELECT * FROM fresh WHERE {within}",
                [day],
            )
        self._opened.execute("DROP TABLE fresh")

    def _places(self, rollup: Rollup, day: date, low: datetime, high: datetime) -> list[tuple[str, str]]:
        at = times.floor(low, "hour")
        found: dict[tuple[str, str], None] = {}
        while at < high:
            found[self.layout.place(rollup, at)] = None
            at += timedelta(hours=1)
        return list(found)

    def _larger(self, day: date) -> None:
        """The rollups that are made of minutes, where the day is closed; an open one's are a view's."""
        start = times.day_start(day)
        if start < self.state.closed_until("day"):
            minutes = self.layout.files(READINGS_1M, start, start + timedelta(days=1))
            for rollup in DERIVED:
                self._derive(rollup, day, minutes)

    def _derive(self, rollup: Rollup, day: date, minutes: list[Path]) -> None:
        within = _within("bucket", day)
        rows = buckets.from_minutes(rollup, f"SELECT * FROM ({files.scan(READINGS_1M, minutes)}) WHERE {within}")
        self._replace_days(rollup, {day: rows})

    def _daily(self, affected: list[date]) -> None:
        energy, doors, heard = set(affected), set(affected), set(affected)
        for day in affected:
            energy |= self._next_days(READINGS_1D, day, days.IS_ENERGY)
            heard |= self._next_days(MESSAGES_DAILY, day, "true")
            doors |= {day + timedelta(days=1)}
            for other in self._last_days(day):
                doors |= {other, other + timedelta(days=1)}
        if self._is_touched(days.IS_ENERGY):
            self._replace_days(ENERGY_DAILY, {day: self._energy(day) for day in sorted(energy)})
        if self._is_touched(days.IS_CONTACT):
            self._replace_days(DOOR_ACTIVITY, {day: self._doors(day) for day in sorted(doors)})
        for day in sorted(heard):  # one by one, as each reads what the one before it has written
            self._replace_days(MESSAGES_DAILY, {day: self._messages(day)})

    def _is_touched(self, which: str) -> bool:
        return bool(self._one(f"SELECT count(*) FROM touched WHERE {which}")[0])

    def _next_days(self, rollup: Rollup, day: date, which: str) -> set[date]:
        """For each touched device the first day after this one: its first step or gap is from this day."""
        later = times.day_start(day) + timedelta(days=1)
        rows = self._relation(rollup, later, later + days.REACH)
        when = "day" if rollup.time == "day" else times.utc_day("bucket")
        touched = f"(SELECT kind, site, device_id FROM touched WHERE {which} AND day = {times.date_literal(day)})"
        return {
            found
            for (found,) in self._all(
                f"SELECT DISTINCT first FROM (SELECT min({when}) AS first FROM (SELECT * FROM ({rows}) WHERE {which}) "
                f"SEMI JOIN {touched} USING (kind, site, device_id) GROUP BY kind, site, device_id)"
            )
        }

    def _last_days(self, day: date) -> set[date]:
        """For each touched contact its last day before this one: how long it stood open then is known only now."""
        start = times.day_start(day)
        rows = self._relation(READINGS_1D, start - days.REACH, start)
        touched = (
            f"(SELECT kind, site, device_id FROM touched WHERE {days.IS_CONTACT} AND day = {times.date_literal(day)})"
        )
        return {
            found
            for (found,) in self._all(
                f"SELECT DISTINCT last FROM (SELECT {times.utc_day('max(bucket)')} AS last "
                f"FROM (SELECT * FROM ({rows}) WHERE {days.IS_CONTACT}) "
                f"SEMI JOIN {touched} USING (kind, site, device_id) GROUP BY site, device_id)"
            )
        }

    def _energy(self, day: date) -> str:
        start = times.day_start(day)
        source = self.silver.between(start, start + timedelta(days=1))
        before = self._relation(READINGS_1D, start - days.REACH, start)
        return days.energy(day, source, before, self._settings.rollups.energy_max_kw)

    def _doors(self, day: date) -> str:
        start = times.day_start(day)
        yesterday, tomorrow = start - timedelta(days=1), start + timedelta(days=1)
        source = self.silver.between(yesterday, tomorrow)
        before = self._relation(READINGS_1D, yesterday - days.REACH, yesterday)
        after = self._relation(READINGS_1D, tomorrow, tomorrow + days.REACH)
        return days.doors(day, source, before, after)

    def _messages(self, day: date) -> str:
        start = times.day_start(day)
        source = self.silver.between(start, start + timedelta(days=1))
        before = self._relation(MESSAGES_DAILY, start - days.REACH, start)
        return days.messages(day, source, before)

    def _health(self, affected: list[date]) -> None:
        if not affected:
            return
        since = min(times.day_start(affected[0]), max(self.state.horizon, times.EARLIEST + days.REACH)) - days.REACH
        heard = self._relation(MESSAGES_DAILY, since, times.LATEST)
        daily = self._relation(READINGS_1D, since, times.LATEST)
        devices = "SELECT DISTINCT kind, site, device_id FROM touched"
        old = files.scan(DEVICE_HEALTH, [self.layout.path(DEVICE_HEALTH, "all", "all")])
        self._rewrite(
            DEVICE_HEALTH,
            "all",
            "all",
            f"SELECT * FROM ({old}) ANTI JOIN ({devices}) USING (kind, site, device_id) "
            f"UNION ALL BY NAME SELECT * FROM ({days.health(devices, heard, daily)})",
        )

    def _relation(self, rollup: Rollup, low: datetime, high: datetime) -> str:
        """A SELECT of the rollup's rows between two times, from the files that may hold them."""
        where = _between(rollup, low, high)
        parts = [f"SELECT * FROM ({files.scan(rollup, self.layout.files(rollup, low, high))}) WHERE {where}"]
        opened = self.state.closed_until("day")
        if rollup.from_minutes is not None and high > opened:
            # A crash can leave more days in a file than count: what is open is told by minutes alone.
            parts[0] += f" AND {_between(rollup, times.EARLIEST, opened)}"
            minutes = self._relation(READINGS_1M, max(low, opened), high)
            parts.append(buckets.from_minutes(rollup, minutes))
        return " UNION ALL BY NAME ".join(parts)

    def _replace_days(self, rollup: Rollup, rows: Mapping[date, str]) -> None:
        """Let whole days hold what these SELECTs give; each file is written once for a few days together."""
        units: dict[tuple[str, str], list[date]] = defaultdict(list)
        for day in rows:
            units[self.layout.place(rollup, times.day_start(day))].append(day)
        for (tier, unit), these in units.items():
            for part in batched(these, DAYS_AT_ONCE):
                old = files.scan(rollup, [self.layout.path(rollup, tier, unit)])
                others = " AND ".join(f"NOT ({_within(rollup.time, day)})" for day in part)
                kept = f"SELECT * FROM ({old}) WHERE {others}"
                new = (self._beside_spared(rollup, day, old, rows[day]) for day in part)
                self._rewrite(rollup, tier, unit, " UNION ALL BY NAME ".join((kept, *new)), part)

    def _beside_spared(self, rollup: Rollup, day: date, old: str, rows: str) -> str:
        """A day's new rows; where old ones have to stay, those and what is not among them."""
        spared = self._spared(rollup, day)
        if spared == "false":
            return f"SELECT * FROM ({rows})"
        stays = f"SELECT * FROM ({old}) WHERE {_within(rollup.time, day)} AND {spared}"
        return (
            f"{stays} UNION ALL BY NAME SELECT * FROM ({rows}) AS n "
            f"WHERE NOT EXISTS (SELECT 1 FROM ({stays}) AS k WHERE {_same(rollup.order, 'n', 'k')})"
        )

    def drop_minutes(self, unit: str, expired: str) -> int:
        """Take the buckets of a month that match out of readings_1m. Returns how many."""
        path = self.layout.path(READINGS_1M, "month", unit)
        (count,) = self._one(f"SELECT count(*) FROM ({files.scan(READINGS_1M, [path])}) WHERE {expired}")
        if count:
            rows = f"SELECT * FROM ({files.scan(READINGS_1M, [path])}) WHERE NOT ({expired})"
            self._rewrite(READINGS_1M, "month", unit, rows)
        return count

    def _rewrite(self, rollup: Rollup, tier: str, unit: str, select: str, affected: Iterable[date] = ()) -> None:
        before = self.layout.path(rollup, tier, unit)
        path = self.layout.next_path(rollup, tier, unit, before)
        rows, size = files.write(self._opened, rollup, path, select, first=before is None)
        written = self.written[rollup.name]
        written.rows += rows
        written.bytes += size
        written.files += 1
        written.days.update(affected)

    def _one(self, query: str) -> tuple[Any, ...]:
        row = self._opened.execute(query).fetchone()
        assert row is not None
        return row

    def _all(self, query: str) -> Iterable[tuple[Any, ...]]:
        return self._opened.execute(query).fetchall()


def _texts(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in sorted(values))


def _same(columns: Iterable[str], one: str, other: str) -> str:
    return " AND ".join(f"{one}.{name} IS NOT DISTINCT FROM {other}.{name}" for name in columns)


def _within(column: str, day: date) -> str:
    if column == "day":
        return f"day = {times.date_literal(day)}"
    start = times.day_start(day)
    return f"{column} >= {times.literal(start)} AND {column} < {times.literal(start + timedelta(days=1))}"


def _between(rollup: Rollup, low: datetime, high: datetime) -> str:
    def limit(at: datetime) -> str:
        return times.date_literal(at.date()) if rollup.time == "day" else times.literal(at)

    return f"{rollup.time} >= {limit(low)} AND {rollup.time} < {limit(high)}"


def batched(items: Sequence[date], size: int) -> Iterator[Sequence[date]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
