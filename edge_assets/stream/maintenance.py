"""Keeping the lake small: joining small files, and dropping what was replaced long ago.

The stream writes a file per table and batch; a day of them is thousands. Joining rewrites rows, it never changes
them. It runs in the stream writer, between two batches, because nobody else may commit to these tables.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from edge_assets.settings import Settings
from edge_assets.stream.lake import Lake
from edge_assets.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

FEW_FILES = 8


class Maintenance:
    def __init__(self, spark: SparkSession, lake: Lake, settings: Settings) -> None:
        self._spark = spark
        self._lake = lake
        self._settings = settings
        self._last = time.monotonic()

    def due(self) -> bool:
        minutes = self._settings.stream.compact_minutes
        return minutes > 0 and time.monotonic() - self._last > minutes * 60

    def run(self) -> None:
        """Join the small files of each table's newest days, then drop files that nothing names any more."""
        self._last = time.monotonic()
        for table in TABLES:
            self._compact(self._lake.location(table), "date" in table.partitioned_by)
            self._vacuum(self._lake.location(table))

    def _compact(self, location: str, dated: bool) -> None:
        from delta.tables import DeltaTable

        optimize = DeltaTable.forPath(self._spark, location).optimize()
        if dated:
            optimize = optimize.where("date >= date_sub(current_date(), 2)")
        optimize.executeCompaction()

    def _vacuum(self, location: str) -> None:
        from delta.tables import DeltaTable

        # Below Delta's own week: there is one writer, and readers here hold a snapshot for seconds.
        self._spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
        DeltaTable.forPath(self._spark, location).vacuum(self._settings.stream.vacuum_hours)
