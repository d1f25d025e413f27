"""Reading files of rollups, and writing one: aside, forced to the disk, then under its name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edge_assets.warehouse.duck_types import from_spark, quoted, text
from edge_assets.warehouse.lake import not_a_pattern
from edge_assets.warehouse.rollups.layout import into_place
from edge_assets.warehouse.rollups.model import Rollup

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ROW_GROUP = 20_480
"""few rows: a chart of one series reads one or two groups"""


def empty(rollup: Rollup) -> str:
    """A SELECT of the rollup's columns and no rows."""
    columns = (f"CAST(NULL AS {from_spark(column.type)}) AS {quoted(column.name)}" for column in rollup.columns)
    return f"SELECT {', '.join(columns)} WHERE false"


def scan(rollup: Rollup, paths: Iterable[Path | None]) -> str:
    """A SELECT of the files' rows; None, for a file that is not there, has none."""
    there = [text(not_a_pattern(str(path))) for path in paths if path is not None]
    return f"SELECT * FROM read_parquet([{', '.join(there)}], hive_partitioning = false)" if there else empty(rollup)


def write(opened: DuckDBPyConnection, rollup: Rollup, path: Path, select: str, *, first: bool) -> tuple[int, int]:
    """Let a new file hold what `select` gives. Returns (rows, bytes) written.

    `first`: it is the first of its unit, and is not written where there would be no rows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.aside")
    columns = ", ".join(f"CAST({quoted(c.name)} AS {from_spark(c.type)}) AS {quoted(c.name)}" for c in rollup.columns)
    counted = opened.execute(
        f"COPY (SELECT {columns} FROM ({select}) ORDER BY {', '.join(map(quoted, rollup.order))}) "
        f"TO {text(str(aside))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
    ).fetchone()
    rows = counted[0] if counted else 0
    if not rows and first:
        aside.unlink()
        return 0, 0
    size = aside.stat().st_size
    into_place(aside, path)
    return rows, size
