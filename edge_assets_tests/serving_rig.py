"""The serving API over real HTTP, and a home with something to serve: readings, windows, anomalies and alerts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import requests
import uvicorn
from fastapi import FastAPI

from edge_assets.platform import endpoints
from edge_assets.serving.api import PREFIX, app
from edge_assets.settings import Settings, WindowSettings
from edge_assets.tables import ALERTS, ANOMALIES, READINGS, ROOM_TELEMETRY, SESSIONS, window_table
from edge_assets_tests.bridge_rig import wait_for
from edge_assets_tests.lake_tables import AT, position, reading, write

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class Api:
    """Asks the server; `get` gives the body of an answer that must be a success."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._session = requests.Session()

    def ask(self, path: str, headers: Any = None, **parameters: Any) -> requests.Response:
        named = {name.rstrip("_"): value for name, value in parameters.items()}
        return self._session.get(f"{self.address}{PREFIX}{path}", params=named, headers=headers, timeout=30)

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.ask(path, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def served(settings: Settings, application: FastAPI | None = None) -> Iterator[Api]:
    """The API at a free port of this machine, in a thread."""
    port = endpoints.free_port()
    config = uvicorn.Config(application or app(settings), host="127.0.0.1", port=port, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started, bool)
    try:
        yield Api(f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "the server has ended"


def day_of(moment: datetime) -> dict[str, Any]:
    return {"event_time": moment, "received_at": moment, "date": moment.date()}


def home_of_readings(settings: Settings, begin: datetime = AT, minutes: int = 600) -> None:
    """Two devices: 0x01 measures temperature each minute but in the second hour; 0x02 is a door and a plug."""
    rows = []
    for number in range(minutes):
        moment, offset = begin + number * MINUTE, number * 10
        if number // 60 != 1:
            rows.append(temperature(offset, moment, 20 + number % 7))
        plug = {"device_id": "0x02", "device_name": "hall, front", **day_of(moment)}
        rows.append(reading(offset + 1, "power", value=float(number % 90), unit="W", **plug))
        rows.append(reading(offset + 2, "energy", value=number / 100, unit="kWh", **plug))
        rows.append(reading(offset + 3, "contact", value=float(number // 10 % 2), **plug))
        rows.append(reading(offset + 4, "battery", value=90.0, unit="%", **plug))
        rows.append(reading(offset + 5, "linkquality", value=100.0, unit="lqi", **plug))
    write(settings, READINGS, rows)


def temperature(offset: int, moment: datetime, value: float, **changes: Any) -> dict[str, Any]:
    own = {"device_id": "0x01", "device_name": "attic", "unit": "°C", "value": float(value)}
    return reading(offset, "temperature", **{**own, **day_of(moment)}) | changes


def rooms(settings: Settings, begin: datetime = AT, count: int = 120) -> None:
    """A room's messages, its windows of 5 s and of a minute, and one stay."""
    table = {window.name: window_table(window) for window in WindowSettings().tables}
    own = {"room_id": "r1", "room_name": "Room 1", "floor": "1", "room_type": "office"}
    for name, step, size in (("telemetry_5s_agg", 5, 10), ("telemetry_1m_agg", 60, 60)):
        rows: list[dict[str, Any]] = []
        for number in range(count):
            start = begin + timedelta(seconds=number * step)
            figures = {"avg_temperature": 20.0 + number, "min_temperature": 19.0 + number, "motion_events": 2}
            times = {"window_start": start, "window_end": start + timedelta(seconds=size), "date": start.date()}
            rows.append({**own, **times, **figures, "max_occupancy": number % 3})
        write(settings, table[name], rows)
    message = {"site": "home", "room_id": "r1", "temperature": 21.0, "humidity": 40.0, "quality": "good"}
    write(settings, ROOM_TELEMETRY, [{**position(1), **message, **day_of(begin)}])
    stay = {"session_start": begin, "session_end": begin + HOUR, "peak_occupancy": 3, "avg_co2": 700.0, "messages": 9}
    write(settings, SESSIONS, [{**own, **stay, "date": begin.date()}])


def anomaly(settings: Settings, begin: datetime = AT) -> None:
    own = {"site": "home", "kind": "device", "device_id": "0x01", "device_name": "attic", "measurement": "temperature"}
    found = {"type": "spike", "unit": "°C", "value": 40.0, "expected": 21.0, "tolerance": 2.0, "score": 9.5}
    times = {"window_start": begin, "window_end": begin + MINUTE, "detected_at": begin + HOUR, "date": begin.date()}
    write(settings, ANOMALIES, [{**own, **found, **times}])


def alert_events(settings: Settings, begin: datetime = AT) -> None:
    """Two alerts: one that was told, seen and cleared after five minutes, and one that is open."""
    rows: list[dict[str, Any]] = []
    for alert, transition, seconds in (
        ("a", "firing", 0),
        ("a", "firing", 0),  # the same event once more, as after a crash
        ("a", "notified", 1),
        ("a", "acknowledged", 60),
        ("a", "cleared", 300),
        ("b", "firing", 600),
    ):
        moment = begin + timedelta(seconds=seconds)
        own = {"event_id": f"{alert}-{transition}", "alert_id": alert, "transition": transition, "since": begin}
        rule = {"rule": "hot", "severity": "warning", "kind": "device", "device_id": "0x01", "device_name": "attic"}
        said = {"measurement": "temperature", "value": 31.0, "unit": "°C", "message": "attic is hot", "site": "home"}
        rows.append({**position(len(rows)), **own, **rule, **said, **day_of(moment)})
    write(settings, ALERTS, rows)
