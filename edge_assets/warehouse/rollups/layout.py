"""Where the rollups' files lie, which of them holds a bucket, and the state file.

    EDGE_HOME/warehouse/rollups/<generation>/<rollup>/<tier>/<unit>.<turn>.parquet
    EDGE_HOME/warehouse/rollups.json     the state: what has been processed; replaced last
    EDGE_HOME/warehouse/edge.duckdb      what readers open; see `publish`

A file is never changed: what is written again gets the next turn, so that a reader who has begun with the one before
goes on with it. The latest turn counts; `cleaning` deletes the others an hour later.

A bucket lies in the largest tier that is closed for it. What is closed follows from one time, the horizon: the latest
event time that was seen, less an hour. Days before the horizon's are closed; months and years two days after their end.
A full rebuild writes a new generation, so that readers keep the old one until the new one is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edge_assets.settings import Settings
from edge_assets.warehouse.rollups import times
from edge_assets.warehouse.rollups.model import Rollup

FORMAT = 2
LOCK = "rollups"
"""who works on the files holds the lock `run/rollups.lock`"""

OPEN_FOR = timedelta(hours=1)
"""so long after its end a day is still open: what comes late mostly comes within it"""
SETTLE = timedelta(days=2)
"""so long after its end a month or a year is still in smaller files"""


@dataclass(frozen=True, slots=True)
class Seen:
    """How far one table's log has been processed: the version, and a mark of that commit by which it is known again."""

    version: int
    mark: str


@dataclass(frozen=True, slots=True)
class State:
    generation: str = "1"
    seen: dict[str, Seen] = field(default_factory=dict)
    """by the table's full name; a table that was not there is not in it"""
    latest: str | None = None
    """the latest event time seen (ISO), never later than the clock"""
    closed_at: float = 0.0
    """when files were last merged (seconds since 1970): what they replaced is deleted an hour later"""
    building_from: str | None = None
    """a first build was stopped: the day (ISO) to go on with"""
    previous: str | None = None
    """the generation before this one, while this one is built: what silver has given up is taken from it"""
    previous_latest: str | None = None
    """and that one's `latest`"""
    minutes_begin: str | None = None
    """of readings_1m buckets before this day (ISO) have gone for their age, in part or as a whole"""
    format: int = FORMAT

    @property
    def horizon(self) -> datetime:
        return datetime.fromisoformat(self.latest) - OPEN_FOR if self.latest else times.EARLIEST

    def closed_until(self, tier: str) -> datetime:
        """Buckets before this time lie in files of this tier, or of a larger one."""
        settled = max(self.horizon - SETTLE, times.EARLIEST)
        return times.floor(self.horizon if tier == "day" else settled, tier)

    def reaching(self, latest: datetime) -> State:
        """The same, with event times up to `latest` seen."""
        known = datetime.fromisoformat(self.latest) if self.latest else times.EARLIEST
        return replace(self, latest=max(known, latest.astimezone(UTC)).isoformat())


def folder(settings: Settings) -> Path:
    return settings.home / "warehouse"


def database_path(settings: Settings) -> Path:
    return folder(settings) / "edge.duckdb"


def state_path(settings: Settings) -> Path:
    return folder(settings) / "rollups.json"


def read_state(settings: Settings) -> State | None:
    """The state; None where there is none that can be used, and all is to be made anew."""
    try:
        raw: dict[str, Any] = json.loads(state_path(settings).read_text())
        if raw["format"] != FORMAT:
            return None
        return State(**{**raw, "seen": {name: Seen(**seen) for name, seen in raw["seen"].items()}})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def next_generation(settings: Settings) -> str:
    """A number that no generation on the disk has."""
    generations = folder(settings) / "rollups"
    known = [int(path.name) for path in generations.iterdir() if path.name.isdecimal()] if generations.is_dir() else []
    return str(max(known, default=0) + 1)


def write_state(settings: Settings, state: State) -> int:
    """Replace the state; returns the bytes written."""
    text = json.dumps(asdict(state), indent=1)
    path = state_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.aside")
    aside.write_text(text)
    into_place(aside, path)
    return len(text)


def into_place(aside: Path, path: Path) -> None:
    """Force a finished file to the disk and let it take its place; a reader sees the old one or the new one."""
    descriptor = os.open(aside, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    aside.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Layout:
    """The files of one state: which file holds a bucket, and which files there are."""

    def __init__(self, settings: Settings, state: State) -> None:
        self.state = state
        self._folder = folder(settings) / "rollups" / state.generation

    def tier_folder(self, rollup: Rollup, tier: str) -> Path:
        return self._folder / rollup.name / tier

    def turns(self, rollup: Rollup, tier: str) -> dict[str, list[Path]]:
        """Of each unit that there are files of, its files, the one that counts last."""
        found: dict[str, list[Path]] = {}
        folder = self.tier_folder(rollup, tier)
        for path in sorted(folder.glob("*.parquet"), key=_turn) if folder.is_dir() else ():
            found.setdefault(_unit(path), []).append(path)
        return dict(sorted(found.items()))

    def path(self, rollup: Rollup, tier: str, unit: str) -> Path | None:
        """The file that counts; None where there is none."""
        there = sorted(self.tier_folder(rollup, tier).glob(f"{unit}.*.parquet"), key=_turn)
        return there[-1] if there else None

    def next_path(self, rollup: Rollup, tier: str, unit: str, before: Path | None) -> Path:
        """Where the unit's next turn goes, after the one that counts."""
        return self.tier_folder(rollup, tier) / f"{unit}.{_turn(before) + 1 if before else 1}.parquet"

    def place(self, rollup: Rollup, at: datetime) -> tuple[str, str]:
        """(tier, unit) of the file that a bucket at this time lies in."""
        for tier in reversed(rollup.tiers[1:]):
            if at < self.state.closed_until(tier):
                return tier, times.unit_name(at, tier)
        return rollup.tiers[0], times.unit_name(at, rollup.tiers[0])

    def spans(self, rollup: Rollup) -> Iterator[tuple[str, datetime, datetime]]:
        """(tier, from, until) of each tier: between these times its files are those that count."""
        low = times.EARLIEST
        for tier in reversed(rollup.tiers):
            high = self.state.closed_until(tier) if tier != rollup.tiers[0] else times.LATEST
            if tier == rollup.tiers[0] and rollup.from_minutes is not None:
                high = self.state.closed_until("day")
            yield tier, low, max(low, high)
            low = max(low, high)

    def files(self, rollup: Rollup, low: datetime, high: datetime) -> list[Path]:
        """The files that hold the buckets between two times."""
        found = []
        for tier, start, end in self.spans(rollup):
            begin, until = max(low, start), min(high, end)
            if begin >= until:
                continue
            for unit, turns in self.turns(rollup, tier).items():
                at = times.unit_start(unit, tier)
                if at < until and times.after(at, tier) > begin:
                    found.append(turns[-1])
        return found


def _unit(path: Path) -> str:
    return path.name.split(".")[0]


def _turn(path: Path) -> int:
    return int(path.name.split(".")[1])
