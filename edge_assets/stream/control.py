"""Records that teach the stream something: descriptions of devices, barriers of bridges, clocks that were set.

They are few (a handful a day), so they come to the driver whole. What each means is in `edge_assets.log_record`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edge_assets import log_record
from edge_assets.settings import Settings
from edge_assets.stream.decode import POSITION_COLUMNS, Fence, Knowledge, topics_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

log = logging.getLogger(__name__)

KEPT_FENCES = 8


def teaching(records: DataFrame, knowledge: Knowledge, settings: Settings) -> list[Any]:
    """The batch's teaching records, oldest first: position, key, payload, received_us."""
    plain = topics_of(records, knowledge, settings)
    rows = plain.where("kind IN ('registry', 'control') AND length(payload) > 0").selectExpr(
        *POSITION_COLUMNS, "key", "payload", "unix_micros(received_at) AS received_us"
    )
    return sorted(rows.collect(), key=lambda row: (row.received_us, row.kafka_partition, row.kafka_offset))


def apply(knowledge: Knowledge, record: Any, kept: int = KEPT_FENCES) -> Knowledge:
    """What is known after a control record. One that is not as it should be (someone else wrote it) teaches nothing.

    `kept`: so many barriers of each bridge and partition are remembered; who looks far back needs them all.
    """
    try:
        told = json.loads(bytes(record.payload))
        if record.key == log_record.BARRIER_KEY:
            return _with_fence(
                knowledge,
                Fence(
                    record.log_id,
                    record.kafka_partition,
                    str(told["bridge"]),
                    _bigint(told["incarnation"]),
                    record.kafka_offset,
                ),
                kept,
            )
        if record.key == log_record.CLOCK_KEY:
            return replace(knowledge, clocks={**knowledge.clocks, str(told["boot"]): _bigint(told["offset_us"])})
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        log.warning("record %s %s@%s is no control record", record.key, record.kafka_partition, record.kafka_offset)
    return knowledge


def _bigint(value: Any) -> int:
    """A number that Spark can take: a greater one would fail each batch from now on."""
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{number} is beyond 64 bits")
    return number


def _with_fence(knowledge: Knowledge, fence: Fence, kept: int) -> Knowledge:
    """Keep the newest barriers of each bridge and partition: one batch may hold several starts."""
    same = [
        f
        for f in knowledge.fences
        if (f.log_id, f.kafka_partition, f.bridge) == (fence.log_id, fence.kafka_partition, fence.bridge)
    ]
    if any(f.kafka_offset == fence.kafka_offset for f in same):
        return knowledge
    newest = sorted([*same, fence], key=lambda f: f.kafka_offset)[-kept:]
    others = tuple(f for f in knowledge.fences if f not in same)
    return replace(knowledge, fences=(*others, *newest))
