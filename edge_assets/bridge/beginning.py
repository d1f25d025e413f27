"""What a bridge does before it takes a message: fence its dead predecessor, and read what that one logged last."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edge_assets.bridge.clock import Clock
from edge_assets.bridge.kafka_out import KafkaOut, record_limit
from edge_assets.bridge.memory import Memory, load_memory
from edge_assets.bridge.routes import Router
from edge_assets.bridge.tail import Event, Tail, last_event, read_tail
from edge_assets.log_record import BARRIER_KEY
from edge_assets.platform.log import ensure_topic, topics
from edge_assets.settings import Settings


@dataclass(slots=True)
class Incarnation:
    """One start of the bridge: what it writes with, and what it knows of those before it."""

    settings: Settings
    memory: Memory
    clock: Clock
    out: KafkaOut
    partitions: Mapping[str, int]
    tail: Tail

    def barrier(self, epoch: str, away_since_us: int) -> dict[str, Any]:
        """The value of a barrier (see `edge_assets.log_record`); `mono` puts two of one incarnation in order."""
        return {
            "bridge": self.settings.bridge.id,
            "incarnation": self.memory.incarnation,
            "epoch": epoch,
            "away_since_us": away_since_us,
            "mono": self.clock.now()[1],
        }


def begin(settings: Settings, router: Router, new: Sequence[str], stop: threading.Event) -> Incarnation:
    """Begin a new incarnation, which may write to `new` topics too. Raises `LogError` where Kafka does not do its part.

    In this order:

    1. The topics are there.
    2. The incarnation is above all that the log and the memory know; the memory has it before the log.
    3. A barrier is in every partition: what a dead predecessor still lands behind it is fenced.
    4. The tail of every partition is read, up to the barrier: redeliveries are recognised by it.
    """
    memory, clock = load_memory(settings), Clock(settings.clock.trust)
    there = topics(settings)
    takes = [*there, *router.openable(new, there)]
    wanted = {settings.bridge.dead_letter_topic: None, **router.kafka_topics(takes)}
    for topic, retention_hours in wanted.items():
        ensure_topic(settings, topic, retention_hours)
    known = topics(settings)
    partitions = {topic: known[topic] for topic in wanted}
    memory = next_incarnation(memory, last_event(settings, partitions))
    memory.save(settings)
    out = KafkaOut(settings, record_limit(settings, list(wanted)))
    incarnation = Incarnation(settings, memory, clock, out, partitions, Tail())
    # A predecessor's late writes must not be waited for: the barrier fences them, wherever they land.
    barrier = out.send_control(partitions, BARRIER_KEY, incarnation.barrier(memory.epoch, memory.seen_us))
    out.wait_for(barrier, stop)
    if not stop.is_set():
        incarnation.tail = read_tail(settings, partitions, memory.waited_for, barrier.offsets)
        router.opened(partitions, known)
    return incarnation


def next_incarnation(memory: Memory, last: Event | None) -> Memory:
    """The memory with an incarnation above all others. Where the log knows a later one than the memory does, the
    memory is an old copy (or lost): then the log's epoch counts, and which session the broker has is open."""
    if last and last.inc > memory.incarnation:
        memory = Memory(epoch=last.epoch, incarnation=last.inc, away=memory.away)
    return replace(memory, incarnation=memory.incarnation + 1)
