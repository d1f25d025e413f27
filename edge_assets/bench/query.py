"""`edge bench query`: how fast charts are over a year of one home, beside DuckDB and Spark over raw silver.

50 devices, 7 measurements each, a message every 5 minutes. Each question is asked on a fresh connection, as a page that
is opened asks it, and again on one that stays open. The references ask the same of `silver.readings`: `edge sql`,
and a Spark session with the stream writer's options.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from edge_assets.bench import made_home
from edge_assets.bench.figures import timed
from edge_assets.platform import jars, java
from edge_assets.settings import Settings
from edge_assets.tables import READINGS
from edge_assets.warehouse.rollups import times
from edge_assets.warehouse.rollups.measurements import COUNTS

DAYS, DEVICES, EVERY_SECONDS = 365, 50, 300
TIMES, REFERENCE_TIMES = 30, 3
DEVICE = "0x0000000000000007"
SERIES = f"device_id = '{DEVICE}' AND measurement = 'temperature'"
FIGURES = "min(value) AS min, max(value) AS max, avg(value) AS avg"
SPARK_COUNTS = "value IS NOT NULL AND (quality IS NULL OR NOT array_contains(split(quality, ' '), 'implausible'))"


@dataclass(frozen=True, slots=True)
class Question:
    """The same asked of the rollups, and of `silver.readings` by DuckDB and by Spark."""

    rollups: str
    silver: str
    spark: str


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
    asked = questions(now)
    for name, question in asked.items():
        found[name] = _rollup(str(database_path(own)), question.rollups)
    found["memory_mb_more"] = round((psutil.Process().memory_info().rss - before) / 1e6, 1)
    for name, question in asked.items():
        found[f"{name}_reference"] = _raw(own, question.silver)
    found |= {f"{name}_spark": figures for name, figures in _spark(own, asked).items()}
    found["lake_mb"] = _mb(own.lake_path)
    found["rollups_mb"] = _mb(home / "warehouse")
    shutil.rmtree(home)
    return found


def questions(now: datetime) -> dict[str, Question]:
    def chart(rollup: str, span: timedelta, seconds: int) -> Question:
        begin = times.literal(now - span)
        spark_begin = f"TIMESTAMP '{(now - span).astimezone(UTC).isoformat()}'"
        return Question(
            f"SELECT bucket, min, max, avg FROM {rollup} WHERE {SERIES} AND bucket >= {begin} ORDER BY bucket",
            f"SELECT {times.bucket('event_time', seconds)} AS bucket, {FIGURES} FROM silver.readings "
            f"WHERE {SERIES} AND {COUNTS} AND event_time >= {begin} GROUP BY 1 ORDER BY 1",
            f"SELECT timestamp_seconds(floor(unix_seconds(event_time) / {seconds}) * {seconds}) AS bucket, {FIGURES} "
            f"FROM readings WHERE {SERIES} AND {SPARK_COUNTS} AND event_time >= {spark_begin} GROUP BY 1 ORDER BY 1",
        )

    def alike(rollups: str, silver: str) -> Question:
        spark = silver.replace("silver.readings", "readings").replace("arg_max", "max_by")
        return Question(rollups, silver, spark)

    return {
        "chart_of_a_day": chart("readings_1m", timedelta(days=1), times.MINUTE),
        "chart_of_a_month": chart("readings_1h", timedelta(days=31), times.HOUR),
        "chart_of_a_year": chart("readings_1d", timedelta(days=365), times.DAY),
        "device_health": alike(
            "FROM device_health",
            "SELECT device_id, max(event_time), arg_max(value, event_time) FILTER (WHERE measurement = 'battery') "
            "FROM silver.readings GROUP BY device_id",
        ),
        "energy_of_a_year": alike(
            "SELECT day, sum(energy_kwh) FROM energy_daily GROUP BY day ORDER BY day",
            "SELECT day, sum(greatest(step, 0)) FROM (SELECT date AS day, value - lag(value) OVER ("
            "PARTITION BY device_id ORDER BY event_time) AS step FROM silver.readings WHERE measurement = 'energy') "
            "GROUP BY day ORDER BY day",
        ),
    }


def _rollup(path: str, query: str) -> dict[str, Any]:
    import duckdb

    def once() -> None:
        with duckdb.connect(path, read_only=True) as opened:
            opened.execute(query).fetchall()

    fresh = timed(once, TIMES)
    with duckdb.connect(path, read_only=True) as opened:
        return {"fresh": fresh, "kept_open": timed(lambda: opened.execute(query).fetchall(), TIMES)}


def _raw(settings: Settings, query: str) -> dict[str, Any]:
    from edge_assets.warehouse.sql import run_sql

    return timed(lambda: run_sql(settings, query, "csv"), REFERENCE_TIMES)


def _spark(settings: Settings, asked: dict[str, Question]) -> dict[str, Any]:
    from edge_assets.stream.lake import Lake
    from edge_assets.stream.session import spark_session

    with spark_session(settings, jars.ensure_spark(settings), java.java_home(settings)) as spark:
        Lake(spark, settings.lake_path).read(READINGS).createOrReplaceTempView("readings")
        spark.sql("SELECT count(*) FROM readings").collect()  # the table's log is read once
        # Asked anew each time: a frame that is collected again would reuse what it has shuffled.
        return {
            name: timed(lambda query=question.spark: spark.sql(query).collect(), REFERENCE_TIMES)  # type: ignore[misc]
            for name, question in asked.items()
        }


def _mb(folder: Any) -> float:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1)
