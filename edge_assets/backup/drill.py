"""The restore drill, and the comparison of what lies at a destination with its checksums."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edge_assets.backup import manifest, place, restoring
from edge_assets.backup.manifest import Manifest, TableState
from edge_assets.errors import BackupError
from edge_assets.settings import Settings

FOLDER = "restore_drill"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Drill:
    """What a drill found. `differing`: in words, what is not as the manifest says; nothing: it can be restored."""

    id: str
    taken_at: str
    seconds: float
    bytes: int
    differing: tuple[str, ...] = ()
    tables: Mapping[str, TableState] = field(default_factory=dict)


def drill(settings: Settings, source: str, progress: Progress = lambda line: None) -> Drill:
    """Restore the newest backup into a folder under EDGE_HOME/tmp, compare the tables' rows with the manifest, and
    remove it. Raises `BackupError` where there is none, `DiskFull` where there is no room for it."""
    begun = time.monotonic()
    there = place.opened(source, settings)
    found = manifest.chosen(there)
    folder = settings.home / "tmp" / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    try:
        (folder / "lake").mkdir(parents=True)
        differing: tuple[str, ...]
        try:
            restoring.fetch(there, found, folder, folder / "lake", progress)
            differing = tuple(restoring.differences(settings, found, folder / "lake", folder, progress))
        except BackupError as error:  # a file that is missing or damaged
            differing = (str(error),)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Drill(found.id, found.taken_at, round(time.monotonic() - begun, 2), found.size, differing, found.tables)


def damaged(settings: Settings, source: str, progress: Progress = lambda line: None) -> dict[str, tuple[str, ...]]:
    """Of each backup there, in words, the files that are missing or are not what they were; each file is read once.
    Raises `BackupError`."""
    there = place.opened(source, settings)
    found = [manifest.read(there, id) for id in manifest.ids(there)]
    if not found:
        raise BackupError(f"{there.address} has no backup")
    problems: dict[str, str | None] = {}
    total = len({file.stored_as(name) for each in found for name, file in each.files.items()})
    for each in found:
        for name, file in each.files.items():
            if (stored := file.stored_as(name)) not in problems:
                progress(f"reading file {len(problems) + 1:,} of {total:,}")
                problems[stored] = _problem(there, each, name)
    return {each.id: _of(each, problems) for each in found}


def _problem(there: place.Place, found: Manifest, name: str) -> str | None:
    try:
        for _ in restoring.checked(there, found, name, found.files[name]):
            pass
    except BackupError as error:
        return str(error)
    return None


def _of(found: Manifest, problems: Mapping[str, str | None]) -> tuple[str, ...]:
    said = {problems[file.stored_as(name)] for name, file in found.files.items()}
    return tuple(sorted(filter(None, said)))
