"""SQL over everything that the lake holds: `edge sql`, and a connection for notebooks.

Tables are `bronze.events`, `silver.readings` and so on (see `edge_assets.tables`); any other Delta table in the
lake's folders is there as well. Each query sees each table at one version. Nothing can be written: the tables are
views, and `run_sql` takes nothing but questions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_assets.errors import LakeError
from edge_assets.settings import Settings
from edge_assets.warehouse import lake
from edge_assets.warehouse.rendering import FORMATS, render

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_CATALOG_WORDS = ("show", "information_schema", "duckdb_", "pg_", "sqlite_")


def connect(settings: Settings, memory_limit: str | None = None) -> DuckDBPyConnection:
    """A DuckDB connection with a view of each table, as of now; connect again to see what came since.

    `settings = load_settings(); connect(settings).sql("FROM silver.readings").df()` is all that a notebook needs.
    Raises `LakeError` where a table cannot be read.
    """
    opened = lake.connection(settings, memory_limit)
    _attach(opened, settings, lake.names(settings))
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
                return render(_answer(opened, settings, query), format)
        except duckdb.IOException as error:  # perhaps a file that maintenance has taken away since
            if attempt == lake.SNAPSHOTS:
                raise _refusal(error) from error
        except duckdb.Error as error:
            raise _refusal(error) from error
    raise AssertionError


def _answer(opened: DuckDBPyConnection, settings: Settings, query: str) -> Any:
    import duckdb

    statement = _one_question(query)
    known = lake.names(settings)
    wanted = _mentioned(query, known)
    _attach(opened, settings, wanted)
    try:
        return opened.execute(statement)
    except duckdb.CatalogException:
        # Attaching costs a look into each file, so tables that the text does not name were left out. With all of
        # them there it works after all, or the message can name candidates.
        _attach(opened, settings, [name for name in known if name not in wanted])
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
    folded = query.casefold()
    if any(word in folded for word in _CATALOG_WORDS):
        return known
    return [name for name in known if name[1].casefold() in folded]


def _attach(opened: DuckDBPyConnection, settings: Settings, names: list[lake.TableName]) -> None:
    for name in names:
        lake.show(opened, settings, name)


def _refusal(error: Exception) -> LakeError:
    """DuckDB's message on one line, without its drawing of the query."""
    lines = str(error).split("\n\nLINE ")[0].split("\n")
    said = " ".join(line.strip() for line in lines if line.strip())
    return LakeError(f"sql: {said}; `edge sql 'SHOW ALL TABLES'` lists tables and columns")
