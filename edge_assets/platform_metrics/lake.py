"""The tables' size, from their logs: rows, files, bytes, versions. No engine that reads tables is needed for it.

What was known at a version is kept, and of a later one only the commits in between are read; a table that is seen for
the first time, or whose log has been cut meanwhile, is read from its last checkpoint. The work of a look is bounded
(`MOST_COMMITS`): what is left is for the next one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_assets import delta_log, object_store
from edge_assets.platform_metrics.catalogue import Sample
from edge_assets.settings import Settings
from edge_assets.tables import all_tables

MOST_COMMITS = 2_000
"""read in one look, of all tables together"""


@dataclass(slots=True)
class _Table:
    version: int = -1
    checkpoint: int = -1
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    """path → bytes, rows"""


class Lake:
    """The source; one for each collector."""

    def __init__(self) -> None:
        self._known: dict[str, _Table] = {}

    def __call__(self, settings: Settings) -> Iterator[Sample]:
        left = MOST_COMMITS
        for table in all_tables(settings):
            folder = settings.lake_path / table.layer / table.name
            known = self._known.setdefault(table.full_name, _Table())
            with object_store.in_words(settings):
                left -= self._catch_up(folder, known, left, settings)
            if known.version >= 0:
                yield from _samples(table.full_name, known)

    def _catch_up(self, folder: Path, known: _Table, most: int, settings: Settings) -> int:
        """Read the commits since the last look, at most so many. Returns how many it read."""
        log = delta_log.listed(folder)
        if not log.commits:
            known.version, known.checkpoint, known.files = -1, -1, {}
            return 0
        first, last = log.commits[0].version, log.commits[-1].version
        if last < known.version or first > known.version + 1:
            known.version, known.files = log.checkpoint, {}
            if log.checkpoint >= 0:
                known.files = _of_checkpoint(log.checkpoints[log.checkpoint], settings)
        known.checkpoint = log.checkpoint
        due = [commit for commit in log.commits if commit.version > known.version][: max(most, 0)]
        for commit in due:
            for action in commit.actions():
                _apply(action, known.files)
            known.version = commit.version
        return len(due)


def _apply(action: Mapping[str, Any], files: dict[str, tuple[int, int]]) -> None:
    if add := action.get("add"):
        files[add["path"]] = (add.get("size") or 0, _rows(add.get("stats")))
    elif remove := action.get("remove"):
        files.pop(remove["path"], None)


def _rows(stats: str | None) -> int:
    return int(json.loads(stats).get("numRecords") or 0) if stats else 0


def _of_checkpoint(paths: Iterable[Path], settings: Settings) -> dict[str, tuple[int, int]]:
    """The active files of a checkpoint."""
    import duckdb

    with duckdb.connect(config={"memory_limit": "128MB", "threads": "1"}) as opened:
        object_store.let_duckdb_read(opened, settings)
        found = opened.execute(
            """SELECT add.path, add.size, CAST(json_extract_string(add.stats, '$.numRecords') AS BIGINT)
            FROM read_parquet(?, union_by_name = true) WHERE add IS NOT NULL""",
            [[str(path) for path in paths]],
        ).fetchall()
    return {path: (size or 0, rows or 0) for path, size, rows in found}


def _samples(name: str, known: _Table) -> Iterator[Sample]:
    yield "edge_table_rows", (name,), float(sum(rows for _, rows in known.files.values()))
    yield "edge_table_files", (name,), float(len(known.files))
    yield "edge_table_size_bytes", (name,), float(sum(size for size, _ in known.files.values()))
    yield "edge_table_version", (name,), float(known.version)
    yield "edge_table_log_commits", (name,), float(known.version - known.checkpoint)
