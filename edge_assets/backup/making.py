"""`edge backup`: makes one. The steps, each of which a kill may end:

1. the rollups' state and files are looked up, then the lake's tables at one moment (`edge_assets.backup.cut`);
2. what the destination does not have is copied there, under its checksum;
3. the manifest is written. From here on it is a backup;
4. backups beyond `backup.keep` go, manifests first; then the files that no manifest names.

Before step 3 nothing that another backup needs was touched; what was copied is found by the next one. Where the stream
writer deletes a file under step 2 (vacuum, a day after it was replaced), step 1 is done again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from edge_assets import object_store
from edge_assets.backup import cut, home_files, manifest, place, rows
from edge_assets.backup.cut import Cut, TableCut
from edge_assets.backup.home_files import Content
from edge_assets.backup.manifest import LAKE, Manifest, StoredFile, TableState
from edge_assets.backup.place import Place
from edge_assets.backup.stored import Stored
from edge_assets.errors import BackupError, DiskFull
from edge_assets.service import service_lock, status_path, write_json
from edge_assets.settings import Settings
from edge_assets.stream import requests
from edge_assets.warehouse import lake

NAME = "backup"
"""of its lock and of what it says of the last one, in `EDGE_HOME/run`"""

ATTEMPTS = 5
"""so often it begins again when the stream writer takes a file away under it"""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Done:
    """A backup that ended well. `bytes`: what it holds; `bytes_copied`: what of it the destination did not have."""

    id: str
    destination: str
    ended_at: str
    seconds: float
    bytes: int
    files: int
    files_copied: int
    bytes_copied: int
    deleted: tuple[str, ...]
    """older backups that were one too many"""
    tables: Mapping[str, TableState] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def destination(settings: Settings, given: str | None = None) -> str:
    """Where backups go. Raises `BackupError` where nobody said it."""
    found = given or settings.backup.destination
    if not found:
        raise BackupError(
            "backup: where to? Give a folder or s3://bucket/prefix, or set EDGE_BACKUP__DESTINATION, to which Dagster "
            "then makes one each night"
        )
    return found


def backup(settings: Settings, to: str | None = None, progress: Progress = lambda line: None) -> Done:
    """Back everything up. Beside a platform that runs, or of one that is down.

    Raises `AlreadyRunning`, `BackupError`, `DiskFull` (of the destination), `LakeError`.
    """
    import duckdb

    begun = time.monotonic()
    there = place.opened(destination(settings, to), settings)
    _refuse_inside(settings, there)
    own = cut.lake_id(settings)
    if own is None:
        raise BackupError(
            f"backup: {settings.lake_path} has no tables, so there is nothing to back up; is EDGE_HOME the right one?"
        )
    with service_lock(settings, NAME):
        scratch = settings.home / "tmp" / NAME
        shutil.rmtree(scratch, ignore_errors=True)
        before = _before(there, own)
        stored = Stored(there, progress)
        try:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    made = _Making(settings, stored, before, scratch, progress).make(own)
                    break
                except (Vanished, FileNotFoundError, duckdb.IOException) as error:
                    if attempt == ATTEMPTS:
                        raise BackupError(
                            f"backup: files vanished while they were copied, {ATTEMPTS} times over, the last one: "
                            f"{str(error).splitlines()[0]}; raise EDGE_STREAM__VACUUM_HOURS, then run it again: what "
                            "is copied stays"
                        ) from error
                    progress("the stream writer took a file away meanwhile: looking again")
            manifest.write(there, made)
        except DiskFull:
            stored.take_back()
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        deleted = clean(there, settings.backup.keep)
        done = Done(
            id=made.id,
            destination=there.address,
            ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - begun, 2),
            bytes=made.size,
            files=len(made.files),
            files_copied=stored.files_copied,
            bytes_copied=stored.bytes_copied,
            deleted=deleted,
            tables=made.tables,
        )
        write_json(status_path(settings, NAME), {k: v for k, v in done.as_dict().items() if k != "tables"})
        return done


class Vanished(Exception):
    """A file was taken away while it was to be copied."""


@contextmanager
def _reading(settings: Settings) -> Iterator[None]:
    """What a bucket says of a file that is gone is no trouble with the bucket."""
    with object_store.in_words(settings):
        try:
            yield
        except FileNotFoundError as error:
            raise Vanished(str(error)) from error


def clean(there: Place, keep: int) -> tuple[str, ...]:
    """Delete the oldest backups beyond `keep`, and files that none of the others names. Returns the ids of those."""
    found = manifest.ids(there)
    gone = found[:-keep]
    for id in gone:
        there.delete(f"{manifest.MANIFESTS}/{id}.json")
    named = {file.stored_as(name) for id in found[-keep:] for name, file in manifest.read(there, id).files.items()}
    kept = {f"{manifest.MANIFESTS}/{id}.json" for id in found[-keep:]}
    for folder, wanted in ((manifest.FILES, named), (manifest.MANIFESTS, kept)):
        for name in there.listed(folder):
            if name not in wanted:
                there.delete(name)
    return tuple(gone)


def _refuse_inside(settings: Settings, there: Place) -> None:
    """A backup within what it is of would be lost with it."""
    if object_store.is_bucket(there.address):
        return
    folders = [settings.home, *([] if object_store.is_bucket(settings.lake_path) else [settings.lake_path])]
    for folder in folders:
        if Path(there.address).resolve().is_relative_to(folder.resolve()):
            raise BackupError(
                f"backup: {there.address} lies in {folder}, and would be lost with it; choose another disk"
            )


def _before(there: Place, own: str) -> Manifest | None:
    """The newest backup there. Raises `BackupError` where it is of another lake: they would push each other out."""
    before = manifest.newest(there)
    if before and before.lake_id != own:
        raise BackupError(
            f"{there.address} holds backups of another lake (site {before.site!r}, {before.lake}); give each a folder "
            "of its own"
        )
    return before


class _Making:
    """One attempt."""

    def __init__(
        self, settings: Settings, stored: Stored, before: Manifest | None, scratch: Path, progress: Progress
    ) -> None:
        self._settings = settings
        self._stored = stored
        self._before = before.files if before else {}
        self._scratch = scratch
        self._progress = progress
        self._files: dict[str, StoredFile] = {}

    def make(self, lake_id: str) -> Manifest:
        rollups = home_files.rollups(self._settings)
        self._progress("waiting for a moment between two batches")
        moment = cut.take(self._settings)
        tables = {
            each.name: self._table(each) for each in cut.tables(self._settings, moment, home_files.followed(rollups))
        }
        self._copy_home(rollups, moment)
        return Manifest(
            id=manifest.new_id(moment.taken_at),
            taken_at=moment.taken_at.isoformat(timespec="milliseconds"),
            edge_assets=version("edge_assets"),
            site=self._settings.site,
            home=str(self._settings.home),
            lake=str(self._settings.lake_path),
            lake_id=lake_id,
            secrets_left_out=home_files.secrets_set(self._settings),
            tables=tables,
            files=self._files,
        )

    def _table(self, table: TableCut) -> TableState:
        total = count = 0
        hashed = {cut.relative(table.folder, file.path): file for file in table.snapshot.files}
        prefix = f"{LAKE}{'/'.join(table.snapshot.name)}/"
        with lake.connection(self._settings) as opened, _reading(self._settings):
            for done, (name, size) in enumerate(sorted(table.data.items())):
                self._progress(f"{table.name}: file {done + 1:,} of {len(table.data):,}; {self._stored}")
                file = self._known(prefix + name, size)
                if file is None:
                    only = replace(table.snapshot, files=(hashed[name],) if name in hashed else ())
                    file = self._stored.add(prefix + name, table.folder / name, *rows.of_snapshot(opened, only))
                self._files[prefix + name] = file
                count, total = count + (file.rows or 0), rows.added(total, file.hash or 0)
            for name in sorted({*table.log, *table.more}):
                self._files[prefix + name] = self._stored.add(prefix + name, table.folder / name)
        size = sum(table.data.values())
        return TableState(table.snapshot.version or 0, count, rows.shown(total), len(table.data), size)

    def _known(self, name: str, size: int) -> StoredFile | None:
        """A data file that an earlier backup has: its name is given once, so it need not be read again."""
        file = self._before.get(name)
        return file if file and file.size == size and file.hash is not None and self._stored.has(name, file) else None

    def _copy_home(self, rollups: Mapping[str, Content], moment: Cut) -> None:
        folder = requests.folder(self._settings).relative_to(self._settings.home).as_posix()
        asked = {f"{folder}/{name}": content for name, content in moment.requests.items()}
        found = [*rollups.items(), *asked.items(), *home_files.files(self._settings, self._scratch)]
        for done, (name, content) in enumerate(found):
            self._progress(f"home: file {done + 1:,} of {len(found):,}; {self._stored}")
            self._files[name] = self._stored.add(name, content)
