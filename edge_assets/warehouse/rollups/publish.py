"""`EDGE_HOME/warehouse/edge.duckdb`: built aside and swapped in, for any number of readers at any moment.

It holds no rollup's rows, but views over their files, by name: a hundred more files in ten years are 10 KB. A
reader opens it read-only, and keeps what it has opened while the next one takes its place; what was merged meanwhile
stays for an hour. Views of people and of dashboards are the files in `edge_assets/warehouse/views`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from edge_assets import object_store
from edge_assets.settings import Settings
from edge_assets.warehouse import lake
from edge_assets.warehouse.duck_types import quoted, text
from edge_assets.warehouse.rollups import buckets, files, times
from edge_assets.warehouse.rollups.layout import Layout, State, database_path, into_place
from edge_assets.warehouse.rollups.measurements import nothing
from edge_assets.warehouse.rollups.model import DEVICE_HEALTH, READINGS_1M, ROLLUPS, Rollup
from edge_assets.warehouse.rollups.silver import Silver
from edge_assets.warehouse.views import views

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CATALOG = "edge"
"""the name that DuckDB gives the file when it is opened; attached, it must have the same, as its views refer to it"""

RECENT = timedelta(days=2)
"""measurements of so many days are in the file; `edge sql` shows them all"""

STATES = "device_state"

SILENT_AFTER = 2
SILENT_SECONDS = 600


def publish(settings: Settings, state: State) -> int:
    """Build the file for a state and let it take the place of the one before. Returns its size in bytes."""
    import duckdb

    path = database_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.aside")
    aside.unlink(missing_ok=True)
    with duckdb.connect() as opened:
        object_store.let_duckdb_read(opened, settings)
        # DuckDB's own block size makes half a megabyte of a few views.
        opened.execute(
            f"SET TimeZone = 'UTC'; ATTACH {text(str(aside))} AS {CATALOG} (BLOCK_SIZE 16384); USE {CATALOG}"
        )
        _fill(opened, settings, state)
        opened.execute(f"USE memory; DETACH {CATALOG}")
    size = aside.stat().st_size
    into_place(aside, path)
    return size


def _fill(opened: DuckDBPyConnection, settings: Settings, state: State) -> None:
    layout = Layout(settings, state)
    for rollup in ROLLUPS:
        if rollup is not DEVICE_HEALTH:
            opened.execute(f"CREATE VIEW {rollup.name} AS {rows(layout, rollup)}")
    _keep_states(opened, settings, layout)
    opened.execute(f"CREATE VIEW {DEVICE_HEALTH.name} AS {health(rows(layout, DEVICE_HEALTH))}")
    opened.execute(f"CREATE VIEW measurements AS {_recent(settings, state)}")
    opened.execute(
        "CREATE TABLE settings AS SELECT ?::VARCHAR AS site, ?::DOUBLE AS energy_price_per_kwh, ?::VARCHAR AS currency",
        [settings.site, settings.rollups.energy_price_per_kwh, settings.rollups.currency],
    )
    for view in views():
        opened.execute(f"CREATE VIEW {quoted(view.name)} AS {view.sql}")
        opened.execute(f"COMMENT ON VIEW {quoted(view.name)} IS {text(view.description)}")


def rows(layout: Layout, rollup: Rollup) -> str:
    """A SELECT of all rows of a rollup: of each tier what is not closed into a larger one."""
    if rollup.tiers == ("all",):
        return files.scan(rollup, [layout.path(rollup, "all", "all")])
    parts = []
    for tier, low, high in layout.spans(rollup):
        if low < high and (paths := _latest(layout, rollup, tier, low, high)):
            where = f"{rollup.time} >= {_limit(rollup, low)} AND {rollup.time} < {_limit(rollup, high)}"
            parts.append(f"{files.scan(rollup, paths)} WHERE {where}")
    if rollup.from_minutes is not None:
        opened = layout.state.closed_until("day")
        if paths := _latest(layout, READINGS_1M, "hour", opened, times.LATEST):
            minutes = f"{files.scan(READINGS_1M, paths)} WHERE bucket >= {times.literal(opened)}"
            parts.append(f"SELECT * FROM ({buckets.from_minutes(rollup, minutes)})")
    return " UNION ALL BY NAME ".join(parts) or files.empty(rollup)


def _latest(layout: Layout, rollup: Rollup, tier: str, low: datetime, high: datetime) -> list[Path]:
    """The files of a tier that may hold buckets from `low` to before `high`."""
    starts = ((times.unit_start(unit, tier), turns[-1]) for unit, turns in layout.turns(rollup, tier).items())
    return [path for start, path in starts if start < high and times.after(start, tier) > low]


def _limit(rollup: Rollup, at: datetime) -> str:
    return times.date_literal(at.date()) if rollup.time == "day" else times.literal(at)


def _keep_states(opened: DuckDBPyConnection, settings: Settings, layout: Layout) -> None:
    """The table `device_state`: what devices had said before the bridge subscribed, until a reading says it anew.

    A later day's reading is found in readings_1d; one of the same day in that day's minutes.
    """
    told = lake.snapshot(settings, ("silver", "device_states")).select()
    opened.execute(f"CREATE TABLE {STATES} AS {states(told)}")
    known = opened.execute(f"SELECT DISTINCT CAST(timezone('UTC', known_at) AS DATE) FROM {STATES}").fetchall()
    _forget_states(opened, "SELECT * FROM readings_1d", "said.bucket > known_at")
    for (day,) in known:
        start = times.day_start(day)
        of_day = files.scan(READINGS_1M, layout.files(READINGS_1M, start, start + timedelta(days=1)))
        _forget_states(opened, of_day, "said.bucket >= date_trunc('minute', known_at)")


def states(told: str) -> str:
    """What each device had said last, of the rows of silver.device_states."""
    return f"""
        SELECT 'device' AS kind, site, device_id, arg_max(device_name, received_at) AS device_name, measurement,
            arg_max(unit, received_at) AS unit, arg_max(value, received_at) AS value,
            arg_max(text, received_at) AS text, max(received_at) AS known_at
        FROM ({told}) GROUP BY site, device_id, measurement"""


def _forget_states(opened: DuckDBPyConnection, readings: str, later: str) -> None:
    same = " AND ".join(f"said.{name} = {STATES}.{name}" for name in ("kind", "site", "device_id", "measurement"))
    opened.execute(f"DELETE FROM {STATES} USING ({readings}) AS said WHERE {same} AND {later}")


def health(stored: str) -> str:
    """device_health as it is asked: the rows of its file, with what depends on the time of asking."""
    silent = "(epoch_us(now()) - epoch_us(last_seen))"
    told = {
        **{name: name for name in ("kind", "site", "device_id")},  # of either side: a device may never have been heard
        "device_name": "coalesce(h.device_name, s.device_name)",
        "available": "coalesce(s.value <> 0, h.available)",
    }
    columns = (f"{told.get(c.name, f'h.{c.name}')} AS {c.name}" for c in DEVICE_HEALTH.columns)
    patience = f"greatest(coalesce(cadence_p95_seconds, 0) * {SILENT_AFTER}, {SILENT_SECONDS})"
    return f"""
        WITH heard AS (
            SELECT kind, site, device_id, CAST(sum(n) AS BIGINT) AS messages FROM (
                SELECT kind, site, device_id, bucket, max(n) AS n FROM readings_1m
                WHERE bucket >= now() - INTERVAL 24 HOUR GROUP BY ALL) GROUP BY ALL
        )
        SELECT {", ".join(columns)}, coalesce(heard.messages, 0) AS messages_last_day,
            {silent} / 1e6 AS silent_seconds, {silent} > {patience} * 1e6 AS silent
        FROM ({stored}) h
        FULL JOIN (FROM {STATES} WHERE measurement = 'availability') s USING (kind, site, device_id)
        LEFT JOIN heard USING (kind, site, device_id)"""


def _recent(settings: Settings, state: State) -> str:
    if not state.latest:
        return nothing()
    end = state.horizon + RECENT
    return Silver(settings).between(times.floor(state.horizon - RECENT, "day"), end)


def reader(settings: Settings) -> Path | None:
    """The file for readers; None before the first update."""
    path = database_path(settings)
    return path if path.exists() else None
