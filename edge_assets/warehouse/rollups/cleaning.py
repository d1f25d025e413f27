"""Deleting files that no state needs any more: merged ones, older generations, and what killed runs left aside."""

from __future__ import annotations

import shutil
import time
from datetime import timedelta

from edge_assets.settings import Settings
from edge_assets.warehouse.rollups import times
from edge_assets.warehouse.rollups.layout import Layout, State, folder
from edge_assets.warehouse.rollups.model import ROLLUPS

READERS = timedelta(hours=1)
"""so long a reader may go on with the database that it has opened"""


def clean(settings: Settings, state: State) -> int:
    """Delete what was replaced an hour ago; returns how many files went. Only folders of small tiers are listed."""
    if state.building_from or time.time() - state.closed_at < READERS.total_seconds():
        return 0
    layout, gone = Layout(settings, state), 0
    for rollup in ROLLUPS:
        for lower, upper in zip(rollup.tiers, rollup.tiers[1:], strict=False):
            closed = state.closed_until(upper)
            for unit in layout.units(rollup, lower):
                if times.unit_start(unit, lower) < closed:
                    layout.path(rollup, lower, unit).unlink()
                    gone += 1
    generations = folder(settings) / "rollups"
    for other in generations.iterdir() if generations.is_dir() else ():
        if other.name != state.generation:
            shutil.rmtree(other)
    return gone
