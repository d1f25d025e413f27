"""A real platform that is being killed, and a publisher that counts.

The broker is the test's own and is not killed: what a broker loses that dies is measured elsewhere
(`test_broker_killed.py`), and would hide here what is ours to keep.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_assets.defs.shutdown import SERVICES
from edge_assets.platform import log as kafka_log
from edge_assets.platform import parts
from edge_assets.platform.process import identity
from edge_assets.service import lock_holder
from edge_assets.settings import Settings


class Publisher:
    """Publishes, QoS 1, in turn: a count as a Zigbee device, as a bare topic and as a room; and always the same."""

    def __init__(self, settings: Settings, per_second: float = 50) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self._client = Client(CallbackAPIVersion.VERSION2, client_id=f"publisher-{os.getpid()}-{time.time_ns()}")
        self._client.max_queued_messages_set(0)
        self.connections = 0
        self._client.on_connect = self._connected
        self._client.connect(settings.mqtt.host or "127.0.0.1", settings.mqtt.port)
        self._client.loop_start()
        self._interval = 1 / per_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self.sent = 0

    def _connected(self, *_: Any) -> None:
        self.connections += 1

    def start(self) -> Publisher:
        self._thread.start()
        return self

    def _publish(self) -> None:
        while not self._stop.wait(self._interval):
            self._client.publish("zigbee2mqtt/counter", json.dumps({"seq": self.sent}), qos=1)
            self._client.publish("pico/seq/counter", str(self.sent), qos=1)
            self._client.publish("building/Lab 1/telemetry", json.dumps({"co2_ppm": self.sent}), qos=1)
            last = self._client.publish("zigbee2mqtt/constant", '{"contact":true}', qos=1)
            self.sent += 1
            last.wait_for_publish(60)

    def finish(self) -> int:
        """Stop. Returns how many of each kind the broker has acknowledged."""
        self._stop.set()
        self._thread.join(90)
        self._client.disconnect()
        self._client.loop_stop()
        # After a reconnection paho itself sends again what it had no answer to: new messages, as any publisher's.
        assert self.connections == 1, "the publisher lost its connection: its own repeats would be counted as ours"
        return self.sent


class Platform:
    """`edge up` as a process, and its parts' pids."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._environment = {**os.environ, **settings.environment(), "PYTHONUNBUFFERED": "1"}
        settings.home.mkdir(parents=True, exist_ok=True)
        self._output = (settings.home / "up.log").open("a")
        self._up: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """Start, and wait until readings can flow."""
        self._up = subprocess.Popen(
            [sys.executable, "-m", "edge_assets.cli", "up"],
            env=self._environment,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )

    def down(self) -> None:
        subprocess.run([sys.executable, "-m", "edge_assets.cli", "down"], env=self._environment, timeout=200)
        if self._up:
            with suppress(subprocess.TimeoutExpired):
                self._up.wait(30)
        self._output.close()

    def pid(self, victim: str) -> int | None:
        """The victim's pid; None where it is not alive now."""
        pid = self._told_pid(victim)
        return pid if pid is not None and identity(pid) is not None else None

    def _told_pid(self, victim: str) -> int | None:
        if victim == "stream_jvm":
            return _number(self.settings.home / "run" / "stream_writer.jvm.lock")
        if victim in (*SERVICES, "supervisor"):
            return lock_holder(self.settings, victim)
        dagsters = {"code_server": parts.CODE, "web_page": parts.WEB, "daemon": parts.DAEMON}
        name = {"kafka": kafka_log.NAME, **dagsters}[victim]
        try:
            return json.loads((self.settings.home / "run" / f"{name}.pid.json").read_text())["pid"]
        except (FileNotFoundError, ValueError):
            return None

    def last_words(self) -> str:
        """For a failure: what `edge verify` and `edge status` say, and the ends of the logs."""
        said = []
        for command in (["verify"], ["status"]):
            done = subprocess.run(
                [sys.executable, "-m", "edge_assets.cli", *command],
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=120,
            )
            said.append(f"--- edge {' '.join(command)}\n{done.stdout}{done.stderr}")
        logs = sorted((self.settings.home / "logs").glob("*.log"))
        said += [f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]) for log in logs]
        return "\n".join(said)

    def forsake(self) -> None:
        """Kill the supervisor alone, and start none: what dies from now on stays dead."""
        pid = self.pid("supervisor")
        assert pid is not None and self._up is not None
        os.kill(pid, signal.SIGKILL)
        self._up.wait(30)

    def kill(self, *victims: str) -> dict[str, int]:
        """SIGKILL, all at once. Returns who was alive to be killed."""
        pids = {victim: pid for victim in victims if (pid := self.pid(victim))}
        for pid in pids.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if "supervisor" in pids and self._up:
            self._up.wait(30)
            self.up()
        return pids


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text().strip() or 0) or None
    except (FileNotFoundError, ValueError):
        return None


def until(condition: Callable[[], Any], what: str, seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.25)
    raise AssertionError(f"no {what} within {seconds:.0f} s")
