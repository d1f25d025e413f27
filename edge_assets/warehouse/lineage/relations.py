"""The queries that make rollups, views and windows, over each other and over tables by name; and their columns' words.

The queries are the ones that run: what `edge_assets.warehouse.rollups` recomputes a bucket with, what `edge.duckdb` is
filled with. Only where rows come from is another, so that a query reads `silver.readings` in place of its files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from edge_assets.settings import RollupSettings, Settings, WindowSettings
from edge_assets.tables import ROOM_TELEMETRY, WINDOW, Column, all_tables
from edge_assets.warehouse.duck_types import from_spark, quoted
from edge_assets.warehouse.lineage import WINDOWS, Made
from edge_assets.warehouse.lineage.derive import Columns, Origin, base, derive
from edge_assets.warehouse.rollups import buckets, days, measurements, publish
from edge_assets.warehouse.rollups.model import (
    DEVICE_HEALTH,
    DOOR_ACTIVITY,
    ENERGY_DAILY,
    HEALTH_AT_QUERY,
    MESSAGES_DAILY,
    READINGS_1D,
    READINGS_1H,
    READINGS_1M,
    ROLLUPS,
    ROOM_COMFORT,
)
from edge_assets.warehouse.views import lake_views, views
from edge_assets.warehouse.windows import recomputed

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ROOM_ENERGY = "energy_kwh"
MEASURED_AT = ("silver.readings.event_time", "silver.room_telemetry.event_time")
STATED = {
    **{f"{rollup.name}.day": MEASURED_AT for rollup in (ENERGY_DAILY, MESSAGES_DAILY)},
    f"{DOOR_ACTIVITY.name}.day": MEASURED_AT[:1],
    **{f"{WINDOWS}.{name}": MEASURED_AT[1:] for name in ("window_end", "date")},
    **{f"{WINDOWS}.{name}": (f"dimensions.rooms.{name}",) for name in ("room_name", "floor", "room_type")},
    f"{WINDOWS}.site": ("settings.site",),
}
"""what the queries do not say: a day is given to them, and Spark puts beside a window what is known of the room, and
the site"""

SETTINGS = ("site", "energy_price_per_kwh", "currency")
"""the columns of the table `settings` in edge.duckdb"""


def rollup_queries() -> dict[str, str]:
    """By rollup, each after those that it reads."""
    types = {column.name: from_spark(column.type) for column in ROOM_TELEMETRY.columns}
    devices, rooms = "SELECT * FROM silver.readings", "SELECT * FROM silver.room_telemetry"
    silver = measurements.relation(devices, rooms, types)
    energy = measurements.relation(devices, rooms, {ROOM_ENERGY: types[ROOM_ENERGY]})
    contacts = measurements.relation(devices, None)
    minutes, daily, messages = (f"SELECT * FROM {name.name}" for name in (READINGS_1M, READINGS_1D, MESSAGES_DAILY))
    day = date(2026, 1, 1)
    stored = days.health(f"SELECT DISTINCT kind, site, device_id FROM {READINGS_1M.name}", messages, daily)
    return {
        READINGS_1M.name: buckets.minutes(silver),
        READINGS_1H.name: buckets.from_minutes(READINGS_1H, minutes),
        READINGS_1D.name: buckets.from_minutes(READINGS_1D, minutes),
        ROOM_COMFORT.name: buckets.from_minutes(ROOM_COMFORT, minutes),
        ENERGY_DAILY.name: days.energy(day, energy, daily, RollupSettings().energy_max_kw),
        DOOR_ACTIVITY.name: days.doors(day, contacts, daily, daily),
        MESSAGES_DAILY.name: days.messages(day, silver, messages),
        DEVICE_HEALTH.name: publish.health(stored),
    }


def derived(opened: DuckDBPyConnection, settings: Settings) -> dict[str, dict[str, Origin]]:
    """Each column of each rollup, view and of windows, and what it is made of."""
    known: dict[str, Columns] = {t.full_name: base(t.full_name, _names(t.columns)) for t in all_tables(settings)}
    known["settings"] = base("settings", SETTINGS)
    known[publish.STATES] = derive(opened, publish.states("SELECT * FROM silver.device_states"), known)
    # messages_daily reads the days before its own: its columns have to be known to say what they are made of.
    known |= {rollup.name: base(rollup.name, _names(rollup.columns)) for rollup in ROLLUPS}
    known[DEVICE_HEALTH.name] = base(DEVICE_HEALTH.name, _names((*DEVICE_HEALTH.columns, *HEALTH_AT_QUERY)))
    found = {name: derive(opened, sql, known) for name, sql in rollup_queries().items()}
    window = recomputed(WindowSettings().tables[0])
    found[WINDOWS] = derive(opened, window, {"messages": known[ROOM_TELEMETRY.full_name]})
    for view in (*views(), *lake_views()):
        found[view.name] = derive(opened, view.sql, known)
        known[view.name] = base(view.name, list(found[view.name]))
    return found


def made(opened: DuckDBPyConnection, settings: Settings) -> dict[str, list[Made]]:
    """The same with types and words; in a database that is empty, as all of them are made in it."""
    origins = derived(opened, settings)
    words = {**_contract(settings)}
    for rollup in ROLLUPS:
        columns = (*rollup.columns, *(HEALTH_AT_QUERY if rollup is DEVICE_HEALTH else ()))
        words[rollup.name] = {column.name: column.description for column in columns}
    words[WINDOWS] = {column.name: column.description for column in WINDOW}
    found: dict[str, list[Made]] = {}
    for name, types in _types(opened, settings, origins):
        if name not in words:
            words[name] = _words_of(name, origins[name], words)
        found[name] = [
            Made(column, kind, words[name].get(column, ""), _others(name, _sources(name, column, origins)))
            for column, kind in types.items()
        ]
    return found


def _contract(settings: Settings) -> dict[str, Mapping[str, str]]:
    return {t.full_name: {c.name: c.description for c in t.columns} for t in all_tables(settings)}


def _words_of(name: str, origins: Mapping[str, Origin], words: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """A view's own words for its columns, else those of the column that one is."""
    (view,) = [view for view in (*views(), *lake_views()) if view.name == name]
    found = dict(view.columns)
    for column, origin in origins.items():
        if column not in found and origin.plain and len(origin.sources) == 1:
            relation, _, source = next(iter(origin.sources)).rpartition(".")
            found[column] = words.get(relation, {}).get(source, "")
    return found


def _sources(relation: str, column: str, origins: Mapping[str, Mapping[str, Origin]]) -> Iterable[str]:
    stated = STATED.get(f"{relation}.{column}")
    return origins[relation][column].sources if stated is None else stated


def _others(relation: str, sources: Iterable[str]) -> tuple[str, ...]:
    """Without the relation itself, and without settings, which are no asset."""
    own = (relation, "settings")
    return tuple(sorted(source for source in sources if source.rpartition(".")[0] not in own))


def _types(
    opened: DuckDBPyConnection, settings: Settings, origins: Mapping[str, object]
) -> Iterator[tuple[str, dict[str, str]]]:
    opened.execute("SET TimeZone = 'UTC'; CREATE SCHEMA silver; CREATE SCHEMA gold; CREATE SCHEMA bronze")
    for table in all_tables(settings):
        _create(opened, table.full_name, table.columns)
    for rollup in ROLLUPS:
        columns = (*rollup.columns, *(HEALTH_AT_QUERY if rollup is DEVICE_HEALTH else ()))
        _create(opened, rollup.name, columns)
        yield rollup.name, {column.name: from_spark(column.type) for column in columns}
    yield WINDOWS, {column.name: from_spark(column.type) for column in WINDOW}
    opened.execute(f"CREATE TABLE {publish.STATES} AS {publish.states('SELECT * FROM silver.device_states')}")
    opened.execute("CREATE TABLE settings (site VARCHAR, energy_price_per_kwh DOUBLE, currency VARCHAR)")
    for view in (*views(), *lake_views()):
        opened.execute(f"CREATE VIEW {quoted(view.name)} AS {view.sql}")
        described = opened.execute(f"DESCRIBE {quoted(view.name)}").fetchall()
        yield view.name, {row[0]: row[1] for row in described}


def _create(opened: DuckDBPyConnection, name: str, columns: Sequence[Column]) -> None:
    types = ", ".join(f"{quoted(column.name)} {from_spark(column.type)}" for column in columns)
    opened.execute(f"CREATE TABLE {name} ({types})")


def _names(columns: Sequence[Column]) -> list[str]:
    return [column.name for column in columns]


def text() -> str:
    """What columns.json should hold: one line a column, so that a change of one is a line."""
    import duckdb

    with duckdb.connect() as opened:
        found = made(opened, Settings.model_construct())  # the defaults, whatever this machine's settings are
    relations = (
        f" {json.dumps(relation)}: {{\n"
        + ",\n".join(
            f"  {json.dumps(c.name)}: {json.dumps([c.type, c.words, c.sources], ensure_ascii=False)}" for c in columns
        )
        + "\n }"
        for relation, columns in found.items()
    )
    return "{\n" + ",\n".join(relations) + "\n}\n"
