"""What a destination holds, by checksum, and how a file gets there that it does not hold."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import suppress
from typing import IO, cast

from edge_assets.backup.home_files import Content
from edge_assets.backup.manifest import FILES, StoredFile
from edge_assets.backup.place import CHUNK, Place
from edge_assets.errors import EdgeError


class Stored:
    """The files of a destination while a backup is made."""

    def __init__(self, place: Place, progress: Callable[[str], None]) -> None:
        self._place = place
        progress(f"looking at what {place.address} has")
        self._there = place.listed(FILES)
        self._own: list[str] = []
        self.files_copied = 0
        self.bytes_copied = 0

    def __str__(self) -> str:
        return f"{self.files_copied:,} files copied, {self.bytes_copied / 1e6:,.1f} MB"

    def has(self, name: str, file: StoredFile) -> bool:
        return self._there.get(file.stored_as(name)) == file.size

    def add(self, name: str, content: Content, rows: int | None = None, hash: int | None = None) -> StoredFile:
        """Make sure that the destination has a file. Raises `FileNotFoundError` where it is gone by now."""
        sha256, size = checksum(content)
        file = StoredFile(sha256, size, rows, hash)
        if not self.has(name, file):
            where = file.stored_as(name)
            self._own.append(where)
            with opened(content) as stream:
                self._place.put(where, stream)
            self._there[where] = size
            self.files_copied += 1
            self.bytes_copied += size
        return file

    def take_back(self) -> None:
        """Delete what was copied, so that a full disk is as it was before."""
        for name in self._own:
            with suppress(EdgeError):
                self._place.delete(name)


def opened(content: Content) -> IO[bytes]:
    return io.BytesIO(content) if isinstance(content, bytes) else cast(IO[bytes], content.open("rb"))


def checksum(content: Content) -> tuple[str, int]:
    """(SHA-256, bytes)"""
    digest, size = hashlib.sha256(), 0
    with opened(content) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
