"""The end of the log, read back by a bridge that starts: what did its predecessors log last?

Only records and barriers of the bridge's own identifier count. A record of a lower incarnation behind a barrier of a
higher one in its partition is fenced (see `edge_assets.log_record`), here as for every reader.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from edge_assets.bridge.dead_letters import HEADER as PIECE_HEADER
from edge_assets.bridge.dead_letters import Piece
from edge_assets.bridge.redelivery import WINDOW, Logged, digest_of
from edge_assets.errors import LogError
from edge_assets.log_record import BARRIER_KEY, HEADER, Header
from edge_assets.platform.log import bootstrap, client_options
from edge_assets.settings import Settings

READ_AT_ONCE = 500
SEARCHED = 1_000_000
SILENCE_SECONDS = 10.0
BATCH_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Event:
    """A record or a barrier of this bridge; `order` sorts the events of one incarnation. There are many: no more in
    it than is needed."""

    inc: int
    order: int
    epoch: str
    record: Logged | None = None
    """of a QoS 1 record"""
    at: int = 0
    """received time; 0: a barrier"""
    piece: Piece | None = None


@dataclass(slots=True)
class Tail:
    """What the end of the log says. `epoch` is empty and the numbers are 0 where there is nothing."""

    incarnation: int = 0
    epoch: str = ""
    records: list[Logged] = field(default_factory=list)
    """the QoS 1 records of that epoch, in no order"""
    last_at_us: int = 0
    """received time of the last record"""
    whole: bool = True
    """the records reach back to the start of the epoch in every partition"""
    cut_off: bool = False
    """in some partition the log begins (retention), or the search ended, before enough was read"""


@dataclass(slots=True)
class Part:
    """One partition's last events, in order.

    `begins`: 0 where they reach back to the log's very start, None where enough of them were found, else the offset at
    which the log is cut off, or at which the search was given up.
    """

    events: list[Event]
    begins: int | None


def read_tail(
    settings: Settings, partitions: Mapping[str, int], size: int, ends: Mapping[tuple[str, int], int] | None = None
) -> Tail:
    """Read the last records of every partition: up to `ends` (offsets of the own barriers), or all there is.

    `size` is how many logged messages the broker may be waiting for: `WINDOW` times as many records are used, and as
    many more are read before them. For a dead bridge has no more than that on their way: where so many precede a
    record and no higher incarnation is among them, it cannot lie behind a barrier that is further back. Raises
    `LogError` where Kafka does not answer.
    """
    wanted = (WINDOW + 1) * size

    def enough(events: list[Event]) -> bool:
        return sum(event.at > 0 for event in events) >= wanted

    return joined(_read_all(settings, partitions, enough, wanted, ends or {}), size)


def last_event(settings: Settings, partitions: Mapping[str, int]) -> Event | None:
    """The latest record or barrier of this bridge in the log. Raises `LogError`."""
    parts = _read_all(settings, partitions, bool, 8, {})
    every = (event for part in parts for event in part.events)
    return max(every, key=lambda event: (event.inc, event.order), default=None)


def _read_all(
    settings: Settings,
    partitions: Mapping[str, int],
    enough: Callable[[list[Event]], bool],
    step: int,
    ends: Mapping[tuple[str, int], int],
) -> list[Part]:
    consumer = Consumer(_options(settings))
    try:
        return [
            _read_back(consumer, TopicPartition(topic, number), settings.bridge.id, enough, step, ends)
            for topic, count in partitions.items()
            for number in range(count)
        ]
    except KafkaException as error:
        raise LogError(
            f"reading the end of the log at {bootstrap(settings)}: {error.args[0]}; does Kafka run?"
        ) from error
    finally:
        consumer.close()


def joined(parts: Sequence[Part], size: int) -> Tail:
    """The partitions together. Pure."""
    valid = [unfenced(part.events) for part in parts]
    every = [event for events in valid for event in events]
    if not every:
        return Tail(cut_off=any(part.begins for part in parts))
    latest = max(every, key=lambda event: (event.inc, event.order))
    tail = Tail(latest.inc, latest.epoch)
    tail.last_at_us = max(event.at for event in every)
    for part, events in zip(parts, valid, strict=True):
        records = list(_last_records(events, latest.epoch, WINDOW * size))
        tail.records += records
        older_epoch = any(event.epoch != latest.epoch for event in events)
        enough = sum(not record.marked for record in records) >= WINDOW * size
        tail.whole &= not enough and (older_epoch or part.begins == 0)
        tail.cut_off |= not enough and not older_epoch and bool(part.begins)
    return tail


def unfenced(events: Iterable[Event]) -> list[Event]:
    """One partition's events without records behind a higher incarnation, whose barrier lies before them."""
    highest, valid = 0, []
    for event in events:
        highest = max(highest, event.inc)
        if not event.at or event.inc == highest:
            valid.append(event)
    return valid


def _last_records(events: Sequence[Event], epoch: str, count: int) -> Iterator[Logged]:
    """From the end, until there are `count` that are not marked `maybe_repeat`."""
    complete = _complete_sets(events)
    for place in range(len(events) - 1, -1, -1):
        event = events[place]
        if count <= 0:
            return
        if event.record and event.epoch == epoch and place in complete:
            yield event.record
            count -= not event.record.marked


def _complete_sets(events: Sequence[Event]) -> set[int]:
    """Places of plain records, and of the last piece of each dead letter that has all its pieces."""
    places: set[int] = set()
    pieces: dict[tuple[int, int], set[int]] = {}
    for place, event in enumerate(events):
        if event.piece is None:
            places.add(place)
            continue
        seen = pieces.setdefault((event.inc, event.order), set())
        seen.add(event.piece.index)
        if len(seen) == event.piece.count:
            places.add(place)
    return places


def _read_back(
    consumer: Consumer,
    at: TopicPartition,
    own: str,
    enough: Callable[[list[Event]], bool],
    step: int,
    ends: Mapping[tuple[str, int], int],
) -> Part:
    """Go back step by step until `enough` is found, the log begins, or SEARCHED records were not ours."""
    low, high = consumer.get_watermark_offsets(at, timeout=SILENCE_SECONDS)
    end = start = ends.get((at.topic, at.partition), high)
    events: list[Event] = []
    while start > low and not enough(events) and end - start < SEARCHED:
        stop, start = start, max(low, start - step - step // 8 - 8)
        events = [*_read_range(consumer, TopicPartition(at.topic, at.partition, start), stop, own), *events]
        step *= 4
    return Part(events, begins=0 if start == 0 else None if enough(events) else start)


def _read_range(consumer: Consumer, at: TopicPartition, stop: int, own: str) -> list[Event]:
    """Events from `at` up to the offset `stop`."""
    consumer.assign([at])
    events: list[Event] = []
    for record in _consumed(consumer):
        offset = record.offset()
        if record.error() or offset >= stop:
            return events
        event = event_of(record, own)
        events += [event] if event else []
        if offset == stop - 1:
            return events
    return events


def _consumed(consumer: Consumer) -> Iterator[Any]:
    """Records, and the news that the partition ends. Raises `KafkaException` on errors and on a long silence."""
    heard = time.monotonic()
    while time.monotonic() - heard < SILENCE_SECONDS:
        # A batch is waited for until it is full, so the wait is short.
        for record in consumer.consume(READ_AT_ONCE, BATCH_SECONDS):
            heard = time.monotonic()
            error = record.error()
            if error and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            yield record
    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


def event_of(record: Any, own: str) -> Event | None:
    """What a Kafka record says of the bridge `own`; None where it is not of that bridge."""
    if record.key() == BARRIER_KEY.encode():
        return _barrier(record.value(), own)
    headers = dict(record.headers() or [])
    try:
        header = Header.decode(headers[HEADER])
        piece = Piece.decode(headers[PIECE_HEADER]) if PIECE_HEADER in headers else None
    except (KeyError, ValueError):
        return None
    if header.by != own:
        return None
    payload_sha256 = bytes.fromhex(piece.sha256) if piece else sha256(record.value() or b"").digest()
    digest = digest_of(record.key() or b"", payload_sha256)
    logged = Logged(header.mid, digest, header.dup, header.inc, header.mono, marked=header.rep)
    return Event(header.inc, header.mono, sys.intern(header.epoch), logged if header.mid else None, header.at, piece)


def _barrier(value: bytes | None, own: str) -> Event | None:
    try:
        said = json.loads(value or b"")
        return Event(said["incarnation"], said["mono"], said["epoch"]) if said["bridge"] == own else None
    except (KeyError, TypeError, ValueError):
        return None


def _options(settings: Settings) -> dict[str, Any]:
    return {
        **client_options(settings),
        "client.id": f"edge-{settings.bridge.id}-tail",
        "group.id": f"edge-{settings.bridge.id}-tail",  # wanted by the library; nothing is committed
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 10,  # the next question waits behind a fetch on the same connection
        "fetch.max.bytes": 8 * 1024 * 1024,
        "queued.max.messages.kbytes": 8 * 1024,
    }
