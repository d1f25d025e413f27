"""What a power cut may cost the lake, and how a table that one has torn is made whole.

Spark closes its files and leaves them in the page cache. `Durability.sync` forces everything that the newest
commits name to the disk, data before log, so that a cut costs at most the batch under way, which the log still has.

`mend` runs before Spark opens the lake: a commit that is not JSON, or that names a file which is missing or cut
short, is torn, and so is one of a table that is further on than `bronze.events`, whose own commit is gone then. From
the first torn commit of any table on, all tables go back to the last batch that all of them have whole, and the stream
takes up the log from there.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from edge_assets import delta_log, object_store
from edge_assets.delta_log import Commit, commits, newest, since
from edge_assets.errors import LakeError
from edge_assets.log_record import Place
from edge_assets.settings import Settings
from edge_assets.tables import ANOMALIES, BRONZE_EVENTS, TABLES, Table

log = logging.getLogger(__name__)

LOOK_BACK = 100
"""So many commits of each table are looked at: a cut reaches back seconds, not hours."""

CARRIED = "carried"
"""marks a note of an earlier commit, in one that belongs to no batch"""


def is_wanted(settings: Settings) -> bool:
    """Whether the lake lies where a power cut can take what was written: a bucket has it once it has answered."""
    return settings.stream.fsync and not object_store.is_bucket(settings.lake_path)


def of(settings: Settings, tables: Iterable[Table]) -> Durability | None:
    """What forces these tables to the disk; None where nothing has to."""
    return Durability(settings.lake_path, tables) if is_wanted(settings) else None


class Durability:
    """Forces commits to the disk, each once."""

    def __init__(self, lake: Path, tables: Iterable[Table]) -> None:
        self._folders = {table: lake / table.layer / table.name for table in tables}
        self._synced = {table: newest(folder) for table, folder in self._folders.items()}

    def sync(self) -> None:
        for table, folder in self._folders.items():
            new = list(since(folder, self._synced[table]))
            for commit in new:
                for file, _ in _added(folder, commit):
                    _force(file)
                    _force(file.parent)
                _force(commit.path)
            if new:
                _force(folder)
                _force(folder / delta_log.FOLDER)
                if new[0].version == 0:
                    _force(folder.parent)
                    _force(folder.parent.parent)
                self._synced[table] = new[-1].version


def _added(folder: Path, commit: Commit) -> Iterator[tuple[Path, int]]:
    """(file, size) of the data files that a commit adds."""
    for action in commit.actions():
        if "add" in action:
            yield folder / unquote(action["add"]["path"]), action["add"]["size"]


def _force(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return  # compacted and vacuumed since
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- after a cut -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tear:
    table: Table
    version: int
    why: str


def tears(lake: Path) -> list[Tear]:
    """The first torn commit of each table that has one."""
    bronze = reached(lake)
    folders = ((table, lake / table.layer / table.name) for table in TABLES)
    found = ((table, _tear(folder) or _ahead(folder, bronze)) for table, folder in folders)
    return [Tear(table, *tear) for table, tear in found if tear]


def reached(lake: Path) -> dict[Place, int]:
    """The offset after the last that `bronze.events` holds, for each place, as its newest commit says."""
    note = note_before(lake / BRONZE_EVENTS.layer / BRONZE_EVENTS.name)
    return _positions(note) if note else {}


def _ahead(folder: Path, bronze: Mapping[Place, int]) -> tuple[int, str] | None:
    """The first commit that speaks of records which `bronze.events` does not hold."""
    first = None
    for commit in reversed(commits(folder)[-LOOK_BACK:]):
        note = note_of(commit)
        if note is None:
            continue
        if all(offset <= bronze.get(place, 0) for place, offset in _positions(note).items()):
            break
        first = commit.version, "bronze.events has lost the batch that it belongs to"
    return first


def _tear(folder: Path) -> tuple[int, str] | None:
    removed: set[Path] = set()
    first: tuple[int, str] | None = None
    # Newest first: a file that a later commit removes may be gone by right.
    for commit in reversed(commits(folder)[-LOOK_BACK:]):
        try:
            actions = commit.actions()
        except ValueError as error:
            first = commit.version, str(error)
            continue
        for file, size in _added(folder, commit):
            if file not in removed and (why := _damage(file, size)):
                first = commit.version, why
        removed |= {folder / unquote(action["remove"]["path"]) for action in actions if "remove" in action}
    return first


def _damage(file: Path, size: int) -> str | None:
    """What is wrong with a Parquet file: its size, or the magic number at its two ends."""
    try:
        if file.stat().st_size != size:
            return f"{file.name} has {file.stat().st_size} bytes of {size}"
        with file.open("rb") as opened:
            head = opened.read(4)
            opened.seek(-4, os.SEEK_END)
            if head != b"PAR1" or opened.read() != b"PAR1":
                return f"{file.name} holds no Parquet"
    except FileNotFoundError:
        return f"{file.name} is missing"
    return None


def mend(lake: Path) -> int | None:
    """Take all tables back to the last batch that is whole in each. Returns its number; None where nothing is torn.

    Raises `LakeError` where a tear lies so deep that no commit before it is known.
    """
    for table in TABLES:
        _forget_unborn(lake / table.layer / table.name)
    torn = tears(lake)
    if not torn:
        _mend_gold(lake)
        return None
    batch = min(_batch_before(lake, tear) for tear in torn)
    for tear in torn:
        log.error("%s is torn at version %d: %s", tear.table.full_name, tear.version, tear.why)
    for table in TABLES:
        _cut(lake / table.layer / table.name, batch)
    _mend_gold(lake, batch)
    log.error("all tables taken back to batch %d; the stream reads on from there in the log", batch)
    return batch


def _forget_unborn(folder: Path) -> None:
    """Remove a table whose one commit, that of its creation, is torn: no batch is written before it is forced. The
    stream writer makes it anew."""
    there = commits(folder)
    if [commit.version for commit in there] != [0] or (why := _unreadable(there[0])) is None:
        return
    if all(entry.name == delta_log.FOLDER for entry in folder.iterdir()):
        log.error("%s was cut off as it was made (%s): it is made anew", folder, why)
        shutil.rmtree(folder)
        _force(folder.parent)


def _unreadable(commit: Commit) -> str | None:
    """What is wrong with a commit's file."""
    try:
        commit.actions()
    except ValueError as error:
        return str(error)
    return None


def _mend_gold(lake: Path, batch: float = float("inf")) -> None:
    """Take each table of gold back to where it is whole and silver, which is at `batch`, still holds what it was made
    of. Gold is computed, so a tear of its own costs nobody else anything: it goes on from there."""
    for table_log in (lake / "gold").glob(f"*/{delta_log.FOLDER}"):
        folder = table_log.parent
        if folder.name == ANOMALIES.name:  # somebody else's, who may be writing at this moment
            continue
        tear = _tear(folder)
        if tear is None and not any((note := note_of(c)) and note["batch"] > batch for c in commits(folder)):
            continue
        log.error("gold.%s is taken back: %s", folder.name, tear[1] if tear else "silver has lost its latest batches")
        if not _cut(folder, batch, tear[0] if tear else None):
            shutil.rmtree(folder)  # not one commit is whole: it is made anew
            _force(folder.parent)


def _batch_before(lake: Path, tear: Tear) -> int:
    """The last batch that a torn table has whole.

    Where the torn commit does not say its batch, it is the table's newest, and was not forced: then it is of the newest
    batch of all. A table may be written so rarely that its own last batch lies months back.
    """
    folder = lake / tear.table.layer / tear.table.name
    there = commits(folder)
    before = [commit for commit in there if commit.version < tear.version]
    behind = [note["batch"] for commit in there if commit.version >= tear.version and (note := note_of(commit))]
    if before:
        if behind and note_of(there[len(before)]):
            return min(behind) - 1
        newest = note_before(lake / BRONZE_EVENTS.layer / BRONZE_EVENTS.name)
        if there[-1].version == tear.version and tear.table is not BRONZE_EVENTS and newest:
            return newest["batch"] - 1
        note = note_before(folder, tear.version)
        if note:
            return note["batch"]
        if before[0].version == 0:
            return 0
    raise LakeError(
        f"{tear.table.full_name} is torn at version {tear.version} ({tear.why}) and no commit before it is left in "
        f"{folder}: restore a backup, or move the lake away and start anew from the log"
    )


def note_of(commit: Commit) -> dict[str, Any] | None:
    """What a commit says of itself (`edge_assets.stream.lake.Note`); None for maintenance and for a torn one."""
    note = told(commit)
    return None if note is None or CARRIED in note else note


def told(commit: Commit) -> dict[str, Any] | None:
    """The same, and of maintenance the note that it carries on."""
    try:
        infos = [action["commitInfo"] for action in commit.actions() if "commitInfo" in action]
        note: dict[str, Any] = json.loads(infos[0]["userMetadata"])
        return note if "batch" in note else None
    except (ValueError, KeyError, IndexError):
        return None


def note_before(folder: Path, version: float = float("inf")) -> dict[str, Any] | None:
    """The newest note of the commits before a version. Maintenance carries it on, so that it is there still when the
    commit that it was of has left the log."""
    earlier = (commit for commit in reversed(commits(folder)) if commit.version < version)
    return next(filter(None, map(told, earlier)), None)


def carried(folder: Path, **more: Any) -> str:
    """What a commit that belongs to no batch says of itself: the note before it, and whatever else."""
    return json.dumps({**(note_before(folder) or {}), CARRIED: True, **more})


def _positions(note: Mapping[str, Any]) -> dict[Place, int]:
    return {(log_id, topic, partition): offset for log_id, topic, partition, offset in note.get("positions", ())}


def _cut(folder: Path, batch: float, version: int | None = None) -> bool:
    """Forget a table's commits after a batch, or from a version on: the log's files go, and checkpoints made from them.
    False: nothing would be left, and nothing is done."""
    keep = -1
    for commit in commits(folder):
        note = note_of(commit)
        if (note and note["batch"] > batch) or commit.version == version or _unreadable(commit) is not None:
            break
        keep = commit.version
    if keep < 0:
        return False
    for file in (folder / delta_log.FOLDER).iterdir():
        number = file.name.split(".", 1)[0]
        if (number.isdigit() and int(number) > keep) or file.name == "_last_checkpoint" or file.suffix == ".crc":
            file.unlink()
    _force(folder / delta_log.FOLDER)
    return True
