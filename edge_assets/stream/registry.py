"""The registry of devices (`edge_assets.decoding.registry`) as Spark joins with it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from edge_assets.decoding import registry
from edge_assets.decoding.registry import BadRegistry, Entry, Source
from edge_assets.settings import Route
from edge_assets.stream.decode import Lookup, text

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["BadRegistry", "Entry", "Registry", "Source"]

ENTRY_COLUMNS = (
    "entry int, base_topic string, name string, device_id string, model string, device_kind string, "
    "valid_from bigint, valid_to bigint"
)
PROPERTY_COLUMNS = (
    "entry int, measurement string, type string, unit string, value_on string, value_off string, "
    "value_min double, value_max double, plausible_min double, plausible_max double"
)


class Registry(registry.Registry):
    """The same, which can be looked up by Spark."""

    def lookup(self, spark: SparkSession, routes: Sequence[Route]) -> Lookup:
        """The registry as frames for decoding, with what the routes say of bare topics.

        At any time a name has one owner at most, so that no record doubles.
        """
        devices = []
        for owner in self.owners():
            entry = self.entries[owner.entry]
            who = (owner.entry, owner.base_topic, owner.name, entry.device_id, entry.model, entry.kind)
            devices.append((*who, owner.since, owner.until))
        described = (*self.properties(), *registry.bare_properties(routes))
        properties = [(number, name, *astuple(about)) for number, name, about in described]
        times = {name: F.timestamp_micros(name) for name in ("valid_from", "valid_to")}
        # Held: each batch joins them, and making them anew would cost a parse each time.
        return Lookup(
            small_frame(spark, devices, ENTRY_COLUMNS).withColumns(times).persist(),
            small_frame(spark, properties, PROPERTY_COLUMNS).persist(),
        )


def small_frame(spark: SparkSession, rows: Sequence[tuple[Any, ...]], columns: str) -> DataFrame:
    """Rows as a frame, by way of JSON, which Spark reads itself: `createDataFrame` would start Python workers."""
    told = json.dumps([dict(zip(_names(columns), row, strict=True)) for row in rows])
    schema = f"array<struct<{columns}>>"
    return spark.range(1).selectExpr(f"inline(from_json({text(told)}, {text(schema)}))")


def _names(columns: str) -> list[str]:
    """The names in a list of columns as SQL writes it; commas within a type do not count."""
    flat = re.sub(r"<[^<>]*>", "", re.sub(r"<[^<>]*>", "", columns))
    return [column.split()[0] for column in flat.split(",")]
