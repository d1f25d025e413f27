"""The connection to the broker of who only listens: descriptions of devices first, then everything that is routed.

A new subscription brings all retained messages in an order of the broker's own. Descriptions (`bridge/devices`) are
asked for first, and the rest when they are there, or after a moment: so devices have their names from the first
message on. One thread, paho's; what it hears is handed to `on_message` there, in order.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from edge_assets.bridge.mqtt_in import FIRST_DELAY_SECONDS, REFUSED, make_client
from edge_assets.bridge.topic_filter import TopicFilter, disjoint_cover
from edge_assets.listening.heard import Message
from edge_assets.platform.broker import address
from edge_assets.settings import Settings

LAST_DELAY_SECONDS = 5
"""between attempts to connect: who listens for a person comes back sooner than the bridge, which has a queue"""
DESCRIPTION_SECONDS = 1.0
"""how long a broker that has descriptions may take for them"""

log = logging.getLogger(__name__)


class Subscription:
    """Listens to all topics that the bridge's routes send on, and to what a Zigbee2MQTT says of itself.

    `persistent`: the broker keeps the session while its owner is away, and queues QoS 1 messages for it; each message
    then has to be acknowledged (`acknowledge`), and comes again where it was not. Without it, a new subscription
    brings the retained messages and what is said from then on.

    `on_message` is called for each message, `on_connection(up)` when the connection is there and when it is lost; both
    in the thread of the connection, and neither may block for long.
    """

    def __init__(
        self,
        settings: Settings,
        identifier: str,
        on_message: Callable[[Message], None],
        on_connection: Callable[[bool], None] = lambda up: None,
        *,
        also: Sequence[str] = (),
        persistent: bool = False,
    ) -> None:
        self.host, self.port = address(settings)
        self.connected = False
        self.problem = "not connected yet"
        """why there is no connection; empty while there is one"""
        self._on_message = on_message
        self._on_connection = on_connection
        self._descriptions = [f"{base}/bridge/{sort}" for base in settings.stream.base_topics for sort in _SORTS]
        self._wanted = [*map(str, _filters(settings)), *also]
        self._asked_for_all = True
        self._described_at = 0.0
        self._stop = threading.Event()
        self._client = make_client(settings, identifier, clean_session=not persistent, reconnect=True)
        self._client.manual_ack_set(persistent)
        self._client.reconnect_delay_set(1, LAST_DELAY_SECONDS)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._heard
        self._keepalive = settings.mqtt.keepalive_seconds
        self._thread = threading.Thread(target=self._run, name=identifier, daemon=True)

    def start(self) -> None:
        """Connect and listen; where that is not possible yet, try again until it is."""
        self._thread.start()

    def stop(self) -> None:
        """Hang up. A persistent session stays with the broker."""
        self._stop.set()
        self._client.disconnect()
        self._thread.join(10)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """PUBACK of messages of a persistent session, in their order; may be called from any thread."""
        for message in messages:
            if message.qos:
                self._client.ack(message.mid, message.qos)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> Any:
        """Publish over the same connection; returns paho's `MQTTMessageInfo`. May be called from any thread."""
        return self._client.publish(topic, payload, qos, retain)

    def _run(self) -> None:
        delay = FIRST_DELAY_SECONDS
        while not self._stop.is_set():
            try:
                self._client.connect(self.host, self.port, self._keepalive)
                delay = FIRST_DELAY_SECONDS
                self._listen()
            except (OSError, ValueError) as error:
                self._lost(f"{type(error).__name__}: {error}")
                self._stop.wait(delay)
                delay = min(delay * 2, LAST_DELAY_SECONDS)

    def _listen(self) -> None:
        """Until the connection is lost."""
        while self._client.loop(0.2) == 0 and not self._stop.is_set():
            if not self._asked_for_all and time.monotonic() >= self._described_at:
                self._ask_for_all()
        if not self._stop.is_set():
            self._lost(self.problem or "the connection was lost")
            self._stop.wait(FIRST_DELAY_SECONDS)

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._lost(f"the broker refused: {reason}")
            return
        if self.problem and self.problem != "not connected yet":
            log.warning("the MQTT broker at %s:%s answers again", self.host, self.port)
        self.connected, self.problem = True, ""
        self._asked_for_all, self._described_at = False, time.monotonic() + DESCRIPTION_SECONDS
        if self._descriptions:
            client.subscribe([(one, 1) for one in self._descriptions])
        self._on_connection(True)

    def _ask_for_all(self) -> None:
        self._asked_for_all = True
        self._client.subscribe([(one, 1) for one in self._wanted])

    def _on_subscribe(self, client: Any, userdata: Any, mid: int, reasons: list[Any], properties: Any) -> None:
        if any(reason.value >= REFUSED for reason in reasons):
            log.error(
                "the MQTT broker at %s:%s refuses a subscription: may this user read all topics of the routes?",
                self.host,
                self.port,
            )

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if not self._stop.is_set():
            self._lost(f"the connection was lost ({reason})")

    def _lost(self, problem: str) -> None:
        """Told once an outage."""
        if not self.problem or self.problem == "not connected yet":
            log.warning("MQTT broker at %s:%s: %s; trying again", self.host, self.port, problem)
        was, self.connected, self.problem = self.connected, False, problem
        if was:
            self._on_connection(False)

    def _heard(self, client: Any, userdata: Any, message: Any) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # a name of no device: its bytes are in the lake, as a dead letter
            client.ack(message.mid, message.qos)
            return
        heard = Message(topic, message.payload, time.time_ns() // 1000, message.retain, message.qos, message.mid)
        self._on_message(heard)
        if not self._asked_for_all and topic.endswith("/bridge/devices"):
            self._ask_for_all()


_SORTS = ("devices", "groups")


def _filters(settings: Settings) -> tuple[TopicFilter, ...]:
    """Filters that hold no topic twice: a broker may send a message once for each that fits."""
    routed = [TopicFilter.parse(route.filter) for route in settings.bridge.routes if route.topic]
    return tuple(disjoint_cover(routed))
