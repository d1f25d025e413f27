"""Speaking MQTT as a publisher: a client for the broker of the settings, and publishing that is certain.

`client_for` sets a paho-mqtt client up; `Publisher` is for those who must know that everything has arrived.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from types import TracebackType
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_assets.errors import PlatformError
from edge_assets.platform import endpoints
from edge_assets.settings import Settings
from edge_assets.sources.message import Message

WINDOW = 1_000
"""Messages that may be on their way to the broker at once."""
AWAY_SECONDS = 60.0
"""How long a publisher that must know waits for a broker that is away."""


def client_for(settings: Settings, name: str) -> Client:
    """A paho-mqtt client (MQTT 3.1.1, clean session) that is not connected yet; it reconnects by itself."""
    mqtt = settings.mqtt
    client = Client(CallbackAPIVersion.VERSION2, client_id=f"{name}-{uuid.uuid4().hex[:8]}")
    if mqtt.username is not None:
        client.username_pw_set(mqtt.username, mqtt.password.get_secret_value() if mqtt.password else None)
    if mqtt.tls:
        client.tls_set(ca_certs=str(mqtt.ca_file) if mqtt.ca_file else None)
    client.reconnect_delay_set(1, 15)
    client.max_inflight_messages_set(WINDOW)
    return client


def connect(client: Client, settings: Settings) -> None:
    """Begin to connect, in paho's own thread; a broker that is away is tried again until it is there."""
    mqtt = endpoints.remembered(settings).mqtt
    assert mqtt.host is not None
    client.connect_async(mqtt.host, mqtt.port, keepalive=mqtt.keepalive_seconds)
    client.loop_start()


def where(settings: Settings) -> str:
    mqtt = endpoints.remembered(settings).mqtt
    return f"{mqtt.host}:{mqtt.port}"


class Publisher:
    """Publishes in order and keeps count of what the broker has not taken yet.

    A QoS 1 message counts as taken with its PUBACK. QoS 0 has no such thing: it counts when it was handed to the
    socket, and `flush` waits for an answer that the broker gives only after it read all that came before. When the
    connection breaks, what was not taken is sent again; `connections_lost` says how often that was, because QoS 0
    messages that were on the wire then may be lost, and QoS 1 messages may have arrived twice.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._client = client_for(settings, name)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_unsubscribe = self._on_unsubscribe
        self._unsettled: dict[int, Message] = {}
        self._settled: deque[int] = deque()
        self._news = threading.Event()
        self._refusal = ""
        self._sessions = 0
        self._session = 0
        self._barrier: int | None = None
        self.connections_lost = 0

    def __enter__(self) -> Publisher:
        connect(self._client, self._settings)
        try:
            self._wait_until_connected()
        except BaseException:
            self._client.loop_stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, message: Message) -> None:
        """Send a message; blocks while `WINDOW` of them are on their way. Raises `PlatformError`."""
        self._collect()
        while len(self._unsettled) >= WINDOW:
            self._wait_for_news()
        self._wait_until_connected()
        self._send(message)

    def flush(self) -> None:
        """Wait until the broker has taken everything. Raises `PlatformError` where it stays away."""
        while self._unsettled:
            self._wait_for_news()
        self._barrier = None
        session = 0
        while self._barrier is None:
            if session != self._session:
                self._wait_until_connected()
                session = self._session
                self._client.unsubscribe("edge/replay/barrier")
            self._wait_for_news()

    # --- the caller's thread ---------------------------------------------------------------------------------

    def _send(self, message: Message) -> None:
        info = self._client.publish(message.topic, message.payload, message.qos, message.retain)
        self._unsettled[info.mid] = message

    def _collect(self) -> None:
        """Strike off what the broker has taken; after a reconnect send again what paho does not."""
        while self._settled:
            self._unsettled.pop(self._settled.popleft(), None)
        if self._session == self._sessions:
            return
        self._session = self._sessions
        for mid, message in list(self._unsettled.items()):
            if message.qos == 0:
                del self._unsettled[mid]
                self._send(message)

    def _wait_for_news(self) -> None:
        if not self._client.is_connected():
            self._wait_until_connected()
        self._news.wait(0.2)
        self._news.clear()
        self._collect()

    def _wait_until_connected(self) -> None:
        deadline = time.monotonic() + AWAY_SECONDS
        while not self._client.is_connected():
            if self._refusal or time.monotonic() > deadline:
                problem = self._refusal or f"no broker answered within {AWAY_SECONDS:.0f} s"
                raise PlatformError(
                    f"publishing to the MQTT broker at {where(self._settings)}: {problem}; "
                    "`edge up` runs one, EDGE_MQTT__HOST names another"
                )
            self._news.wait(0.2)
            self._news.clear()
        self._collect()

    # --- paho's thread ---------------------------------------------------------------------------------------

    def _on_connect(self, client: Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refusal = f"it refused the connection ({reason})"
        else:
            self._sessions += 1
        self._news.set()

    def _on_disconnect(self, client: Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.connections_lost += int(bool(reason.is_failure))
        self._news.set()

    def _on_publish(self, client: Client, _: Any, mid: int, reason: Any, properties: Any) -> None:
        self._settled.append(mid)
        self._news.set()

    def _on_unsubscribe(self, client: Client, _: Any, mid: int, reasons: Any, properties: Any) -> None:
        self._barrier = mid
        self._news.set()
