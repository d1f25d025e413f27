"""Who may use DuckDB, and for how long: a few threads, a bound on those who wait, and a deadline for each.

The event loop that carries the live page never computes here: it hands work to a thread and waits for it as for a
socket. Work that takes too long is interrupted inside the query, again and again until it has ended.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from edge_assets.serving.refusals import Away, Crowded

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")

THREADS = 2
WAITING = 64
"""so many requests are being answered or wait for it; the next one is told to come again"""
DEADLINE_SECONDS = 15.0
AGAIN_SECONDS = 0.1
"""an interrupt between two statements of one turn is lost, so it is sent until it has been heard"""


class Turn:
    """One request's time on a thread. `execute` is how its work asks DuckDB."""

    def __init__(self) -> None:
        self._late = threading.Event()
        self._lock = threading.Lock()
        self._cursor: DuckDBPyConnection | None = None

    def execute(self, cursor: DuckDBPyConnection, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """All rows. Raises `Away` where the turn is over, else DuckDB's own errors."""
        import duckdb

        with self._lock:
            self._cursor = cursor
        try:
            self.check()
            return cursor.execute(sql, parameters).fetchall()
        except duckdb.InterruptException:
            self.check()
            raise
        finally:
            with self._lock:
                self._cursor = None

    def check(self) -> None:
        if self._late.is_set():
            raise Away("this took too long and was stopped; ask for a shorter range, fewer points or fewer devices")

    def stop(self) -> None:
        """Called from another thread: ends what runs."""
        self._late.set()
        with self._lock:
            if self._cursor is not None:
                self._cursor.interrupt()


class Turns:
    """The threads. Used from one event loop."""

    def __init__(
        self, threads: int = THREADS, waiting: int = WAITING, deadline_seconds: float = DEADLINE_SECONDS
    ) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="serving")
        self._waiting = waiting
        self._deadline = deadline_seconds
        self._held = 0

    async def run(self, work: Callable[[Turn], T]) -> T:
        """Do the work on a thread. Raises `Crowded` where too many wait, `Away` where it takes too long."""
        if self._held >= self._waiting:
            raise Crowded(f"{self._held} requests are waiting already; ask again in a second")
        self._held += 1
        turn = Turn()
        future = asyncio.get_running_loop().run_in_executor(self._threads, _begun, work, turn)
        future.add_done_callback(self._ended)
        try:
            done, _ = await asyncio.wait([future], timeout=self._deadline)
            while not done:
                turn.stop()
                done, _ = await asyncio.wait([future], timeout=AGAIN_SECONDS)
            return future.result()
        except asyncio.CancelledError:  # the asker has gone
            turn.stop()
            raise

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self._held -= 1
        if not future.cancelled():
            future.exception()  # has been looked at, even where nobody waits any more

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _begun(work: Callable[[Turn], T], turn: Turn) -> T:
    turn.check()
    return work(turn)
