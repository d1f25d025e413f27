"""Which MQTT session is this, and what is to be done before its messages are taken?

Packet identifiers mean something within one session only. So each session has a name, the *epoch*, in every record;
a new one whenever the broker says that it has no session (or that it has one of which we know nothing).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from enum import Enum

from edge_assets.bridge.beginning import Incarnation
from edge_assets.bridge.kafka_out import Control
from edge_assets.bridge.mqtt_in import MqttIn
from edge_assets.bridge.redelivery import Redeliveries
from edge_assets.log_record import BARRIER_KEY
from edge_assets.settings import Settings

HOUR_US = 3_600_000_000

log = logging.getLogger(__name__)


class Stage(Enum):
    AWAY = "no connection that the broker accepted"
    NAMING = "the new epoch is on its way to the log"
    SUBSCRIBING = "the broker has yet to grant the subscription"
    SETTLED = "everything is as it should be"


class Session:
    """The session's way from CONNACK to SETTLED.

    A new session's epoch goes to the log before the SUBSCRIBE, so that whoever comes after a kill knows of it: a
    broker sends nothing before it is subscribed to. Each SUBSCRIBE brings the retained messages once more, so there
    is none without need.
    """

    def __init__(self, incarnation: Incarnation, mqtt: MqttIn, wanted: Sequence[str]) -> None:
        self.stage = Stage.AWAY
        self.epoch = incarnation.memory.epoch
        self.redeliveries = from_the_log(incarnation)
        self._incarnation = incarnation
        self._memory = incarnation.memory
        self._mqtt = mqtt
        self._wanted = list(wanted)
        self._naming: Control | None = None
        self._away_since_us = max(self._memory.seen_us, incarnation.tail.last_at_us)
        self._subscribed = self._memory.settled
        """whether the session that the broker has is the one whose filters the memory holds"""
        self._subscribed_before = False
        self._carried_until: int | None = None
        """so many PUBACKs of this connection acknowledge all that was carried over into it"""
        mqtt.on_open = self.connecting

    @property
    def takes_messages(self) -> bool:
        return self.stage in (Stage.SUBSCRIBING, Stage.SETTLED)

    def connecting(self) -> None:
        """Before a CONNECT: until its answer, a kill (or a lost answer) leaves open which session the broker has."""
        self._subscribed_before, self._subscribed = self._subscribed, False
        self._memory.settled = False
        self._memory.waited_for = self.redeliveries.waited_for
        self._memory.save(self._incarnation.settings)

    def advance(self) -> None:
        """Go on as far as possible without waiting."""
        if self.stage is Stage.AWAY and self._mqtt.greeted:
            self._greet()
        if self.stage is Stage.NAMING and self._naming and not self._naming.parts:
            self._subscribe(self._wanted)
        if self.stage is Stage.SUBSCRIBING and self._mqtt.subscribed is not None:
            self._granted(self._mqtt.subscribed)

    def lost(self, unacknowledged: int, unconfirmed: int) -> None:
        """The connection is gone. See `Redeliveries.reconnected`."""
        self._save()
        self._away_since_us = max(self._away_since_us, self._memory.seen_us)
        self.stage = Stage.AWAY
        self.redeliveries.reconnected(unacknowledged, unconfirmed)
        self._carried_until = None

    def seen(self, pending: int) -> None:
        """Remember that a bridge is connected now, and what the broker may be waiting for; to be called now and then.

        `pending`: messages that were taken and not acknowledged yet.
        """
        if self.stage is not Stage.AWAY:
            self._settle_what_was_carried_over(pending)
            self._mqtt.ask()
        self._save()

    def take_further_ahead(self, limit: int) -> None:
        """Take more messages ahead of the broker's confirmation: first it is remembered that there may be so many.

        A broker's answer comes behind all that it has sent already, and after a crash that can be its whole queue.
        """
        self.redeliveries.take_further_ahead(limit)
        self._memory.waited_for = self.redeliveries.waited_for
        self._memory.save(self._incarnation.settings)

    def _settle_what_was_carried_over(self, pending: int) -> None:
        """Once a first sending was seen, all that was carried over is acknowledged with what is pending then."""
        if self._carried_until is None and self.redeliveries.first_sending_seen:
            self._carried_until = self._mqtt.acknowledged + pending
        elif self._carried_until is not None and self._mqtt.confirmed >= self._carried_until:
            self.redeliveries.carried_over()

    def _save(self) -> None:
        if self.stage is Stage.SETTLED:
            self._memory.seen_us = self._incarnation.clock.now()[0]
            self._memory.waited_for = self.redeliveries.waited_for
            self._memory.save(self._incarnation.settings)

    def _greet(self) -> None:
        memory = self._memory
        known = bool(self.epoch) and memory.broker in ("", self._broker)
        if not (self._mqtt.session_present and known):
            self._name(is_new=not self._mqtt.session_present)
            return
        memory.broker = self._broker
        held = memory.filters if self._subscribed_before else []
        self._subscribe([one for one in self._wanted if one not in held])

    def _name(self, *, is_new: bool) -> None:
        """A new epoch. `is_new`: nothing was ever sent in this session; else what is sent again may be in the log."""
        memory, incarnation = self._memory, self._incarnation
        self.epoch = memory.epoch = secrets.token_hex(4)
        memory.broker, memory.filters = self._broker, []
        self.redeliveries = Redeliveries(taken_ahead(incarnation.settings), whole=is_new, complete=is_new)
        memory.waited_for = self.redeliveries.waited_for
        memory.save(incarnation.settings)
        barrier = incarnation.barrier(self.epoch, self._away_since_us)
        self._naming = incarnation.out.send_control(incarnation.partitions, BARRIER_KEY, barrier)
        self.stage = Stage.NAMING
        log.info("the MQTT session is %s: epoch %s", "new" if is_new else "not known here", self.epoch)

    def _subscribe(self, missing: list[str]) -> None:
        """First what is new, then away with what is not wanted any more: a moment of both rather than of none."""
        self.stage = Stage.SUBSCRIBING
        if missing:
            self._mqtt.subscribe(missing)
        else:
            self._mqtt.subscribed = True

    def _granted(self, granted: bool) -> None:
        if not granted:
            self._mqtt.refused(
                f"the broker refused the subscription to {', '.join(self._wanted)}: may this user read it?"
            )
            return
        memory = self._memory
        if obsolete := [one for one in memory.filters if one not in self._wanted]:
            self._mqtt.unsubscribe(obsolete)
        memory.filters, memory.settled, self._subscribed = self._wanted, True, True
        now = self._incarnation.clock.now()[0]
        memory.was_away(self._away_since_us, now)
        memory.seen_us = self._away_since_us = now
        memory.save(self._incarnation.settings)
        self.stage = Stage.SETTLED

    @property
    def _broker(self) -> str:
        return f"{self._mqtt.host}:{self._mqtt.port}"


def from_the_log(incarnation: Incarnation) -> Redeliveries:
    """What the tail of the log says of the session, where it is the tail's session.

    Where retention cut the log off, that matters only if nobody was there for as long as it keeps records.
    """
    tail, memory, settings = incarnation.tail, incarnation.memory, incarnation.settings
    if tail.epoch != memory.epoch:
        # The session was named, and its bridge killed before it was subscribed: then nothing of it is logged. Or it was
        # subscribed, and this log does not know it: a restored home on a new Kafka. Then anything may have been logged.
        return Redeliveries(taken_ahead(settings), complete=not memory.filters)
    last_us = max(memory.seen_us, tail.last_at_us)
    outlived = incarnation.clock.now()[0] - last_us > settings.kafka.retention_hours * HOUR_US
    return Redeliveries(
        taken_ahead(settings),
        tail.records,
        carried=memory.waited_for,
        whole=tail.whole,
        complete=not (tail.cut_off and outlived),
    )


def taken_ahead(settings: Settings) -> int:
    """How many messages are taken ahead of those that the broker is known to have acknowledged.

    Twice what it sends ahead of the acknowledgements, so that asking costs no time.
    """
    return 2 * settings.mqtt.max_inflight
