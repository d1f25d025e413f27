"""The lake's reading side: it asks, and never commits.

    duck_types   Delta's and Spark's types in DuckDB's words
    lake         a Delta table at one version, as something that DuckDB can read
    sql          SQL over all tables (`edge sql`), and a connection for notebooks
    sites        all sites of a shared lake, read together
    rendering    rows as a table, JSON or CSV
    log_ends     where the log begins and ends, as Kafka itself says
    proof        the checks of completeness over one snapshot of the tables
    verify       `edge verify`: the proof against the log, and its report

    export       `edge export`: an answer as a Parquet or CSV file
    rollups      what readings come to per minute, hour and day, and `edge.duckdb` for readers
    views        the views of people and dashboards, as SQL

Spark is not needed for any of it. In a notebook: `from edge_assets.warehouse import open_lake`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from edge_assets.settings import Settings


def open_lake(settings: Settings | None = None, memory_limit: str | None = None) -> DuckDBPyConnection:
    """A connection to all there is, read-only: `open_lake().sql("FROM readings_1h").df()`.

    Tables of the lake, rollups and views are there by name, as of now; open it again to see what came since.
    Raises `LakeError` where a table cannot be read, `SettingsError` where a setting is wrong.
    """
    from edge_assets.settings import load_settings
    from edge_assets.warehouse.sql import connect

    return connect(settings or load_settings(), memory_limit)
