"""Sampled buckets against a recompute from silver, at the versions that the rollups have processed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from edge_assets.settings import Settings
from edge_assets.warehouse import lake
from edge_assets.warehouse.rollups import buckets, publish, times
from edge_assets.warehouse.rollups.layout import Layout, read_state
from edge_assets.warehouse.rollups.model import READINGS_1D, READINGS_1H, READINGS_1M, Rollup
from edge_assets.warehouse.rollups.silver import Silver
from edge_assets.warehouse.rollups.update import alone

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SAMPLES = {READINGS_1M: 8, READINGS_1H: 4, READINGS_1D: 2}
"""so many stretches of time (an hour, an hour, a day) are looked at of each; half of them of the last week"""

SPANS = {READINGS_1M: times.HOUR, READINGS_1H: times.HOUR, READINGS_1D: times.DAY}
RECENT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Compared:
    buckets: int
    differing: int
    example: str | None = None

    @property
    def holds(self) -> bool:
        return not self.differing


def compare(settings: Settings, seed: int | None = None) -> Compared:
    """Recompute sampled buckets. Rollups that were never made hold. Raises `LakeError`, `AlreadyRunning`."""
    pick, total, differing, example = random.Random(seed), 0, 0, None
    with alone(settings), lake.connection(settings) as opened:
        state = read_state(settings)
        if state is None or state.building_from:
            return Compared(0, 0)
        layout = Layout(settings, state)
        silver = Silver(settings, {name: seen.version for name, seen in state.seen.items()})
        for rollup, count in SAMPLES.items():
            for start in _stretches(opened, layout, silver, rollup, count, pick):
                end = start + timedelta(seconds=SPANS[rollup])
                n, wrong, key = _differences(opened, layout, silver, rollup, start, end)
                total, differing = total + n, differing + wrong
                example = example or (f"{rollup.name} {key}" if key else None)
    return Compared(total, differing, example)


def _stretches(
    opened: DuckDBPyConnection, layout: Layout, silver: Silver, rollup: Rollup, count: int, pick: random.Random
) -> list[datetime]:
    """Random stretches in which the rollup has buckets, and neither raw rows nor minutes have gone for their age."""
    found = opened.execute(
        f"SELECT DISTINCT {times.bucket('bucket', SPANS[rollup])} AS start FROM ({publish.rows(layout, READINGS_1H)}) "
        "ORDER BY start"
    ).fetchall()
    begin = layout.state.minutes_begin or ""
    days = ((row[0], row[0].astimezone(UTC).date()) for row in found)
    starts = [start for start, day in days if str(day) >= begin and not silver.expired_kinds(day)]
    recent = [start for start in starts if start >= starts[-1] - RECENT]
    return [
        *pick.sample(recent, min(count // 2, len(recent))),
        *pick.sample(starts, min(count - count // 2, len(starts))),
    ]


def _differences(
    opened: DuckDBPyConnection, layout: Layout, silver: Silver, rollup: Rollup, start: datetime, end: datetime
) -> tuple[int, int, str | None]:
    """(buckets, those that differ, one of them). Sums may differ in their last digits."""
    within = f"bucket >= {times.literal(start)} AND bucket < {times.literal(end)}"
    wanted = buckets.minutes(silver.between(start, end))
    if rollup is not READINGS_1M:
        wanted = buckets.from_minutes(rollup, wanted)
    key = "bucket, kind, site, device_id, measurement, coalesce(unit, '')"
    told = f"SELECT * FROM ({publish.rows(layout, rollup)}) WHERE {within}"
    same = " AND ".join(f"a.{name} = b.{name}" for name in ("n", "min", "max", "first", "last"))
    close = "abs(a.sum - b.sum) <= 1e-9 * greatest(abs(a.sum), abs(b.sum), 1)"
    row = opened.execute(
        f"SELECT count(*), count(*) FILTER (NOT same), any_value(name) FILTER (NOT same) FROM (SELECT "
        f"coalesce({same} AND {close}, false) AS same, coalesce(a.name, b.name) AS name "
        f"FROM (SELECT *, concat_ws(' ', {key}) AS name FROM ({told})) a "
        f"FULL JOIN (SELECT *, concat_ws(' ', {key}) AS name FROM ({wanted})) b USING (name))"
    ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]
