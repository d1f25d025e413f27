"""Where what a service says is found: all of it in a file, and what matters in its run's own log.

    EDGE_HOME/logs/<service>.log    each line from INFO on; kept below 4 MB, with two files before it
    the run's page in Dagster       warnings and errors: at most `LINES` between two summaries, what is more is counted

A line in the run's log is a row of Dagster's storage for as long as the run is kept, so that nothing is written there
message by message. Lines wait in memory for the run's main thread: a slow storage delays no loop.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from edge_assets.settings import Settings

LINES = 20
FILE_BYTES = 4_000_000
"""below what the supervisor lets a log come to before it rotates it itself"""
OLDER_FILES = 2
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_path(settings: Settings, service: str) -> Path:
    return settings.home / "logs" / f"{service}.log"


class RunLog(logging.Handler):
    """Keeps the next lines for the run's page."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._waiting: deque[tuple[int, str]] = deque()
        self._room = LINES
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.say(record.getMessage(), record.levelno)

    def say(self, line: str, level: int = logging.INFO) -> None:
        if self._room > 0:
            self._room -= 1
            self._waiting.append((level, line))
        else:
            self._left_out += 1

    def take(self) -> Iterator[tuple[int, str]]:
        """Level and text of each line since the last call."""
        while self._waiting:
            yield self._waiting.popleft()

    def renew(self) -> int:
        """A summary is written: there is room for as many lines again. Returns how many were left out."""
        left_out, self._left_out = self._left_out, 0
        self._room = LINES
        return left_out


class _File(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """A disk that is full stops no service, and is no reason to say so with each line."""


@contextmanager
def kept(settings: Settings, service: str) -> Iterator[RunLog]:
    """While this lasts, what the platform's own modules log goes to the file and to the yielded `RunLog`."""
    ours = logging.getLogger("edge_assets")
    path = log_path(settings, service)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _File(path, maxBytes=FILE_BYTES, backupCount=OLDER_FILES, delay=True)
    file.setFormatter(logging.Formatter(FORMAT))
    run_log = RunLog()
    handlers: list[logging.Handler] = [file, run_log]
    if not logging.getLogger().hasHandlers():
        handlers.append(_last_resort())
    before = ours.level
    ours.setLevel(logging.INFO)
    for handler in handlers:
        ours.addHandler(handler)
    try:
        yield run_log
    finally:
        ours.setLevel(before)
        for handler in handlers:
            ours.removeHandler(handler)
        file.close()


def _last_resort() -> logging.Handler:
    """Warnings go to the process's own output too, as they do where nobody has asked for anything else: a container's
    engine keeps that."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter(FORMAT))
    return handler
