"""What each column of a rollup, a view or a window is made of, by the SQL that makes it.

    derive        one query → its columns, each with the columns that it is made of
    relations     the queries of rollups, views and windows, and what is known of their columns
    columns.json  what came of it, for who may not load DuckDB: Dagster's definitions

`python -m edge_assets.warehouse.lineage` writes the file anew; a test says when it is stale.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("columns.json")
WINDOWS = "gold.windows"
"""stands for each table of windows: they differ in their length alone"""


@dataclass(frozen=True, slots=True)
class Made:
    """One column: its DuckDB type, what it is in words, and the columns that its value is made of."""

    name: str
    type: str
    words: str
    sources: tuple[str, ...]
    """`relation.column`, the relation being a rollup, a view, or a table with its layer: `silver.readings.value`"""


@cache
def columns() -> dict[str, Sequence[Made]]:
    """By relation (`readings_1m`, `climate`, `gold.windows`), in the order of its columns."""
    found: dict[str, dict[str, tuple[str, str, list[str]]]] = json.loads(FILE.read_text())
    return {
        relation: [Made(name, kind, words, tuple(sources)) for name, (kind, words, sources) in made.items()]
        for relation, made in found.items()
    }
