"""`edge up` as a user has it: comes up, keeps its parts running, is one, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_assets.platform import broker, endpoints, log, process
from edge_assets.service import read_status
from edge_assets.settings import Settings
from edge_assets_tests import old_homes

pytestmark = [pytest.mark.java, pytest.mark.broker]

PARTS = ("broker", "kafka", "dagster_code", "dagster_web", "dagster_daemon")
EDGE = [sys.executable, "-m", "edge_assets.cli"]


class Platform:
    """A platform of this test's own, driven by its commands alone."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.supervisor: subprocess.Popen[str] | None = None

    def edge(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*EDGE, *arguments], env=self.environment(), capture_output=True, text=True, timeout=180, **options
        )

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.settings.environment()}

    def up(self) -> None:
        """In the foreground, as a child of ours, until its status says that it is up."""
        self.supervisor = subprocess.Popen(
            [*EDGE, "up"], env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        # Not by `edge status`: a Python a look, while the platform itself wants the processor.
        running = {"pid": self.supervisor.pid, "state": "running"}
        assert process.wait_until(
            lambda: self.supervisor_ended() or running.items() <= read_status(self.settings, "supervisor").items(), 120
        )
        assert self.supervisor.poll() is None, self.supervisor.communicate()[0]

    def supervisor_ended(self) -> bool:
        return self.supervisor is not None and self.supervisor.poll() is not None

    def status(self) -> dict[str, Any]:
        return json.loads(self.edge("status", "--json").stdout)

    def part(self, name: str) -> dict[str, Any]:
        return self.status()["services"][name]

    def said(self) -> str:
        return (self.settings.home / "logs" / "supervisor.log").read_text()

    def wait_for_line(self, words: str) -> None:
        assert process.wait_until(lambda: words in self.said(), 90), self.said()

    def processes(self) -> list[str]:
        """All processes of this platform: they carry its home in their environment, or in their command."""
        found = []
        for each in psutil.process_iter():
            try:
                own = each.environ().get("EDGE_HOME") == str(self.settings.home)
                if each.pid != os.getpid() and (own or str(self.settings.home) in " ".join(each.cmdline())):
                    found.append(f"{each.pid} ({each.status()}, of {each.ppid()}): {' '.join(each.cmdline())}")
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found


@pytest.fixture
def platform(settings: Settings) -> Iterator[Platform]:
    platform = Platform(settings)
    yield platform
    if platform.supervisor is not None and platform.supervisor.poll() is None:
        platform.supervisor.kill()
        platform.supervisor.communicate()
    platform.edge("down")


def test_up_and_down(platform: Platform) -> None:
    """As a shell's `edge up &` and `nohup` start it: with signals ignored. Its children must not inherit that, as a run
    could not be interrupted then. And over the home of an earlier version, which is upgraded first."""
    old_homes.unpack("first_slice", platform.settings.home)
    ignoring = "import os, signal, sys\nfor n in (signal.SIGINT, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)\n"
    detached = subprocess.run(
        [sys.executable, "-c", f"{ignoring}os.execv(sys.executable, {[*EDGE, 'up', '--detach']!r})"],
        env=platform.environment(),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert detached.returncode == 0, detached.stderr
    assert "the home is of format" in detached.stdout
    assert f"http://127.0.0.1:{platform.settings.dagster.port}" in detached.stdout

    status = platform.edge("status", "--json")
    assert status.returncode == 0
    found = json.loads(status.stdout)
    assert found["running"] is True
    assert found["mqtt"] == {"host": "127.0.0.1", "port": platform.settings.mqtt.port}
    assert found["kafka"] == {"bootstrap": f"127.0.0.1:{platform.settings.kafka.port}"}
    assert found["dagster"] == {"url": f"http://127.0.0.1:{platform.settings.dagster.port}"}
    assert {name: found["services"][name]["state"] for name in PARTS} == dict.fromkeys(PARTS, "up")
    assert broker.answers(platform.settings) and log.answers(platform.settings)
    for name in PARTS:
        status_of = Path(f"/proc/{found['services'][name]['pid']}/status").read_text()
        ignored = int(re.search(r"^SigIgn:\s*(\w+)$", status_of, re.MULTILINE)[1], 16)  # type: ignore[index]
        assert not ignored & 1 << (signal.SIGINT - 1), name

    assert len(platform.processes()) > len(PARTS)

    second = platform.edge("up")
    assert second.returncode == 4 and "runs already" in second.stderr
    assert platform.edge("up", "--detach").returncode == 4

    # The services get up while the platform does; it must go down cleanly in the middle of that too.
    down = platform.edge("down")
    assert (down.returncode, down.stdout.splitlines()[-1]) == (0, "the platform is down")
    assert platform.processes() == []
    assert platform.edge("status").returncode == 5
    again = platform.edge("down")
    assert (again.returncode, again.stdout) == (0, "nothing runs here\n")


def test_what_is_killed_comes_back_and_is_told_once_and_ctrl_c_stops_all(platform: Platform) -> None:
    platform.up()
    for name in PARTS:
        before = platform.part(name)
        os.kill(before["pid"], signal.SIGKILL)
        platform.wait_for_line(f"{name} is back after")
        after = platform.part(name)
        assert (after["state"], after["restarts"]) == ("up", 1)
        assert after["pid"] != before["pid"]
        assert platform.said().count(f"{name} ended unasked (code -9)") == 1
    assert broker.answers(platform.settings) and log.answers(platform.settings)

    assert platform.supervisor is not None
    platform.supervisor.send_signal(signal.SIGINT)
    said, _ = platform.supervisor.communicate(timeout=120)
    assert platform.supervisor.returncode == 0
    assert said.splitlines()[-1] == "stopped"
    assert platform.processes() == []


def test_what_a_killed_supervisor_left_is_stopped_by_the_next_and_by_down(platform: Platform) -> None:
    platform.up()
    assert platform.supervisor is not None
    services = platform.status()["services"]
    left = {name: services[name]["pid"] for name in PARTS}
    platform.supervisor.kill()
    platform.supervisor.communicate()
    assert platform.edge("status").returncode == 5
    assert all(psutil.pid_exists(pid) for pid in left.values())

    platform.up()
    assert "an earlier platform left broker, kafka" in platform.said()
    assert not any(psutil.pid_exists(pid) for pid in left.values())
    status = platform.status()["services"]
    assert {name: status[name]["state"] for name in PARTS} == dict.fromkeys(PARTS, "up")

    platform.supervisor.kill()
    platform.supervisor.communicate()
    assert platform.edge("down").returncode == 0
    assert platform.processes() == []


def test_a_part_that_cannot_start_ends_it_with_its_reason(platform: Platform) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", platform.settings.dagster.grpc_port))
        other.listen()
        up = platform.edge("up")
    assert up.returncode == 3
    assert f"{platform.settings.dagster.grpc_port}: the port is taken" in up.stderr
    assert len(up.stderr.splitlines()) == 1
    assert platform.processes() == []


def test_two_platforms_live_side_by_side(platform: Platform, tmp_path: Path) -> None:
    open_ports = {
        "mqtt": {"port": 0},
        "kafka": {"port": 0, "controller_port": 0},
        "dagster": {"port": 0, "grpc_port": 0},
    }
    updates = {name: getattr(platform.settings, name).model_copy(update=ports) for name, ports in open_ports.items()}
    other = Platform(platform.settings.model_copy(update={**updates, "home": tmp_path / "other"}))
    platform.up()
    try:
        assert other.edge("up", "--detach").returncode == 0
        first, second = platform.status(), other.status()
        assert first["running"] and second["running"]
        for part in ("mqtt", "kafka", "dagster"):
            assert first[part] != second[part]
        assert endpoints.remembered(other.settings).kafka.bootstrap == second["kafka"]["bootstrap"]
    finally:
        other.edge("down")
    assert other.processes() == []
    assert platform.status()["running"]
