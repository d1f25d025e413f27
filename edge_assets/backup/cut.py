"""The lake at one instant, without asking anybody to stop.

The tables are committed one after another (`edge_assets.stream.batch`), and gold refers to versions of silver. So a
backup is not of tables that were read one by one, but of a moment: all versions are looked up, and then it is made sure
that no table has a newer one yet. Commits only add up, so at the moment between the two looks the tables were just so.
What a `kill -9` at that moment would have left is what the writer's own start can go on from; and where the writer
runs, a moment between two batches is waited for, so that not even that is needed.

What the writer was asked for and has not done is part of that moment, and taken along (`stream/requests`): half of it
may be in the tables, and all of it can be done twice.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from edge_assets import object_store
from edge_assets.errors import LakeError
from edge_assets.service import lock_holder
from edge_assets.settings import Settings
from edge_assets.stream import durability, requests
from edge_assets.tables import BRONZE_EVENTS, DEVICES, READINGS, ROOM_TELEMETRY, TABLES, gold_tables
from edge_assets.warehouse import lake
from edge_assets.warehouse.lake import Snapshot, TableName

if TYPE_CHECKING:
    from deltalake import DeltaTable

WRITER = "stream_writer"
PATIENCE_SECONDS = 180.0
"""so long a moment between two batches is waited for"""
LOOK_SECONDS = 0.05
LOOK_BACK = durability.LOOK_BACK
"""so many commits are taken along at least: a writer that starts looks at them"""

NOTE_WITHIN = 1_000
"""commits: of a table that is not the stream writer's none has a note"""

CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(\.\d{10}\.\d{10})?\.parquet")


@dataclass(frozen=True, slots=True)
class TableCut:
    """One table: its snapshot, and the files of it that a backup needs, by their names below `folder`."""

    snapshot: Snapshot
    folder: Path
    data: Mapping[str, int]
    """the data files of its version, with their sizes"""
    more: Mapping[str, int]
    """those of an older version that is needed, too"""
    log: frozenset[str]
    """commits and checkpoints"""

    @property
    def name(self) -> str:
        return ".".join(self.snapshot.name)


@dataclass(frozen=True, slots=True)
class Cut:
    taken_at: datetime
    versions: Mapping[TableName, int]
    requests: Mapping[str, bytes]
    """file name → content, of what the stream writer was asked for and has not done"""
    settled: bool
    """whether the last batch is in all tables"""


def take(settings: Settings) -> Cut:
    """The newest moment. Raises `LakeError` where the stream writer does not pause."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    known: dict[TableName, int] = {}
    with object_store.in_words(settings):
        while True:
            there = [name for name in lake.names(settings) if _exists(settings, name)]
            known = {name: _newest(settings, name, known.get(name)) for name in there}
            asked = _requests(settings)
            at = datetime.now(UTC)
            if not any(_commit(settings, name, version + 1).exists() for name, version in known.items()):
                settled = is_settled(settings, known)
                if settled or lock_holder(settings, WRITER) is None:
                    return Cut(at, known, asked, settled)
            if time.monotonic() > deadline:
                raise LakeError(
                    f"backup: the stream writer has not paused between two batches for {PATIENCE_SECONDS:.0f} s; "
                    "`edge status` says what it does. Try again later"
                )
            time.sleep(LOOK_SECONDS)


def is_settled(settings: Settings, versions: Mapping[TableName, int]) -> bool:
    """Whether each table that gets rows of the last batch of `bronze.events` has them."""
    notes = {
        table.full_name: durability.note_before(folder_of(settings, name), versions[name] + 1)
        for table in TABLES
        if (name := (table.layer, table.name)) in versions
    }
    last = notes.get(BRONZE_EVENTS.full_name)
    if not last:
        return True
    follows = last.get("follows")
    waited_for = follows if follows is not None else [READINGS.full_name]
    return all((notes.get(name) or {}).get("batch", 0) >= last["batch"] for name in waited_for)


def tables(settings: Settings, cut: Cut, followed: Mapping[TableName, int]) -> Iterator[TableCut]:
    """What has to be copied of each table. `followed`: the versions from which on the rollups follow tables' commits.

    Raises `LakeError`, and `FileNotFoundError` where something has gone meanwhile.
    """
    keep_from = _with_gold(settings, cut, followed)
    for name, version in sorted(cut.versions.items()):
        snapshot = lake.snapshot(settings, name, version)
        folder = folder_of(settings, name)
        if snapshot.delta is not None:
            raise LakeError(
                f"backup: {'.'.join(name)} has deletion vectors, column mapping or files elsewhere, which a backup "
                "does not know; who else has written to it?"
            )
        with object_store.in_words(settings):
            data, more = _active(settings, folder, version), {}
            log = _log(folder, version, min(version - LOOK_BACK, keep_from.get(name, version)))
            registry = _unfinished_registry(settings, cut) if name == (DEVICES.layer, DEVICES.name) else None
            if registry is not None:
                more = {name: size for name, size in _active(settings, folder, registry).items() if name not in data}
                log |= _log(folder, registry, registry)
        yield TableCut(snapshot, folder, data, more, frozenset(log))


def lake_id(settings: Settings) -> str | None:
    """What tells one lake from another: the identity of `bronze.events`, which stays through a restore. None: it is
    not there yet."""
    name = BRONZE_EVENTS.layer, BRONZE_EVENTS.name
    with object_store.in_words(settings):
        if not _exists(settings, name):
            return None
        return str(_delta(settings, folder_of(settings, name)).metadata().id)


def folder_of(settings: Settings, name: TableName) -> Path:
    return settings.lake_path / name[0] / name[1]


def relative(folder: Path, path: str) -> str:
    """A file's name below a folder; in a bucket too."""
    return path.removeprefix(f"{folder}/")


def _delta(settings: Settings, folder: Path, version: int | None = None) -> DeltaTable:
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    try:
        return DeltaTable(folder.as_uri(), version, object_store.deltalake_options(settings))
    except DeltaError as error:
        raise LakeError(
            f"backup: reading {folder}: {str(error).splitlines()[0][:200]}; `edge doctor` says whether it is whole"
        ) from error


def _active(settings: Settings, folder: Path, version: int) -> dict[str, int]:
    """The data files of a version, those without rows among them, and their sizes."""
    actions = _delta(settings, folder, version).get_add_actions()
    paths, sizes = actions.column("path").to_pylist(), actions.column("size_bytes").to_pylist()
    return {unquote(path): size for path, size in zip(paths, sizes, strict=True)}


def _commit(settings: Settings, name: TableName, version: int) -> Path:
    return folder_of(settings, name) / "_delta_log" / f"{version:020}.json"


def _exists(settings: Settings, name: TableName) -> bool:
    return any((folder_of(settings, name) / "_delta_log").glob("*.json"))


def _newest(settings: Settings, name: TableName, known: int | None) -> int:
    version = durability.newest(folder_of(settings, name)) if known is None else known
    while _commit(settings, name, version + 1).exists():
        version += 1
    return version


def _requests(settings: Settings) -> dict[str, bytes]:
    """Files of requests that wait, and how far they are. One that is being answered vanishes in between."""
    found: dict[str, bytes] = {}
    folder = requests.folder(settings)
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            found[path.name] = path.read_bytes()
            found[path.with_suffix(".progress").name] = path.with_suffix(".progress").read_bytes()
        except FileNotFoundError:
            continue
    return found


def _with_gold(settings: Settings, cut: Cut, followed: Mapping[TableName, int]) -> dict[TableName, int]:
    """And those from which on gold follows `silver.room_telemetry`, to find late messages."""
    found = dict(followed)
    rooms = ROOM_TELEMETRY.layer, ROOM_TELEMETRY.name
    for table in gold_tables(settings):
        version = cut.versions.get((table.layer, table.name))
        if version is None:
            continue
        note = durability.note_before(folder_of(settings, (table.layer, table.name)), version + 1)
        if note and "repaired" in note:
            found[rooms] = min(found.get(rooms, note["repaired"]), note["repaired"])
    return found


def _unfinished_registry(settings: Settings, cut: Cut) -> int | None:
    """The version of `silver.devices` that an unfinished batch has to be decoded with again."""
    if cut.settled:
        return None
    name = BRONZE_EVENTS.layer, BRONZE_EVENTS.name
    note = durability.note_before(folder_of(settings, name), cut.versions[name] + 1)
    return note["registry_version"] if note else None


def _log(folder: Path, version: int, since: int) -> set[str]:
    """The names of the last checkpoint of a version and the commits since it, since another version, and since the
    last note at least, of those that the log still has."""
    checkpoints: dict[int, set[str]] = defaultdict(set)
    commits: dict[int, Path] = {}
    for file in (folder / "_delta_log").iterdir():
        if found := CHECKPOINT.fullmatch(file.name):
            checkpoints[int(found[1])].add(file.name)
        elif file.suffix == ".json" and file.stem.isdigit():
            commits[int(file.stem)] = file
    last = max((number for number in checkpoints if number <= version), default=-1)
    if missing := [number for number in range(last + 1, version + 1) if number not in commits]:
        raise LakeError(
            f"backup: the log of {folder} lacks version {missing[0]}, which version {version} needs; "
            "`edge doctor` says whether the table is whole"
        )
    wanted = min(last + 1, since, _last_note(commits, version))
    names = {file.name for number, file in commits.items() if wanted <= number <= version} | checkpoints[last]
    return {f"_delta_log/{name}" for name in names}


def _last_note(commits: Mapping[int, Path], version: int) -> int:
    """The newest version that carries a note; the version itself where none of the last ones does."""
    for number in range(version, version - NOTE_WITHIN, -1):
        if number in commits and durability.told(durability.Commit(number, commits[number])):
            return number
    return version
