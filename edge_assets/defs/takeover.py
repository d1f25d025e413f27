"""Launch means restart: a run that a person launches while its service runs takes the service over.

    EDGE_HOME/run/<service>.next.lock   held by the run that waits for the service's lock
    EDGE_HOME/run/<service>.next.json   which run that is, so that the keep-alive does not take it for a dead one

The one that holds the service up is sent SIGTERM, and so ends as it does for `edge down`: what it has begun is
finished, its run is a success, and says who took over. There is never a second process with the service's lock.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

from edge_assets.defs.shutdown import POLL_SECONDS, send
from edge_assets.errors import PlatformError
from edge_assets.service import lock_holder, read_status, service_lock, status_path, write_json
from edge_assets.settings import Settings

STOP_SECONDS = 40.0
"""from SIGTERM to SIGKILL; a stream writer may have a batch to finish"""
KILLED_SECONDS = 10.0


def take_over(settings: Settings, service: str, run_id: str, stop: threading.Event, say: Callable[[str], None]) -> None:
    """End whoever holds the service up. Returns when nobody does, or `stop` is set.

    Raises `AlreadyRunning` where another run waits to do the same, `PlatformError` where the holder cannot be ended.
    """
    holder = lock_holder(settings, service)
    if holder is None:
        return
    waiting = _waiting(service)
    with service_lock(settings, waiting):
        # Said first: a holder that looks for its successor just then ends before it is asked.
        say(f"{service} runs already (pid {holder}): this run takes over; asking it to end, which may take a while")
        write_json(status_path(settings, waiting), {"pid": os.getpid(), "run_id": run_id})
        _end_holder(settings, service, stop, say)


def next_run(settings: Settings, service: str) -> str | None:
    """The run that waits to take the service over; None where there is none."""
    holder = lock_holder(settings, _waiting(service))
    known = read_status(settings, _waiting(service)) if holder else {}
    return known.get("run_id") if known.get("pid") == holder else None


def _end_holder(settings: Settings, service: str, stop: threading.Event, say: Callable[[str], None]) -> None:
    begun = time.monotonic()
    asked: set[int] = set()
    killed: set[int] = set()
    while (holder := lock_holder(settings, service)) is not None and not stop.is_set():
        waited = time.monotonic() - begun
        if holder not in asked:
            asked.add(holder)
            send(holder, signal.SIGTERM)
        elif waited > STOP_SECONDS and holder not in killed:
            killed.add(holder)
            say(f"pid {holder} did not end in {STOP_SECONDS:.0f} s: killing it")
            send(holder, signal.SIGKILL)
        elif waited > STOP_SECONDS + KILLED_SECONDS:
            raise PlatformError(f"taking over {service}: pid {holder} cannot be ended; `edge status` shows it")
        stop.wait(POLL_SECONDS)


def _waiting(service: str) -> str:
    return f"{service}.next"
