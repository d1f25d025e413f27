"""The alerter's loop: MQTT in, rules, the store, and out to people. One thread decides; nothing here knows Dagster.

A turn (`Alerter.step`): take what was heard, let the engine judge, store what came of it, acknowledge to the broker
what is stored, hand out what is to be told. The order is the promise: a message is acknowledged when its consequences
are stored, and nothing is told that is not in the store, so that a kill loses no firing and repeats none.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
import zlib
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from edge_assets import rooms
from edge_assets.alert_record import ALERTS, AlertEvent, iso
from edge_assets.alerts import rule_file
from edge_assets.alerts.channels import Channels
from edge_assets.alerts.engine import Engine
from edge_assets.alerts.farewell import session_id
from edge_assets.alerts.outbox import CHANNEL, DAY, MQTT, Outbox, Parcel, now_micros
from edge_assets.alerts.rules import Rules
from edge_assets.alerts.store import HANDED, Store, transaction
from edge_assets.bridge.memory import load_memory
from edge_assets.errors import AlertError, SettingsError
from edge_assets.listening.decoder import Decoder
from edge_assets.listening.heard import Device, Message
from edge_assets.listening.subscription import Subscription
from edge_assets.service import Report
from edge_assets.settings import Settings

TICK_SECONDS = 0.25
LOOK_SECONDS = 1.0
"""between looks at the file of rules, at what people asked for, and at reminders"""
GRAVE_SECONDS = 0.3
"""so long may wait what has to be stored but fires nothing"""
CATCH_UP_SECONDS = 10.0
"""so long timers wait at most, after a start, for what the broker has kept for us"""
MARKER_SECONDS = 1.0
PURGE_SECONDS = 3600.0
AT_ONCE = 200
TOGETHER = 8
"""messages that a channel is given at a time"""
OTHERS_WINDOW = 20
"""unacknowledged messages that a broker of the user's own lets us have: Mosquitto's default"""
GOOD_RULES = "rules"

log = logging.getLogger(__name__)


def run(settings: Settings, stop: threading.Event, report: Report) -> None:
    """Watch and tell until `stop` is set. A broker, channel or file of rules that is no good is waited for.

    Raises `AlertError` where the store cannot be written.
    """
    alerter = Alerter(settings, report)
    try:
        while not stop.is_set():
            alerter.step()
        alerter.finish()
    finally:
        alerter.close()


class Alerter:
    """Joins the parts. All but what is said otherwise is called by the loop's one thread."""

    def __init__(self, settings: Settings, report: Report) -> None:
        self._settings, self._report = settings, report
        self._inbox: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        self._store = Store(settings)
        self._outbox = Outbox(self._store, settings.alerts)
        self._file = rule_file.Watched(rule_file.path(settings))
        self._rooms = rule_file.Watched(rooms.path(settings))
        self._counts = dict.fromkeys(("messages", "events", "fired", "cleared", "notified", "notify_failures"), 0)
        self._rules_problem = ""
        self._rules = self._first_rules()
        self._engine = Engine(self._rules, self._store.load())
        self._decoder = Decoder(settings)
        self._name_rooms()
        self._channels = Channels(settings, lambda *told: self._inbox.put(("result", *told)))
        self._paused: dict[str, tuple[int, float]] = {}
        self._marker = f"edge/alerter/{settings.bridge.id}"
        self._subscription = Subscription(
            settings,
            session_id(settings),
            lambda message: self._inbox.put(("message", message)),
            lambda up: self._inbox.put(("connection", up)),
            also=[self._marker],
            persistent=True,
        )
        window = settings.mqtt.max_inflight if settings.mqtt.host is None else OTHERS_WINDOW
        self._most_unacknowledged = max(window // 2, 1)
        self._unacknowledged: list[Message] = []
        self._handed: list[tuple[int, int]] = []
        self._expected = self._store.handed()
        self._published: dict[int, tuple[Parcel, Any, bool]] = {}
        """number → parcel, paho's word on its publication, and whether a bridge listened by then"""
        self._bridge_listens = False
        self._unheard = 0
        """up to this number parcels were published while none did: on a first start, who else would keep them?"""
        self._events: list[AlertEvent] = []
        self._nonce = b""
        self._catch_up_until = time.monotonic() + CATCH_UP_SECONDS
        self._next_tick = self._next_look = self._next_marker = self._next_purge = self._next_hand_out = 0.0
        self._news = True
        self._stored_at = self._grave_since = time.monotonic()
        self._open = 0
        for name in self._outbox.drop_unknown():
            log.warning("alerts: what waited for the channel %s is given up: no setting names it", name)
        self._look_for_a_bridge()
        self._subscription.start()

    def step(self) -> None:
        """One turn."""
        self._take()
        if time.monotonic() >= self._next_tick:
            self._tick()
        self._keep()
        self._settle()
        self._hand_out()
        if time.monotonic() >= self._next_look:
            self._look()

    def finish(self) -> None:
        """A stop that was asked for: store what is known."""
        self._store_changes()

    def close(self) -> None:
        self._channels.close()
        self._subscription.stop()
        self._store.close()

    # -- in --------------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        """What was heard and told, at most so much at once; wait for it no longer than until the next tick."""
        patience = 0.01 if self._published else max(self._next_tick - time.monotonic(), 0.0)
        try:
            item = self._inbox.get(timeout=patience) if patience else self._inbox.get_nowait()
            for _ in range(AT_ONCE):
                self._deal_with(*item)
                if self._events:  # people come first
                    return
                item = self._inbox.get_nowait()
            self._deal_with(*item)
        except Empty:
            pass

    def _deal_with(self, sort: str, *told: Any) -> None:
        if sort == "message":
            self._hear(told[0])
        elif sort == "connection":
            self._connection(told[0])
        else:
            self._result(*told)

    def _hear(self, message: Message) -> None:
        if message.qos:
            self._unacknowledged.append(message)
        if message.topic == self._marker:
            if message.payload == self._nonce:
                self._catch_up_until = 0.0
                self._expected.clear()
            return
        self._counts["messages"] += 1
        if message.topic.startswith(ALERTS) or self._known_already(message):
            return
        self._grave_since = self._grave_since if self._engine.grave else time.monotonic()
        heard = self._decoder.hear(message)
        queued = self._catching_up
        self._events += self._engine.tick(message.received_at, hold=queued)
        if heard.describes:
            self._describe()
        network = self._network_of(message.topic)
        for said in heard.observations:
            self._events += self._engine.observe(said, network, heard=not message.retained, queued=queued)

    def _known_already(self, message: Message) -> bool:
        """Whether the broker sends again what a predecessor has stored and not acknowledged any more."""
        if not message.qos or message.retained:
            return False
        mark = (message.mid, zlib.crc32(message.payload, zlib.crc32(message.topic.encode("utf-8", "surrogateescape"))))
        if mark in self._expected:
            self._expected.discard(mark)
            return True
        self._handed.append(mark)
        return False

    def _network_of(self, topic: str) -> str | None:
        return next((base for base in self._settings.stream.base_topics if topic.startswith(f"{base}/")), None)

    def _describe(self) -> None:
        for entry in self._decoder.devices:
            device = Device("device", entry.device_id)
            self._events += self._engine.describe(device, entry.device_name, entry.exposes, entry.base_topic)

    def _connection(self, up: bool) -> None:
        if up:
            # What the broker kept for us comes first; a message of our own, after it, says that all of it is there.
            self._catch_up_until = time.monotonic() + CATCH_UP_SECONDS
            self._nonce, self._next_marker = uuid.uuid4().bytes, 0.0
            return
        # The broker sends again what it has no PUBACK for: what is stored by then is known by its mark.
        self._store_changes()
        self._expected = self._store.handed()

    @property
    def _catching_up(self) -> bool:
        return time.monotonic() < self._catch_up_until

    def _tick(self) -> None:
        now = time.monotonic()
        self._next_tick = now + TICK_SECONDS
        if self._catching_up and self._subscription.connected and now >= self._next_marker:
            self._next_marker = now + MARKER_SECONDS
            self._subscription.publish(self._marker, self._nonce)
        listening = self._subscription.connected and not self._catching_up
        self._events += self._engine.tick(now_micros(), listening, hold=self._catching_up)

    # -- the store -------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Store what may not be lost, acknowledge what is stored; the rest is stored now and then."""
        now = time.monotonic()
        grave = self._engine.grave or bool(self._events)
        waited = now - self._grave_since >= GRAVE_SECONDS or len(self._unacknowledged) >= self._most_unacknowledged
        if now - self._stored_at >= self._settings.alerts.store_seconds:
            self._store_changes()
        elif self._events or (grave and waited):
            self._store_changes(everything=False)
        elif not grave:
            self._handed.clear()  # said again, they would change nothing
            self._acknowledge()

    def _store_changes(self, everything: bool = True) -> None:
        events, self._events = self._events, []
        handed, self._handed = self._handed, []
        with transaction(self._store.connection, forced=bool(events)):
            self._store.save(self._engine.changes(everything))
            self._store.remember(handed[-HANDED:])
            taken = [event for event in events if self._outbox.take(event, self._rules)]
        self._grave_since = time.monotonic()
        self._stored_at = self._grave_since if everything else self._stored_at
        self._acknowledge()
        for event in taken:
            self._counts["events"] += 1
            self._counts["fired" if event.transition == "firing" else "cleared"] += 1
            log.info("alert %s: %s: %s", event.transition, event.rule, event.message)
        if taken:
            self._news = True
            self._count_open()

    def _acknowledge(self) -> None:
        messages, self._unacknowledged = self._unacknowledged, []
        if messages:
            self._subscription.acknowledge(messages)

    # -- out -------------------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        if not self._news and time.monotonic() < self._next_hand_out:
            return
        self._news, self._next_hand_out = False, time.monotonic() + TICK_SECONDS
        self._publish()
        for name in self._channels.free():
            if time.monotonic() < self._paused.get(name, (0, 0.0))[1]:
                continue
            if parcels := self._outbox.due(CHANNEL + name, limit=TOGETHER):
                self._channels.give(name, parcels)

    def _settle(self) -> None:
        """What the broker has acknowledged of what was published."""
        settled = [number for number, (_, info, _) in self._published.items() if info.is_published()]
        taken = [self._published.pop(number) for number in settled]
        if done := [parcel for parcel, _, listened in taken if listened]:
            with transaction(self._store.connection):
                for parcel in done:
                    self._outbox.done(parcel)

    def _publish(self) -> None:
        """Hand events to the broker: at once for who looks, and once more for the lake where no bridge has ever
        subscribed yet."""
        if not self._subscription.connected:
            return
        for parcel in self._outbox.due(MQTT, limit=50, behind=self._unheard):
            if parcel.number not in self._published:
                if not self._bridge_listens:
                    self._look_for_a_bridge()  # it may have come since: what it hears is not to be said twice
                info = self._subscription.publish(parcel.event.topic, parcel.event.encode())
                self._published[parcel.number] = (parcel, info, self._bridge_listens)
                if not self._bridge_listens:
                    self._unheard = max(self._unheard, parcel.number)

    def _result(self, name: str, parcel: Parcel | None, problem: str | None) -> None:
        """A channel has taken a message, or not; without one, it is free again."""
        self._news = True
        if parcel is None:
            self._channels.freed(name)
            return
        failures, _ = self._paused.get(name, (0, 0.0))
        with transaction(self._store.connection):
            if problem is None:
                notified = self._outbox.done(parcel)
            else:
                kept = self._outbox.failed(parcel, problem)
        if problem is None:
            self._paused.pop(name, None)
            self._counts["notified"] += 1
            self._counts["events"] += notified is not None
            if failures:
                log.warning("alerts: the channel %s takes messages again", name)
            return
        self._counts["notify_failures"] += 1
        self._paused[name] = (failures + 1, time.monotonic() + self._outbox.pause(failures) / 1e6)
        if not failures:
            log.error("alerts: the channel %s does not take messages: %s; trying again", name, problem)
        if not kept:
            log.error("alerts: given up after days: %s for the channel %s", parcel.event.event_id, name)

    # -- now and then ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        now = time.monotonic()
        self._next_look = now + LOOK_SECONDS
        if self._file.changed():
            self._reload()
        if self._rooms.changed():
            self._name_rooms()
        if not self._bridge_listens:
            self._look_for_a_bridge()
        with transaction(self._store.connection):
            self._outbox.remind(self._rules)
        if now >= self._next_purge:
            self._next_purge = now + PURGE_SECONDS
            self._store.purge(now_micros() - int(self._settings.alerts.keep_days * DAY))
        self._count_open()
        self._report(self._status())

    def _look_for_a_bridge(self) -> None:
        """Whether one has ever subscribed: from then on the broker keeps its session, and what is published for it."""
        memory = load_memory(self._settings)
        self._bridge_listens = memory.settled or memory.seen_us > 0
        if self._bridge_listens:
            self._unheard, self._news = 0, True

    def _name_rooms(self) -> None:
        """Alerts call a room what people call it. A file that cannot be read takes no name away."""
        with suppress(SettingsError):
            self._decoder.room_names = rooms.names(rooms.known(self._settings))

    def _first_rules(self) -> Rules:
        """Those of the file; where it is no good, the last ones that were."""
        try:
            rule_file.ensure(self._settings)
            self._file.changed()
            return self._good(rule_file.read(self._file.file))
        except AlertError as error:
            self._bad_rules(error)
        kept = self._store.text(GOOD_RULES)
        return rule_file.parse(kept) if kept is not None else Rules()

    def _reload(self) -> None:
        try:
            rules = self._good(rule_file.read(self._file.file))
        except AlertError as error:
            self._bad_rules(error)
            return
        self._rules = rules
        self._events += self._engine.use(rules)
        self._store_changes()
        log.info("alerts: %d rules of %s are in force", len(rules.in_force), self._file.file)

    def _good(self, text: str) -> Rules:
        rules = rule_file.parse(text, str(self._file.file))
        self._store.keep_text(GOOD_RULES, text)
        missing = rule_file.missing_channels(rules, self._outbox.channels)
        for one in missing:
            log.error("alerts: %s", one)
        self._rules_problem = missing[0] if missing else ""
        return rules

    def _bad_rules(self, error: AlertError) -> None:
        self._rules_problem = str(error)
        log.error("alerts: %s; the last valid rules stay in force", error)

    def _count_open(self) -> None:
        (self._open,) = self._store.connection.execute(
            "SELECT count(*) FROM alerts WHERE cleared_at IS NULL"
        ).fetchone()

    def _status(self) -> dict[str, Any]:
        waiting, since = self._outbox.waiting()
        return {
            **self._counts,
            "connected": self._subscription.connected,
            "catching_up": self._catching_up,
            "rules": len(self._rules.in_force),
            "rules_problem": self._rules_problem,
            "problem": self._rules_problem or self._subscription.problem,
            "devices": len(self._engine.devices),
            "open": self._open,
            "outbox": waiting,
            "outbox_since": None if since is None else iso(since),
            "channels_failing": sorted(self._paused),
        }
