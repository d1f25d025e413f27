"""Whether the lake's tables are small enough to be read quickly: files a day, and the length of their logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_assets import delta_log, object_store
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
        log = len(delta_log.listed(settings.lake_path / name[0] / name[1]).since_checkpoint)
    return Tidiness(".".join(name), len(table.files), sizes, day, most, log, table.columns)


def _day(path: str) -> str:
    return next((part[5:] for part in path.split("/") if part.startswith("date=")), "")
