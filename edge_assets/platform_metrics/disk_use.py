"""Disks: what is free, what fills them. Rollups and backups by their own files."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from edge_assets import object_store
from edge_assets.platform import disk
from edge_assets.platform_metrics.catalogue import Sample, told
from edge_assets.platform_metrics.processes import seconds
from edge_assets.settings import Settings
from edge_assets.warehouse.rollups.layout import database_path, state_path

FOLDERS = ("kafka", "mosquitto", "dagster", "warehouse", "alerts", "logs", "tmp")
"""of the home; the lake is looked at where it lies"""

MOST_ENTRIES = 200_000
"""of one folder: so many are looked at, and what is beyond is not counted"""

REST_EVERY, REST_SECONDS = 500, 0.005
"""a pause between so many entries, for those who share the process"""


def disks(settings: Settings) -> Iterator[Sample]:
    for space in disk.spaces(settings):
        there = next(each for each in (space.path, *space.path.parents) if each.exists())
        yield "edge_disk_free_bytes", (space.what,), float(space.free_bytes)
        yield "edge_disk_size_bytes", (space.what,), float(shutil.disk_usage(there).total)
    yield "edge_disk_reserve_bytes", (), float(settings.stream.min_free_mb * disk.MB)
    yield from told("edge_rollups_updated_timestamp_seconds", _modified(state_path(settings)))
    database = database_path(settings)
    yield from told("edge_rollups_database_bytes", database.stat().st_size if database.exists() else None)
    yield from backup(settings)


def backup(settings: Settings) -> Iterator[Sample]:
    """`EDGE_HOME/run/backup.json`: `ended_at` (ISO 8601, of the last one that ended well) and `bytes`."""
    path = settings.home / "run" / "backup.json"
    if path.exists():
        known = json.loads(path.read_text())
        yield from told("edge_backup_timestamp_seconds", seconds(known.get("ended_at")))
        yield from told("edge_backup_size_bytes", known.get("bytes"))


def folders(settings: Settings) -> Iterator[Sample]:
    """What each folder holds. To be asked seldom, and beside a scrape."""
    places = {name: settings.home / name for name in FOLDERS}
    if not object_store.is_bucket(settings.lake_path):
        places["lake"] = settings.lake_path
    for name, path in places.items():
        if path.is_dir():
            yield "edge_folder_size_bytes", (name,), float(size(path))


def size(folder: Path) -> int:
    """Bytes of the files below a folder, as far as `MOST_ENTRIES` go. What vanishes meanwhile counts for nothing."""
    total = seen = 0
    waiting = [folder]
    while waiting and seen < MOST_ENTRIES:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in entries:
            seen += 1
            if seen % REST_EVERY == 0:
                time.sleep(REST_SECONDS)
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
            except OSError:
                continue
    return total


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
