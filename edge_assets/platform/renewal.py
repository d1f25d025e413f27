"""Dagster's code server, page and daemon are started anew when their memory has grown, or they have run for long.

They live for years, in Python, with caches of their own. The services do not notice: their runs are processes that
outlive the code server which launched them, and ask Dagster's storage, not that server, whether they are to end. For
bounded work (a rollup, a backup) a code server that is due waits, for at most `PATIENCE_SECONDS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from edge_assets.defs.shutdown import SERVICES
from edge_assets.service import lock_holder
from edge_assets.settings import Settings

YOUNG_SECONDS = 3600.0
"""none is started anew more often, however little memory the setting allows it"""
PATIENCE_SECONDS = 3600.0
DAY_SECONDS = 86_400.0


class Renewal:
    """Says when a process is due. `clock` is monotonic, in seconds."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._due_since: dict[int, float] = {}

    def reason(self, pid: int, running_seconds: float) -> str | None:
        """Why this process should be started anew now; None where it should not."""
        why = self._why(pid, running_seconds)
        if why is None:
            self._due_since.pop(pid, None)
            return None
        since = self._due_since.setdefault(pid, self._clock())
        if works(self._settings, pid) and self._clock() - since < PATIENCE_SECONDS:
            return None
        del self._due_since[pid]
        return why

    def _why(self, pid: int, running_seconds: float) -> str | None:
        limits = self._settings.dagster
        if running_seconds < YOUNG_SECONDS:
            return None
        if limits.renew_days and running_seconds >= limits.renew_days * DAY_SECONDS:
            return f"it has run for {running_seconds / DAY_SECONDS:.0f} days"
        size = resident_mb(pid)
        if limits.renew_mb and size >= limits.renew_mb:
            return f"it has come to {size:,.0f} MB (EDGE_DAGSTER__RENEW_MB: {limits.renew_mb})"
        return None


def resident_mb(pid: int) -> float:
    """Memory of the process alone; 0 where it is gone."""
    try:
        return psutil.Process(pid).memory_info().rss / 1e6
    except psutil.Error:
        return 0.0


def works(settings: Settings, code_server: int) -> bool:
    """Whether it has a run under way other than the services'."""
    services = {lock_holder(settings, name) for name in SERVICES}
    try:
        children = psutil.Process(code_server).children()
        return any(
            child.pid not in services and "multiprocessing.spawn" in " ".join(child.cmdline()) for child in children
        )
    except psutil.Error:
        return False
