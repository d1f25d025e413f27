"""`edge restore`: a backup becomes a home again, whole or not at all.

All files are written beside the home, each compared with its checksum, and the tables' rows with their hashes in the
manifest; then it takes its name. A lake that lies elsewhere takes its own name just before. A home or a lake that is
there already is never touched.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_assets import object_store
from edge_assets.backup import manifest, place, rows
from edge_assets.backup.home_files import SETTINGS_ENV
from edge_assets.backup.manifest import LAKE, Manifest, StoredFile, TableState
from edge_assets.backup.place import Place
from edge_assets.errors import BackupError, DiskFull, LakeError
from edge_assets.service import NO_SPACE
from edge_assets.settings import LakeSettings, Settings
from edge_assets.warehouse import lake

SUFFIX = ".restoring"
"""of the name that a home has until it is whole"""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored, and proved: each table's rows and their hash are those of the manifest."""

    id: str
    taken_at: str
    home: str
    lake: str
    files: int
    bytes: int
    secrets_left_out: tuple[str, ...]
    settings_elsewhere: bool
    """`settings.env` holds settings that were not said in the home's own files"""
    tables: Mapping[str, TableState] = field(default_factory=dict)


def restore(
    settings: Settings,
    source: str,
    at: str | None = None,
    home: Path | None = None,
    progress: Progress = lambda line: None,
    home_only: bool = False,
) -> Restored:
    """Restore the newest backup, or that of `at` (see `manifest.chosen`), into `home`, by default that of the settings;
    with `home_only` without the lake, for one that is whole where it is.

    The lake goes to EDGE_LAKE__PATH where it is set, here or in the backup's `edge.toml`, else into the home. Raises
    `BackupError` where something is there already, or the backup is not what its manifest says; `DiskFull`.
    """
    there = place.opened(source, settings)
    wanted = (home or settings.home).expanduser().absolute()
    _refuse_taken(wanted)
    found = manifest.chosen(there, at)
    if home_only:
        found = replace(
            found, tables={}, files={name: f for name, f in found.files.items() if not name.startswith(LAKE)}
        )
    elsewhere = None if home_only else _lake_elsewhere(settings, there, found)
    if elsewhere:
        _refuse_taken(elsewhere)
    aside = wanted / SUFFIX if wanted.is_mount() else wanted.with_name(f".{wanted.name}{SUFFIX}")
    lake_aside = elsewhere.with_name(f".{elsewhere.name}{SUFFIX}") if elsewhere else aside / "lake"
    try:
        with _in_words(wanted):
            for folder in (aside, lake_aside):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True, exist_ok=True)
            fetch(there, found, aside, lake_aside, progress)
            prove(settings, found, lake_aside, aside, progress)
            shutil.rmtree(aside / "tmp", ignore_errors=True)
            os.sync()
            if elsewhere:
                _move(lake_aside, elsewhere)
            _move(aside, wanted)
    except BaseException:
        for folder in (aside, lake_aside):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    said = wanted / SETTINGS_ENV
    return Restored(
        id=found.id,
        taken_at=found.taken_at,
        home=str(wanted),
        lake=found.lake if home_only else str(elsewhere or wanted / "lake"),
        files=len(found.files),
        bytes=found.size,
        secrets_left_out=found.secrets_left_out,
        settings_elsewhere=said.is_file() and said.stat().st_size > 0,
        tables=found.tables,
    )


def fetch(there: Place, found: Manifest, home: Path, lake_folder: Path, progress: Progress) -> None:
    """Write all files of a backup. Raises `BackupError` with the first that is missing or not as it was."""
    _refuse_too_large(found, home, lake_folder)
    total = sum(file.size for file in found.files.values())
    written = 0
    for done, (name, file) in enumerate(sorted(found.files.items())):
        progress(f"restoring: file {done + 1:,} of {len(found.files):,}, {written / max(total, 1):.0%}")
        target = lake_folder / name.removeprefix(LAKE) if name.startswith(LAKE) else home / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as opened:
            for chunk in checked(there, found, name, file):
                opened.write(chunk)
        written += file.size
    for file_of_settings in (home / SETTINGS_ENV, home / "edge.toml"):
        if file_of_settings.exists():
            file_of_settings.chmod(0o600)


def checked(there: Place, found: Manifest, name: str, file: StoredFile) -> Iterator[bytes]:
    """A file's content. Raises `BackupError` where it is missing, or at its end where it is not what it was."""
    digest = hashlib.sha256()
    try:
        for chunk in there.chunks(file.stored_as(name)):
            digest.update(chunk)
            yield chunk
    except FileNotFoundError:
        problem = "is missing"
    else:
        if digest.hexdigest() == file.sha256:
            return
        problem = "is damaged: its checksum is another"
    raise BackupError(
        f"backup {found.id} in {there.address}: {file.stored_as(name)} ({name}) {problem}; `edge backup --verify` says "
        "of each backup whether it is whole, and --at restores an earlier one"
    )


def prove(settings: Settings, found: Manifest, lake_folder: Path, home: Path, progress: Progress) -> None:
    """Compare the rows of restored tables with the manifest, as DuckDB reads them through the tables' logs. Raises
    `BackupError` with all that differ."""
    if differing := list(differences(settings, found, lake_folder, home, progress)):
        raise BackupError(
            f"backup {found.id}: {'; '.join(differing)}; `edge backup --list` shows older ones, --at restores one"
        )


def differences(
    settings: Settings, found: Manifest, lake_folder: Path, home: Path, progress: Progress
) -> Iterator[str]:
    """In words, the tables that are not what the manifest says."""
    import duckdb

    own = settings.model_copy(update={"home": home, "lake": LakeSettings(path=str(lake_folder))})
    for full_name, expected in sorted(found.tables.items()):
        progress(f"comparing the rows of {full_name}")
        layer, _, name = full_name.partition(".")
        try:
            table = lake.snapshot(own, (layer, name))
            count, hash = rows.of_table(own, table)
        except (LakeError, duckdb.Error) as error:
            yield f"{full_name} cannot be read: {str(error).splitlines()[0]}"
            continue
        if table.version != expected.version:
            yield f"{full_name} is at version {table.version}, expected {expected.version}"
        if (count, rows.shown(hash)) != (expected.rows, expected.hash):
            yield (
                f"{full_name} has {count:,} rows with the hash {rows.shown(hash)}, expected {expected.rows:,} with "
                f"{expected.hash}"
            )


# -- places ------------------------------------------------------------------------------------------------------------


def _refuse_taken(folder: Path) -> None:
    try:
        there = folder.is_dir() and any(path.name != SUFFIX for path in folder.iterdir())
    except OSError as error:
        raise BackupError(f"restore: looking into {folder}: {error.strerror}") from error
    if there or (folder.exists() and not folder.is_dir()):
        raise BackupError(
            f"restore: {folder} is not empty, and nothing is overwritten: move it away, or say another home with --to"
        )


def _lake_elsewhere(settings: Settings, there: Place, found: Manifest) -> Path | None:
    """The folder of the lake where it is not the home's own."""
    path = settings.lake.path
    if path is None and (toml := found.files.get("edge.toml")):
        said = tomllib.loads(b"".join(checked(there, found, "edge.toml", toml)).decode())
        path = said.get("lake", {}).get("path")
    if path is not None and object_store.is_bucket(path):
        raise BackupError(
            f"restore: the lake would go to {path}, and a restore writes folders only. Where the bucket is whole, "
            "say --home-only; else restore with EDGE_LAKE__PATH set to a folder, and copy that folder's content there"
        )
    return Path(path).expanduser().absolute() if path else None


def _refuse_too_large(found: Manifest, *folders: Path) -> None:
    needed = sum(file.size for file in found.files.values())
    free = min(shutil.disk_usage(folder).free for folder in folders)
    if free < needed:
        raise DiskFull(
            f"restore: {needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free at {folders[0]}; make room, or "
            "say another home with --to"
        )


def _move(aside: Path, wanted: Path) -> None:
    """Let a folder take its name; a mount point's content is moved into it."""
    if aside.parent != wanted:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(wanted)  # in the place of an empty one
        return
    for path in aside.iterdir():
        path.rename(wanted / path.name)
    aside.rmdir()


@contextmanager
def _in_words(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise DiskFull(f"restore: the disk of {home} is full, and nothing was restored; make room there") from error
        raise BackupError(
            f"restore: writing {error.filename or home}: {error.strerror}; nothing was restored"
        ) from error
