"""How much the rollups hold, from the files' footers alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edge_assets.settings import Settings
from edge_assets.warehouse import lake
from edge_assets.warehouse.duck_types import text
from edge_assets.warehouse.rollups import times
from edge_assets.warehouse.rollups.layout import Layout, read_state
from edge_assets.warehouse.rollups.model import DEVICE_HEALTH, READINGS_1M, ROLLUPS, Rollup


@dataclass(frozen=True, slots=True)
class Figures:
    rows: int
    """in files; what a view derives for days that are still open is not among them"""
    bytes: int
    files: int
    latest: Any = None
    """the latest bucket or day"""


def figures(settings: Settings) -> dict[str, Figures]:
    """By rollup; empty before the first update."""
    state = read_state(settings)
    if state is None:
        return {}
    layout = Layout(settings, state)
    with lake.connection(settings) as opened:
        return {rollup.name: _figures(opened, layout, rollup) for rollup in ROLLUPS}


def _figures(opened: Any, layout: Layout, rollup: Rollup) -> Figures:
    if rollup is DEVICE_HEALTH:
        paths = [path] if (path := layout.path(rollup, "all", "all")) else []
    else:
        paths = layout.files(rollup, times.EARLIEST, times.LATEST)
    if not paths:
        return Figures(0, 0, 0)
    listed = ", ".join(text(lake.not_a_pattern(str(path))) for path in paths)
    (rows,) = opened.execute(f"SELECT sum(num_rows) FROM parquet_file_metadata([{listed}])").fetchone()
    return Figures(int(rows), sum(path.stat().st_size for path in paths), len(paths), _latest(opened, layout, rollup))


def _latest(opened: Any, layout: Layout, rollup: Rollup) -> Any:
    """Where it is derived from minutes, the bucket that holds the latest minute."""
    source = READINGS_1M if rollup.from_minutes else rollup
    if source is DEVICE_HEALTH:
        paths = [path for path in [layout.path(source, "all", "all")] if path]
    else:
        paths = sorted(layout.files(source, times.EARLIEST, times.LATEST), key=lambda path: path.stem)[-1:]
    listed = ", ".join(text(lake.not_a_pattern(str(path))) for path in paths)
    (latest,) = opened.execute(f"SELECT max({source.time}) FROM read_parquet([{listed}])").fetchone()
    if latest is not None and rollup.from_minutes:
        seconds = int(latest.timestamp()) // rollup.from_minutes * rollup.from_minutes
        return datetime.fromtimestamp(seconds, UTC)
    return latest
