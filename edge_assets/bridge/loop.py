"""The bridge's loop: MQTT in, Kafka out, PUBACK when the log has it. One thread; nothing here knows Dagster.

`run` lives as long as the service, a `Bridge` as long as one incarnation: from its barrier in the log until the stop,
or until its producer can no longer keep the promise. Then the next one begins, as after a crash.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from edge_assets.bridge.acks import Acks, Pending
from edge_assets.bridge.beginning import Incarnation, begin
from edge_assets.bridge.drop_watch import DropWatch
from edge_assets.bridge.headers import Headers
from edge_assets.bridge.mqtt_in import MqttIn
from edge_assets.bridge.publish_tap import DUP, RETAIN, Publish
from edge_assets.bridge.redelivery import IDENTIFIERS, Verdict
from edge_assets.bridge.routes import Router
from edge_assets.bridge.session import Session, Stage, taken_ahead
from edge_assets.errors import LogError, SettingsError
from edge_assets.log_record import CLOCK_KEY
from edge_assets.service import Report
from edge_assets.settings import Settings

IDLE_SECONDS = 0.25
ANSWER_SECONDS = 0.005
TEND_SECONDS = 0.5
SAVE_SECONDS = 10.0
STOP_SECONDS = 5.0
RETRY_SECONDS = (1, 2, 5, 10)
HEALTHY_SECONDS = 60.0
ALARM_SECONDS = 600.0
HELD_BYTES = 32 * 1024 * 1024
"""payload bytes on their way to Kafka above which nothing more is read"""

log = logging.getLogger(__name__)


def run(settings: Settings, stop: threading.Event, report: Report) -> None:
    """Carry messages until `stop` is set. Raises `SettingsError` where routes, identifier or certificate are no such.

    All else that fails (the broker, Kafka) is waited for, logged once, and said in the status.
    """
    router = Router(settings.bridge)
    check_identifier(settings.bridge.id)
    counts: Counter[str] = Counter()
    failures = 0
    new: set[str] = set()
    while not stop.is_set():
        started = time.monotonic()
        try:
            new = _serve(settings, router, sorted(new), counts, stop, report)
        except LogError as error:
            failures = 1 if time.monotonic() - started > HEALTHY_SECONDS else failures + 1
            if failures == 1:
                log.error("%s", error)
            report({"connected": False, "kafka_connected": False, "alarm": str(error)})
            stop.wait(RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1])


def check_identifier(identifier: str) -> None:
    """It goes into a header that is parted by spaces, into a file's name, and to the broker."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", identifier):
        raise SettingsError(
            f"setting EDGE_BRIDGE__ID: {identifier!r} is not 1 to 64 letters, digits, dots, dashes or underscores"
        )


def _serve(
    settings: Settings, router: Router, new: Sequence[str], counts: Counter[str], stop: threading.Event, report: Report
) -> set[str]:
    """One incarnation, which may write to `new` topics too. Returns the topics that the next one is to open.

    A topic that is not known yet ends an incarnation: a dead predecessor may have made it and written to it a moment
    ago, and what a bridge does before it takes a message is what has to be done then. It costs half a second, once in
    a room's life.
    """
    incarnation = begin(settings, router, new, stop)
    bridge = None
    try:
        if stop.is_set():
            return set()
        bridge = Bridge(incarnation, router, counts, report)
        while not stop.is_set() and not bridge.unopened:
            bridge.step()
        bridge.finish()
        if bridge.unopened:
            log.info("opening %s", ", ".join(sorted(bridge.unopened)))
        return bridge.unopened
    finally:
        if bridge:
            bridge.close()
        incarnation.out.close()


class Bridge:
    """Joins the parts. `step` is one turn: wait, take messages, send them, acknowledge what the log has."""

    def __init__(self, incarnation: Incarnation, router: Router, counts: Counter[str], report: Report) -> None:
        settings = incarnation.settings
        self._incarnation = incarnation
        self._out, self._clock, self._memory = incarnation.out, incarnation.clock, incarnation.memory
        self._router, self._counts, self._report = router, counts, report
        self._mqtt = MqttIn(settings)
        self._session = Session(incarnation, self._mqtt, router.subscription)
        self._acks = Acks()
        self._max_pending, self._max_ahead = settings.mqtt.max_inflight, taken_ahead(settings)
        self._headers = Headers(settings.bridge.id, self._memory.incarnation, self._clock.boot, settings.site)
        self._left_over = False
        self._mono = 0
        self._received_at = 0
        self._waiting_since = time.monotonic()
        self._next_tend = self._next_save = 0.0
        self._mqtt.on_lost = self._lost_connection
        self._drops = DropWatch(settings)
        self._dropped_at = 0.0
        self.unopened: set[str] = set()
        """Kafka topics that have to be opened first; no message is taken from the first that needs one on"""

    def step(self) -> None:
        """One turn. Raises `LogError` where this incarnation can write no more."""
        if self._wait():
            self._mqtt.fill()
        self._receive()
        self._release()
        if time.monotonic() >= self._next_tend:
            self._tend()
        if self._out.lost:
            raise self._out.lost

    def finish(self) -> None:
        """A stop that was asked for: take no more, let what is on its way arrive, say goodbye to the broker."""
        deadline = time.monotonic() + STOP_SECONDS
        while len(self._acks) and time.monotonic() < deadline and not self._out.lost:
            self._out.poll(0.1)
            self._release()
        self._session.seen(len(self._acks))

    def close(self) -> None:
        self._drops.close()
        self._mqtt.hang_up()
        self._tell(connected=False)

    def _wait(self) -> bool:
        """Wait for something to do. True where the socket has something to read."""
        reading = self._room() > 0
        if reading and self._left_over:
            return False
        if not self._acks:
            return self._mqtt.wait(reading, IDLE_SECONDS)
        if self._mqtt.wait(reading, 0):
            return True
        self._out.poll(ANSWER_SECONDS)
        return False

    def _room(self) -> int:
        """How many messages may be taken now. Backpressure: what is not read stays with the broker, which queues it."""
        pending = len(self._acks)
        if self._acks.bytes >= HELD_BYTES or pending >= self._max_pending:
            return 0
        ahead = pending + self._mqtt.acknowledged - self._mqtt.confirmed
        if ahead >= IDENTIFIERS:  # all that can be told apart is remembered: waiting would make nothing surer
            return self._max_pending - pending
        if ahead >= self._max_ahead:
            self._max_ahead = min(self._max_ahead * 2, IDENTIFIERS)
            self._session.take_further_ahead(self._max_ahead)
        return min(self._max_pending - pending, max(self._max_ahead - ahead, 1))

    def _receive(self) -> None:
        """Take what has been read; between messages, let paho and the session have their news."""
        while not self.unopened:
            self._session.advance()
            room = self._room() if self._session.takes_messages else 0
            self._left_over = room == 0 and self._session.takes_messages  # else it would spin while Kafka is away
            messages = self._mqtt.take(room)
            if messages:
                self._take(messages)
            elif not self._mqtt.news():
                return

    def _take(self, messages: list[Publish]) -> None:
        """Send messages on their way, in order. All that is done here is done for each message: it is kept short."""
        at, mono = self._clock.now()
        mono = max(mono, self._mono)
        start, ends = self._headers.batch(self._session.epoch, at, self._clock.synchronised)
        destination, logged = self._router.destination, self._session.redeliveries.logged
        send, add, by_route = self._out.send, self._acks.add, self._router.sent
        held = sent = passed = 0
        mark = False
        for flags, topic, payload, mid in messages:
            to = destination(topic)
            kafka_topic = to.topic
            if kafka_topic is None:
                if to.unopened:
                    self._stop_before(messages)
                    break
                self._pass_over(to.reason, mid)
                passed += 1
                continue
            if flags & (DUP | RETAIN):
                self._counts["retained"] += flags & RETAIN
                verdict = self._judge(flags, topic, payload, mid)
                if verdict is Verdict.REPEAT:
                    self._pass_over("suppressed", mid)
                    passed += 1
                    continue
                mark = verdict is Verdict.MAYBE
            if mid:
                logged(mid, topic, payload, flags >= DUP, mark)
            mono += 1
            held += len(payload)
            pending = Pending(mid, len(payload), mid != 0, f"{start}{mono}{ends[flags]}{mid} rep={mark:d}")
            add(pending)
            send(kafka_topic, topic, payload, pending)
            by_route[to.route] += 1
            sent += 1
            mark = False
        self._acks.bytes += held
        self._mono, self._received_at = mono, at
        self._counts["received"] += sent + passed
        self._counts["sent"] += sent

    def _stop_before(self, messages: list[Publish]) -> None:
        """Some of these need topics that have to be opened. What is not acknowledged comes again."""
        wanted = {self._router.destination(topic).unopened for _, topic, _, _ in messages}
        self.unopened = wanted - {""}

    def _judge(self, flags: int, topic: bytes, payload: bytes, mid: int) -> Verdict:
        """Only QoS 1 with DUP=1 can be a repeat."""
        if not (mid and flags & DUP):
            return Verdict.NEW
        verdict = self._session.redeliveries.judge(mid, topic, payload)
        self._counts["maybe_repeat"] += verdict is Verdict.MAYBE
        return verdict

    def _pass_over(self, reason: str, mid: int) -> None:
        """Not logged (again), but acknowledged when its turn comes."""
        self._counts[reason] += 1
        pending = Pending(mid, 0, False)
        pending.parts = 0
        self._acks.add(pending)

    def _release(self) -> None:
        """Hear what Kafka has, and acknowledge that to the broker, in order of arrival."""
        self._out.poll(0)
        before = len(self._acks)
        mids = self._acks.settled()
        if mids:
            self._mqtt.acknowledge(mids)
        if len(self._acks) < before:
            self._waiting_since = time.monotonic()
            self._out.delivered()

    def _tend(self) -> None:
        """What is to be done now and then."""
        now = time.monotonic()
        self._next_tend = now + TEND_SECONDS
        self._mqtt.tend()
        if self._mqtt.due():
            self._mqtt.connect()
        if not self._acks:
            self._waiting_since = now
        self._out.silent(self._waiting_since)
        if self._clock.became_synchronised():
            self._tell_the_time()
        self._look_for_drops(now)
        if now >= self._next_save:
            self._next_save = now + SAVE_SECONDS
            self._session.seen(len(self._acks))
        self._tell(connected=self._session.stage is Stage.SETTLED)

    def _lost_connection(self) -> None:
        if self._session.stage is not Stage.AWAY:
            unconfirmed = len(self._acks) + self._mqtt.acknowledged - self._mqtt.confirmed
            self._session.lost(self._acks.disconnected(), unconfirmed)
            self._max_ahead = taken_ahead(self._incarnation.settings)

    def _tell_the_time(self) -> None:
        """The clock was set: one control record lets readers correct what was received before."""
        value = {"boot": self._clock.boot, "offset_us": self._clock.offset_us()}
        topics = [*self._router.kafka_topics(()), *self._incarnation.partitions]  # templates alone name none
        self._out.send_control({topics[0]: 1}, CLOCK_KEY, value)
        log.info("the clock is synchronised")

    def _look_for_drops(self, now: float) -> None:
        news = self._drops.look(self._memory)
        if news and not self._dropped_at:
            log.error("%s", self._alarm(self._memory.dropped_by_broker))
        if news:
            self._dropped_at = now
        elif now - self._dropped_at > ALARM_SECONDS:
            self._dropped_at = 0.0

    def _alarm(self, dropped: int) -> str:
        return (
            f"the MQTT broker dropped messages ({dropped} so far): its queue was full; "
            "raise EDGE_MQTT__QUEUE_MAX_MESSAGES and EDGE_MQTT__QUEUE_MAX_BYTES, or see why Kafka was away"
        )

    def _problem(self) -> str | None:
        if self._dropped_at:
            return self._alarm(self._memory.dropped_by_broker)
        if not self._out.connected:
            return "Kafka does not answer; the MQTT broker queues"
        return self._mqtt.problem or None

    def _tell(self, connected: bool) -> None:
        counts = self._counts
        unrouted = {reason: counts[reason] for reason in ("no_route", "null_route") if counts[reason]}
        self._report(
            {
                "connected": connected,
                "kafka_connected": self._out.connected,
                "received": counts["received"],
                "logged": max(counts["sent"] - len(self._acks), 0),
                "suppressed": counts["suppressed"],
                "maybe_repeat": counts["maybe_repeat"],
                "unrouted": unrouted,
                "routes": self._router.sent_by_filter(),
                "dead_letters": self._out.dead_letters,
                "retained": counts["retained"],
                "in_flight": len(self._acks),
                "session_epoch": self._session.epoch,
                "incarnation": self._memory.incarnation,
                "last_received_at": _iso(self._received_at),
                "clock_synchronised": self._clock.synchronised,
                "dropped_by_broker": None if self._drops.total is None else self._memory.dropped_by_broker,
                "away": [[_iso(since), _iso(until)] for since, until in self._memory.away],
                "alarm": self._problem(),
            }
        )


def _iso(at_us: int) -> str | None:
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="milliseconds") if at_us else None
