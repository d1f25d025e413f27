"""Windows as they go back to Kafka: `telemetry.<room>.downsampled`, JSON, the key is the room.

At least once: what `gold` has committed and Kafka has not acknowledged is sent again. The same window has the same
bytes, so whoever reads tells a repeat by room, `window_start` and `window_end`; one that has `"correction": true` takes
the place of what was said before, and one that is `"withdrawn": true` besides says that the window is no more, since a
repair has left it without a message.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from edge_assets.errors import LogError
from edge_assets.platform import log as kafka_log
from edge_assets.settings import Settings
from edge_assets.tables import WINDOW

SUFFIX = ".downsampled"
FLUSH_SECONDS = 30.0
COLUMNS = [column.name for column in WINDOW if column.name != "date"]
_TIMES = ("window_start", "window_end")
_NOTHING: dict[str, Any] = dict.fromkeys(COLUMNS)


class Publisher:
    """Writes windows to Kafka. One instance per process; the client is made with the first window."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: Any = None
        self._known: set[str] = set()
        self.published = 0

    def publish(self, rows: Iterable[Any], correction: bool = False) -> int:
        """Send windows (columns of `tables.WINDOW`, times in µs since 1970, and `kafka_topic`: the room's own) and wait
        for Kafka's word on each. Returns how many. Raises `LogError`: some or all of them may not be there."""
        return self._send((row["kafka_topic"], row["room_id"], message(row, correction=correction)) for row in rows)

    def withdraw(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Send word of windows (their keys, `window_end` and `kafka_topic`) that are no more; else like `publish`."""
        marks = {"correction": True, "withdrawn": True}
        nothing = _NOTHING | {"site": self._settings.site}
        return self._send((row["kafka_topic"], row["room_id"], message({**nothing, **row}, **marks)) for row in rows)

    def _send(self, messages: Iterable[tuple[str, str, bytes]]) -> int:
        """(topic of the room, room, message)"""
        failed: list[str] = []

        def delivered(error: Any, _: Any) -> None:
            if error is not None:
                failed.append(str(error))

        count = 0
        for source, room_id, value in messages:
            self._produce(self._topic(source), room_id.encode(), value, delivered)
            count += 1
        left = self._client().flush(FLUSH_SECONDS) if count else 0
        if failed or left:
            raise LogError(f"publishing {count} windows: {failed[0] if failed else f'{left} without an answer'}")
        self.published += count
        return count

    def _produce(self, topic: str, key: bytes, value: bytes, delivered: Any) -> None:
        client = self._client()
        try:
            client.produce(topic, value, key, on_delivery=delivered)
            client.poll(0)
        except BufferError:  # 100,000 are under way
            client.poll(1)
            client.produce(topic, value, key, on_delivery=delivered)

    def _topic(self, source: str) -> str:
        """Made with the retention of the room's own topic."""
        name = source + SUFFIX
        if name not in self._known:
            kept = kafka_log.read_topics(self._settings, [source]).get(source)
            kafka_log.ensure_topic(self._settings, name, kept)
            self._known.add(name)
        return name

    def _client(self) -> Any:
        if self._producer is None:
            from confluent_kafka import Producer

            options = {
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 20_000,
                "log_level": 0,
            }
            self._producer = Producer({**options, **kafka_log.client_options(self._settings)})
        return self._producer


def message(row: Any, **marks: bool) -> bytes:
    """A window as JSON: its columns in the table's order but the partition's, times as ISO 8601 in UTC; then marks."""
    told = {name: _time(row[name]) if name in _TIMES else row[name] for name in COLUMNS}
    return json.dumps({**told, **marks}, separators=(",", ":"), ensure_ascii=False).encode()


def _time(micros: int) -> str:
    at = datetime.fromtimestamp(micros / 1_000_000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
