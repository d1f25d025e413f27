"""Where backups lie: a folder or `s3://bucket/prefix`, as a handful of named files.

Names are relative and use `/`. A file is there whole or not at all, and is never changed: the name of a data file is
its checksum.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from edge_assets import object_store
from edge_assets.errors import BackupError, DiskFull
from edge_assets.service import NO_SPACE
from edge_assets.settings import Settings

if TYPE_CHECKING:
    from obstore.store import S3Store

CHUNK = 1 << 20
PARTIAL = ".partial"


class Place(Protocol):
    """What a backup asks of the place that it is put to. All of it raises `BackupError`, `put` also `DiskFull`."""

    address: str

    def put(self, name: str, content: IO[bytes]) -> None:
        """Write a file; it is on the disk of the place when this returns."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """A file's content. `FileNotFoundError` where there is none."""

    def listed(self, folder: str) -> dict[str, int]:
        """name → size of all files below a folder, what a killed backup has left of one among them."""

    def delete(self, name: str) -> None:
        """Delete a file; that it is not there is no error."""


def opened(address: str, settings: Settings) -> Place:
    """The place at an address. Nothing is asked or made yet. Raises `BackupError` where it is no place."""
    if object_store.is_bucket(address):
        return Bucket(address, settings)
    if "://" in address:
        raise BackupError(f"{address}: backups go to a folder or to s3://bucket/prefix")
    return Folder(Path(address).expanduser().absolute())


class Folder:
    """A folder. What it holds can be read by its owner alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.address = str(path)

    def put(self, name: str, content: IO[bytes]) -> None:
        path = self._path / name
        aside = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
        with self._in_words(f"writing {path}"):
            try:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with open(aside, "wb", opener=_private) as file:
                    while chunk := content.read(CHUNK):
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                aside.replace(path)
                _force(path.parent)
            except OSError:
                with suppress(OSError):
                    aside.unlink(missing_ok=True)
                raise

    def chunks(self, name: str) -> Iterator[bytes]:
        path = self._path / name
        with self._in_words(f"reading {path}"), path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def listed(self, folder: str) -> dict[str, int]:
        with self._in_words(f"listing {self._path / folder}"):
            files = (path for path in (self._path / folder).rglob("*") if path.is_file())
            return {path.relative_to(self._path).as_posix(): path.stat().st_size for path in files}

    def delete(self, name: str) -> None:
        with self._in_words(f"deleting {self._path / name}"):
            (self._path / name).unlink(missing_ok=True)

    @contextmanager
    def _in_words(self, doing: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in NO_SPACE:
                raise DiskFull(
                    f"backup: the disk of {self.address} is full; the backups before are whole. Make room there, or "
                    "keep fewer (EDGE_BACKUP__KEEP), then run it again"
                ) from error
            raise BackupError(f"{doing}: {error.strerror}; is the disk there, and may we write to it?") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _force(folder: Path) -> None:
    """Force a new name to the disk. Some file systems of other machines cannot, and need not."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Bucket:
    """A prefix of a bucket, in the store that `settings.s3` names."""

    def __init__(self, address: str, settings: Settings) -> None:
        self.address = address.rstrip("/")
        bucket, _, prefix = self.address.removeprefix(object_store.SCHEME).partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._where = settings.s3.endpoint or "Amazon"
        self._store: S3Store = object_store.store(bucket, settings.s3)

    def put(self, name: str, content: IO[bytes]) -> None:
        import obstore

        with self._in_words(f"writing {name}"):
            obstore.put(self._store, self._prefix + name, content)

    def chunks(self, name: str) -> Iterator[bytes]:
        import obstore

        with self._in_words(f"reading {name}"):
            for chunk in obstore.get(self._store, self._prefix + name).stream(min_chunk_size=CHUNK):
                yield bytes(chunk)

    def listed(self, folder: str) -> dict[str, int]:
        import obstore

        found: dict[str, int] = {}
        with self._in_words(f"listing {folder}"):
            for part in obstore.list(self._store, self._prefix + folder):
                found |= {about["path"].removeprefix(self._prefix): about["size"] for about in part}
        return found

    def delete(self, name: str) -> None:
        import obstore

        with self._in_words(f"deleting {name}"), suppress(FileNotFoundError):
            obstore.delete(self._store, self._prefix + name)

    @contextmanager
    def _in_words(self, doing: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError:
            raise
        except (BaseError, OSError) as error:
            raise BackupError(
                f"{doing} in {self.address} at {self._where}: {str(error).splitlines()[0]}; are EDGE_S3__ENDPOINT, the "
                "keys and the bucket's name right, and is the store up?"
            ) from error


def content_of(place: Place, name: str) -> bytes:
    return b"".join(place.chunks(name))
