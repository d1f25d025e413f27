"""Services held by a real Dagster: its code server, its daemon, its storage, and kill -9 to each."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from dagster._core.instance.ref import InstanceRef

from edge_assets.defs.shutdown import clear_shutdown, is_shutting_down, mark_shutdown, stop_services
from edge_assets.platform.status import lines, status
from edge_assets.service import lock_holder, read_status, service_lock
from edge_assets.settings import Settings

CHECKOUT = Path(__file__).parents[2]
LOOPS = "edge_assets_tests.integration.dagster_loops"
JOB = "bridge"
SENSOR = "keep_bridge_alive"
DEADLINE = 120.0


class Cockpit:
    """A code server and a daemon of a test's own, and what a person would see and do in Dagster."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.home / "dagster"
        self.home.mkdir(parents=True)
        shutil.copy(CHECKOUT / "dagster.yaml", self.home)
        self._workspace = self.home / "workspace.yaml"
        port = settings.dagster.grpc_port
        self._workspace.write_text(
            f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {port}, location_name: edge}}\n"
        )
        self.instance = dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(self.home)))
        self.server: subprocess.Popen[bytes] | None = None
        self.daemon: subprocess.Popen[bytes] | None = None

    def start_server(self) -> None:
        port = str(self.settings.dagster.grpc_port)
        self.server = self._spawn("dagster", "api", "grpc", "-m", LOOPS, "-h", "127.0.0.1", "-p", port)
        self.eventually(lambda: self._dagster("api", "grpc-health-check", "-p", port, check=False) == 0)

    def start_daemon(self) -> None:
        self.daemon = self._spawn("dagster-daemon", "run", "-w", str(self._workspace))

    def start(self) -> None:
        self.start_server()
        self.start_daemon()

    def close(self) -> None:
        """End everything that this home started, however a test left it."""
        for process in (self.daemon, self.server):
            if process is not None:
                process.kill()
                process.wait()
        for process in psutil.process_iter(["environ"]):
            if (process.info["environ"] or {}).get("DAGSTER_HOME") == str(self.home):
                process.kill()
        self.instance.dispose()

    def sensor(self, verb: str) -> None:
        """What the switch beside the sensor's name does."""
        self._dagster("sensor", verb, SENSOR, "-w", str(self._workspace))

    def launch_by_hand(self) -> None:
        self._dagster("job", "launch", "-j", JOB, "-w", str(self._workspace))

    def terminate(self, run_id: str) -> None:
        """What the Terminate button does."""
        self.instance.run_coordinator.cancel_run(run_id)

    def runs(self) -> list[dg.DagsterRun]:
        """The service's runs, newest first."""
        return list(self.instance.get_runs(dg.RunsFilter(job_name=JOB)))

    def statuses(self) -> list[str]:
        return [run.status.value for run in self.runs()]

    def said(self, run: dg.DagsterRun) -> str:
        """What the log on the run's page says, and its errors."""
        return "\n".join(entry.user_message or entry.message for entry in self.instance.all_logs(run.run_id))

    def skip_reason(self) -> str:
        """What the newest finished look of the keep-alive says."""
        for state in self.instance.all_instigator_state():
            if state.instigator_name == SENSOR:
                ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=2)
                return next((tick.skip_reason for tick in ticks if tick.skip_reason), "")
        return ""

    def holder(self) -> int | None:
        return lock_holder(self.settings, JOB)

    def works(self, other_than: int | None = None) -> int:
        """Wait until a process holds the service up, and its counters move; returns its pid."""

        def moving() -> bool:
            status = read_status(self.settings, JOB)
            return (
                self.holder() not in (None, other_than)
                and status.get("pid") == self.holder()
                and status.get("logged", 0) > 5
            )

        self.eventually(moving)
        pid = self.holder()
        assert pid is not None
        return pid

    def eventually(self, condition: Callable[[], Any], seconds: float = DEADLINE) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s; runs {self.statuses()}; {self.skip_reason()}"
            time.sleep(0.1)

    def looked(self) -> None:
        """Wait for a look of the keep-alive that began and ended after now."""
        start = time.time()
        state = next(s for s in self.instance.all_instigator_state() if s.instigator_name == SENSOR)

        def is_over() -> bool:
            ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, after=start)
            return any(tick.end_timestamp for tick in ticks)

        self.eventually(is_over)

    def _environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_")}
        return {**clean, **self.settings.environment(), "DAGSTER_HOME": str(self.home)}

    def _spawn(self, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self.home / f"{command}.log").open("ab")
        # A session of its own, as under the supervisor: a kill of one reaches no other.
        return subprocess.Popen(
            [str(Path(sys.executable).parent / command), *arguments],
            cwd=CHECKOUT,
            env=self._environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def _dagster(self, *arguments: str, check: bool = True) -> int:
        command = [str(Path(sys.executable).parent / "dagster"), *arguments]
        done = subprocess.run(command, cwd=CHECKOUT, env=self._environment(), capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stderr
        return done.returncode


@pytest.fixture
def cockpit(settings: Settings) -> Iterator[Cockpit]:
    cockpit = Cockpit(settings)
    yield cockpit
    cockpit.close()


@pytest.fixture
def running(cockpit: Cockpit) -> Cockpit:
    """With the service up."""
    cockpit.start()
    cockpit.works()
    return cockpit


def kill(process: subprocess.Popen[bytes] | None) -> None:
    assert process is not None
    process.kill()
    process.wait()


def test_a_killed_run_comes_back(running: Cockpit) -> None:
    pid = running.holder()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    running.works(other_than=pid)
    assert running.statuses() == ["STARTED", "FAILURE"]


def test_a_killed_code_server_takes_no_service_with_it(running: Cockpit) -> None:
    pid = running.holder()
    kill(running.server)
    assert pid is not None and psutil.pid_exists(pid)
    running.start_server()
    running.looked()
    assert running.holder() == pid
    assert running.statuses() == ["STARTED"]

    # The new code server knows nothing of the run, and yet a person can end it.
    running.terminate(running.runs()[0].run_id)
    running.eventually(lambda: running.statuses() == ["CANCELED"])
    assert running.holder() is None


def test_killed_with_its_code_server_it_is_found_dead_and_comes_back(running: Cockpit) -> None:
    pid = running.holder()
    kill(running.server)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert running.statuses() == ["STARTED"]
    running.start_server()
    running.works(other_than=pid)
    assert running.statuses() == ["STARTED", "FAILURE"]


def test_a_reboot(running: Cockpit) -> None:
    pid = running.holder()
    for process in (running.daemon, running.server):
        kill(process)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    running.start()
    running.works(other_than=pid)
    assert running.statuses() == ["STARTED", "FAILURE"]


def test_a_person_s_word_holds_until_it_is_taken_back(running: Cockpit) -> None:
    running.terminate(running.runs()[0].run_id)
    running.eventually(lambda: running.statuses() == ["CANCELED"])
    assert read_status(running.settings, JOB)["state"] == "stopped"
    running.looked()
    assert running.statuses() == ["CANCELED"]
    assert "stopped by a person" in running.skip_reason()
    assert "a person terminated this run" in running.said(running.runs()[0])
    shown = status(running.settings)
    assert shown["services"][JOB]["stopped_by_a_person"] is not None
    assert any("bridge" in line and "stopped by a person since" in line for line in lines(shown))

    # Not even a reboot starts it.
    for process in (running.daemon, running.server):
        kill(process)
    running.start()
    running.looked()
    assert running.statuses() == ["CANCELED"]

    running.sensor("stop")
    running.sensor("start")
    running.works()
    assert running.statuses() == ["STARTED", "CANCELED"]
    assert status(running.settings)["services"][JOB]["stopped_by_a_person"] is None


def test_launching_the_job_switches_it_on_too(running: Cockpit) -> None:
    running.terminate(running.runs()[0].run_id)
    running.eventually(lambda: running.statuses() == ["CANCELED"])
    running.launch_by_hand()
    pid = running.works()
    os.kill(pid, signal.SIGKILL)
    running.works(other_than=pid)
    assert running.statuses() == ["STARTED", "FAILURE", "CANCELED"]


def test_launching_a_running_service_restarts_it(running: Cockpit) -> None:
    before, old = running.holder(), running.runs()[0]
    running.launch_by_hand()
    pid = running.works(other_than=before)
    running.eventually(lambda: running.statuses() == ["STARTED", "SUCCESS"])
    new = running.runs()[0]
    assert f"run {new.run_id[:8]} takes over" in running.said(old)
    running.eventually(lambda: f"bridge is pid {pid}" in running.said(new))
    assert "this run takes over" in running.said(new) and "logs/bridge.log" in running.said(new)
    running.looked()
    assert running.holder() == pid
    assert running.statuses() == ["STARTED", "SUCCESS"]


def test_edge_down_and_up(running: Cockpit) -> None:
    mark_shutdown(running.settings)
    assert is_shutting_down(running.settings)
    assert stop_services(running.settings, services=[JOB]) == []
    assert running.holder() is None
    running.eventually(lambda: running.statuses() == ["SUCCESS"])
    running.looked()
    assert running.statuses() == ["SUCCESS"]
    assert "shutting down" in running.skip_reason()

    clear_shutdown(running.settings)
    running.works()
    assert running.statuses() == ["STARTED", "SUCCESS"]


def test_edge_down_kills_what_does_not_stop(running: Cockpit) -> None:
    deaf = running.settings.home / "run" / "bridge.deaf"
    deaf.touch()
    mark_shutdown(running.settings)
    assert stop_services(running.settings, timeout_seconds=2, services=[JOB]) == [JOB]
    assert running.holder() is None
    deaf.unlink()
    clear_shutdown(running.settings)
    running.works()
    assert running.statuses() == ["STARTED", "FAILURE"]


def test_a_service_that_dagster_does_not_own_is_ended_first(cockpit: Cockpit) -> None:
    """Another process holds the lock, as an orphan of an older Dagster would."""
    orphan = subprocess.Popen([sys.executable, "-c", ORPHAN], cwd=CHECKOUT, env=cockpit._environment())
    cockpit.eventually(lambda: cockpit.holder() == orphan.pid)
    cockpit.start()
    cockpit.works(other_than=orphan.pid)
    assert orphan.wait() == -signal.SIGTERM
    assert cockpit.statuses() == ["STARTED"]


ORPHAN = """
import signal, time
from edge_assets.service import service_lock
from edge_assets.settings import load_settings
signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whatever the tests before have left
with service_lock(load_settings(), "bridge"):
    time.sleep(600)
"""


def test_a_service_that_keeps_failing_is_given_pauses(cockpit: Cockpit) -> None:
    fails = cockpit.settings.home / "run" / "bridge.fails"
    fails.parent.mkdir(parents=True)
    fails.touch()
    cockpit.start()
    cockpit.eventually(lambda: "times in a row" in cockpit.skip_reason())
    assert set(cockpit.statuses()) == {"FAILURE"}
    fails.unlink()
    cockpit.works()


def test_materializations_are_reported_without_runs(running: Cockpit) -> None:
    key = dg.AssetKey(["log", "sensor-events"])
    running.eventually(lambda: running.instance.get_latest_materialization_event(key) is not None)
    event = running.instance.get_latest_materialization_event(key)
    assert event is not None and event.asset_materialization is not None
    metadata: dict[str, Any] = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert metadata["new records"] > 0
    assert metadata["reported by"] == "bridge"
    assert not event.run_id


def test_looking_at_dagster_s_storage_writes_nothing(running: Cockpit) -> None:
    """While a service runs, the log of each database stays: no closing connection folds it away."""
    names = ("history/runs.db", "schedules/schedules.db", "history/runs/index.db")
    logs = [running.home / f"{name}-wal" for name in names]
    before = [log.stat().st_ino for log in logs]
    running.looked()
    assert [log.stat().st_ino for log in logs] == before


def test_the_lock_can_be_looked_at_while_a_service_takes_it(settings: Settings) -> None:
    """Looking takes the lock for an instant: no service may take that for another one's hold."""
    import threading

    done = threading.Event()
    lookers = [threading.Thread(target=lambda: _look_until(done, settings)) for _ in range(2)]
    with service_lock(settings, JOB):
        pass
    for looker in lookers:
        looker.start()
    try:
        for _ in range(200):
            with service_lock(settings, JOB):
                pass
    finally:
        done.set()
        for looker in lookers:
            looker.join()


def _look_until(done: Any, settings: Settings) -> None:
    while not done.is_set():
        lock_holder(settings, JOB)
