"""What a long-lived service is, whoever runs it: a loop, a kernel lock, and a status file.

A loop is plain code, without Dagster: `loop(settings, stop, report)`. It returns soon after `stop` is set, raises
when it cannot go on, and hands its counters to `report` as often as it likes (they are written at most once a
second). The lock is the proof of life: the kernel drops it with the process, however that ends.

    EDGE_HOME/run/<service>.lock    held (flock) while the service lives; holds its pid
    EDGE_HOME/run/<service>.json    its latest status: pid, started_at, updated_at, and the loop's counters
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from edge_assets.errors import AlreadyRunning
from edge_assets.settings import Settings

Report = Callable[[Mapping[str, Any]], None]
Loop = Callable[[Settings, threading.Event, Report], None]

STATUS_SECONDS = 1.0
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

log = logging.getLogger(__name__)


def lock_path(settings: Settings, service: str) -> Path:
    return settings.home / "run" / f"{service}.lock"


def status_path(settings: Settings, service: str) -> Path:
    return settings.home / "run" / f"{service}.json"


@contextmanager
def service_lock(settings: Settings, service: str) -> Iterator[None]:
    """Hold the service's kernel lock. Raises `AlreadyRunning` with the holder's pid.

    The descriptor is not inherited by children (Python's default), so a forked helper cannot keep it alive.
    """
    path = lock_path(settings, service)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        if not _take(file):
            file.seek(0)
            raise AlreadyRunning(
                f"{service} of {settings.home} runs already (pid {file.read().strip() or 'unknown'}); "
                "`edge status` shows it, `edge down` stops it"
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def lock_in_turn(settings: Settings, service: str, patience_seconds: float) -> Iterator[None]:
    """Hold the lock, and wait for it while another holds it. Raises `AlreadyRunning` when that takes too long."""
    deadline = time.monotonic() + patience_seconds
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(service_lock(settings, service))
                break
            except AlreadyRunning:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        yield


def _take(file: IO[str]) -> bool:
    """Take the lock. Who looks at it (`lock_holder`) holds it for an instant, so one refusal proves nothing."""
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
    return False


def lock_holder(settings: Settings, service: str) -> int | None:
    """The pid that holds the service's lock, None where nobody does."""
    path = lock_path(settings, service)
    if not path.exists():
        return None
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read().strip() or 0) or None
        return None


def read_status(settings: Settings, service: str) -> dict[str, Any]:
    """The service's latest status; empty where it never ran."""
    try:
        return json.loads(status_path(settings, service).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a small JSON file so that a reader sees the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(json.dumps(value, default=str, indent=1))
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)  # half of it, on a full disk
        raise


def run_service(name: str, loop: Loop, settings: Settings, stop: threading.Event) -> None:
    """Run a loop under its lock, with its status file. Errors of the loop pass through; the status keeps the last one's
    first line as `problem`. A status that cannot be written for want of space ends no service."""
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    counters: dict[str, Any] = {}
    written = 0.0
    silenced = False

    def report(news: Mapping[str, Any], final: bool = False) -> None:
        nonlocal written, silenced
        counters.update(news)
        now = time.monotonic()
        if final or now - written >= STATUS_SECONDS:
            written = now
            status = {
                "service": name,
                "pid": os.getpid(),
                "state": "stopped" if final else "running",
                "started_at": started,
                "updated_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            }
            try:
                write_json(status_path(settings, name), {**status, **counters})
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                if not silenced:
                    log.error("the status of %s cannot be written: %s; it works on", name, error.strerror)
                silenced = True
            else:
                silenced = False

    with service_lock(settings, name):
        report({})
        try:
            loop(settings, stop, report)
        except Exception as error:
            counters["problem"] = (str(error) or repr(error)).splitlines()[0]
            raise
        finally:
            report({}, final=True)
