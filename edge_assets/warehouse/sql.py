"""SQL over everything that the lake holds: `edge sql`, and a connection for notebooks.

Tables are `bronze.events`, `silver.readings` and so on (see `edge_assets.tables`); any other Delta table in the
lake's folders is there as well. Rollups and views (`readings_1h`, `energy_daily`, `grafana_climate`) are those of
`edge.duckdb` as it is when the connection is made; `measurements` shows rooms and devices alike, from silver.

In a shared lake `sites.silver.readings` has the rows of all sites (`edge_assets.warehouse.sites`).

Each query sees each table at one version: the newest, or the one that it asks for, as in `silver.readings AT (VERSION
=> 12)` (`edge_assets.warehouse.time_travel`). Nothing can be written: the tables are views, and `run_sql` takes nothing
but questions.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edge_assets.errors import LakeError
from edge_assets.settings import Settings
from edge_assets.warehouse import lake, sites, time_travel
from edge_assets.warehouse.duck_types import quoted, text
from edge_assets.warehouse.rendering import FORMATS, render
from edge_assets.warehouse.rollups.measurements import READINGS, ROOMS, relation
from edge_assets.warehouse.rollups.publish import CATALOG, reader

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEASUREMENTS = "measurements"
_CATALOG_WORDS = ("show", "information_schema", "duckdb_", "pg_", "sqlite_")


def connect(settings: Settings, memory_limit: str | None = None) -> DuckDBPyConnection:
    """A DuckDB connection with a view of each table, as of now; connect again to see what came since.

    `settings = load_settings(); connect(settings).sql("FROM silver.readings").df()` is all that a notebook needs.
    Raises `LakeError` where a table cannot be read.
    """
    opened = lake.connection(settings, memory_limit)
    _attach(opened, settings, lake.names(settings))
    if settings.lake.shared:
        sites.show(opened, settings, sites.tables(settings))
    _show_rollups(opened, settings, _rollups(opened, settings))
    return opened


def run_sql(settings: Settings, query: str, format: str = "table", memory_limit: str | None = None) -> str:
    """The answer to one question, as `format` (table, json, csv) has it.

    Raises `LakeError`, one line, where DuckDB does not understand the query, or where it would write.
    """
    import duckdb

    if format not in FORMATS:
        raise LakeError(f"sql: the format must be one of {', '.join(FORMATS)}, not {format!r}")
    for attempt in range(1, lake.SNAPSHOTS + 1):
        try:
            with lake.connection(settings, memory_limit) as opened:
                return render(ask(opened, settings, query), format)
        except duckdb.IOException as error:  # perhaps a file that maintenance has taken away since
            if attempt == lake.SNAPSHOTS:
                raise refusal(error) from error
        except duckdb.Error as error:
            raise refusal(error) from error
    raise AssertionError


def ask(opened: DuckDBPyConnection, settings: Settings, query: str) -> Any:
    """Execute one question on a fresh connection, with what it asks about attached. Raises DuckDB's own errors."""
    import duckdb

    query = time_travel.prepared(opened, settings, query)
    statement = _one_question(query)
    known = lake.names(settings)
    wanted = _mentioned(query, known)
    _attach(opened, settings, wanted)
    if settings.lake.shared and _mentioned_names(query, [sites.CATALOG]):
        sites.show(opened, settings, _mentioned(query, sites.tables(settings)))
    rollups = _rollups(opened, settings)
    shown = _mentioned_names(query, rollups)
    _show_rollups(opened, settings, shown)
    try:
        return opened.execute(statement)
    except duckdb.CatalogException:
        # Attaching costs a look into each file, so tables that the text does not name were left out. With all of
        # them there it works after all, or the message can name candidates.
        _attach(opened, settings, [name for name in known if name not in wanted])
        _show_rollups(opened, settings, [name for name in rollups if name not in shown])
        return opened.execute(statement)


def _one_question(query: str) -> Any:
    import duckdb

    statements = duckdb.extract_statements(query)
    if len(statements) != 1:
        raise LakeError(f"sql: expected one query, got {len(statements)}; ask them one by one")
    kind = statements[0].type
    if kind not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise LakeError(
            f"sql: expected a query (SELECT, FROM, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN), got {kind.name}: "
            "the lake is read-only here; its one writer is the stream writer"
        )
    return statements[0]


def _mentioned(query: str, known: list[lake.TableName]) -> list[lake.TableName]:
    """The tables whose names occur in the query: never too few, but for a query about the catalog."""
    names = set(_mentioned_names(query, [name for _, name in known]))
    return [name for name in known if name[1] in names]


def _mentioned_names(query: str, known: list[str]) -> list[str]:
    folded = query.casefold()
    if any(word in folded for word in _CATALOG_WORDS):
        return known
    return [name for name in known if re.search(rf"(?<!\w){re.escape(name.casefold())}(?!\w)", folded)]


def _attach(opened: DuckDBPyConnection, settings: Settings, names: list[lake.TableName]) -> None:
    for name in names:
        lake.show(opened, settings, name)


def _rollups(opened: DuckDBPyConnection, settings: Settings) -> list[str]:
    """Attach `edge.duckdb`; returns the names in it, and `measurements` (before its first update that alone)."""
    path = reader(settings)
    if path is None:
        return [MEASUREMENTS]
    opened.execute(f"ATTACH {text(str(path))} AS {CATALOG} (READ_ONLY)")
    found = opened.execute(
        "SELECT view_name FROM duckdb_views() WHERE database_name = ? AND NOT internal "
        "UNION ALL SELECT table_name FROM duckdb_tables() WHERE database_name = ?",
        [CATALOG, CATALOG],
    ).fetchall()
    return sorted({MEASUREMENTS, *(name for (name,) in found)})


def _show_rollups(opened: DuckDBPyConnection, settings: Settings, names: list[str]) -> None:
    for name in names:
        if name == MEASUREMENTS:  # the file's own are those of the last days
            _show_measurements(opened, settings)
        else:
            opened.execute(f"CREATE VIEW {quoted(name)} AS FROM {CATALOG}.main.{quoted(name)}")


def _show_measurements(opened: DuckDBPyConnection, settings: Settings) -> None:
    there = [name for name in (READINGS, ROOMS) if name in lake.names(settings)]
    for name in there:
        lake.show(opened, settings, name)
    rooms = ".".join(ROOMS) if ROOMS in there else None
    columns = {row[0]: row[1] for row in opened.execute(f"DESCRIBE {rooms}").fetchall()} if rooms else {}
    both = relation(
        f"FROM {'.'.join(READINGS)}" if READINGS in there else None, f"FROM {rooms}" if rooms else None, columns
    )
    opened.execute(f"CREATE OR REPLACE VIEW measurements AS {both}")


def refusal(error: Exception) -> LakeError:
    """DuckDB's message on one line, without its drawing of the query."""
    lines = str(error).split("\n\nLINE ")[0].split("\n")
    said = " ".join(line.strip() for line in lines if line.strip())
    return LakeError(f"sql: {said}; `edge sql 'SHOW ALL TABLES'` lists tables and columns")
