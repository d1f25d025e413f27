"""A lake in a bucket (`EDGE_LAKE__PATH=s3://bucket/prefix`), as each engine that reads it wants to be told.

| engine | reads and writes by | told by |
|---|---|---|
| our own code | `folder`, which behaves as a `pathlib.Path` | obstore, through fsspec |
| Spark | Hadoop's S3A | `spark_options` |
| deltalake | its own object store | `deltalake_options` |
| DuckDB | ranges that obstore gets for it, since its own extension comes from no package registry | `let_duckdb_read` |

Without `s3.access_key` all of them look where Amazon's tools do: the variables `AWS_*`, then the instance's role.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from edge_assets.errors import LakeError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from duckdb import DuckDBPyConnection
    from obstore.store import RetryConfig, S3Store

    from edge_assets.settings import S3Settings, Settings

SCHEME = "s3://"
RACERS, RACES = 8, 3


def is_bucket(place: Path | str) -> bool:
    return str(place).startswith(SCHEME)


def folder(address: str, settings: S3Settings) -> Path:
    """The place `s3://bucket/prefix`: a `UPath`, which has all the ways of a `Path` that the lake is read by."""
    from upath import UPath

    _register()
    return UPath(address.rstrip("/"), protocol="s3", **_obstore_options(settings))  # type: ignore[return-value]


def store(bucket: str, settings: S3Settings, patience: RetryConfig | None = None) -> S3Store:
    """A bucket for who puts and gets whole objects. Without a patience, one that is away is asked for three minutes."""
    from obstore.store import S3Store

    return S3Store(bucket, retry_config=patience, **_obstore_options(settings))


@cache
def _register() -> None:
    from obstore.fsspec import register

    register("s3")


def _obstore_options(settings: S3Settings) -> dict[str, Any]:
    config: dict[str, Any] = {"region": settings.region, "virtual_hosted_style_request": not settings.endpoint}
    if settings.endpoint:
        config["endpoint"] = settings.endpoint
    if settings.access_key and settings.secret_key:
        config |= {"access_key_id": settings.access_key, "secret_access_key": settings.secret_key.get_secret_value()}
    return {"config": config, "client_options": {"allow_http": _plain(settings)}}


def _plain(settings: S3Settings) -> bool:
    return bool(settings.endpoint and settings.endpoint.startswith("http://"))


def deltalake_options(settings: Settings) -> dict[str, str] | None:
    """Storage options; None where the lake is a folder."""
    if not is_bucket(settings.lake_path):
        return None
    s3 = settings.s3
    options = {"AWS_REGION": s3.region, "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": str(not s3.endpoint).lower()}
    if s3.endpoint:
        options |= {"AWS_ENDPOINT_URL": s3.endpoint, "AWS_ALLOW_HTTP": str(_plain(s3)).lower()}
    if s3.access_key and s3.secret_key:
        options |= {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key.get_secret_value()}
    return options


def spark_uri(place: Path | str) -> str:
    """A place as Spark has it: Hadoop's name for the scheme is another one."""
    return str(place).replace(SCHEME, "s3a://", 1) if is_bucket(place) else str(place)


def spark_options(settings: Settings) -> dict[str, str]:
    """Spark's configuration; none where the lake is a folder."""
    if not is_bucket(settings.lake_path):
        return {}
    s3 = settings.s3
    options = {
        "spark.hadoop.fs.s3a.endpoint.region": s3.region,
        "spark.hadoop.fs.s3a.path.style.access": str(bool(s3.endpoint)).lower(),
        "spark.hadoop.fs.s3a.connection.ssl.enabled": str(not _plain(s3)).lower(),
        # Each open file has a buffer of this size from its beginning (by default a file of up to 64 MB), and a stuck
        # store is not waited for for an hour.
        "spark.hadoop.fs.s3a.multipart.size": "8M",
        "spark.hadoop.fs.s3a.fast.upload.buffer": "bytebuffer",
        "spark.hadoop.fs.s3a.attempts.maximum": "5",
        "spark.hadoop.fs.s3a.retry.limit": "5",
        "spark.hadoop.fs.s3a.threads.max": "8",
        "spark.hadoop.fs.s3a.connection.maximum": "32",
    }
    if s3.endpoint:
        options["spark.hadoop.fs.s3a.endpoint"] = s3.endpoint
    if s3.access_key and s3.secret_key:
        options["spark.hadoop.fs.s3a.access.key"] = s3.access_key
        options["spark.hadoop.fs.s3a.secret.key"] = s3.secret_key.get_secret_value()
    return options


def race(settings: Settings) -> None:
    """Let several writers put the same new file at once, some times over: each time one must win, and its bytes stay.

    A store that ignores `If-None-Match` lets a commit overwrite another one, and its rows are gone without a trace.
    Raises `LakeError` where the store does so, or cannot be reached.
    """
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError

    for _ in range(RACES):
        own, path = _at(settings, settings.lake_path / f".race-{uuid.uuid4().hex}")
        start = threading.Barrier(RACERS)

        def run(number: int, own: Any = own, path: str = path, start: threading.Barrier = start) -> bool:
            start.wait()
            try:
                obstore.put(own, path, bytes([number]), mode="create")
            except AlreadyExistsError:
                return False
            return True

        with in_words(settings):
            try:
                with ThreadPoolExecutor(RACERS) as racers:
                    won = [number for number, wins in enumerate(racers.map(run, range(RACERS))) if wins]
                found = bytes(obstore.get(own, path).bytes())
            finally:
                with suppress(BaseError, OSError):
                    obstore.delete(own, path)
        if found != bytes(won):
            raise LakeError(
                f"{settings.lake_path}: of {RACERS} writers of one new file {len(won)} were told that it is theirs, so "
                "commits can overwrite each other there; use a store that honours If-None-Match"
            )


def get(settings: Settings, path: Path) -> bytes | None:
    """A small file of the lake; None where there is none. Raises `LakeError` where a bucket cannot be used."""
    with in_words(settings), suppress(FileNotFoundError):
        if not is_bucket(path):
            return path.read_bytes()
        import obstore

        own, name = _at(settings, path)
        return bytes(obstore.get(own, name).bytes())
    return None


def put(settings: Settings, path: Path, content: bytes, *, new: bool) -> bool:
    """Write a small file of the lake whole: where there is none yet (`new`), or in the place of the one that is there.

    False: it was to be new, and one is there. Of several who put a new one at once, one is told True. Raises
    `LakeError` where a bucket cannot be used, `OSError` where a folder cannot.
    """
    if is_bucket(path):
        import obstore
        from obstore.exceptions import AlreadyExistsError

        own, name = _at(settings, path)
        with in_words(settings):
            try:
                obstore.put(own, name, content, mode="create" if new else "overwrite")
            except AlreadyExistsError:
                return False
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    aside.write_bytes(content)
    try:
        _link(aside, path) if new else aside.replace(path)
    except FileExistsError:
        return False
    finally:
        aside.unlink(missing_ok=True)
    return True


def _link(aside: Path, path: Path) -> None:
    """Give a whole file its name. Raises `FileExistsError` where the name is taken."""
    try:
        os.link(aside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links, as on many USB sticks: there it can be seen while it is empty
        with path.open("xb") as file:
            file.write(aside.read_bytes())


def _at(settings: Settings, path: Path) -> tuple[Any, str]:
    """(store, name within it), for who waits for the answer"""
    bucket, _, name = str(path).removeprefix(SCHEME).partition("/")
    return store(bucket, settings.s3, {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}), name


@contextmanager
def in_words(settings: Settings) -> Iterator[None]:
    """Let what obstore raises where a store is away or refuses be a `LakeError`."""
    if not is_bucket(settings.lake_path):
        yield
        return
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError) as error:
        raise LakeError(
            f"using {settings.lake_path} at {settings.s3.endpoint or 'Amazon'}: {str(error).splitlines()[0]}; "
            "are EDGE_S3__ENDPOINT, the keys and the bucket's name right, and is the store up?"
        ) from error


def let_duckdb_read(opened: DuckDBPyConnection, settings: Settings) -> None:
    """Let a connection read `s3://…` files. Does nothing where the lake is a folder."""
    if is_bucket(settings.lake_path):
        opened.register_filesystem(_files(settings.lake_path.fs))  # type: ignore[attr-defined]


def _files(store: Any) -> Any:
    from fsspec import AbstractFileSystem

    class Files(AbstractFileSystem):
        """What DuckDB asks of a file system."""

        protocol = "s3"
        cachable = False

        def open(self, path: str, mode: str = "rb", **options: Any) -> _File:
            if mode != "rb":
                raise LakeError(f"opening {path} to write: the lake's one writer is the stream writer")
            return _File(store, path)

        def info(self, path: str, **options: Any) -> Any:
            return store.info(path)

        def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
            return store.ls(path, detail=detail)

        def exists(self, path: str, **options: Any) -> bool:
            return store.exists(path)

        def glob(self, path: str, **options: Any) -> Any:  # type: ignore[override]
            return store.glob(path)

        def modified(self, path: str) -> datetime:
            return store.info(path)["last_modified"]

    return Files()


class _File:
    """A file read by ranges. DuckDB's threads share it and seek before each read, so each has a position of its own."""

    mode = "rb"
    closed = False

    def __init__(self, store: Any, path: str) -> None:
        self._store = store
        self._path = path
        self._size = store.info(path)["size"]
        self._of_thread = threading.local()

    def tell(self) -> int:
        return getattr(self._of_thread, "at", 0)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._of_thread.at = (0, self.tell(), self._size)[whence] + offset
        return self._of_thread.at

    def read(self, count: int = -1) -> bytes:
        begin = self.tell()
        end = self._size if count < 0 else min(begin + count, self._size)
        if begin >= end:
            return b""
        found = bytes(self._store.cat_file(self._path, start=begin, end=end))
        self._of_thread.at = begin + len(found)
        return found

    def close(self) -> None:
        pass
