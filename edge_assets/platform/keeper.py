"""Keeps one part of the platform running: starts it, notices its death, starts it again after a pause.

An outage is told once when it begins and once when it ends, however many attempts lie between.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from edge_assets.platform.parts import Part
from edge_assets.platform.process import Process, wait_until

PAUSE_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""pause before an attempt, by the number of failures in a row; the last one holds from there on"""
STEADY_SECONDS = 60.0
"""a part that lived this long before it died is started again at once"""


class Keeper:
    """A thread that holds one part up until `stop`.

    `say` gets lines for a person, `changed` is called when the state changed. Whoever made it waits with `first_start`
    for the part to be up, or for the error that it met.
    """

    def __init__(self, part: Part, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        self.part = part
        self.state = "waiting"
        self.restarts = 0
        self._say = say
        self._changed = changed
        self._process: Process | None = None
        self._since = _now()
        self._stopping = threading.Event()
        self._settled = threading.Event()
        self._error: Exception | None = None
        self._renewing: str | None = None
        self._up_at = 0.0
        self._began = 0.0
        self._seconds = 0.0
        self._thread = threading.Thread(target=self._keep, name=part.name, daemon=True)

    def start(self) -> None:
        self._began = time.monotonic()
        self._thread.start()

    def first_start(self, stop: threading.Event) -> float:
        """Wait until the part is up for the first time, or `stop` is set. Raises what its start raised.

        Returns how long it took, in seconds.
        """
        while not self._settled.wait(0.1) and not stop.is_set():
            pass
        if self._error and not stop.is_set():
            raise self._error
        return self._seconds

    def stop(self, grace_seconds: float | None = None) -> None:
        """Stop the part for good, politely within its grace."""
        self._stopping.set()
        if self._process is not None:
            self._process.stop(self.part.grace_seconds if grace_seconds is None else grace_seconds)
        if self._thread.is_alive():
            self._thread.join()
        self._become("stopped")

    def kill(self) -> None:
        """SIGKILL the part and all that it started."""
        self._stopping.set()
        if self._process is not None:
            self._process.kill()

    def renew(self, reason: Callable[[int, float], str | None]) -> bool:
        """Start the part anew where `reason` (of its pid, and the seconds that it has been up) gives one; what it has
        started lives on. True where it was ended for it."""
        running = self._process
        if self.part.renew is None or self.state != "up" or running is None:
            return False
        why = reason(running.pid, time.monotonic() - self._up_at)
        if why is None:
            return False
        self._renewing = why
        running.ask_to_stop(self.part.renew)
        if not wait_until(lambda: not running.alive, self.part.grace_seconds):
            running.ask_to_stop(signal.SIGKILL)
        return True

    def status(self) -> dict[str, Any]:
        pid = self._process.pid if self._process and self.state in ("up", "starting") else None
        return {"state": self.state, "pid": pid, "restarts": self.restarts, "since": self._since}

    def _keep(self) -> None:
        if not self._launch_first():
            return
        failures = 0
        while not self._stopping.is_set():
            self._await_death()
            if self._stopping.is_set():
                return
            steady = time.monotonic() - self._up_at >= STEADY_SECONDS
            failures = 0 if steady or self._renewing else failures + 1
            failures = self._come_back(failures)

    def _launch_first(self) -> bool:
        """Two attempts: what the first one finds broken it may have set aside."""
        self._error = self._attempt()
        if self._error and not self._stopping.is_set():
            self._say(f"{self.part.name} did not start; trying once more")
            self._error = self._attempt()
        self._seconds = time.monotonic() - self._began
        self._settled.set()
        return self._error is None

    def _attempt(self) -> Exception | None:
        """Launch and wait until it is up. Returns what kept it from that: no error may end this thread's watch."""
        try:
            self._launch()
        except Exception as error:
            self._become("down")
            return error
        return None

    def _come_back(self, failures: int) -> int:
        """From a death to being up again. Returns how many attempts in a row have failed."""
        began = time.monotonic()
        words = self._process.last_words(1) if self._process else ""
        code = self._process.exit_code if self._process else None
        why, self._renewing = self._renewing, None
        self._become("down")
        self._say(
            f"{self.part.name} is started anew: {why}"
            if why
            else f"{self.part.name} ended unasked (code {code}); starting it again"
            f"{f'; it said: {words}' if words else ''}"
        )
        while not self._stopping.wait(PAUSE_SECONDS[min(failures, len(PAUSE_SECONDS) - 1)]):
            self.restarts += why is None
            error = self._attempt()
            if error:
                if failures == 0:
                    self._say(f"{self.part.name} is not back yet: {error}")
                failures += 1
                continue
            self._say(f"{self.part.name} is back after {time.monotonic() - began:.1f} s")
            break
        return failures

    def _launch(self) -> None:
        self._become("starting")
        self._process = self.part.launch()
        if self._stopping.is_set():
            self._process.stop(self.part.grace_seconds)
        self._changed()
        try:
            self.part.wait(self._process)
        except Exception:
            self._process.stop(self.part.grace_seconds)
            raise
        self._up_at = time.monotonic()
        self._become("up")

    def _await_death(self) -> None:
        child = self._process.child if self._process else None
        if child is not None:
            child.wait()

    def _become(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._since = _now()
            self._changed()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
