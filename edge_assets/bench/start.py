"""`edge bench start`: from `edge up` (set-up done) to the first row in silver.readings, on a fresh home and again.

The reference of the same run is what can't be left out: Kafka alone until it answers, and a bare Spark session until
its first answer, one after the other.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import Any

from edge_assets.bench import whole_platform
from edge_assets.errors import PlatformError
from edge_assets.platform import log
from edge_assets.settings import Settings
from edge_assets.warehouse.sql import run_sql

ROW_SECONDS = 300.0
POLL_SECONDS = 0.5


def run(settings: Settings) -> dict[str, Any]:
    """Seconds, from the command on."""
    own = whole_platform.own_settings(settings, "start")
    whole_platform.prepare(own)
    found: dict[str, Any] = {"cores": os.cpu_count(), "trigger_seconds": own.stream.trigger_seconds}
    found["reference"] = _reference(whole_platform.own_settings(settings, "start_reference"))
    found["first"] = _measure(own)
    found["again"] = _measure(own)
    shutil.rmtree(own.home)
    return found


def _measure(settings: Settings) -> dict[str, float]:
    before = rows(settings)
    begun = time.monotonic()
    with whole_platform.running(settings) as up_seconds:
        while rows(settings) <= before:
            if time.monotonic() - begun > ROW_SECONDS:
                raise PlatformError(
                    f"waiting for the first row in {settings.lake_path}: none in {ROW_SECONDS:.0f} s; "
                    f"see {settings.home / 'logs'}"
                )
            time.sleep(POLL_SECONDS)
        row_seconds = time.monotonic() - begun
        stopping = time.monotonic()
    return {
        "up_seconds": round(up_seconds, 1),
        "first_row_seconds": round(row_seconds, 1),
        "down_seconds": round(time.monotonic() - stopping, 1),
    }


def rows(settings: Settings) -> int:
    """Rows in silver.readings. Looks at the tables only once files are there: asking costs the platform its CPU."""
    if not any(settings.lake_path.glob("silver/readings/**/*.parquet")):
        return 0
    return json.loads(run_sql(settings, "select count(*) as rows from silver.readings", "json"))[0]["rows"]


def _reference(settings: Settings) -> dict[str, float]:
    begun = time.monotonic()
    log.stop(log.start(settings))
    kafka_seconds = time.monotonic() - begun
    with whole_platform.spark_alone(settings) as (spark_seconds, _):
        pass
    shutil.rmtree(settings.home)
    return {
        "kafka_seconds": round(kafka_seconds, 1),
        "spark_seconds": round(spark_seconds, 1),
        "sum_seconds": round(kafka_seconds + spark_seconds, 1),
    }
