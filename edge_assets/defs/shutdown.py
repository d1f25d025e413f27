"""How the platform ends its services: a mark against new starts, then SIGTERM, then patience, then SIGKILL.

Without Dagster, so that it works when Dagster does not. A service that is sent SIGTERM ends its run as a success;
a run that a person terminates ends CANCELED. That is how the keep-alive tells the two apart after the next start.

    EDGE_HOME/run/shutting_down.json    {"pid"}: no service starts while that process lives

In order, by whoever supervises: `mark_shutdown`, stop the Dagster daemon, `stop_services`, stop the rest. The next
`edge up` begins with `clear_shutdown`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from edge_assets.service import lock_holder, write_json
from edge_assets.settings import Settings

SERVICES = ("simulators", "alerter", "live", "bridge", "stream_writer")
"""in the order in which a reading travels, which is the order to stop them in: what comes last drains the rest"""

SWITCHES = {"simulators": "simulators", "alerter": "alerts", "live": "live"}
"""services that a section of the settings turns off"""

POLL_SECONDS = 0.1


def wanted(settings: Settings) -> list[str]:
    """The services that these settings ask for."""
    return [name for name in SERVICES if name not in SWITCHES or getattr(settings, SWITCHES[name]).enabled]


def mark_path(settings: Settings) -> Path:
    return settings.home / "run" / "shutting_down.json"


def mark_shutdown(settings: Settings) -> None:
    """From now on no keep-alive starts a service, and a run that is just being launched ends at once."""
    write_json(mark_path(settings), {"pid": os.getpid()})


def clear_shutdown(settings: Settings) -> None:
    """Services may start again."""
    mark_path(settings).unlink(missing_ok=True)


def is_shutting_down(settings: Settings) -> bool:
    """Whether a living process has marked the platform as shutting down; a dead one's mark counts for nothing."""
    import json

    try:
        pid = int(json.loads(mark_path(settings).read_text())["pid"])
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def stop_services(settings: Settings, timeout_seconds: float = 20.0, services: Iterable[str] = SERVICES) -> list[str]:
    """End all services: SIGTERM to each, and SIGKILL to what has not gone by the deadline.

    Returns when no service holds its lock any more, with the names of those that had to be killed. A run whose
    process was killed here is reported failed by the next keep-alive, and started anew.
    """
    names = list(services)
    deadline = time.monotonic() + timeout_seconds
    signalled: set[int] = set()
    while (holders := _holders(settings, names)) and time.monotonic() < deadline:
        # Each round again: a run that was being launched may take its lock late.
        for pid in set(holders.values()) - signalled:
            send(pid, signal.SIGTERM)
            signalled.add(pid)
        time.sleep(POLL_SECONDS)
    for pid in holders.values():
        send(pid, signal.SIGKILL)
    while _holders(settings, names) and time.monotonic() < deadline + 5:
        time.sleep(POLL_SECONDS)
    return list(holders)


def send(pid: int, which: signal.Signals) -> bool:
    """Send a signal; False where the process is gone already."""
    try:
        os.kill(pid, which)
    except ProcessLookupError:
        return False
    return True


def _holders(settings: Settings, names: list[str]) -> dict[str, int]:
    found = {name: lock_holder(settings, name) for name in names}
    return {name: pid for name, pid in found.items() if pid is not None}
