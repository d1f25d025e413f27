"""What the platform says while it starts, runs and stops: lines for a person, and the same lines in a file.

On a terminal, progress overwrites itself; elsewhere it is a plain line now and then.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TextIO

PLAIN_SECONDS = 5.0
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\S+ ")


class Console:
    """`log` is the file that keeps the lines (None: nothing does), `out` the stream that shows them (None: the file
    alone)."""

    def __init__(self, log: Path | None, out: TextIO | None = sys.stdout) -> None:
        self._log = log
        self._out = out
        self._terminal = out is not None and out.isatty()
        self._width = 0
        self._shown = 0.0
        self._lock = threading.Lock()
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)

    def say(self, line: str) -> None:
        with self._lock:
            self._clear()
            self._show(f"{line}\n")
            self._keep(line)

    def show(self, line: str) -> None:
        """Show a line of the file's, which has its time in front."""
        with self._lock:
            self._clear()
            self._show(f"{_TIME.sub('', line)}\n")

    def progress(self, line: object) -> None:
        """Something that is soon out of date: the file keeps it only where there is nobody to show it to."""
        with self._lock:
            text = str(line)
            if self._terminal:
                self._clear()
                self._show(text)
                self._width = len(text)
            elif time.monotonic() - self._shown >= PLAIN_SECONDS:
                self._shown = time.monotonic()
                if self._out is None:
                    self._keep(text)
                else:
                    self._show(f"{text}\n")

    def _keep(self, line: str) -> None:
        if self._log is None:
            return
        # A full disk must not stop who is about to say that it is full.
        with suppress(OSError), self._log.open("a") as file:
            file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {line}\n")

    def _clear(self) -> None:
        if self._width:
            self._show("\r" + " " * self._width + "\r")
            self._width = 0

    def _show(self, text: str) -> None:
        if self._out is None:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except OSError:  # the terminal went away; the file has the lines
            self._out = None
