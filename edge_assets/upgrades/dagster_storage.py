"""Dagster's databases, brought to the installed Dagster by its own migrations.

    EDGE_HOME/upgrade/dagster/        copies of all of them as they were, made by SQLite's own backup, and dagster.yaml
    EDGE_HOME/upgrade/dagster.json    there from the last copy's end until the migration has succeeded

While the second is there the databases may be half migrated: who finds it puts the copies back and begins anew. So it
is after a kill at any moment, and a migration that fails is put back in the same way. Dagster must not run.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from edge_assets import platform
from edge_assets.errors import DiskFull, PlatformError
from edge_assets.service import write_json
from edge_assets.settings import Settings

COMMAND = (sys.executable, "-m", "edge_assets.upgrades.dagster_schema")
CONFIGURATION = "dagster.yaml"
OURS = Path(platform.__file__).with_name(CONFIGURATION)
ROOM = 2.5
"""so many times the databases' size must be free: the copies, and what a migration rewrites"""
_BESIDE = ("-wal", "-shm", "-journal")
"""what SQLite keeps beside a database; of another one it would destroy it"""


def require_room(settings: Settings) -> None:
    """Raises `DiskFull` where copies would not fit."""
    home = _home(settings)
    size = sum(path.stat().st_size for path in _databases(home))
    free = shutil.disk_usage(settings.home).free if size else 0
    if free < size * ROOM:
        raise DiskFull(
            f"upgrading {settings.home}: Dagster's storage has {size / 1e6:.0f} MB and is copied first, and "
            f"{free / 1e6:.0f} MB are free; nothing was changed. Make room, or move {home} away, which costs the "
            "history of runs and nothing else"
        )


def migrate(
    settings: Settings, environment: Mapping[str, str], say: Callable[[str], None], command: tuple[str, ...] = COMMAND
) -> None:
    """Migrate; where there is no storage yet, do nothing.

    Raises `PlatformError` where Dagster could not, after all is as it was.
    """
    if _marker(settings).exists():
        say("an earlier upgrade of Dagster's storage was cut short: beginning anew")
        _put_back(settings)
    shutil.rmtree(_copies(settings), ignore_errors=True)
    databases = list(_databases(_home(settings)))
    if not databases:
        return
    _copy(settings, databases)
    shutil.copyfile(OURS, _home(settings) / CONFIGURATION)  # the installed Dagster need not know the one that is there
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, cwd=settings.home)
    if done.returncode:
        _put_back(settings)
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        why = said[-1] if said else f"it ended with code {done.returncode}"
        raise PlatformError(
            f"upgrading Dagster's storage in {_home(settings)}: {why}; it was put back as it was. Install the version "
            "before again, or move that folder away, which costs the history of runs and nothing else"
        )
    _marker(settings).unlink()
    shutil.rmtree(_copies(settings))
    say(f"Dagster's storage is that of its installed version ({len(databases)} databases)")


def _copy(settings: Settings, databases: list[Path]) -> None:
    for path in databases:
        copy = _copies(settings) / path.relative_to(_home(settings))
        copy.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        _force(copy)
    if (configuration := _home(settings) / CONFIGURATION).exists():
        shutil.copyfile(configuration, _copies(settings) / CONFIGURATION)
    write_json(_marker(settings), {"copies": len(databases)})
    _force(_marker(settings))


def _put_back(settings: Settings) -> None:
    """Databases that the migration has made are taken away, too."""
    for path in _databases(_home(settings)):
        for end in ("", *_BESIDE):
            path.with_name(path.name + end).unlink(missing_ok=True)
    (_home(settings) / CONFIGURATION).unlink(missing_ok=True)
    for copy in filter(Path.is_file, _copies(settings).rglob("*")):
        path = _home(settings) / copy.relative_to(_copies(settings))
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.aside")
        shutil.copyfile(copy, aside)
        _force(aside)
        aside.replace(path)
    _marker(settings).unlink()
    shutil.rmtree(_copies(settings))


def _databases(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.db")) if path.is_file())


def _force(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _home(settings: Settings) -> Path:
    return settings.home / "dagster"


def _copies(settings: Settings) -> Path:
    return settings.home / "upgrade" / "dagster"


def _marker(settings: Settings) -> Path:
    return settings.home / "upgrade" / "dagster.json"
