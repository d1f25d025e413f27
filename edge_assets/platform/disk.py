"""Free space where the platform writes, and the reserve that the stream writer leaves to others.

A disk that is full ends Kafka, and what then comes in is in the broker's memory alone. So the stream writer, which can
take up its work where it left it, stops before that: what is left lasts the log for a while (a home writes some 115 MB
a day to it), and Dagster can say what is wrong.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_assets import object_store
from edge_assets.errors import DiskFull
from edge_assets.service import NO_SPACE
from edge_assets.settings import Settings

RESUME = 1.25
"""A writer starts only with so many times the reserve free, so that it does not stop again after a batch."""
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Space:
    """One file system that the platform writes to."""

    what: str
    """home, lake, or both"""
    path: Path
    free_bytes: int

    @property
    def free_mb(self) -> int:
        return self.free_bytes // MB


def spaces(settings: Settings) -> list[Space]:
    """The file systems of home and lake, each once; a lake in a bucket has none. A folder that is not there yet counts
    as the one that it will be made in."""
    folders = {"home": settings.home}
    if not object_store.is_bucket(settings.lake_path):
        folders["lake"] = settings.lake_path
    found: dict[int, Space] = {}
    for what, path in folders.items():
        there = next(each for each in (path, *path.parents) if each.exists())
        device = there.stat().st_dev
        known = found.get(device)
        name = f"{known.what} and {what}" if known else what
        found[device] = Space(name, known.path if known else path, shutil.disk_usage(there).free)
    return list(found.values())


def require(settings: Settings, factor: float = 1.0) -> None:
    """Raise `DiskFull` where less than `factor` times the reserve is free."""
    for space in spaces(settings):
        needed = int(settings.stream.min_free_mb * factor)
        if space.free_mb < needed:
            raise DiskFull(_words(settings, space, needed))


def has_room(settings: Settings) -> bool:
    try:
        require(settings)
    except DiskFull:
        return False
    return True


def explained(settings: Settings, error: BaseException) -> DiskFull | None:
    """What an error is on a disk that is full, whoever met it first; None where there is room.

    What Spark's JVM throws has no type for it, so it is the disk that is asked, and the system's own word for it looked
    for only where a failed batch has given its space back by now.
    """
    for space in spaces(settings):
        if space.free_mb < max(settings.stream.min_free_mb, 1):
            return DiskFull(_words(settings, space, settings.stream.min_free_mb))
    if any(_says_full(each) for each in _chain(error)):
        space = min(spaces(settings), key=lambda each: each.free_bytes)
        return DiskFull(_words(settings, space, settings.stream.min_free_mb))
    return None


def _words(settings: Settings, space: Space, needed: int) -> str:
    too_little = (
        f"{needed} are needed (EDGE_STREAM__MIN_FREE_MB)" if space.free_mb < needed else "which did not suffice"
    )
    return (
        f"the disk is full: {space.free_mb} MB are free in {space.path} ({space.what}), {too_little}; nothing is lost, "
        "the log keeps what comes. Make room: delete what is not the platform's, or lower EDGE_KAFKA__RETENTION_HOURS; "
        "the stream writer then goes on by itself"
    )


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in NO_SPACE
    try:
        words = str(error)
    except Exception:  # a Java error asks its JVM for its words, and that is gone
        return False
    return any(os.strerror(number) in words for number in NO_SPACE)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
