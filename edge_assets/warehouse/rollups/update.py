"""The incremental run and the rebuild. One of them at a time works on a home (`EDGE_HOME/run/rollups.lock`).

The steps of a run, each of which may be the last one that a killed run has done:

1. what the Delta logs' commits since the state's versions have added and removed, and so which buckets are touched;
2. these buckets, recomputed from silver, each file aside and then in its place;
3. what has closed, merged into larger files; the smaller ones stay;
4. `edge.duckdb`, built aside and swapped in;
5. the state: the versions, and what is closed. Now the run counts.

A run that was killed before step 5 is done again by the next one. Files that were merged an hour ago are deleted at the
beginning of a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from edge_assets.errors import LakeError
from edge_assets.service import lock_in_turn
from edge_assets.settings import Settings
from edge_assets.warehouse import lake
from edge_assets.warehouse.rollups import changes, files, publish, times
from edge_assets.warehouse.rollups.changes import Changed, Commit, LogGone, News
from edge_assets.warehouse.rollups.cleaning import clean
from edge_assets.warehouse.rollups.layout import (
    LOCK,
    OPEN_FOR,
    Layout,
    State,
    database_path,
    next_generation,
    read_state,
    write_state,
)
from edge_assets.warehouse.rollups.model import DOOR_ACTIVITY, MESSAGES_DAILY, READINGS_1D, READINGS_1M
from edge_assets.warehouse.rollups.silver import Silver, days_between, table_path, there
from edge_assets.warehouse.rollups.work import Work, Written

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

WAIT_SECONDS = 600.0
"""so long a run waits for another one"""

ATTEMPTS = 3
"""so often a run begins again when maintenance takes a file away under it"""

Progress = Callable[[str], None]

DIFFERS_BY = "kind, site, device_id, device_name, measurement, value, unit, event_time, quality, position"
"""what makes a row another one for a rollup"""


@dataclass(slots=True)
class Outcome:
    """What a run did."""

    buckets: int = 0
    """buckets of a minute that were recomputed"""
    days: set[date] = field(default_factory=set)
    """the UTC days that they are of"""
    written: dict[str, Written] = field(default_factory=dict)
    """by rollup"""
    published_bytes: int = 0
    """of `edge.duckdb`; 0: nothing had changed, and the file stayed"""
    rebuilt: str | None = None
    """why all was made anew, where it was"""
    seconds: float = 0.0

    @property
    def bytes_written(self) -> int:
        return self.published_bytes + sum(written.bytes for written in self.written.values())

    def add(self, work: Work) -> None:
        for name, news in work.written.items():
            known = self.written.setdefault(name, Written())
            known.rows += news.rows
            known.bytes += news.bytes
            known.files += news.files
            known.days |= news.days
        work.written.clear()


def update(settings: Settings, progress: Progress = lambda line: None) -> Outcome:
    """Bring the rollups up to what silver holds now. Raises `LakeError`, `AlreadyRunning`."""
    return _run(settings, (), progress)


def rebuild_days(settings: Settings, days: Iterable[date], progress: Progress = lambda line: None) -> Outcome:
    """The same, and recompute these UTC days from silver whatever their files say.

    Raises `LakeError` before anything is done where raw rows of one of the days have gone for their age.
    """
    days = sorted(set(days))
    _refuse_expired(settings, days)
    return _run(settings, days, progress)


def rebuild_all(settings: Settings, progress: Progress = lambda line: None) -> Outcome:
    """Make everything anew, day by day; readers keep what there is until it is whole."""
    return _run(settings, (), progress, "asked for")


def _refuse_expired(settings: Settings, days: Sequence[date]) -> None:
    silver = Silver(settings)
    gone = [day for day in days if silver.expired_kinds(day)]
    if gone:
        range_ = f"{gone[0]} to {gone[-1]}" if len(gone) > 1 else f"{gone[0]}"
        raise LakeError(
            f"recomputing {range_}: raw rows of {len(gone)} of the {len(days)} days have gone for their age "
            "(EDGE_RETENTION__READINGS), so their rollups stay as they are; choose other days"
        )


def _run(settings: Settings, days: Iterable[date], progress: Progress, anew: str | None = None) -> Outcome:
    import duckdb

    begun, outcome = time.monotonic(), Outcome()
    with alone(settings):
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with lake.connection(settings) as opened:
                    _Run(settings, opened, outcome, progress).go(days, anew)
                break
            except duckdb.IOException as error:  # perhaps a file that maintenance has taken away since
                if attempt == ATTEMPTS:
                    raise LakeError(
                        f"rolling up {settings.lake_path}: {str(error).splitlines()[0]}; "
                        "`edge doctor` says whether the disk is full"
                    ) from error
    outcome.seconds = time.monotonic() - begun
    return outcome


def alone(settings: Settings) -> AbstractContextManager[None]:
    """Keep other runs away meanwhile. Raises `AlreadyRunning` where one takes longer than `WAIT_SECONDS`."""
    return lock_in_turn(settings, LOCK, WAIT_SECONDS)


class _Run:
    def __init__(self, settings: Settings, opened: DuckDBPyConnection, outcome: Outcome, progress: Progress) -> None:
        self._settings = settings
        self._opened = opened
        self._outcome = outcome
        self._progress = progress

    def go(self, days: Iterable[date], anew: str | None) -> None:
        state = read_state(self._settings)
        if state is None or anew:
            state = self._begin_anew(anew or "there is no state of an earlier run")
        if state.building_from:
            state = self._build(state)
        clean(self._settings, state)
        try:
            self._step(state, days)
        except LogGone as gone:
            self._progress(f"rollups: {gone}; everything is made anew")
            self._build(self._begin_anew(str(gone)))

    def _step(self, state: State, days: Iterable[date]) -> None:
        news = {name: self._news(state, name) for name in there(self._settings)}
        if gone := set(state.seen) - {_full(name) for name in news}:
            raise LogGone(f"{', '.join(sorted(gone))} is no longer there")
        if not days and not any(each.commits for each in news.values()) and database_path(self._settings).exists():
            return
        work = Work(self._settings, self._opened, Silver(self._settings), state)
        for name, each in news.items():
            for commit in _joined(each.commits):
                self._touch(work, name, commit)
        for day in days:
            work.touch_day(day)
        _, latest = work.touched()
        self._outcome.days |= work.touched_days()
        self._outcome.buckets += work.recompute()
        work.close(min(latest, datetime.now(UTC)) if latest else work.state.horizon)
        self._outcome.add(work)
        self._finish(replace(work.state, seen={_full(name): each.seen for name, each in news.items()}))

    def _news(self, state: State, name: lake.TableName) -> News:
        path, seen = table_path(self._settings, name), state.seen.get(_full(name))
        return changes.since(path, seen) if seen else changes.since_beginning(path)

    def _touch(self, work: Work, name: lake.TableName, commit: Commit) -> None:
        """What a commit touches: what it adds; where it also removes, that in which the two differ."""
        added, removed = self._there(work, commit.added), self._there(work, commit.removed)
        if not removed:
            if added:
                work.touch(work.silver.of_files(name, added))
            return
        if not added:
            work.touch(work.silver.of_files(name, removed))
            return
        # A merge rewrites whole files for a few rows.
        new, old = (f"(SELECT {DIFFERS_BY} FROM ({work.silver.of_files(name, paths)}))" for paths in (added, removed))
        work.touch(f"({new} EXCEPT ALL {old}) UNION ALL ({old} EXCEPT ALL {new})")

    def _there(self, work: Work, changed: list[Changed]) -> list[Path]:
        """The files that can be read still. Of one that maintenance took away, every bucket of its days is touched."""
        found = []
        for file in changed:
            if file.path.exists():
                found.append(file.path)
            elif file.low and file.high:
                for day in days_between(file.low, file.high):
                    work.touch_day(day)
            else:
                raise LogGone(f"{file.path} is gone, and its log does not say which times it held")
        return found

    def _begin_anew(self, why: str) -> State:
        generation = next_generation(self._settings)
        self._outcome.rebuilt = why
        seen = {_full(name): changes.latest(table_path(self._settings, name)) for name in there(self._settings)}
        old = read_state(self._settings) or salvaged(self._settings, self._opened)
        new = State(generation, seen, building_from=date.min.isoformat())
        if old:
            building = bool(old.building_from)
            new = replace(
                new,
                previous=old.previous if building else old.generation,
                previous_latest=old.previous_latest if building else old.latest,
                minutes_begin=old.minutes_begin,
            )
        write_state(self._settings, new)
        return new

    def _build(self, state: State) -> State:
        """A first build, or what a killed one has left to do, day by day."""
        silver = Silver(self._settings)
        first = date.fromisoformat(state.building_from or "")
        work = Work(self._settings, self._opened, silver, state)
        before = _previous(self._settings, state)
        gone = self._expired_days(work, before)
        days = sorted(day for day in {*silver.days(), *gone} if day >= first)
        newest = min(datetime.now(UTC), self._newest(silver))
        if before and gone and first == date.min:
            work.keep_health(before)
        for number, day in enumerate(days):
            self._progress(f"rollups: {day}, day {number + 1} of {len(days)}")
            # As if it were the day's end already, so that the day is written once.
            work.close(min(times.day_start(day) + timedelta(days=1) + OPEN_FOR, newest))
            if before and day in gone:
                work.keep(day, before)
            work.touch_day(day)
            if count := work.recompute():
                self._outcome.days.add(day)
            self._outcome.buckets += count
            self._outcome.add(work)
            tomorrow = (day + timedelta(days=1)).isoformat()
            write_state(self._settings, replace(work.state, building_from=tomorrow))
        done = replace(work.state, building_from=None, closed_at=time.time(), previous=None, previous_latest=None)
        self._finish(done)
        return done

    def _expired_days(self, work: Work, before: Layout | None) -> set[date]:
        """The days of which the generation before has rows that silver cannot give any more, as raw ones have gone."""
        found: set[date] = set()
        if before is None:
            return found
        for rollup in (READINGS_1D, MESSAGES_DAILY, DOOR_ACTIVITY):
            when = rollup.time if rollup.time == "day" else times.utc_day(rollup.time)
            rows = files.scan(rollup, before.files(rollup, times.EARLIEST, times.LATEST))
            days = self._opened.execute(f"SELECT DISTINCT {when} FROM ({rows})").fetchall()
            found |= {day for (day,) in days if work.spared_rows(rollup, day) != "false"}
        return found

    def _newest(self, silver: Silver) -> datetime:
        row = self._opened.execute(f"SELECT max(event_time) FROM ({silver.all()})").fetchone()
        return row[0] if row and row[0] else times.EARLIEST + OPEN_FOR

    def _finish(self, state: State) -> None:
        self._outcome.published_bytes += publish.publish(self._settings, state)
        write_state(self._settings, state)


def _previous(settings: Settings, state: State) -> Layout | None:
    if state.previous is None:
        return None
    return Layout(settings, State(state.previous, latest=state.previous_latest))


def salvaged(settings: Settings, opened: DuckDBPyConnection) -> State | None:
    """The newest generation on the disk, where the state is lost: as far as its files tell it."""
    generation = str(int(next_generation(settings)) - 1)
    layout = Layout(settings, State(generation))
    try:
        paths = [turns[-1] for tier in READINGS_1M.tiers for turns in layout.turns(READINGS_1M, tier).values()]
        row = opened.execute(f"SELECT max(bucket) FROM ({files.scan(READINGS_1M, paths)})").fetchone()
    except (ValueError, IndexError):  # names of an older format
        return None
    return layout.state.reaching(row[0]) if row and row[0] else None


def _joined(commits: list[Commit]) -> list[Commit]:
    """Commits that only add, which are nearly all, as one: their files are read together."""
    plain = Commit([file for commit in commits if not commit.removed for file in commit.added])
    return [plain, *(commit for commit in commits if commit.removed)]


def _full(name: lake.TableName) -> str:
    return ".".join(name)
