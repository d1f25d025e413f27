"""A hash of a table's rows that does not depend on files, their order, or how rows are spread over them.

A row is the text of its columns that are not null, by name (so that a column which was added later changes nothing);
its hash is the lower half of that text's MD5; a file's or table's is the sum of its rows', modulo 2^64. So a table's is
the sum of its files', each of which is hashed once in its life, and two equal rows do not cancel each other out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edge_assets.settings import Settings
from edge_assets.warehouse import lake
from edge_assets.warehouse.duck_types import quoted, text
from edge_assets.warehouse.lake import Snapshot

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MODULUS = 1 << 64
FILES_AT_ONCE = 100
SEPARATOR = "chr(31)"
"""between the columns of a row's text"""


def of_snapshot(opened: DuckDBPyConnection, table: Snapshot) -> tuple[int, int]:
    """(rows, hash) of a table, or of those of its files that the snapshot holds. Raises DuckDB's own errors,
    `IOException` where a file is gone."""
    named = (f"{text(f'{name}=')} || CAST({quoted(name)} AS VARCHAR)" for name in sorted(table.columns))
    row = f"concat_ws({SEPARATOR}, {', '.join(named)})"
    asked = f"SELECT count(*), coalesce(sum(md5_number_lower({row})), 0) FROM ({table.select()})"
    rows, total = opened.execute(asked).fetchall()[0]
    return rows, total % MODULUS


def of_table(settings: Settings, table: Snapshot) -> tuple[int, int]:
    """The same of a whole table, some files at a time."""
    rows = total = 0
    with lake.connection(settings) as opened:
        for begin in range(0, len(table.files), FILES_AT_ONCE):
            found = of_snapshot(opened, replace(table, files=table.files[begin : begin + FILES_AT_ONCE]))
            rows, total = rows + found[0], added(total, found[1])
    return rows, total


def added(one: int, other: int) -> int:
    """The hash of the rows of both."""
    return (one + other) % MODULUS


def shown(hash: int) -> str:
    return f"{hash:016x}"
