"""The live server in a thread of the test's process, and a viewer that hears it as a browser would."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection, connect

from edge_assets.live import loop
from edge_assets.platform import endpoints
from edge_assets.service import run_service
from edge_assets.settings import Settings
from edge_assets_tests.bridge_rig import with_settings

DEADLINE_SECONDS = 20.0


def live_settings(settings: Settings, **live: Any) -> Settings:
    """With ports of its own for page and metrics."""
    ports = {"live": {"port": endpoints.free_port(), **live}, "metrics": {"port": endpoints.free_port()}}
    return with_settings(settings, **ports)


class RunningLive:
    """The live server as the service runs it, under its lock."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.reported: dict[str, Any] = {}
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="live")

    def __enter__(self) -> RunningLive:
        self._thread.start()
        until(lambda: self.reported.get("connected") or self._error)
        if self._error:
            raise self._error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()
        if self._error and error is None:
            raise self._error

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.settings.live.port}"

    def stop(self) -> float:
        """Returns how many seconds it took."""
        begun = time.monotonic()
        self._stop.set()
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive(), "the live server did not stop"
        return time.monotonic() - begun

    def viewer(self, **options: Any) -> Viewer:
        return Viewer(f"ws://{self.address}/ws", **options)

    def _run(self) -> None:
        def loop_and_note(settings: Settings, stop: threading.Event, report: Any) -> None:
            loop.run(settings, stop, lambda news: (self.reported.update(news), report(news))[-1])

        try:
            run_service("live", loop_and_note, self.settings, self._stop)
        except BaseException as error:
            self._error = error


class Viewer:
    """Keeps every frame, in order."""

    def __init__(self, url: str, **options: Any) -> None:
        self.frames: list[dict[str, Any]] = []
        self._socket: ClientConnection = connect(url, max_size=None, compression=None, close_timeout=0.2, **options)

    def next(self, seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(self._socket.recv(timeout=seconds))
        self.frames.append(frame)
        return frame

    def wait_for(self, wanted: Callable[[dict[str, Any]], Any], seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """The next frame that fits."""
        deadline = time.monotonic() + seconds
        while not wanted(frame := self.next(max(0.0, deadline - time.monotonic()))):
            pass
        return frame

    def wait_for_value(self, value: float) -> dict[str, Any]:
        """The frame of points with that value."""
        return self.wait_for(
            lambda frame: frame["type"] == "points" and any(point[3] == value for point in frame["points"])
        )

    def read_until(self, condition: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> Any:
        """Take frames until the condition is true of what they come to."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            self.next(max(0.0, deadline - time.monotonic()))
        return value

    def series(self, key: str, measurement: str) -> list[float]:
        """The values as the page has them: of the latest hello, and the points since."""
        values: list[float] = []
        for frame in self._known():
            if frame["type"] == "hello":
                values = [value for _, value in frame["history"].get(key, {}).get(measurement, ())]
            elif frame["type"] == "points":
                values += [point[3] for point in frame["points"] if point[:2] == [key, measurement]]
        return values

    def device(self, key: str) -> dict[str, Any] | None:
        """The device as it was last told."""
        told = [device for frame in self._known() for device in (*frame.get("devices", ()), frame.get("device"))]
        return next((device for device in reversed(told) if device and device["key"] == key), None)

    def alerts(self) -> dict[str, dict[str, Any]]:
        """As they were last told, by identifier."""
        told = [alert for frame in self._known() for alert in (*frame.get("alerts", ()), frame.get("alert"))]
        return {alert["alert_id"]: alert for alert in told if alert}

    def _known(self) -> list[dict[str, Any]]:
        hellos = [number for number, frame in enumerate(self.frames) if frame["type"] == "hello"]
        return self.frames[hellos[-1] :] if hellos else []

    def hello(self) -> dict[str, Any]:
        return self.wait_for(lambda frame: frame["type"] == "hello")

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def until(condition: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> Any:
    """The condition's value, once it is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)
    return value
