"""`edge export`: what a query answers, or a table or view, as a Parquet or CSV file for other programs."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_assets.errors import LakeError
from edge_assets.settings import Settings
from edge_assets.warehouse import lake
from edge_assets.warehouse.duck_types import text
from edge_assets.warehouse.rollups.layout import into_place
from edge_assets.warehouse.sql import ask, refusal
from edge_assets.warehouse.time_travel import prepared

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FORMATS = {
    ".parquet": "FORMAT parquet, COMPRESSION zstd",
    ".csv": "FORMAT csv, HEADER",
}
POLL_SECONDS = 0.5
_NAME = re.compile(r"\w+(\.\w+)?")

Progress = Callable[[float], None]
"""is told how much is done, 0 to 1, now and then; DuckDB estimates it"""


@dataclass(frozen=True, slots=True)
class Exported:
    file: str
    rows: int
    bytes: int


def export(settings: Settings, what: str, file: Path, progress: Progress = lambda share: None) -> Exported:
    """Write what a query, or the table or view of that name, gives. A file that is there is replaced when it is whole.

    Times are UTC. Raises `LakeError`, one line, where the file's ending is no format, its folder cannot be written to,
    or DuckDB does not understand the query; then no file is left behind.
    """
    import duckdb

    form = FORMATS.get(file.suffix.lower())
    if form is None:
        raise LakeError(f"exporting to {file}: the name must end in {' or '.join(FORMATS)}, which says the format")
    query = f"FROM {what}" if _NAME.fullmatch(what.strip()) else what.strip().rstrip(";")
    aside = file.with_name(f".{file.name}.aside")
    try:
        for attempt in range(1, lake.SNAPSHOTS + 1):
            try:
                with lake.connection(settings) as opened:
                    rows = _copy(opened, settings, query, aside, form, progress)
                break
            except duckdb.IOException as error:  # perhaps a file that maintenance has taken away since
                if attempt == lake.SNAPSHOTS or not file.parent.is_dir():
                    raise LakeError(
                        f"exporting to {file}: {str(error).splitlines()[0]}; is the folder there?"
                    ) from error
            except duckdb.Error as error:
                raise refusal(error) from error
        size = aside.stat().st_size
        into_place(aside, file)
    except OSError as error:
        raise LakeError(f"exporting to {file}: {error.strerror}; choose another folder") from error
    finally:
        aside.unlink(missing_ok=True)
    return Exported(str(file), rows, size)


def _copy(
    opened: DuckDBPyConnection, settings: Settings, query: str, aside: Path, form: str, progress: Progress
) -> int:
    query = prepared(opened, settings, query)
    ask(opened, settings, f"EXPLAIN {query}").fetchall()  # understood, a question, and its tables are there
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL_SECONDS):
            progress(max(opened.query_progress(), 0.0) / 100)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        row = opened.execute(f"COPY ({query}) TO {text(str(aside))} ({form})").fetchone()
    finally:
        done.set()
        watcher.join()
    return int(row[0]) if row else 0
