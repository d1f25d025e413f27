"""`edge bench serving`: how fast the serving API answers over a year of one home, and what its process takes.

20 devices, 7 measurements each, a message every 5 minutes for a year; 8 rooms with windows 5 s apart for a day, the
last hour of it in as many small files as the stream leaves between two joinings. The API runs as a process of its own
and is asked over HTTP, each time about another device or span, so that no answer is remembered; and about the same,
with the tag of the answer. Reference: the same rows by DuckDB itself on a connection that stays open.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from edge_assets.bench import made_home
from edge_assets.bench.figures import timed
from edge_assets.platform import endpoints
from edge_assets.settings import Settings
from edge_assets.tables import window_table
from edge_assets.warehouse.rollups import times

DAYS, DEVICES, EVERY_SECONDS = 365, 20, 300
ROOMS, SMALL_FILES = 8, 360
TIMES, POINTS = 40, 800
SPANS = {"hour": 1 / 24, "day": 1, "month": 30, "year": 365}
TIERS = {
    "hour": ("readings_1m", 60),
    "day": ("readings_1m", 120),
    "month": ("readings_1h", 3_600),
    "year": ("readings_1h", 43_200),
}
"""what the API reads for so many points, and how wide its buckets are"""


def run(settings: Settings, days: int = DAYS) -> dict[str, Any]:
    """By question: p50 and p95 in ms, beside DuckDB's own; and the process's memory before and after."""
    from edge_assets.warehouse.rollups.update import update

    home = settings.home / "bench" / "serving"
    shutil.rmtree(home, ignore_errors=True)
    own = settings.model_copy(update={"home": home, "lake": settings.lake.model_copy(update={"path": None})})
    end = made_home.midnight()
    found: dict[str, Any] = {"readings": made_home.make(own, days, DEVICES, EVERY_SECONDS, end), "days": days}
    _make_windows(own, end)
    update(own)
    with _serving(own) as (ask, memory):
        found["memory_mb_idle"] = memory()
        for name, question in _questions(end).items():
            found[name] = timed(lambda question=question: ask(*next(question)), TIMES)  # type: ignore[misc]
        found["series_year_known"] = _known(ask, end)
        found["memory_mb"] = memory()
    found |= _reference(own, end)
    shutil.rmtree(home)
    return found


Asked = tuple[str, dict[str, Any]]


def _questions(end: datetime) -> dict[str, Iterator[Asked]]:
    found = {f"series_{name}": _series(end, span) for name, span in SPANS.items()}
    month = _range(end, 30)
    devices = itertools.cycle(range(DEVICES))
    found["view_climate_month"] = (
        ("/views/grafana_climate", {**month, "points": POINTS, "device": _device(number)}) for number in devices
    )
    found["view_climate_month_all"] = (
        ("/views/grafana_climate", {**month, "points": 100 + number}) for number in itertools.count()
    )
    found["view_windows_hour"] = (
        ("/views/grafana_room_windows", {**_range(end, 1 / 24), "limit": 6_000 + number})
        for number in itertools.count()
    )
    return found


def _series(end: datetime, days: float) -> Iterator[Asked]:
    for number in itertools.count():
        asked = {
            "device": _device(number % DEVICES),
            "measurement": "temperature",
            "points": POINTS - number // DEVICES,
        }
        yield "/series", {**asked, **_range(end, days)}


def _range(end: datetime, days: float) -> dict[str, Any]:
    return {"from": (end - timedelta(days=days)).isoformat(), "to": end.isoformat()}


def _device(number: int) -> str:
    return f"0x{number:016x}"


def _known(ask: Callable[..., Any], end: datetime) -> dict[str, Any]:
    path, asked = next(_series(end, 365))
    tag = ask(path, asked).headers["ETag"]

    def again() -> None:
        assert ask(path, asked, {"If-None-Match": tag}).status_code == 304

    return timed(again, TIMES)


def _reference(settings: Settings, end: datetime) -> dict[str, Any]:
    import duckdb

    from edge_assets.warehouse.rollups.layout import database_path

    with duckdb.connect(str(database_path(settings)), read_only=True) as opened:
        return {f"series_{name}_reference": timed(_directly(opened, name, end), TIMES) for name in SPANS}


def _directly(opened: Any, name: str, end: datetime) -> Callable[[], Any]:
    tier, seconds = TIERS[name]
    devices = itertools.cycle(range(DEVICES))
    query = (
        f"SELECT {times.bucket('bucket', seconds)} AS start, sum(sum) / sum(n), min(min), max(max) FROM {tier} "
        f"WHERE device_id = ? AND measurement = 'temperature' "
        f"AND bucket >= {times.literal(end - timedelta(days=SPANS[name]))} GROUP BY 1 ORDER BY 1"
    )
    return lambda: opened.execute(query, [_device(next(devices))]).fetchall()


@contextmanager
def _serving(settings: Settings) -> Iterator[tuple[Callable[..., Any], Callable[[], float]]]:
    """(how to ask, how many MB the process has) of the API as a process of its own."""
    import os

    import psutil
    import requests

    live = settings.live.model_copy(update={"port": endpoints.free_port()})
    settings = settings.model_copy(update={"live": live})
    command = [sys.executable, "-m", "edge_assets.serving"]
    process = subprocess.Popen(
        command, env={**os.environ, **settings.environment()}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    session, address = requests.Session(), f"http://{live.host}:{live.port}/api/v1"

    def ask(path: str, asked: dict[str, Any], headers: dict[str, str] | None = None) -> requests.Response:
        answer = session.get(address + path, params=asked, headers=headers, timeout=60)
        answer.raise_for_status()
        return answer

    try:
        _wait_until_up(process, lambda: ask("/status", {}))
        yield ask, lambda: round(psutil.Process(process.pid).memory_info().rss / 1e6, 1)
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_up(process: subprocess.Popen[bytes], ask: Callable[[], Any], seconds: float = 30) -> None:
    import requests

    deadline = time.monotonic() + seconds
    while True:
        try:
            ask()
            return
        except requests.ConnectionError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _make_windows(settings: Settings, end: datetime) -> None:
    """A day of windows, as the stream and its maintenance leave them."""
    from deltalake import write_deltalake

    window = min(settings.windows.tables, key=lambda table: table.step_seconds)
    table = window_table(window)
    path = settings.lake_path / table.layer / table.name
    path.parent.mkdir(parents=True, exist_ok=True)
    last_hour = end - timedelta(hours=1)
    cuts = [end - timedelta(days=1) + number * timedelta(hours=1) for number in range(24)]
    cuts += [last_hour + number * timedelta(hours=1) / SMALL_FILES for number in range(1, SMALL_FILES + 1)]
    for begin, until in itertools.pairwise(cuts):
        write_deltalake(path, _windows(table, window.step_seconds, begin, until), mode="append", partition_by=["date"])


def _windows(table: Any, step: int, begin: datetime, until: datetime) -> Any:
    import duckdb

    from edge_assets.warehouse.duck_types import from_spark

    own = {
        "window_start": "moment",
        "window_end": "moment + INTERVAL 10 SECOND",
        "room_id": "'room' || room",
        "date": times.utc_day("moment"),
        **dict.fromkeys(("avg_temperature", "min_temperature", "max_temperature"), "21 + room + sin(epoch(moment))"),
    }
    columns = ", ".join(f"CAST({own.get(c.name, 'NULL')} AS {from_spark(c.type)}) AS {c.name}" for c in table.columns)
    query = (
        f"SELECT {columns} FROM (SELECT make_timestamptz(s.range * 1000000) AS moment, r.range AS room "
        f"FROM range({int(begin.timestamp())}, {int(until.timestamp())}, {step}) s, range({ROOMS}) r)"
    )
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone = 'UTC'")
        return opened.sql(query).to_arrow_table()
