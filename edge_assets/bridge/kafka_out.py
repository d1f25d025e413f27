"""Records into Kafka: idempotent, `acks=all`, in order, and patient.

A record is never given up for lack of time (`message.timeout.ms=0`): while Kafka is away, librdkafka keeps trying and
the bridge stops reading. What Kafka refuses for its own sake goes to the dead-letter topic. Any other error means that
order or once-ness cannot be kept by this producer: `lost` is set, and the bridge begins anew as after a crash.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource

from edge_assets.bridge import dead_letters
from edge_assets.bridge.acks import Pending
from edge_assets.errors import LogError
from edge_assets.log_record import HEADER
from edge_assets.platform.log import bootstrap, client_options
from edge_assets.settings import Settings

LINGER_MS = 3
SILENCE_SECONDS = 5.0
ADMIN_SECONDS = 10
RECORD_REFUSED = {
    KafkaError.MSG_SIZE_TOO_LARGE: "too_large",
    KafkaError.INVALID_MSG_SIZE: "invalid_size",
    KafkaError.INVALID_MSG: "invalid_message",
    KafkaError.INVALID_RECORD: "invalid_record",
}
PURGED = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}

log = logging.getLogger(__name__)


class KafkaOut:
    """The producer of one incarnation. Not thread-safe: delivery reports come in `poll`."""

    def __init__(self, settings: Settings, limit: int) -> None:
        self.lost: LogError | None = None
        """why nothing more can be sent"""
        self.dead_letters = 0
        self._settings = settings
        self._limit = limit
        self._producer = Producer(
            _options(settings, limit), error_cb=self._on_error, logger=logging.getLogger(f"{__name__}.librdkafka")
        )
        self.poll = self._producer.poll
        self._produce = self._producer.produce
        self._down = False

    def send(self, topic: str, key: bytes, value: bytes, pending: Pending) -> None:
        """Send one record; its delivery report goes to `pending`."""
        if len(value) + len(key) + len(pending.header) + dead_letters.RECORD_OVERHEAD_BYTES > self._limit:
            self._send_dead_letter("too_large", topic, key, value, pending)
            return
        pending.failed = self._failed
        try:
            self._produce(topic, value, key, headers=[(HEADER, pending.header)], on_delivery=pending)
        except BufferError:
            self._wait_for_room()
            self.send(topic, key, value, pending)
        except KafkaException as error:
            self._refused(error.args[0], topic, key, value, pending)

    def send_control(self, partitions: Mapping[str, int], key: str, value: Mapping[str, Any]) -> Control:
        """Send a control record to every partition of the topics."""
        control = Control(self._on_control_failed)
        for topic, count in partitions.items():
            for partition in range(count):
                control.parts += 1
                self._produce(topic, json.dumps(value), key, partition=partition, on_delivery=control)
        return control

    def wait_for(self, control: Control, stop: threading.Event) -> None:
        """Wait until a control record is in the log everywhere. Raises `LogError` where it cannot get there."""
        while control.parts and not stop.is_set():
            self.poll(0.1)
            if self.lost:
                raise self.lost

    def delivered(self) -> None:
        """Kafka has answered."""
        if self._down:
            log.warning("Kafka at %s answers again", bootstrap(self._settings))
        self._down = False

    def silent(self, since: float) -> None:
        """Something has been on its way since that (monotonic) time."""
        if time.monotonic() - since > SILENCE_SECONDS:
            self._log_down("no acknowledgement")

    @property
    def connected(self) -> bool:
        return not self._down

    def close(self, seconds: float = 0) -> None:
        """Give what is on its way so many seconds, then forget it: it was not acknowledged to the broker either."""
        if seconds and not self.lost:
            self._producer.flush(seconds)
        self._producer.purge()
        self._producer.flush(1)

    def _send_dead_letter(self, reason: str, topic: str, key: bytes, value: bytes, pending: Pending) -> None:
        """All pieces count: the message is settled when the last of them is in the log."""
        self.dead_letters += 1
        room = self._limit - len(key) - len(pending.header) - len(topic) - 2 * dead_letters.RECORD_OVERHEAD_BYTES
        pieces = list(dead_letters.in_pieces(value, reason, topic, room))
        pending.parts, pending.failed = len(pieces), self._on_dead_letter_failed
        for part, piece in pieces:
            headers: list[tuple[str, Any]] = [(HEADER, pending.header), (dead_letters.HEADER, piece.encode())]
            self._produce_patiently(self._settings.bridge.dead_letter_topic, part, key, headers, pending)

    def _produce_patiently(self, topic: str, value: bytes, key: bytes, headers: list[Any], pending: Pending) -> None:
        try:
            self._produce(topic, value, key, headers=headers, on_delivery=pending)
        except BufferError:
            self._wait_for_room()
            self._produce_patiently(topic, value, key, headers, pending)
        except KafkaException as error:
            self._on_dead_letter_failed(pending, error.args[0], None)

    def _wait_for_room(self) -> None:
        """librdkafka's queue is full; the bounds of the bridge are below its, so this is rare and short."""
        self.poll(0.1)
        if self.lost:
            raise self.lost

    def _failed(self, pending: Pending, error: KafkaError, record: Any) -> None:
        if error.code() not in PURGED:
            self._refused(error, record.topic(), record.key() or b"", record.value() or b"", pending)

    def _refused(self, error: KafkaError, topic: str, key: bytes, value: bytes, pending: Pending) -> None:
        reason = RECORD_REFUSED.get(error.code())
        if reason is None or error.fatal():
            self._lose(f"writing to {topic!r}", error)
        else:
            log.warning("Kafka refused a record of %r (%s): it goes to the dead letters", key, error.name())
            self._send_dead_letter(reason, topic, key, value, pending)

    def _on_dead_letter_failed(self, pending: Pending, error: KafkaError, record: Any) -> None:
        if error.code() not in PURGED:
            self._lose(f"writing to the dead-letter topic {self._settings.bridge.dead_letter_topic!r}", error)

    def _on_control_failed(self, pending: Pending, error: KafkaError, record: Any) -> None:
        if error.code() not in PURGED:
            self._lose(f"writing a control record to {record.topic()!r}", error)

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka's own news; nearly all of it mends itself."""
        if error.fatal():
            self._lose("writing", error)
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._log_down(error.str())

    def _log_down(self, why: str) -> None:
        if not self._down:
            log.warning("Kafka at %s is away (%s): the MQTT broker queues", bootstrap(self._settings), why)
        self._down = True

    def _lose(self, operation: str, error: KafkaError) -> None:
        if self.lost is None:
            self.lost = LogError(
                f"{operation} at {bootstrap(self._settings)}: {error.name()}: {error.str()}; "
                "nothing was acknowledged that the log has not; the bridge begins anew"
            )


class Control(Pending):
    """A control record on its way to every partition; `offsets` by (topic, partition)."""

    __slots__ = ("offsets",)

    def __init__(self, failed: Any) -> None:
        super().__init__(0, 0, False, failed=failed)
        self.parts = 0
        self.offsets: dict[tuple[str, int], int] = {}

    def __call__(self, error: Any, record: Any) -> None:
        if error is None:
            self.offsets[record.topic(), record.partition()] = record.offset()
        super().__call__(error, record)


def _options(settings: Settings, limit: int) -> dict[str, Any]:
    return {
        "client.id": f"edge-{settings.bridge.id}",
        "log_level": 2,  # it tells of each attempt to connect; an outage is logged here, once
        "linger.ms": LINGER_MS,
        "partitioner": "murmur2_random",  # as Kafka's own Java producer
        "reconnect.backoff.max.ms": 2_000,
        "retry.backoff.max.ms": 1_000,
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 1_048_576,
        **client_options(settings),
        # The promise stands on these, so that nobody's options come after them.
        "enable.idempotence": True,
        "acks": "all",
        "message.timeout.ms": 0,
        "message.max.bytes": limit,
    }


def record_limit(settings: Settings, topics: Sequence[str]) -> int:
    """Bytes that a record may have: the setting, or less where a topic of the log says less."""
    asked = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics]
    limit = settings.kafka.max_message_bytes
    admin = AdminClient(client_options(settings))  # held until the answers are there
    try:
        for answer in admin.describe_configs(asked).values():
            limit = min(limit, int(answer.result(ADMIN_SECONDS)["max.message.bytes"].value))
    except (KafkaException, KeyError, ValueError) as error:
        log.warning("asking for the record limit: %s; the setting EDGE_KAFKA__MAX_MESSAGE_BYTES is taken", error)
    return limit
