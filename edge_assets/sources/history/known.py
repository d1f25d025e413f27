"""What the lake has already, so that nothing is imported twice; and waiting until it has what was sent before.

What is in the log and not yet in the tables could not be found there. So before the tables are asked, the stream
writer's positions must have reached the end of the imports' topic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from edge_assets.errors import LogError, NotRunning
from edge_assets.log_record import Place
from edge_assets.service import lock_holder, read_status
from edge_assets.settings import Settings
from edge_assets.sources.history.lines import Entry
from edge_assets.warehouse.log_ends import LogEnds
from edge_assets.warehouse.sql import connect

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

WRITTEN_SECONDS = 600.0
"""How long the stream writer may take to move on, before it is given up."""
POLL_SECONDS = 0.3

Say = Callable[[str], None]


def wait_until_written(settings: Settings, ends: LogEnds, progress: Say) -> None:
    """Wait until the tables hold what the imports' topic holds now.

    Raises `NotRunning` where no stream writer is there that could write it, `LogError` where it does not move on.
    """
    ends_of = {place: end for place, end in ends.ends.items() if end > ends.begins[place]}
    left, moved = _left(settings, ends_of), time.monotonic()
    while left:
        if lock_holder(settings, "stream_writer") is None:
            raise NotRunning(
                f"import: {left} records of earlier imports are in the log and not in the tables yet, and no stream "
                "writer runs to write them; start it with `edge up`, then import again"
            )
        if time.monotonic() - moved > WRITTEN_SECONDS:
            raise LogError(
                f"import: the stream writer has {left} records of earlier imports to write and did not move on in "
                f"{WRITTEN_SECONDS:.0f} s; see `edge status`, then import again"
            )
        progress(f"waiting until {left} records of earlier imports are in the tables")
        time.sleep(POLL_SECONDS)
        now = _left(settings, ends_of)
        if now != left:
            left, moved = now, time.monotonic()


def _left(settings: Settings, ends: dict[Place, int]) -> int:
    """Records that the stream writer has yet to write."""
    positions = read_status(settings, "stream_writer").get("positions", {})
    left = sum(max(end - positions.get(f"{topic}/{number}", 0), 0) for (_, topic, number), end in ends.items())
    if left or not ends:
        return left
    # The writer's file does not say of which log its positions are: the tables do.
    written = _positions(settings, {log_id for log_id, _, _ in ends})
    return sum(max(end - written.get(place, 0), 0) for place, end in ends.items())


def _positions(settings: Settings, log_ids: Iterable[str]) -> dict[Place, int]:
    with connect(settings) as lake:
        rows = lake.execute(
            "SELECT log_id, kafka_topic, kafka_partition, max(kafka_offset) + 1 FROM bronze.events "
            "WHERE list_contains(?, log_id) GROUP BY ALL",
            [list(log_ids)],
        ).fetchall()
    return {(log_id, topic, number): end for log_id, topic, number, end in rows}


class Known:
    """The readings of some devices, as they were in the lake when this was made."""

    def __init__(self, settings: Settings, devices: Iterable[str]) -> None:
        self._lake: DuckDBPyConnection = connect(settings)
        self._lake.execute("CREATE TEMP TABLE wanted AS SELECT unnest(?::VARCHAR[]) AS device", [list(devices)])
        self._ranges = {device: (low, high) for device, low, high in self._lake.execute(_RANGES).fetchall()}

    def close(self) -> None:
        with suppress(Exception):
            self._lake.close()

    def new(self, entries: list[Entry]) -> list[dict[str, object]]:
        """Of each entry the measurements that the lake does not have for its device and time."""
        there = self._there(entries)
        return [
            {name: value for name, value in entry.measurements.items() if (entry.device, entry.at, name) not in there}
            for entry in entries
        ]

    def _there(self, entries: list[Entry]) -> set[tuple[str, int, str]]:
        asked = [entry for entry in entries if self._may_have(entry)]
        if not asked:
            return set()
        low, high = min(entry.at for entry in asked), max(entry.at for entry in asked)
        return set(self._lake.execute(_THERE, [low, high]).fetchall())

    def _may_have(self, entry: Entry) -> bool:
        low, high = self._ranges.get(entry.device, (1, 0))
        return low <= entry.at <= high


_OF_DEVICES = """(
    SELECT device_name AS device, event_time, measurement FROM silver.readings SEMI JOIN wanted ON device = device_name
    UNION ALL
    SELECT device_id, event_time, measurement FROM silver.readings SEMI JOIN wanted ON device = device_id
    WHERE device_id IS DISTINCT FROM device_name)"""
_RANGES = f"SELECT device, epoch_us(min(event_time)), epoch_us(max(event_time)) FROM {_OF_DEVICES} GROUP BY device"
# An object's measurements have dots in their names: what is before the first is the property that was sent.
_THERE = f"""SELECT DISTINCT device, epoch_us(event_time), split_part(measurement, '.', 1) FROM {_OF_DEVICES}
    WHERE event_time BETWEEN make_timestamptz(?) AND make_timestamptz(?)"""
