"""Deleting files that no state needs any more: merged ones, older generations, and what killed runs left aside."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from edge_assets.settings import Settings
from edge_assets.warehouse.rollups import times
from edge_assets.warehouse.rollups.layout import Layout, State, database_path, folder
from edge_assets.warehouse.rollups.model import ROLLUPS

READERS = timedelta(hours=1)
"""so long a reader may go on with the database that it has opened"""


def clean(settings: Settings, state: State) -> int:
    """Delete what was replaced an hour ago; returns how many files went."""
    if state.building_from:
        return 0
    layout = Layout(settings, state)
    gone = sum(_clean_turns(settings, layout.turns(rollup, tier)) for rollup in ROLLUPS for tier in rollup.tiers)
    if time.time() - state.closed_at < READERS.total_seconds():
        return gone
    for rollup in ROLLUPS:
        for lower, upper in zip(rollup.tiers, rollup.tiers[1:], strict=False):
            closed = state.closed_until(upper)
            for unit, turns in layout.turns(rollup, lower).items():
                if times.unit_start(unit, lower) < closed:
                    gone += _delete(turns)
    generations = folder(settings) / "rollups"
    for other in generations.iterdir() if generations.is_dir() else ():
        if other.name != state.generation:
            shutil.rmtree(other)
    return gone


def _clean_turns(settings: Settings, units: Mapping[str, list[Path]]) -> int:
    """Of each unit, the turns before the latest, once `edge.duckdb` has named that one for an hour."""
    database = database_path(settings)
    published = database.stat().st_mtime if database.exists() else 0.0
    replaced = (turns for turns in units.values() if len(turns) > 1)
    since = time.time() - READERS.total_seconds()
    return sum(_delete(turns[:-1]) for turns in replaced if turns[-1].stat().st_mtime < min(published, since))


def _delete(paths: list[Path]) -> int:
    for path in paths:
        path.unlink()
    return len(paths)
