"""Once across crashes, against a model of the broker, the wire, the log and the bridge.

Seeded dice play deliveries, crashes, lost connections and partitions that land later messages but not earlier ones,
with few payloads, few topics and few packet identifiers, so that wrong recognition shows. Each message has a number
that the bridge cannot see; the log must hold each number once, or more often where all but one are marked.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import dataclass, field
from hashlib import sha256

import pytest

from edge_assets.bridge import redelivery
from edge_assets.bridge.redelivery import WINDOW, Logged, Redeliveries, Verdict, digest_of

SIZE = 4
LIMIT = 2 * SIZE


@dataclass
class Message:
    number: int
    topic: bytes
    payload: bytes
    mid: int = 0


@dataclass
class Broker:
    """A persistent session: unacknowledged messages in order, at most SIZE of them sent.

    Where it `forgets` that, it takes more and more of its queue for sent when it is connected to again, as Mosquitto
    2.0 does.
    """

    circular: bool
    forgets: random.Random | None
    last_mid: int = 0
    queue: deque[Message] = field(default_factory=deque)
    inflight: list[Message] = field(default_factory=list)

    def publish(self, message: Message) -> None:
        self.queue.append(message)

    def sendable(self) -> list[tuple[Message, bool]]:
        """What it sends now: (message, DUP)."""
        return [(self._next(), False) for _ in range(min(len(self.queue), SIZE - len(self.inflight)))]

    def reconnected(self) -> list[tuple[Message, bool]]:
        """It sends again what was not acknowledged."""
        if self.forgets and self.forgets.random() < 0.3:
            for _ in range(self.forgets.randint(0, len(self.queue))):
                self._next()
        return [(message, True) for message in self.inflight]

    def acknowledged(self, mid: int) -> None:
        """The first that is waiting under this identifier."""
        place = next((place for place, one in enumerate(self.inflight) if one.mid == mid), None)
        if place is not None:
            del self.inflight[place]

    def _next(self) -> Message:
        message = self.queue.popleft()
        message.mid = self._identifier()
        self.inflight.append(message)
        return message

    def _identifier(self) -> int:
        if self.circular:
            self.last_mid = self.last_mid % redelivery.IDENTIFIERS + 1
            return self.last_mid
        taken = {one.mid for one in self.inflight}
        return next(mid for mid in range(1, redelivery.IDENTIFIERS) if mid not in taken)


@dataclass
class Entry:
    """A message that the bridge has taken: its acknowledgement waits until `landed` (and everything before it)."""

    mid: int
    landed: bool
    logged: bool


@dataclass
class Record:
    number: int
    logged: Logged
    marked: bool


class World:
    def __init__(self, circular: bool, partitions: int, first_mid: int, forgets: random.Random | None) -> None:
        self.broker = Broker(circular, forgets, last_mid=first_mid)
        self.partitions: list[list[Record]] = [[] for _ in range(partitions)]
        self.flying: list[deque[tuple[Record, Entry]]] = [deque() for _ in range(partitions)]
        self.inc, self.order, self.number = 1, 0, 0
        self.entries: deque[Entry] = deque()
        self.wire: deque[tuple[Message, bool]] = deque()
        self.acks: deque[int] = deque()
        self.unconfirmed = 0
        self.bridge = Redeliveries(LIMIT)
        self.remembered = 0
        self.remember()

    def publish(self, topic: int, payload: int) -> None:
        self.broker.publish(Message(self.number, b"t%d" % topic, b"p%d" % payload))
        self.number += 1

    def arrive(self, times: int) -> None:
        """The broker sends, the bridge takes some of it off the wire."""
        self.wire.extend(self.broker.sendable())
        for _ in range(min(times, len(self.wire), SIZE - len(self.entries))):
            self.take()

    def take(self) -> None:
        ahead = len(self.entries) + self.unconfirmed
        if ahead >= LIMIT:
            self.bridge.take_further_ahead(ahead + LIMIT)
            self.remember()
        message, dup = self.wire.popleft()
        verdict = self.bridge.judge(message.mid, message.topic, message.payload) if dup else Verdict.NEW
        if verdict is Verdict.REPEAT:
            self.entries.append(Entry(message.mid, landed=True, logged=False))
            return
        self.order += 1
        self.bridge.logged(message.mid, message.topic, message.payload, dup, verdict is Verdict.MAYBE)
        logged = Logged(
            message.mid, digest_of(message.topic, sha256(message.payload).digest()), dup, self.inc, self.order
        )
        entry = Entry(message.mid, landed=False, logged=True)
        self.entries.append(entry)
        partition = int(message.topic[1:]) % len(self.flying)
        self.flying[partition].append((Record(message.number, logged, verdict is Verdict.MAYBE), entry))

    def land(self, partition: int, times: int) -> None:
        """Kafka has some of what is on its way to one partition, in order."""
        partition %= len(self.flying)
        for _ in range(min(times, len(self.flying[partition]))):
            record, entry = self.flying[partition].popleft()
            self.partitions[partition].append(record)
            entry.landed = True

    def acknowledge(self, received: int) -> None:
        """PUBACKs leave in order of arrival; the broker receives the first of them."""
        while self.entries and self.entries[0].landed:
            mid = self.entries.popleft().mid
            if mid:
                self.acks.append(mid)
                self.unconfirmed += 1
        for _ in range(min(received, len(self.acks))):
            self.broker.acknowledged(self.acks.popleft())

    def confirm(self) -> None:
        """A ping is answered: the broker has all PUBACKs. What was carried over came before a first sending."""
        if not self.acks:
            self.unconfirmed = 0
            if self.bridge.first_sending_seen and not self.entries:
                self.bridge.carried_over()
            self.remember()

    def reconnect(self) -> None:
        """The connection is lost with all that is on it; the bridge lives on."""
        unacknowledged = sum(entry.logged for entry in self.entries)
        unconfirmed = len(self.entries) + self.unconfirmed
        for entry in self.entries:
            entry.mid = 0
        self.bridge.reconnected(unacknowledged, unconfirmed)
        self._redeliver()

    def crash(self) -> None:
        """The bridge dies. What its dead hands still land, lands before the barrier; the rest is fenced."""
        for flying in self.flying:
            flying.clear()
        self.entries.clear()
        self.inc, self.order = self.inc + 1, 0
        tail = [one for partition in self.partitions for one in tail_of(partition, self.remembered)]
        whole = len(tail) == sum(map(len, self.partitions))
        self.bridge = Redeliveries(LIMIT, tail, carried=self.remembered, whole=whole)
        self._redeliver()

    def _redeliver(self) -> None:
        self.wire.clear()
        self.acks.clear()
        self.unconfirmed = 0
        self.wire.extend(self.broker.reconnected())
        self.remember()

    def remember(self) -> None:
        """What the bridge saves now and then, and at each start: no crash makes it forget that."""
        self.remembered = self.bridge.waited_for

    def settle(self) -> None:
        """Everything goes through: nothing may be on its way any more."""
        while self.broker.queue or self.broker.inflight:
            self.arrive(SIZE)
            for partition, flying in enumerate(self.flying):
                self.land(partition, len(flying))
            self.acknowledge(len(self.acks) + len(self.entries))

    def check(self, seed: int) -> None:
        records = [record for partition in self.partitions for record in partition]
        seen = {record.number for record in records}
        unmarked = Counter(record.number for record in records if not record.marked)
        missing = [number for number in range(self.number) if number not in seen]
        repeated = [number for number, count in unmarked.items() if count > 1]
        assert not missing, f"seed {seed}: lost: {missing}"
        assert not repeated, f"seed {seed}: repeated without a mark: {repeated}"

    def marked(self) -> list[int]:
        return [record.number for partition in self.partitions for record in partition if record.marked]


def tail_of(partition: list[Record], waited_for: int) -> list[Logged]:
    """What a starting bridge reads back: the last records, as many as it needs of those that are not marked."""
    unmarked = [place for place, record in enumerate(partition) if not record.marked][-WINDOW * waited_for :]
    return [record.logged for record in partition[unmarked[0] if unmarked else 0 :]]


def play(seed: int, circular: bool, topics: int = 3, payloads: int = 2) -> World:
    """One world's history. The same arguments give the same history: a failure's seed repeats it."""
    dice = random.Random(seed)
    circle = redelivery.IDENTIFIERS
    first_mid = dice.choice([0, 17, 200 % circle, circle - 3]) if circular else 0
    world = World(circular, dice.randint(1, 3), first_mid, dice if dice.random() < 0.5 else None)
    for _ in range(0 if circular else 2):  # the broker has shown how it gives out identifiers: the same one twice
        world.publish(0, 0)
        world.settle()
    chances = [dice.uniform(0.2, 3) for _ in STEPS]
    for _ in range(dice.randint(5, 120)):
        step = dice.choices(STEPS, chances)[0]
        if step == "publish":
            for _ in range(dice.choice([1, 1, 1, 10])):
                world.publish(dice.randrange(topics), dice.randrange(payloads))
        elif step == "land":
            world.land(dice.randrange(3), dice.randint(1, 4))
        elif step in ("arrive", "acknowledge"):
            getattr(world, step)(dice.randint(0, 4))
        else:
            getattr(world, step)()
    world.settle()
    return world


STEPS = ("publish", "arrive", "land", "acknowledge", "confirm", "crash", "reconnect")
SEEDS = [*range(6), *(pytest.param(block, marks=pytest.mark.slow) for block in range(6, 200))]
"""each block is 300 histories"""


def seeds(block: int) -> range:
    return range(300 * block, 300 * (block + 1))


@pytest.mark.parametrize("block", SEEDS)
def test_with_identifiers_in_a_circle_nothing_is_lost_repeated_or_marked(block):
    for seed in seeds(block):
        world = play(seed, circular=True)
        world.check(seed)
        assert not world.marked(), f"seed {seed}: marked without need: {world.marked()}"


@pytest.mark.parametrize("block", SEEDS)
def test_a_constant_payload_on_one_topic_is_no_repeat_of_itself(block):
    for seed in seeds(block):
        world = play(seed, circular=True, topics=1, payloads=1)
        world.check(seed)
        assert not world.marked(), f"seed {seed}: marked without need: {world.marked()}"


@pytest.mark.parametrize("block", SEEDS)
def test_when_the_circle_is_short_nothing_is_lost_and_what_is_repeated_is_marked(block, monkeypatch):
    """So short that what is on its way, or the broker's whole queue, goes round it."""
    monkeypatch.setattr(redelivery, "IDENTIFIERS", 61)
    for seed in seeds(block):
        play(seed, circular=True, topics=1, payloads=1).check(seed)


@pytest.mark.parametrize("block", SEEDS)
def test_with_the_lowest_free_identifier_nothing_is_lost_and_what_is_repeated_is_marked(block):
    for seed in seeds(block):
        play(seed, circular=False).check(seed)
