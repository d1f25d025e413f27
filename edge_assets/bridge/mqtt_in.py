"""The connection to the MQTT broker: a persistent session, paho's protocol, our socket, one thread.

paho's external loop is used as documented (`socket`, `loop_read`, `loop_write`, `loop_misc`); `take` hands out many
messages at a time. What is acknowledged, and when, is not decided here.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge_assets.bridge.publish_tap import Publish, PublishTap
from edge_assets.errors import SettingsError
from edge_assets.platform.broker import address
from edge_assets.settings import Settings

FIRST_DELAY_SECONDS = 0.5
LAST_DELAY_SECONDS = 30.0
CONNECT_SECONDS = 5.0
REFUSED = 0x80

log = logging.getLogger(__name__)


class _Client(paho.Client):
    """paho with our socket. `_create_socket` is the one name of paho's inside that is used."""

    tap: PublishTap | None = None
    """the socket of the last connection"""

    def _create_socket(self) -> Any:
        self.tap = PublishTap(super()._create_socket())
        return self.tap


class MqttIn:
    """Connects, reads, acknowledges. After `greeted` is set (CONNACK), the user settles the session first."""

    def __init__(self, settings: Settings) -> None:
        self.host, self.port = address(settings)
        self.session_present = False
        self.greeted = False
        """the broker has accepted the connection"""
        self.subscribed: bool | None = None
        """True: everything asked for was granted; False: something was refused; None: no answer yet"""
        self.problem = "not connected yet"
        self.on_open: Callable[[], None] = lambda: None
        """called when there is a connection, before the CONNECT goes out"""
        self.on_lost: Callable[[], None] = lambda: None
        """called when there is none any more"""
        self._client = make_client(settings, settings.bridge.id, clean_session=False, client_class=_Client)
        self._client.manual_ack_set(True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_socket_open = lambda *_: self.on_open()
        self._keepalive = settings.mqtt.keepalive_seconds
        self._ask_after = max(settings.mqtt.max_inflight // 4, 1)
        self._delay = FIRST_DELAY_SECONDS
        self._next_try = 0.0
        self._away_logged = False
        self._leaving = False

    @property
    def _tap(self) -> PublishTap:
        return self._client.socket()

    @property
    def open(self) -> bool:
        """Whether there is a connection, accepted or not yet."""
        return self._client.socket() is not None

    def due(self) -> bool:
        """Whether it is time to try to connect."""
        return not self.open and time.monotonic() >= self._next_try

    def connect(self) -> None:
        """Try once; where it fails, `problem` says why and `due` when to try again."""
        self.greeted, self.subscribed, self.problem = False, None, ""
        try:
            self._client.connect(self.host, self.port, self._keepalive)
        except (OSError, ValueError) as error:
            self._failed(f"{type(error).__name__}: {error}")

    def wait(self, reading: bool, seconds: float) -> bool:
        """Send what is there to send, and wait for something to read. True where `fill` will find something."""
        if not self.open:
            time.sleep(min(seconds, 0.1))
            return False
        tap = self._tap
        tap.flush()
        if reading and tap.decrypted():
            return True
        readable, _, _ = select.select([tap] if reading else [], [tap] if tap.wants_write() else [], [], seconds)
        return bool(readable)

    def fill(self) -> None:
        """Read from the socket, a large piece."""
        if self.open:
            self._tap.fill()

    def take(self, limit: int) -> list[Publish]:
        """Messages that have been read, at most so many, up to the first packet that is none."""
        return self._tap.take(limit) if self.open else []

    def news(self) -> bool:
        """Let paho have the packet that is no message, or the end of the stream. False where there is none."""
        if not (self.open and self._tap.has_packet_for_paho()):
            return False
        self._tap.note_answer()
        self._client.loop_read()
        return True

    def acknowledge(self, mids: list[int]) -> None:
        """PUBACK, in this order; and now and then ask whether the broker has them."""
        if self.open:
            self._tap.acknowledge(mids)
            if self._tap.acknowledged - self._tap.asked() >= self._ask_after:
                self._tap.ping()
            self._tap.flush()

    def ask(self) -> None:
        """Ask whether the broker has all PUBACKs, where that is not known and not asked yet."""
        if self.open and self._tap.acknowledged > self._tap.asked():
            self._tap.ping()

    @property
    def acknowledged(self) -> int:
        """PUBACKs sent over this connection (or the last)."""
        return self._client.tap.acknowledged if self._client.tap else 0

    @property
    def confirmed(self) -> int:
        """How many of them the broker is known to have.

        MQTT does not acknowledge an acknowledgement. But a broker reads a connection in order, so that its PINGRESP
        says that it has read all that was sent before the PINGREQ.
        """
        return self._client.tap.confirmed if self._client.tap else 0

    def tend(self) -> None:
        """Pings and deadlines; to be called about once a second."""
        if self.open:
            self._client.loop_misc()
            if self._client.want_write():
                self._client.loop_write()

    def subscribe(self, filters: list[str]) -> None:
        self.subscribed = None
        self._client.subscribe([(one, 1) for one in filters])

    def unsubscribe(self, filters: list[str]) -> None:
        self._client.unsubscribe(filters)

    def refused(self, problem: str) -> None:
        """Hang up and try later: the broker said no to something that we need."""
        self._failed(problem)
        self._client.disconnect()

    def hang_up(self) -> None:
        """Disconnect politely; the session stays."""
        if self.open:
            self._leaving = True
            self._client.disconnect()

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._failed(f"the broker refused: {reason}")
            return
        if self._away_logged:
            log.warning("the MQTT broker at %s:%s answers again", self.host, self.port)
        self.greeted, self.session_present = True, flags.session_present
        self.problem, self._delay, self._away_logged = "", FIRST_DELAY_SECONDS, False

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if not (self.problem or self._leaving):
            self._failed(f"the connection was lost ({reason})")
        self.greeted = False
        self.on_lost()

    def _on_subscribe(self, client: Any, userdata: Any, mid: int, reasons: list[Any], properties: Any) -> None:
        self.subscribed = all(reason.value < REFUSED for reason in reasons)

    def _failed(self, problem: str) -> None:
        """Note it, log it once an outage, and wait longer from time to time."""
        self.problem, self.greeted = problem, False
        if not self._away_logged:
            log.warning("MQTT broker at %s:%s: %s; trying again", self.host, self.port, problem)
        self._away_logged = True
        self._next_try = time.monotonic() + self._delay
        self._delay = min(self._delay * 2, LAST_DELAY_SECONDS)


def make_client(
    settings: Settings,
    identifier: str,
    *,
    clean_session: bool,
    reconnect: bool = False,
    client_class: type[Any] = paho.Client,
) -> Any:
    """A client of MQTT 3.1.1 with the credentials and the TLS of the settings."""
    client = client_class(
        CallbackAPIVersion.VERSION2,
        client_id=identifier,
        clean_session=clean_session,
        protocol=paho.MQTTv311,
        reconnect_on_failure=reconnect,  # where it may, paho goes down to MQTT 3.1 by itself
    )
    client.connect_timeout = CONNECT_SECONDS
    mqtt = settings.mqtt
    if mqtt.username is not None:
        client.username_pw_set(mqtt.username, mqtt.password.get_secret_value() if mqtt.password else None)
    if mqtt.tls:
        try:
            client.tls_set(ca_certs=str(mqtt.ca_file) if mqtt.ca_file else None)
        except OSError as error:
            raise SettingsError(
                f"setting EDGE_MQTT__CA_FILE: {mqtt.ca_file}: {error}; it has to be a certificate in PEM form"
            ) from error
    return client
