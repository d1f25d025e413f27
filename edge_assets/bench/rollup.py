"""`edge bench rollup`: what one incremental update costs after a day, a year and ten years. It must not grow.

A small home (10 devices, 7 measurements each, a message every 5 minutes) with a history in its lake; its rollups are
built, then ten times ten minutes are appended and rolled up. The reference is the first build itself: what an update
would cost that makes everything anew.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from edge_assets.bench import made_home
from edge_assets.settings import Settings

HISTORIES = (1, 365, 3650)
DEVICES, EVERY_SECONDS = 10, 300
UPDATES = 10


def run(settings: Settings, histories: Sequence[int] = HISTORIES, one_day_in: int = 1) -> dict[str, Any]:
    """By history: seconds and bytes of one update, those of the first build, and what the lake holds."""
    return {f"{days}_days": _measure(settings, days, one_day_in) for days in histories}


def _measure(settings: Settings, days: int, one_day_in: int) -> dict[str, Any]:
    from edge_assets.warehouse.rollups.update import update

    home = settings.home / "bench" / f"rollup_{days}"
    shutil.rmtree(home, ignore_errors=True)
    own = settings.model_copy(update={"home": home, "lake": settings.lake.model_copy(update={"path": None})})
    now = made_home.midnight()
    rows = made_home.make(own, days, DEVICES, EVERY_SECONDS, now, one_day_in)
    built = update(own)
    seconds, written = [], []
    for _ in range(UPDATES):
        made_home.append(own, DEVICES, EVERY_SECONDS, now, now + timedelta(minutes=10))
        now += timedelta(minutes=10)
        done = update(own)
        seconds.append(done.seconds)
        written.append(done.bytes_written)
    files = sum(1 for path in (home / "warehouse").rglob("*.parquet"))
    shutil.rmtree(home)
    return {
        "readings": rows,
        "update_seconds_median": round(statistics.median(seconds), 2),
        "update_seconds_worst": round(max(seconds), 2),
        "update_kb_median": round(statistics.median(written) / 1e3, 1),
        "update_kb_worst": round(max(written) / 1e3, 1),
        "files": files,
        "build_seconds": round(built.seconds, 1),
        "build_mb_written": round(built.bytes_written / 1e6, 1),
    }
