"""A Delta table's log as files, for all that need no engine: who forces it to the disk, mends it, counts or watches it.

    TABLE/_delta_log/00000000000000000012.json                 one commit: a JSON action in each line
    TABLE/_delta_log/00000000000000000010.checkpoint.parquet   the table at a version, in one file or several

What the tables hold is read elsewhere (`edge_assets.warehouse.lake`). `table` is the table's folder, also in a bucket.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = "_delta_log"


@dataclass(frozen=True, slots=True)
class Commit:
    """One file of a table's log."""

    version: int
    path: Path

    def actions(self) -> list[dict[str, Any]]:
        """Raises `ValueError` where the file is torn."""
        lines = self.path.read_text().splitlines()
        if not lines:
            raise ValueError("an empty commit")
        return [json.loads(line) for line in lines]


@dataclass(frozen=True, slots=True)
class Log:
    """What one listing of a table's log shows; empty where there is no table."""

    commits: list[Commit] = field(default_factory=list)
    """oldest first"""
    checkpoints: dict[int, list[Path]] = field(default_factory=dict)
    """by version, each with its files"""

    @property
    def checkpoint(self) -> int:
        """The newest checkpoint's version; -1 where there is none."""
        return max(self.checkpoints, default=-1)

    @property
    def since_checkpoint(self) -> list[Commit]:
        """What a reader has to read one by one."""
        return [commit for commit in self.commits if commit.version > self.checkpoint]


def listed(table: Path) -> Log:
    commits: list[Commit] = []
    checkpoints: dict[int, list[Path]] = {}
    for path in (table / FOLDER).glob("*"):  # a folder that is not there has none
        number, _, rest = path.name.partition(".")
        if not number.isdecimal():
            continue
        if rest == "json":
            commits.append(Commit(int(number), path))
        elif rest.startswith("checkpoint.") and rest.endswith(".parquet"):
            checkpoints.setdefault(int(number), []).append(path)
    return Log(sorted(commits, key=lambda commit: commit.version), checkpoints)


def commits(table: Path) -> list[Commit]:
    """A table's commits, oldest first; none where there is no table."""
    return listed(table).commits


def newest(table: Path) -> int:
    """A table's newest version; -1 where there is no table."""
    there = commits(table)
    return there[-1].version if there else -1


def commit_of(table: Path, version: int) -> Commit:
    """The commit of that version, whether it is there or not."""
    return Commit(version, table / FOLDER / f"{version:020d}.json")


def since(table: Path, version: int) -> Iterator[Commit]:
    """Commits after a version, found by name: listing a log of years for each batch would cost more than the batch."""
    while (commit := commit_of(table, version + 1)).path.exists():
        yield commit
        version += 1
