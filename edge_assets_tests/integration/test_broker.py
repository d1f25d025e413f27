"""The embedded broker: it keeps for an absent client what it promised, over restarts, at QoS 0 too."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_assets.errors import DownloadError, PlatformError
from edge_assets.platform import broker, endpoints
from edge_assets.platform import mosquitto as package
from edge_assets.settings import Settings, load_settings
from edge_assets_tests.conftest import Mosquitto

pytestmark = pytest.mark.broker


def test_an_absent_session_gets_all_after_a_restart_of_the_broker(mosquitto: Mosquitto) -> None:
    receive(mosquitto, 0)
    publish(mosquitto, [b"%d" % number for number in range(2_000)], qos=1)
    mosquitto.stop()
    mosquitto.start()
    assert receive(mosquitto, 2_000) == [b"%d" % number for number in range(2_000)]


def test_qos_0_is_queued_for_an_absent_session_and_upgraded(mosquitto: Mosquitto) -> None:
    receive(mosquitto, 0)
    publish(mosquitto, [b"a", b"b", b"c"], qos=0)
    assert receive(mosquitto, 3) == [b"a", b"b", b"c"]


def test_it_starts_again_on_its_port_after_a_kill(mosquitto: Mosquitto) -> None:
    receive(mosquitto, 0)
    mosquitto.kill()
    assert not broker.answers(mosquitto.settings)
    mosquitto.start()
    assert broker.answers(mosquitto.settings)


def test_saved_queues_that_are_garbage_are_set_aside(mosquitto: Mosquitto) -> None:
    receive(mosquitto, 0)
    publish(mosquitto, [b"x" * 200] * 100, qos=1)
    mosquitto.stop()
    saved = mosquitto.settings.home / "mosquitto" / "mosquitto.db"
    content = saved.read_bytes()
    saved.write_bytes(content[:64] + b"\xff" * (len(content) - 64))
    with pytest.raises(PlatformError, match=r"moved to .*unreadable"):
        mosquitto.start()
    mosquitto.start()
    assert broker.answers(mosquitto.settings)


def test_a_password_keeps_strangers_out(settings: Settings, tmp_path: Path) -> None:
    if broker.ensure(settings).mosquitto is None:
        pytest.skip("no Mosquitto")
    secured = load_settings(
        _env_file=None,
        home=tmp_path / "secured",
        mqtt={"port": endpoints.free_port(), "username": "edge", "password": "s3cret"},
    )
    running = broker.start(secured)
    try:
        assert connect_code(secured, "edge", "s3cret") == "Success"
        assert connect_code(secured, "edge", "wrong") == "Not authorized"
        assert connect_code(secured, None, None) == "Not authorized"
    finally:
        broker.stop(running)


def test_a_taken_port_is_told(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", settings.mqtt.port))
        other.listen()
        with pytest.raises(PlatformError, match=f"{settings.mqtt.port}: the port is taken"):
            broker.start(settings)


def test_the_distributions_package_runs_from_the_cache_without_root(settings: Settings, tmp_path: Path) -> None:
    """Fetches from the distribution's archive; where that can't be reached there is nothing to test."""
    elsewhere = settings.model_copy(update={"cache_dir": tmp_path / "cache"})
    try:
        executable = package.unpack(elsewhere)
    except DownloadError as error:
        pytest.skip(str(error))
    assert package.version(executable)
    running = broker.start(elsewhere, broker.Engine(executable))
    try:
        assert connect_code(elsewhere, None, None) == "Success"
    finally:
        broker.stop(running)
    assert package.unpacked(elsewhere) == executable
    assert [path.name for path in (tmp_path / "cache" / "mosquitto").iterdir() if not path.name.startswith(".")] == [
        executable.parents[2].name
    ]


def test_without_mosquitto_amqtt_serves(settings: Settings) -> None:
    running = broker.start(settings, broker.Engine(None))
    try:
        assert connect_code(settings, None, None) == "Success"
    finally:
        broker.stop(running)
    assert not running.alive


def client(identifier: str) -> mqtt.Client:
    return mqtt.Client(CallbackAPIVersion.VERSION2, client_id=identifier, clean_session=False)


def publish(at: Mosquitto, payloads: list[bytes], qos: int) -> None:
    publisher = client("publisher")
    publisher.connect(at.host, at.port)
    publisher.loop_start()
    sent = [publisher.publish("t/1", payload, qos=qos) for payload in payloads]
    for each in sent:
        each.wait_for_publish(30)
    publisher.disconnect()
    publisher.loop_stop()


def receive(at: Mosquitto, count: int) -> list[bytes]:
    """Connect the persistent session, subscribe at QoS 1, take `count` messages, and go."""
    got: list[bytes] = []
    ready = threading.Event()

    def on_message(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        assert message.qos == 1
        got.append(bytes(message.payload))
        if len(got) >= count:
            ready.set()

    def on_connect(subscriber: mqtt.Client, *_: object) -> None:
        subscriber.subscribe("t/#", qos=1)

    def on_subscribe(*_: object) -> None:
        if count == 0:
            ready.set()

    subscriber = client("subscriber")
    subscriber.on_message = on_message
    subscriber.on_connect = on_connect
    subscriber.on_subscribe = on_subscribe
    subscriber.connect(at.host, at.port)
    subscriber.loop_start()
    assert ready.wait(30), f"{len(got)} of {count} messages in 30 s"
    subscriber.disconnect()
    subscriber.loop_stop()
    return got


def connect_code(settings: Settings, username: str | None, password: str | None) -> str:
    codes: list[str] = []
    done = threading.Event()

    def on_connect(_client: mqtt.Client, _data: object, _flags: object, code: object, _properties: object) -> None:
        codes.append(str(code))
        done.set()

    asking = client("asking")
    asking.username_pw_set(username, password)
    asking.on_connect = on_connect
    asking.connect(*broker.address(settings))
    asking.loop_start()
    assert done.wait(10)
    asking.disconnect()
    asking.loop_stop()
    return codes[0]
