"""One long-lived child process of the platform: start it, know it again, stop it, keep its log small.

    EDGE_HOME/run/<name>.pid.json   who it is: pid and start, so that a pid that was given anew is not taken for it
    EDGE_HOME/logs/<name>.log       what it says, and .1, .2 before it

A child outlives a parent that is killed. The next parent finds it by its pid file, and stops it before it starts
another one on the same port and files.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edge_assets.errors import PlatformError
from edge_assets.service import write_json
from edge_assets.settings import Settings

POLL_SECONDS = 0.05
LOG_BYTES = 5_000_000
LOG_FILES = 3


@dataclass(slots=True)
class Process:
    """A process and its identity. `child` is set where it is our own child, which we must reap."""

    name: str
    pid: int
    identity: str
    pid_file: Path
    log: Path
    child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def alive(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        return identity(self.pid) == self.identity

    @property
    def exit_code(self) -> int | None:
        return self.child.returncode if self.child else None

    def ask_to_stop(self, signal_number: int = signal.SIGTERM) -> None:
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal_number)

    def stop(self, grace_seconds: float) -> bool:
        """Stop it and what it started: politely, and after the grace by SIGKILL. True where the grace sufficed."""
        self.ask_to_stop()
        polite = wait_until(lambda: not self.alive, grace_seconds)
        self.kill()
        self.pid_file.unlink(missing_ok=True)
        return polite

    def kill(self) -> None:
        """SIGKILL the whole process group. The leader's pid names the group, also after the leader's death."""
        if self.alive or self.child is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        wait_until(lambda: not self.alive and not _group(self.pid), 10)

    def last_words(self, lines: int = 5) -> str:
        """The end of its log on one line, for an error message."""
        try:
            text = self.log.read_text(errors="replace")[-4_000:]
        except OSError:
            return ""
        return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())


def start(settings: Settings, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Process:
    """Start a child in a session of its own, so that a terminal's Ctrl-C reaches only us, who stop it in order."""
    log = settings.home / "logs" / f"{name}.log"
    try:
        rotate(log)
        child = _spawn(log, command, environment, settings.home)
    except OSError as error:
        raise _no_start(name, command, error) from error
    started = Process(name, child.pid, identity(child.pid) or "", _pid_file(settings, name), log, child)
    known = {"name": name, "pid": child.pid, "identity": started.identity, "command": list(command)}
    try:
        write_json(started.pid_file, known)
    except OSError as error:  # one that could not be found again must not run
        started.kill()
        raise _no_start(name, command, error) from error
    return started


def _spawn(log: Path, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
        )


def _no_start(name: str, command: Sequence[str], error: OSError) -> PlatformError:
    return PlatformError(f"starting {name} ({command[0]}): {error.strerror}; `edge doctor` says more")


def find(settings: Settings, name: str) -> Process | None:
    """The process of that name which an earlier parent left behind, None where it is gone."""
    pid_file = _pid_file(settings, name)
    try:
        known = json.loads(pid_file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    found = Process(name, known["pid"], known["identity"], pid_file, settings.home / "logs" / f"{name}.log")
    return found if found.alive else None


def identity(pid: int) -> str | None:
    """What tells this process from any other that ever had its pid; None where there is none (or a zombie).

    The start in ticks since boot, with the boot's own identifier: wall-clock times move when a Pi's clock is set.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return None if Path("/proc/self").exists() else _identity_elsewhere(pid)
    except ProcessLookupError:
        return None
    return None if stat[0] in "ZX" else f"{boot} {stat[19]}"


def _group(leader: int) -> list[int]:
    """The living processes of a group: one that was killed takes a moment to be gone."""
    import psutil

    found = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError):
            if os.getpgid(pid) == leader and identity(pid) is not None:
                found.append(pid)
    return found


def _identity_elsewhere(pid: int) -> str | None:
    """The same where there is no /proc."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.NoSuchProcess:
        return None


def wait_until(condition: Callable[[], bool], seconds: float, poll_seconds: float = POLL_SECONDS) -> bool:
    """Wait for a condition; False where it did not come about in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll_seconds)
    return True


def rotate(log: Path, limit: int = LOG_BYTES) -> None:
    """Keep a log under its limit: copied aside and emptied in place, as its writer keeps it open (for appending)."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if not log.exists() or log.stat().st_size < limit:
        return
    for number in range(LOG_FILES - 1, 1, -1):
        older = log.with_name(f"{log.name}.{number - 1}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number}"))
    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
    os.truncate(log, 0)


def _pid_file(settings: Settings, name: str) -> Path:
    return settings.home / "run" / f"{name}.pid.json"
