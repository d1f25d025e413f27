"""The live server between a real Mosquitto and real WebSockets."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed, InvalidStatus

from edge_assets.alert_record import AlertEvent
from edge_assets.errors import PlatformError
from edge_assets.live import hub, loop
from edge_assets.service import run_service
from edge_assets.settings import Settings
from edge_assets_tests.bridge_rig import Publisher
from edge_assets_tests.conftest import Mosquitto
from edge_assets_tests.live_rig import RunningLive, live_settings, until

pytestmark = pytest.mark.broker

PICO = "pico/temperature/dht22"
KEY = "device:pico/dht22"
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture
def live(settings: Settings, mosquitto: Mosquitto) -> Iterator[RunningLive]:
    with RunningLive(live_settings(settings, stale_seconds=0.5)) as running:
        wait_until_subscribed(running)
        yield running


@pytest.fixture
def publisher(settings: Settings, mosquitto: Mosquitto) -> Iterator[Publisher]:
    with Publisher(settings) as publisher:
        yield publisher


def wait_until_subscribed(live: RunningLive) -> None:
    """Descriptions are asked for first, and the rest after a second where there are none."""
    with live.viewer() as viewer, Publisher(live.settings) as publisher:
        viewer.hello()
        with repeating(lambda: publisher.publish("pico/knock/test", b"1")):
            viewer.read_until(lambda: viewer.device("device:pico/test"))


def test_hello_has_history_and_devices_and_then_comes_the_tail(live: RunningLive, publisher: Publisher) -> None:
    with live.viewer() as first:
        for value in (20, 21, 22):
            publisher.publish(PICO, str(value).encode())
            publisher.settle()
            first.wait_for_value(value)
    with live.viewer() as viewer:
        hello = viewer.next()
        assert hello["type"] == "hello" and hello["site"] == "home" and hello["broker"] is True
        viewer.read_until(lambda: viewer.series(KEY, "temperature") == [20, 21, 22])
        told = viewer.device(KEY)
        assert told and told["group"] == "climate"
        before = time.time() * 1e3
        publisher.publish(PICO, b"23.5")
        (point,) = viewer.wait_for_value(23.5)["points"]
        assert point[0:2] == [KEY, "temperature"] and point[4:] == [None, "°C", "good"]
        assert before - 1 <= point[2] <= time.time() * 1e3


def test_viewer_that_comes_after_another_left_misses_nothing(live: RunningLive, publisher: Publisher) -> None:
    values: list[float] = []
    for value in range(30):
        with live.viewer() as viewer:
            viewer.hello()
            viewer.read_until(lambda: viewer.series(KEY, "temperature") == values)
        values.append(float(value))
        publisher.publish(PICO, str(value).encode())
        publisher.settle()


def test_all_viewers_get_the_same(live: RunningLive, publisher: Publisher) -> None:
    with live.viewer() as one, live.viewer() as two:
        one.hello(), two.hello()
        for value in range(100, 150):
            publisher.publish(PICO, str(value).encode())
        for viewer in (one, two):
            viewer.wait_for_value(149)
        points = [
            [p for frame in viewer.frames if frame["type"] == "points" for p in frame["points"] if p[3] >= 100]
            for viewer in (one, two)
        ]
        assert points[0] == points[1] and [point[3] for point in points[0]] == list(range(100, 150))


def test_hundred_viewers_are_one_client_of_the_broker(live: RunningLive, publisher: Publisher) -> None:
    with ExitStack() as stack:
        viewers = [stack.enter_context(live.viewer()) for _ in range(100)]
        for viewer in viewers:
            viewer.hello()
        publisher.publish(PICO, b"77")
        for viewer in viewers:
            viewer.wait_for_value(77)
        port = live.settings.mqtt.port
        ends = [c for c in psutil.Process().net_connections("tcp") if c.raddr and c.raddr.port == port]
        assert len([c for c in ends if c.status == psutil.CONN_ESTABLISHED]) == 2, "the server's, and this test's own"
        assert until(lambda: live.reported["viewers"] == 100)
    until(lambda: live.reported["viewers"] == 0)


def test_slow_viewer_misses_frames_gets_a_new_hello_and_slows_nobody(
    live: RunningLive, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "BACKLOG_BYTES", 64 * 1024)
    with live.viewer() as brisk, live.viewer(sock=small_socket(live), max_queue=1) as sleeper:
        brisk.hello(), sleeper.hello()
        number = 0
        while not live.reported["resyncs"]:
            number += 1
            publisher.publish("pico/note/much", much(number))
            brisk.wait_for(partial(has_value, measurement="n", value=number))
            assert number < 10_000, "the server kept everything for a viewer that takes nothing"
        assert sleeper.hello()["history"]["device:pico/much"]["n"][-1][1] <= number  # the second one
        publisher.publish("pico/note/much", b'{"n": -1}')
        sleeper.wait_for(partial(has_value, measurement="n", value=-1))
        assert live.reported["dropped_viewers"] == 0


def test_viewer_that_takes_nothing_is_cut_off(
    settings: Settings, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.Hub.__init__, "__defaults__", (0.5,))
    with RunningLive(live_settings(settings)) as live, Publisher(settings) as publisher:
        wait_until_subscribed(live)
        deaf = deaf_viewer(live)
        number = 0
        while not live.reported["dropped_viewers"]:
            number += 1
            publisher.publish("pico/note/much", much(number))
            if number % 50 == 0:
                publisher.settle()
            assert number < 50_000
        until(lambda: live.reported["viewers"] == 0)
        deaf.close()


def test_rename_of_a_described_device(live: RunningLive, publisher: Publisher) -> None:
    publisher.publish("zigbee2mqtt/bridge/devices", description("kettle"), retain=True)
    with live.viewer() as viewer:
        viewer.hello()
        publisher.publish("zigbee2mqtt/kettle", b'{"power": 5}')
        viewer.wait_for_value(5)
        publisher.publish("zigbee2mqtt/bridge/devices", description("coffee"), retain=True)
        renamed = viewer.wait_for(lambda frame: frame["type"] == "device" and frame["device"]["name"] == "coffee")
        assert renamed["device"]["key"] == "device:0x00124b0000000002"
        publisher.publish("zigbee2mqtt/coffee", b'{"power": 6}')
        viewer.wait_for_value(6)
    with live.viewer() as viewer:
        viewer.read_until(lambda: viewer.series("device:0x00124b0000000002", "power") == [5, 6])
        publisher.publish("zigbee2mqtt/bridge/devices", b"[]", retain=True)
        assert viewer.wait_for(lambda frame: frame["type"] == "gone")["key"] == "device:0x00124b0000000002"


def test_silent_device_is_stale_and_is_back_with_a_word(live: RunningLive, publisher: Publisher) -> None:
    with live.viewer() as viewer:
        viewer.hello()
        for value in range(8):
            publisher.publish(PICO, str(value).encode())
            publisher.settle()
            viewer.wait_for_value(value)
            time.sleep(0.15)  # its cadence: gaps that are several reports
        tick = viewer.wait_for(lambda frame: frame["type"] == "tick" and KEY in frame["stale"])
        assert tick["now"] > 0
        publisher.publish(PICO, b"99")
        back = viewer.wait_for(lambda frame: frame["type"] == "device" and frame["device"]["key"] == KEY)
        assert back["device"]["stale"] is False


def test_alert_is_a_frame_and_is_in_the_next_hello(live: RunningLive, publisher: Publisher) -> None:
    now = int(datetime.now(UTC).timestamp() * 1e6)
    fired = AlertEvent(
        "a-1", "a", "firing", "too-warm", "warning", "room", "lab", "lab", "co2", 9.0, None, now, now, "!"
    )
    with live.viewer() as viewer:
        viewer.hello()
        publisher.publish(fired.topic, fired.encode())
        alert = viewer.wait_for(lambda frame: frame["type"] == "alert")["alert"]
        assert alert["alert_id"] == "a" and alert["fired_at"] == now / 1_000 and alert["cleared_at"] is None
    with live.viewer() as viewer:
        viewer.read_until(lambda: list(viewer.alerts()) == ["a"])


def test_scrape_parses_and_has_the_devices(live: RunningLive, publisher: Publisher) -> None:
    name = 'Küche "links"\\oben'
    with live.viewer() as viewer:
        viewer.hello()
        publisher.publish("zigbee2mqtt/" + name, b'{"battery": 97, "linkquality": 112, "state": "ON"}')
        publisher.publish(f"zigbee2mqtt/{name}/availability", b'{"state":"online"}')
        viewer.wait_for(lambda frame: frame["type"] == "device" and frame["device"]["available"])
        answer = urllib.request.urlopen(f"http://127.0.0.1:{live.settings.metrics.port}/metrics")
        text = answer.read().decode()
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    (available,) = families["zigbee_sensor_available"].samples
    assert available.labels["device"] == name and available.value == 1
    assert families["edge_live_viewers"].samples[0].value == 1
    assert families["edge_live_broker_up"].samples[0].value == 1
    assert "edge_metrics_source_up" in families, "the platform's own metrics are beside the devices'"


def test_page_of_another_site_may_neither_look_nor_do_anything(live: RunningLive) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        live.viewer(origin="http://elsewhere.example")
    with live.viewer(origin=f"http://{live.address}") as viewer:
        viewer.hello()
    mute = f"http://{live.address}/api/v1/alerts/mute"
    assert post(mute, {"Origin": "http://elsewhere.example", "Content-Type": "application/json"}) == 403
    assert post(mute, {"Content-Type": "text/plain"}) == 415
    assert post(mute, {"Origin": f"http://{live.address}", "Content-Type": "application/json"}) == 200


def test_name_that_is_not_ours_gets_no_answer(live: RunningLive) -> None:
    """A site whose name was given our address: its pages would have the right Origin."""
    foreign = {"Host": "evil.example", "Origin": "http://evil.example"}
    for path in ("/", "/api/v1/devices", "/openapi.json"):
        with pytest.raises(urllib.error.HTTPError, match="421"):
            urllib.request.urlopen(urllib.request.Request(f"http://{live.address}{path}", headers=foreign))
    with socket.create_connection(("127.0.0.1", live.settings.live.port)) as raw:
        raw.sendall(HANDSHAKE.replace(b"Host: x", b"Host: evil.example"))
        assert raw.recv(12) == b"HTTP/1.1 403"


def test_files_have_a_policy_and_are_asked_for_once(live: RunningLive) -> None:
    for path in ("/", "/vendor/dygraph.js"):
        answer = urllib.request.urlopen(f"http://{live.address}{path}")
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        again = urllib.request.Request(
            f"http://{live.address}{path}", headers={"If-None-Match": answer.headers["ETag"]}
        )
        with pytest.raises(urllib.error.HTTPError, match="304"):
            urllib.request.urlopen(again)
    for path in ("/vendor/dygraph.py", "/vendor/../settings.py", "/..%2floop.py", "/vendor/"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{live.address}{path}")


def test_broker_restarts_and_viewers_are_told(live: RunningLive, publisher: Publisher, mosquitto: Mosquitto) -> None:
    with live.viewer() as viewer:
        viewer.hello()
        mosquitto.kill()
        viewer.wait_for(lambda frame: frame == {"type": "broker", "up": False})
        with live.viewer() as other:
            other.read_until(lambda: broker_of(other.frames) is False)
        mosquitto.start()
        viewer.wait_for(lambda frame: frame == {"type": "broker", "up": True})
        with Publisher(live.settings) as again:
            with repeating(lambda: again.publish(PICO, b"5")):
                viewer.wait_for_value(5)


def test_stop_is_prompt_with_viewers_of_all_sorts(live: RunningLive, publisher: Publisher) -> None:
    with ExitStack() as stack:
        viewers = [stack.enter_context(live.viewer()) for _ in range(20)]
        for viewer in viewers:
            viewer.hello()
        deaf = deaf_viewer(live)
        for number in range(150):
            publisher.publish("pico/note/much", much(number))
        viewers[0].wait_for(partial(has_value, measurement="n", value=149))
        assert live.stop() < 3
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                viewers[0].next()
        assert closed.value.rcvd and closed.value.rcvd.code == 1012
        deaf.close()


@pytest.mark.parametrize("part", ["live", "metrics"])
def test_taken_port_is_said_in_one_line(settings: Settings, mosquitto: Mosquitto, part: str) -> None:
    own = live_settings(settings)
    port = getattr(own, part).port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PlatformError, match=f"127.0.0.1:{port}.*taken"):
        run_service("live", loop.run, own, threading.Event())


def test_status_says_who_looks_and_what_was_heard(live: RunningLive, publisher: Publisher) -> None:
    with live.viewer() as viewer:
        viewer.hello()
        before = live.reported["messages"]
        publisher.publish(PICO, b"1")
        status = until(lambda: live.reported["messages"] > before and live.reported)
        assert status["viewers"] == 1 and status["connected"] and status["devices"] >= 1 and status["problem"] == ""


# -- what tests use ----------------------------------------------------------------------------------------------------


@contextmanager
def repeating(action: Callable[[], None]) -> Iterator[None]:
    """Do it again and again while the block waits for what comes of it."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(0.05):
            action()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def broker_of(frames: list[dict[str, Any]]) -> bool | None:
    """What was last said of the server's connection to the broker."""
    said = [frame.get("up", frame.get("broker")) for frame in frames if frame["type"] in ("hello", "broker")]
    return said[-1] if said else None


def description(name: str) -> bytes:
    about = {"ieee_address": "0x00124b0000000002", "friendly_name": name, "type": "Router", "definition": None}
    return json.dumps([about]).encode()


def values_of(frame: dict[str, Any], measurement: str) -> list[float]:
    return [point[3] for point in frame.get("points", ()) if point[1] == measurement]


def post(url: str, headers: dict[str, str]) -> int:
    request = urllib.request.Request(url, data=b'{"rule": "nothing"}', headers=headers, method="POST")
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code


def has_value(frame: dict[str, Any], measurement: str, value: float) -> bool:
    return value in values_of(frame, measurement)


def much(number: int) -> bytes:
    """A message that is many points."""
    return json.dumps({"n": number, **{f"m{one}": number for one in range(200)}}).encode()


def small_socket(live: RunningLive) -> socket.socket:
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    raw.connect(("127.0.0.1", live.settings.live.port))
    return raw


def deaf_viewer(live: RunningLive) -> socket.socket:
    """A viewer that shakes hands and then reads nothing, with next to no buffer of its own."""
    raw = small_socket(live)
    raw.sendall(HANDSHAKE)
    assert raw.recv(12) == b"HTTP/1.1 101"
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return raw
