"""`edge bench query`: how fast charts are over a year of one home, beside DuckDB over raw silver in the same run.

50 devices, 7 measurements each, a message every 5 minutes. Each question is asked on a fresh connection, as a page that
is opened asks it, and again on one that stays open. The reference asks the same of `silver.readings`.
"""

from __future__ import annotations

import shutil
import statistics
import time
from datetime import datetime, timedelta
from typing import Any

from edge_assets.bench import made_home
from edge_assets.settings import Settings
from edge_assets.warehouse.rollups import times
from edge_assets.warehouse.rollups.measurements import COUNTS

DAYS, DEVICES, EVERY_SECONDS = 365, 50, 300
TIMES, REFERENCE_TIMES = 30, 3
DEVICE = "0x0000000000000007"
SERIES = f"device_id = '{DEVICE}' AND measurement = 'temperature'"


def run(settings: Settings, days: int = DAYS) -> dict[str, Any]:
    """By question: p50 and p95 in ms; then memory and sizes."""
    import psutil

    from edge_assets.warehouse.rollups.layout import database_path
    from edge_assets.warehouse.rollups.update import update

    home = settings.home / "bench" / "query"
    shutil.rmtree(home, ignore_errors=True)
    own = settings.model_copy(update={"home": home, "lake": settings.lake.model_copy(update={"path": None})})
    now = made_home.midnight()
    rows = made_home.make(own, days, DEVICES, EVERY_SECONDS, now)
    built = update(own)
    found: dict[str, Any] = {"readings": rows, "days": days, "build_seconds": round(built.seconds, 1)}
    before = psutil.Process().memory_info().rss
    for name, (rollup, _) in questions(now).items():
        found[name] = _rollup(str(database_path(own)), rollup)
    found["memory_mb_more"] = round((psutil.Process().memory_info().rss - before) / 1e6, 1)
    for name, (_, raw) in questions(now).items():
        found[f"{name}_reference"] = _raw(own, raw)
    found["lake_mb"] = _mb(own.lake_path)
    found["rollups_mb"] = _mb(home / "warehouse")
    shutil.rmtree(home)
    return found


def questions(now: datetime) -> dict[str, tuple[str, str]]:
    """(of the rollups, the same of silver)"""

    def chart(rollup: str, span: timedelta, seconds: int) -> tuple[str, str]:
        begin = times.literal(now - span)
        figures = "min(value) AS min, max(value) AS max, avg(value) AS avg"
        return (
            f"SELECT bucket, min, max, avg FROM {rollup} WHERE {SERIES} AND bucket >= {begin} ORDER BY bucket",
            f"SELECT {times.bucket('event_time', seconds)} AS bucket, {figures} FROM silver.readings "
            f"WHERE {SERIES} AND {COUNTS} AND event_time >= {begin} GROUP BY 1 ORDER BY 1",
        )

    return {
        "chart_of_a_day": chart("readings_1m", timedelta(days=1), times.MINUTE),
        "chart_of_a_month": chart("readings_1h", timedelta(days=31), times.HOUR),
        "chart_of_a_year": chart("readings_1d", timedelta(days=365), times.DAY),
        "device_health": (
            "FROM device_health",
            "SELECT device_id, max(event_time), arg_max(value, event_time) FILTER (measurement = 'battery') "
            "FROM silver.readings GROUP BY device_id",
        ),
        "energy_of_a_year": (
            "SELECT day, sum(energy_kwh) FROM energy_daily GROUP BY day ORDER BY day",
            "SELECT day, sum(greatest(step, 0)) FROM (SELECT date AS day, value - lag(value) OVER ("
            "PARTITION BY device_id ORDER BY event_time) AS step FROM silver.readings WHERE measurement = 'energy') "
            "GROUP BY day ORDER BY day",
        ),
    }


def _rollup(path: str, query: str) -> dict[str, Any]:
    import duckdb

    fresh, kept = [], []
    for _ in range(TIMES):
        begun = time.perf_counter()
        with duckdb.connect(path, read_only=True) as opened:
            opened.execute(query).fetchall()
        fresh.append(time.perf_counter() - begun)
    with duckdb.connect(path, read_only=True) as opened:
        for _ in range(TIMES):
            begun = time.perf_counter()
            opened.execute(query).fetchall()
            kept.append(time.perf_counter() - begun)
    return {"fresh": _figures(fresh), "kept_open": _figures(kept)}


def _raw(settings: Settings, query: str) -> dict[str, Any]:
    from edge_assets.warehouse.sql import run_sql

    taken = []
    for _ in range(REFERENCE_TIMES):
        begun = time.perf_counter()
        run_sql(settings, query, "csv")
        taken.append(time.perf_counter() - begun)
    return _figures(taken)


def _figures(seconds: list[float]) -> dict[str, Any]:
    ordered = sorted(seconds)
    p95 = ordered[min(round(len(ordered) * 0.95), len(ordered) - 1)]
    return {"p50_ms": round(statistics.median(ordered) * 1e3, 1), "p95_ms": round(p95 * 1e3, 1)}


def _mb(folder: Any) -> float:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1)
