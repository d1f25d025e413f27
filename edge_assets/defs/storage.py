"""Keeps Dagster's SQLite files open, so that looking at them writes nothing.

Dagster opens a connection for each query. Whoever closes the last one to a file in WAL mode writes the log back
into it and deletes the log and its index, and the next one makes them anew: a tick of one sensor every 5 s comes to
20 GB a day by the kernel's count, which an SD card does not bear for long. A single idle connection elsewhere makes
each close an ordinary one; what remains is the log itself, 40 to 70 KB a tick (measured, dagster 1.13.27).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

FILES = ("history/runs.db", "history/runs/index.db", "history/runs/.db", "schedules/schedules.db")
"""`.db` holds what is reported without a run, which is run ''"""


@contextmanager
def held_open(dagster_home: Path) -> Iterator[list[Path]]:
    """Hold an idle connection to each of Dagster's databases that exist; yields their paths."""
    files = [dagster_home / name for name in FILES if (dagster_home / name).is_file()]
    with ExitStack() as connections:
        for path in files:
            connection = connections.enter_context(closing(sqlite3.connect(path, check_same_thread=False)))
            # A connection takes part in the log only once it has read; no transaction stays open.
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield files
