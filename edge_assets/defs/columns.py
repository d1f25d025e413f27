"""Columns of tables, rollups and views as Dagster shows them: types, words with units, and what each is made of.

Where columns come from is known of rollups, views and windows by their SQL (`edge_assets.warehouse.lineage`), and of
the position and the times that each row of the lake takes over from its record of the log. Dagster's page draws no
picture of it, so each column's words name its sources too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from edge_assets.tables import BRONZE_EVENTS, POSITION, RECEIVED, Column, Table
from edge_assets.warehouse.lineage import Made, columns
from edge_assets.warehouse.rollups.model import ROLLUPS

SCHEMA, LINEAGE = "dagster/column_schema", "dagster/column_lineage"
NAMED = 3
"""so many sources of a column are named in its words"""

TYPES = {
    "VARCHAR": "string",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
    "TIMESTAMPTZ": "timestamp",
}
"""DuckDB's types in the words of tables; any other in small letters"""


def column_schema(columns: Iterable[Column]) -> dg.TableSchema:
    """The columns that a table begins with."""
    return dg.TableSchema([dg.TableColumn(c.name, c.type, c.description) for c in columns])


def derived(relation: str) -> dict[str, dg.TableSchema | dg.TableColumnLineage]:
    """Metadata of a rollup, a view or a table of windows: its columns, and what they are made of."""
    made = columns()[relation]
    shown = [dg.TableColumn(one.name, TYPES.get(one.type, one.type.lower()), _words(one)) for one in made]
    return {SCHEMA: dg.TableSchema(shown), LINEAGE: _lineage({one.name: one.sources for one in made})}


def taken_over(table: Table) -> dict[str, dg.TableColumnLineage]:
    """Of a table that is made of bronze.events: the columns that each row has from its record."""
    same = {column.name for column in (*POSITION, *RECEIVED)}
    names = [column.name for column in table.columns if column.name in same]
    return {LINEAGE: _lineage({name: [f"{BRONZE_EVENTS.full_name}.{name}"] for name in names})}


def asset_of(relation: str) -> dg.AssetKey:
    """`silver.readings` → silver/readings, `readings_1m` → rollups/readings_1m, `climate` → views/climate."""
    if "." in relation:
        return dg.AssetKey(relation.split("."))
    return dg.AssetKey(["rollups" if relation in {rollup.name for rollup in ROLLUPS} else "views", relation])


def _lineage(sources: Mapping[str, Sequence[str]]) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            name: [
                dg.TableColumnDep(asset_of(relation), column)
                for relation, _, column in (source.rpartition(".") for source in of)
            ]
            for name, of in sources.items()
            if of
        }
    )


def _words(made: Made) -> str:
    if not made.sources:
        return made.words
    more = f" and {len(made.sources) - NAMED} more" if len(made.sources) > NAMED else ""
    return f"{made.words} (from {', '.join(made.sources[:NAMED])}{more})"
