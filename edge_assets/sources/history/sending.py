"""The producer of an import: idempotent, `acks=all`, and it knows up to which line all is in the log."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaException, Producer

from edge_assets.errors import LogError
from edge_assets.platform.log import bootstrap, client_options
from edge_assets.settings import Settings
from edge_assets.sources.history.record import Headers

GIVE_UP_SECONDS = 120
IN_FLIGHT = 5_000


class _Line:
    """A line on its way; called by the producer when its record is in the log, or is not."""

    __slots__ = ("_sender", "has_record", "is_settled", "number")

    def __init__(self, number: int, has_record: bool, sender: Sender) -> None:
        self.number = number
        self.has_record = has_record
        self.is_settled = not has_record
        self._sender = sender

    def __call__(self, error: Any, message: Any) -> None:
        if error is None:
            self.is_settled = True
            self._sender.ends[message.partition()] = message.offset() + 1
        else:
            self._sender.error = self._sender.error or error


class Sender:
    """Sends in the file's order. Raises `LogError` where Kafka is away for `GIVE_UP_SECONDS`, or refuses."""

    def __init__(self, settings: Settings) -> None:
        self.settled_line = 0
        """of all lines up to this one the record is in the log, or they needed none"""
        self.confirmed = 0
        """records that are in the log"""
        self.ends: dict[int, int] = {}
        """partition → the offset behind the last of them"""
        self.error: Any = None
        """why Kafka did not take one"""
        self._settings = settings
        self._topic = settings.history.topic
        self._lines: deque[_Line] = deque()
        self._producer = Producer(_options(settings), logger=logging.getLogger(f"{__name__}.librdkafka"))

    def passed(self, number: int) -> None:
        """A line that needs no record."""
        if not self._lines:
            self.settled_line = number
        else:
            self._lines.append(_Line(number, False, self))

    def send(self, number: int, key: bytes, value: bytes, headers: Headers) -> None:
        while len(self._lines) >= IN_FLIGHT:
            self.poll(0.2)
        line = _Line(number, True, self)
        self._lines.append(line)
        try:
            self._producer.produce(self._topic, value, key, headers=headers, on_delivery=line)  # type: ignore[arg-type]
        except KafkaException as error:
            raise self._problem(error.args[0]) from error

    def poll(self, seconds: float = 0) -> None:
        self._producer.poll(seconds)
        if self.error is not None:
            raise self._problem(self.error)
        while self._lines and self._lines[0].is_settled:
            line = self._lines.popleft()
            self.settled_line = line.number
            self.confirmed += line.has_record

    def flush(self, tick: Callable[[], None]) -> None:
        """Wait until all is in the log."""
        while self._lines:
            self.poll(0.2)
            tick()

    def close(self) -> None:
        """Forget what is on its way."""
        self._producer.purge()
        self._producer.flush(1)

    def _problem(self, error: Any) -> LogError:
        return LogError(
            f"import: writing to {self._topic!r} at {bootstrap(self._settings)}: {error.name()}: {error.str()}; "
            "what is in the log already will not be sent again: see `edge status`, then import again"
        )


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "client.id": "edge-import",
        "log_level": 2,
        "linger.ms": 20,
        "partitioner": "murmur2_random",  # as Kafka's own Java producer, and the bridge
        **client_options(settings),
        "enable.idempotence": True,
        "acks": "all",
        "message.timeout.ms": GIVE_UP_SECONDS * 1_000,
        "message.max.bytes": settings.kafka.max_message_bytes,
    }
