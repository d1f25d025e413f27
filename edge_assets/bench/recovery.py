"""`edge bench recovery`: kill -9 of each part of a running platform, and of all at once; seconds until all is well.

| killed | well again when |
|---|---|
| code server | a new one takes connections |
| web page | a new one serves its page |
| daemon | a new one has said that it looks at its sensors |
| bridge: a service's run | a new run is connected to broker and log |
| stream writer: Spark in a service's run | a new run has written records |
| supervisor | `edge up`, given at once, says that it is up, and both services are well again |
| everything | the same |

After a supervisor's death somebody has to give the command: as a service of your user, systemd does, after the seconds
that its unit says. References of the same run: a Python that does nothing, one that imports Dagster, and the platform's
own first start.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from edge_assets.bench import whole_platform
from edge_assets.errors import PlatformError
from edge_assets.platform import endpoints, health, parts, process, supervisor
from edge_assets.service import lock_holder, read_status
from edge_assets.settings import Settings

TIMES = 3
REST_SECONDS = 5.0
DEADLINE_SECONDS = 300.0
POLL_SECONDS = 0.05
SERVICES = ("bridge", "stream_writer")


def run(settings: Settings, times: int = TIMES) -> dict[str, Any]:
    """Seconds from each kill to being well again: the median of `times`, and the longest."""
    own = whole_platform.own_settings(settings, "recovery")
    whole_platform.prepare(own)
    found: dict[str, Any] = {"cores": os.cpu_count(), "times": times, "reference": _reference()}
    patient = _Patient(own)
    try:
        found["reference"]["first_start_seconds"] = round(patient.first_start(), 1)
        taken: dict[str, list[float]] = {}
        # In turn, so that no part dies again within the minute in which it would be given pauses.
        for _ in range(times):
            for victim in patient.victims:
                taken.setdefault(victim, []).append(patient.recover_from(victim))
    finally:
        patient.end()
    for victim, seconds in taken.items():
        found[f"{victim}_seconds"] = {"median": round(statistics.median(seconds), 1), "max": round(max(seconds), 1)}
    shutil.rmtree(own.home)
    return found


class _Patient:
    """A platform that is killed, and how one knows that it is well."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._up: subprocess.Popen[bytes] | None = None
        self.victims: dict[str, Callable[[float], bool]] = {
            "code_server": lambda _: health.takes_connections(parts.LOOPBACK, self._ports.dagster.grpc_port),
            "web_page": lambda _: health.serves_page(endpoints.url(self._ports.dagster) + parts.PAGE),
            "daemon": self._daemon_looks,
            "bridge": lambda _: self._service_works("bridge"),
            "stream_writer": lambda _: self._service_works("stream_writer"),
            "supervisor": lambda _: self._is_up(),
            "everything": lambda _: self._is_up(),
        }

    def first_start(self) -> float:
        """Seconds from the command until both services work."""
        begun = time.monotonic()
        self._start()
        self._wait_until(self._is_up, "everything")
        return time.monotonic() - begun

    def recover_from(self, victim: str) -> float:
        """Kill it while all is well; seconds until it is again."""
        for name, well in self.victims.items():
            self._wait_until(lambda well=well: well(0.0), name)  # type: ignore[misc]
        time.sleep(REST_SECONDS)
        before = self._pids(victim)
        killed_at, begun = time.time(), time.monotonic()
        for pid in before:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if victim in ("supervisor", "everything"):
            self._start()
        well = self.victims[victim]
        self._wait_until(lambda: self._is_another(before, victim) and well(killed_at), victim)
        return time.monotonic() - begun

    def end(self) -> None:
        if self._up is not None:
            self._up.terminate()
            self._up.wait()

    @property
    def _ports(self) -> Settings:
        return endpoints.remembered(self._settings)

    def _start(self) -> None:
        if self._up is not None:
            self._up.wait(30)
        self._up = whole_platform.start(self._settings)

    def _pids(self, victim: str) -> set[int]:
        """Who is to be killed; of a part that is not there, nobody."""
        if victim == "everything":
            return {each.pid for each in whole_platform.processes(self._settings)}
        names = {"code_server": parts.CODE, "web_page": parts.WEB, "daemon": parts.DAEMON}
        if victim in names:
            known = process.find(self._settings, names[victim])
            return {known.pid} if known else set()
        holder = lock_holder(self._settings, supervisor.NAME if victim == "supervisor" else victim)
        return {holder} if holder else set()

    def _is_another(self, before: set[int], victim: str) -> bool:
        """A successor is there. Children of the dead may serve its port for a moment."""
        now = self._pids(victim)
        return bool(now) and before.isdisjoint(now)

    def _daemon_looks(self, since: float) -> bool:
        age = health.heartbeat_age(parts.dagster_home(self._settings))
        return age is not None and time.time() - age > since

    def _service_works(self, name: str) -> bool:
        known = read_status(self._settings, name)
        if known.get("pid") is None or known.get("pid") != lock_holder(self._settings, name):
            return False
        if name == "bridge":
            return bool(known.get("connected") and known.get("kafka_connected"))
        return (known.get("written") or {}).get("records", 0) > 0

    def _is_up(self) -> bool:
        known = read_status(self._settings, supervisor.NAME)
        ours = self._up is not None and known.get("pid") == self._up.pid
        return ours and known.get("state") == "running" and all(map(self._service_works, SERVICES))

    def _wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            if time.monotonic() > deadline or (self._up is not None and self._up.poll() is not None):
                raise PlatformError(
                    f"waiting for {what} of the bench's platform in {self._settings.home}: not well in "
                    f"{DEADLINE_SECONDS:.0f} s, or it has ended; its logs are in {self._settings.home / 'logs'}"
                )
            time.sleep(POLL_SECONDS)


def _reference() -> dict[str, float]:
    return {
        "python_seconds": round(_ran("pass"), 2),
        "import_dagster_seconds": round(_ran("import dagster"), 1),
    }


def _ran(script: str) -> float:
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", script], check=True)
    return time.monotonic() - begun
