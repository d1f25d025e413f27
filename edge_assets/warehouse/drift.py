"""Whether a table has the columns that it is said to have: its log's schema against `edge_assets.tables`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_assets.tables import ROOM_TELEMETRY, Table
from edge_assets.warehouse.duck_types import from_spark

MISSING = "missing"
UNKNOWN = "not named"


@dataclass(frozen=True, slots=True)
class Drift:
    """One column that is otherwise than it is said to be; types in DuckDB's words."""

    column: str
    told: str
    found: str


def drift(table: Table, columns: Mapping[str, str]) -> list[Drift]:
    """What differs; `columns` are those of the table's log, name → DuckDB's type.

    Columns beyond those of the contract are rightly there in `silver.room_telemetry` alone, where messages bring them.
    """
    told = {column.name: from_spark(column.type) for column in table.columns}
    found = [Drift(name, kind, columns.get(name, MISSING)) for name, kind in told.items() if columns.get(name) != kind]
    if table is not ROOM_TELEMETRY:
        found += [Drift(name, UNKNOWN, kind) for name, kind in columns.items() if name not in told]
    return found
