"""Whether the lake's tables are small enough to be read quickly: files a day, and the length of their logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_assets import object_store
from edge_assets.settings import Settings
from edge_assets.warehouse import lake
from edge_assets.warehouse.lake import TableName


@dataclass(frozen=True, slots=True)
class Tidiness:
    """Of one table."""

    table: str
    files: int
    bytes: int
    day: str | None
    """the day that lies in the most files; None: the table has no days, or no files"""
    most_files_a_day: int
    log: int
    """commits since the last checkpoint: what a reader has to read one by one"""
    columns: Mapping[str, str] = field(default_factory=dict)
    """as the table's log has them, name → DuckDB's type"""


def look(settings: Settings, name: TableName) -> Tidiness:
    """Count a table's active files and its commits. Raises `LakeError` where its log cannot be read."""
    table = lake.snapshot(settings, name)
    dated = "date" in table.partitioned_by
    days = Counter(_day(file.path) if dated else None for file in table.files)
    day, most = max(days.items(), key=lambda item: item[1], default=(None, 0))
    with object_store.in_words(settings):
        sizes = sum(file.bytes for file in table.files)
        log = commits_since_checkpoint(settings.lake_path / name[0] / name[1])
    return Tidiness(".".join(name), len(table.files), sizes, day, most, log, table.columns)


def commits_since_checkpoint(folder: Path) -> int:
    """Commits that are newer than the newest checkpoint; without one, all of them."""
    names = [path.name for path in (folder / "_delta_log").iterdir()] if (folder / "_delta_log").exists() else []
    numbered = [(int(name.split(".")[0]), name) for name in names if name.split(".")[0].isdecimal()]
    last = max((number for number, name in numbered if ".checkpoint." in name), default=-1)
    return sum(number > last for number, name in numbered if name.endswith(".json") and ".checkpoint." not in name)


def _day(path: str) -> str:
    return next((part[5:] for part in path.split("/") if part.startswith("date=")), "")
