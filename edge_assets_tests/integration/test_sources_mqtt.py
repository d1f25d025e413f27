"""The sources against a real Mosquitto: what a subscriber receives, and what happens when the broker dies."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from edge_assets.errors import PlatformError
from edge_assets.service import read_status
from edge_assets.settings import Settings, SimulatorSettings
from edge_assets.sources import publisher, simulators
from edge_assets.sources.replay import ReplayResult, replay_file
from edge_assets.sources.zigbee2mqtt import events

pytestmark = pytest.mark.broker
DEADLINE_SECONDS = 30.0


class Listener:
    """Subscribes to everything, and keeps what it hears (in order) as (topic, payload, retain)."""

    def __init__(self, host: str, port: int, session: str = "") -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=session, clean_session=not session)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=2)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(host, port)
        self._client.loop_start()
        assert self._subscribed.wait(DEADLINE_SECONDS)

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        self.heard.append((message.topic, bytes(message.payload), message.retain))

    def latest(self, topic: str) -> bytes | None:
        return next((payload for name, payload, *_ in reversed(self.heard) if name == topic), None)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def listener(mosquitto: Any) -> Iterator[Listener]:
    listening = Listener(mosquitto.host, mosquitto.port)
    yield listening
    listening.close()


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


@contextmanager
def running(settings: Settings, **changes: Any) -> Iterator[dict[str, Any]]:
    """The simulators in a thread; yields their latest report."""
    own = settings.model_copy(update={"simulators": SimulatorSettings(**changes)})
    status: dict[str, Any] = {}
    stop = threading.Event()
    thread = threading.Thread(target=simulators.run, args=(own, stop, status.update))
    thread.start()
    try:
        yield status
    finally:
        stop.set()
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()


def recording(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_simulators_publish_and_say_goodbye(settings: Settings, listener: Listener) -> None:
    with running(settings, interval_seconds=0.1) as status:
        until(lambda: sum("washing_machine" in topic for topic, *_ in listener.heard) > 20)
        assert listener.latest("zigbee2mqtt/bridge/state") == b'{"state":"online"}'
        assert listener.latest("zigbee2mqtt/冷蔵庫/availability") is None, "the fourth door is not there"
        assert listener.latest("zigbee2mqtt/Balkontür 🚪/availability") == b'{"state":"online"}'
        assert status["connected"] and status["devices"] == 6 and status["skipped"] == 0
    until(lambda: listener.latest("zigbee2mqtt/bridge/state") == b'{"state":"offline"}')
    assert status["connected"] is False
    heard = [message for message in listener.heard if message[0] != "zigbee2mqtt/bridge/state"]
    assert len(heard) == status["published"] - 1


def test_a_pico_and_rooms_are_published_beside_the_network(settings: Settings, listener: Listener) -> None:
    with running(settings, pico_interval_seconds=0.2) as status:
        until(lambda: sum(topic.startswith("pico/") for topic, *_ in listener.heard) > 10)
        until(lambda: sum(topic.startswith("building/") for topic, *_ in listener.heard) > 40)
        assert (status["rooms"], status["pico"], status["skipped"]) == (8, 1, 0)
        below = status["published_below"]
        assert set(below) == {"zigbee2mqtt", "pico", "building"} and below["building"] > 40
    heard = {topic: payload for topic, payload, _ in listener.heard}
    assert {topic for topic in heard if topic.startswith("pico/")} == {
        "pico/temperature/dht22",
        "pico/humidity/dht22",
        "pico/temperature/internal",
    }
    assert 10 < float(heard["pico/temperature/dht22"]) < 35
    rooms = {topic: json.loads(payload) for topic, payload in heard.items() if topic.startswith("building/")}
    assert len(rooms) == 8
    assert all(topic == f"building/{room['room_id']}/telemetry" for topic, room in rooms.items())
    assert not any(retain for topic, _, retain in listener.heard if not topic.startswith("zigbee2mqtt/"))


def test_what_a_newcomer_finds_retained(settings: Settings, mosquitto: Any, listener: Listener) -> None:
    with running(settings, interval_seconds=0.1):
        until(lambda: sum("washing_machine" in topic for topic, *_ in listener.heard) > 2)
        newcomer = Listener(mosquitto.host, mosquitto.port)
        until(lambda: newcomer.latest("zigbee2mqtt/bridge/devices"))
        until(lambda: newcomer.latest("zigbee2mqtt/All plugs/availability"))
        retained = {topic.removeprefix("zigbee2mqtt/") for topic, _, retain in newcomer.heard if retain}
        newcomer.close()
    assert retained >= {"bridge/state", "bridge/info", "bridge/devices", "bridge/groups", "front door/availability"}
    assert not retained & {"bridge/logging", "front door", "washing_machine", "Hall/Front Door/availability"}


def test_a_killed_simulator_leaves_its_last_will(settings: Settings, mosquitto: Any, listener: Listener) -> None:
    process = _as_a_process(settings, mosquitto)
    until(lambda: listener.latest("zigbee2mqtt/bridge/state") == b'{"state":"online"}')
    process.kill()
    process.wait(DEADLINE_SECONDS)
    until(lambda: listener.latest("zigbee2mqtt/bridge/state") == b'{"state":"offline"}')


def test_sigterm_stops_the_process_in_order(settings: Settings, mosquitto: Any, listener: Listener) -> None:
    process = _as_a_process(settings, mosquitto)
    until(lambda: listener.latest("zigbee2mqtt/washing_machine"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_SECONDS) == 0
    status = read_status(settings, "simulators")
    assert status["state"] == "stopped" and status["published"] > 0
    until(lambda: listener.latest("zigbee2mqtt/bridge/state") == b'{"state":"offline"}')


def test_simulators_outlive_the_broker(settings: Settings, mosquitto: Any) -> None:
    """A broker without its memory: what is retained is published again, what fell due meanwhile is counted."""
    with running(settings, interval_seconds=0.1) as status:
        until(lambda: status.get("published", 0) > 50)
        mosquitto.kill()
        (settings.home / "mosquitto" / "mosquitto.db").unlink(missing_ok=True)
        until(lambda: status["skipped"] > 5 and not status["connected"])
        assert "lost" in status["problem"]
        mosquitto.start()
        until(lambda: status["connected"] and status["republished"] > 10)
        assert status["problem"] is None
        listener = Listener(mosquitto.host, mosquitto.port)
        until(lambda: listener.latest("zigbee2mqtt/washing_machine"))
        until(lambda: listener.latest("zigbee2mqtt/bridge/devices"))
        assert listener.latest("zigbee2mqtt/bridge/state") == b'{"state":"online"}'
        listener.close()


def test_simulators_wait_for_a_broker_and_stop_when_told(settings: Settings) -> None:
    with running(settings) as status:
        until(lambda: status.get("problem"))
        assert status["published"] == 0
    assert status["connected"] is False


def test_replay_gives_each_line_once_in_order(settings: Settings, tmp_path: Path, listener: Listener) -> None:
    lines = [
        {"topic": f"zigbee2mqtt/device {n % 7}", "payload": f'{{"number":{n}}}', "qos": n % 2, "retain": False}
        for n in range(5_000)
    ]
    result = replay_file(settings, recording(tmp_path / "r.jsonl", lines))
    assert (result.published, result.skipped_lines, result.complete) == (5_000, 0, True)
    until(lambda: len(listener.heard) >= 5_000)
    assert [(t, p.decode()) for t, p, *_ in listener.heard] == [(n["topic"], n["payload"]) for n in lines]


def test_replay_keeps_retain_base64_and_empty_payloads(
    settings: Settings, tmp_path: Path, mosquitto: Any, listener: Listener
) -> None:
    lines: list[dict[str, Any]] = [
        {"topic": "a", "payload": "kept", "retain": True},
        {"topic": "b", "payload": "gone", "retain": True},
        {"topic": "b", "payload": "", "retain": True},
        {"topic": "c", "payload_base64": "AP8="},
    ]
    assert replay_file(settings, recording(tmp_path / "r.jsonl", lines)).complete
    until(lambda: len(listener.heard) == 4)
    assert [payload for _, payload, *_ in listener.heard] == [b"kept", b"gone", b"", b"\x00\xff"]
    newcomer = Listener(mosquitto.host, mosquitto.port)
    until(lambda: newcomer.heard)
    assert [(topic, retain) for topic, _, retain in newcomer.heard] == [("a", True)]
    newcomer.close()


def test_replay_names_bad_lines_and_publishes_the_others(
    settings: Settings, tmp_path: Path, listener: Listener
) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"topic":"a","payload":"1"}\nnonsense\n{"topic":"a","payload":"2"}\n')
    result = replay_file(settings, path)
    assert (result.published, result.skipped_lines, result.complete) == (2, 1, False)
    assert str(result.problems[0]).startswith("line 2: not JSON")
    until(lambda: [p for _, p, *_ in listener.heard] == [b"1", b"2"])


def test_replay_of_a_packed_file_tells_its_progress(settings: Settings, tmp_path: Path, listener: Listener) -> None:
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"topic":"a","payload":"1"}\n' * 100))
    told: list[tuple[int, int]] = []
    assert replay_file(settings, path, progress=lambda done, size: told.append((done, size))).published == 100
    assert told[-1] == (path.stat().st_size, path.stat().st_size)
    until(lambda: len(listener.heard) == 100)


def test_replay_at_the_recordings_own_pace(settings: Settings, tmp_path: Path, listener: Listener) -> None:
    """Two hours at 7,200 times their speed; the second stretch begins without a pause though its clock goes back."""
    hours = ["2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z", "2026-01-01T00:00:00Z"]
    lines: list[dict[str, Any]] = [{"topic": "a", "payload": ts, "ts": ts} for ts in hours]
    result = replay_file(settings, recording(tmp_path / "r.jsonl", lines), speed=7_200)
    assert result.published == 3
    assert result.seconds >= 1.0
    until(lambda: [p.decode() for _, p, *_ in listener.heard] == hours)


def test_replay_outlives_a_broker_that_restarts(settings: Settings, tmp_path: Path, mosquitto: Any) -> None:
    """Whoever has a session hears every QoS 1 line at least once, and the result says that some may be there twice."""
    lines = [{"topic": "a", "payload": str(n), "qos": 1, "retain": False} for n in range(20_000)]
    path = recording(tmp_path / "r.jsonl", lines)
    listener = Listener(mosquitto.host, mosquitto.port, session="listener")
    results: list[ReplayResult] = []
    thread = threading.Thread(target=lambda: results.append(replay_file(settings, path)))
    thread.start()
    until(lambda: len(listener.heard) > 500)
    mosquitto.stop()
    mosquitto.start()
    thread.join(DEADLINE_SECONDS)
    assert results and results[0].published == 20_000
    assert results[0].connections_lost == 1 and not results[0].complete
    until(lambda: len({payload for _, payload, _ in listener.heard}) == 20_000)
    listener.close()


def test_replay_without_a_broker_says_what_to_do(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "AWAY_SECONDS", 0.5)
    with pytest.raises(PlatformError, match=r"no broker answered.*EDGE_MQTT__HOST"):
        replay_file(settings, recording(tmp_path / "r.jsonl", [{"topic": "a", "payload": "1"}]))


def test_replay_of_the_real_recordings(settings: Settings, sample_data: Path, listener: Listener) -> None:
    folder = sample_data / "zigbee2mqtt"
    expected = []
    for name in ("matterbridge_bridge", "matterbridge_payloads", "sonoff_devices"):
        path = folder / f"{name}.jsonl"
        assert replay_file(settings, path, qos=1).complete
        expected += [(r["topic"], r["payload"]) for r in map(json.loads, path.open())]
    until(lambda: len(listener.heard) >= len(expected))
    assert [(topic, payload.decode()) for topic, payload, *_ in listener.heard] == expected


def test_a_recorded_simulation_replays_to_the_same_bytes(
    settings: Settings, tmp_path: Path, listener: Listener
) -> None:
    simulated = [m for m, _ in zip(events(SimulatorSettings()), range(2_000), strict=False)]
    lines = [
        {"topic": m.topic, "payload": m.payload.decode(), "qos": m.qos, "retain": m.retain, "ts": m.at_seconds}
        for m in simulated
    ]
    assert replay_file(settings, recording(tmp_path / "r.jsonl", lines), qos=1).complete
    until(lambda: len(listener.heard) >= len(lines))
    assert [(t, p) for t, p, *_ in listener.heard] == [(m.topic, m.payload) for m in simulated]


def _as_a_process(settings: Settings, mosquitto: Any) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "EDGE_HOME": str(settings.home),
        "EDGE_MQTT__HOST": mosquitto.host,
        "EDGE_MQTT__PORT": str(mosquitto.port),
    }
    return subprocess.Popen([sys.executable, "-m", "edge_assets.sources"], env=environment)
