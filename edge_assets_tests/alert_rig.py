"""What the alerter's tests share: the alerter in a thread or a process, and a real HTTP server that is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from edge_assets.alerts import loop
from edge_assets.bridge.memory import Memory
from edge_assets.service import read_status, run_service
from edge_assets.settings import Settings
from edge_assets_tests.bridge_rig import wait_for, with_settings

OVERLOAD = """
time_zone: UTC
rules:
  - name: overload
    condition: {measurement: power, above: 3000, clear: 2800}
    severity: critical
    message: "{device} draws {value}"
    cleared_message: "{device} is back at {value}"
"""


class Receiver:
    """A webhook that keeps what it is told, as (title, message), and can be down."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.tries = 0
        self.answer = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.tries += 1
                if receiver.answer == 200:
                    receiver.told.append((said["title"], said["message"]))
                self.send_response(receiver.answer)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}"

    @property
    def messages(self) -> list[str]:
        return [message for _, message in self.told]

    def __enter__(self) -> Receiver:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def with_rules(settings: Settings, text: str, **alerts: Any) -> Settings:
    """Settings with a file of rules of these, and channels (name → URL) where they are given; and what a bridge leaves
    there that has subscribed once."""
    file = settings.home / "alerts.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    Memory(settled=True).save(settings)
    return with_settings(settings, alerts={"retry_seconds": 0.2, "retry_most_seconds": 1, **alerts})


def listening(status: dict[str, Any]) -> bool:
    return bool(status.get("connected")) and status.get("catching_up") is False


class RunningAlerter:
    """The alerter's loop in a thread, as the service runs it. Leaving the block stops it, and raises what it raised."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="alerter")

    def __enter__(self) -> RunningAlerter:
        self._thread.start()
        wait_for(self.status, lambda status: listening(status) or not self._thread.is_alive())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the alerter did not stop in 30 s"
        if self._error and error is None:
            raise self._error

    def status(self) -> dict[str, Any]:
        return read_status(self.settings, "alerter")

    def _run(self) -> None:
        try:
            run_service("alerter", loop.run, self.settings, self._stop)
        except BaseException as error:
            self._error = error


class AlerterProcess:
    """`python -m edge_assets.alerts` as a process that can be killed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.log = settings.home / "logs" / "alerter-test.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, **self.settings.environment(), "PYTHONUNBUFFERED": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge_assets.alerts"], env=environment, stdout=log, stderr=log
            )
        wait_for(self.status, lambda status: status.get("pid") == self.pid and listening(status))

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def status(self) -> dict[str, Any]:
        assert self.process and self.process.poll() is None, f"the alerter ended: {self.log.read_text()[-2_000:]}"
        return read_status(self.settings, "alerter")

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(30)

    @contextmanager
    def keep(self) -> Iterator[None]:
        try:
            yield
        finally:
            if self.process and self.process.poll() is None:
                self.kill(signal.SIGTERM)
