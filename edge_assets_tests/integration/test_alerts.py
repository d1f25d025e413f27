"""The alerter on a real Mosquitto, with a real webhook: what people are told, when, and how often."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_assets import rooms
from edge_assets.alert_record import AlertEvent
from edge_assets.alerts import channels, desk, farewell, store
from edge_assets.bridge.memory import Memory, memory_path
from edge_assets.bridge.mqtt_in import make_client
from edge_assets.errors import AlertError
from edge_assets.platform.broker import address
from edge_assets.settings import Settings
from edge_assets_tests.alert_rig import OVERLOAD, AlerterProcess, Receiver, RunningAlerter, with_rules
from edge_assets_tests.bridge_rig import Publisher, wait_for, with_settings

pytestmark = pytest.mark.broker
PLUG = "zigbee2mqtt/plug"


class EventListener:
    """Everything on `edge/alerts/#`, as it comes."""

    def __init__(self, settings: Settings) -> None:
        self.events: list[AlertEvent] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("edge/alerts/#", 1)
        self._client.on_message = lambda *told: self.events.append(AlertEvent.decode(told[2].payload))
        self._client.connect(*address(settings))
        self._client.loop_start()

    def transitions(self) -> list[str]:
        return [event.transition for event in self.events]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def events(settings: Settings, mosquitto: Any) -> Iterator[EventListener]:
    listener = EventListener(settings)
    yield listener
    listener.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def power(settings: Settings, watts: float) -> None:
    with Publisher(settings) as publisher:
        publisher.publish(PLUG, json.dumps({"power": watts}).encode())


def test_an_alert_fires_and_clears_once(settings: Settings, events: EventListener, receiver: Receiver) -> None:
    own = with_rules(settings, OVERLOAD, notify={"web": receiver.url})
    with RunningAlerter(own) as alerter:
        power(own, 3500)
        wait_for(lambda: receiver.messages, lambda told: told == ["plug draws 3500"])
        (alert,) = desk.alerts(own, open_only=True)
        assert (alert.rule, alert.device_id, alert.value, alert.severity) == ("overload", "plug", 3500.0, "critical")
        power(own, 2900)
        power(own, 3600)
        power(own, 100)
        wait_for(lambda: receiver.messages, lambda told: told == ["plug draws 3500", "plug is back at 100"])
        wait_for(events.transitions, lambda told: len(told) == 4)
        assert sorted(events.transitions()) == ["cleared", "firing", "notified", "notified"]
        assert len({event.event_id for event in events.events}) == 4
        assert {event.alert_id for event in events.events} == {alert.alert_id}
        fired, cleared = (title for title, *_ in receiver.told)
        assert fired == "home: critical: overload: plug" and cleared.startswith("home: cleared: ")
        (closed,) = desk.alerts(own)
        assert closed.cleared_at is not None and not desk.alerts(own, open_only=True)
        status = wait_for(alerter.status, lambda status: status.get("notified") == 2)
        assert (status["fired"], status["cleared"], status["open"], status["outbox"]) == (1, 1, 0, 0)


def test_killed_in_the_middle_of_a_for_it_fires_when_it_was_due(
    settings: Settings, events: EventListener, receiver: Receiver
) -> None:
    own = with_rules(settings, OVERLOAD + "    for: 6s\n", notify={"web": receiver.url})
    alerter = AlerterProcess(own)
    with alerter.keep():
        alerter.start()
        power(own, 3500)
        published = time.time()
        opened = store.connect(own)
        wait_for(lambda: opened.execute("SELECT count(*) FROM watches").fetchone()[0], bool)
        alerter.kill()
        alerter.start()
        assert receiver.told == []
        wait_for(lambda: receiver.messages, bool)
        assert receiver.messages == ["plug draws 3500"]
        (alert,) = desk.alerts(own)
        assert alert.fired_at - alert.since == 6_000_000 and abs(alert.since / 1e6 - published) < 2
        wait_for(events.transitions, lambda told: "notified" in told)
        alerter.kill()
        alerter.start()
        power(own, 10)
        wait_for(lambda: receiver.messages, lambda told: told == ["plug draws 3500", "plug is back at 10"])
        wait_for(lambda: {event.event_id for event in events.events}, lambda told: len(told) == 4)


def test_killed_at_any_moment_nothing_is_told_twice_or_not_at_all(
    settings: Settings, events: EventListener, receiver: Receiver
) -> None:
    """Twelve alerts and kills in between, without waiting for anything to settle."""
    own = with_rules(settings, OVERLOAD, notify={"web": receiver.url})
    alerter = AlerterProcess(own)
    with alerter.keep():
        alerter.start()
        for number in range(4):
            with Publisher(own) as publisher:
                for plug in range(3):
                    publisher.publish(f"zigbee2mqtt/plug {number}{plug}", b'{"power": 4000}')
            alerter.kill()
            alerter.start()
        wanted = sorted(f"plug {number}{plug} draws 4000" for number in range(4) for plug in range(3))
        wait_for(lambda: sorted(set(receiver.messages)), lambda told: told == wanted)
        # Who is killed between a webhook's answer and the note of it tells it again: once a kill at most.
        assert len(receiver.messages) <= len(wanted) + 4
        assert len(desk.alerts(own)) == 12
        wait_for(lambda: {e.alert_id for e in events.events if e.transition == "notified"}, lambda ids: len(ids) == 12)


def test_a_channel_that_is_down_gets_everything_once_and_holds_up_nobody(
    settings: Settings, mosquitto: Any, receiver: Receiver
) -> None:
    receiver.answer = 503
    with Receiver() as other:
        own = with_rules(settings, OVERLOAD, notify={"web": receiver.url, "other": other.url})
        with RunningAlerter(own) as alerter:
            power(own, 3500)
            wait_for(lambda: other.messages, lambda told: told == ["plug draws 3500"])
            power(own, 0)
            wait_for(lambda: other.messages, lambda told: len(told) == 2)
            wait_for(lambda: receiver.tries, lambda tries: tries >= 2)
            wait_for(alerter.status, lambda status: status["outbox"] >= 1)
        receiver.answer = 200
        with RunningAlerter(own):
            wait_for(lambda: receiver.messages, lambda told: told == ["plug draws 3500", "plug is back at 0"])
            wait_for(
                lambda: len(store.connect(own).execute("SELECT 1 FROM outbox WHERE done_at IS NULL").fetchall()),
                lambda n: n == 0,
            )
        assert len(receiver.messages) == 2 and len(other.messages) == 2


def test_a_retained_message_fires_nothing_after_a_restart(
    settings: Settings, mosquitto: Any, receiver: Receiver
) -> None:
    own = with_rules(settings, OVERLOAD, notify={"web": receiver.url})
    with Publisher(own) as publisher:
        publisher.publish("zigbee2mqtt/old", b'{"power": 9999}', retain=True)
    for _ in range(2):
        with RunningAlerter(own) as alerter:
            power(own, 3500)
            wait_for(lambda: receiver.messages, bool)
            wait_for(alerter.status, lambda status: status.get("messages", 0) >= 2)
    assert receiver.messages == ["plug draws 3500"]
    assert [alert.device_id for alert in desk.alerts(own)] == ["plug"]


def test_a_device_that_is_away_is_reported_and_a_dead_network_once(
    settings: Settings, mosquitto: Any, receiver: Receiver
) -> None:
    text = """
rules:
  - {name: gone, condition: {offline: true}, message: "{device} gone", for: 1s}
  - {name: network, kind: bridge, condition: {offline: true}, message: "{device} gone"}
"""
    own = with_rules(settings, text, notify={"web": receiver.url})
    with RunningAlerter(own), Publisher(own) as publisher:
        publisher.publish("zigbee2mqtt/bridge/state", b'{"state":"online"}', retain=True)
        for device in ("a", "b"):
            publisher.publish(f"zigbee2mqtt/{device}/availability", b'{"state":"online"}', retain=True)
        publisher.publish("zigbee2mqtt/a/availability", b'{"state":"offline"}', retain=True)
        wait_for(lambda: receiver.messages, lambda told: told == ["a gone"])
        publisher.publish("zigbee2mqtt/bridge/state", b'{"state":"offline"}', retain=True)
        publisher.publish("zigbee2mqtt/b/availability", b'{"state":"offline"}', retain=True)
        wait_for(lambda: receiver.messages, lambda told: told == ["a gone", "zigbee2mqtt gone"])
        publisher.publish("zigbee2mqtt/bridge/state", b'{"state":"online"}', retain=True)
        wait_for(lambda: receiver.messages, lambda told: "b gone" in told)
    assert sum("gone" in one for one in receiver.messages) == 3


def test_rules_are_read_again_and_a_mistake_keeps_the_old_ones(
    settings: Settings, mosquitto: Any, receiver: Receiver
) -> None:
    own = with_rules(settings, OVERLOAD, notify={"web": receiver.url})
    with RunningAlerter(own) as alerter:
        file = own.home / "alerts.yaml"
        file.write_text("rules:\n  - name: overload\n    condition: {measurement: power, abov: 1}\n")
        status = wait_for(alerter.status, lambda status: bool(status.get("rules_problem")))
        assert "alerts.yaml:3: rules[0].condition.abov: no such field" in status["problem"] and status["rules"] == 1
        power(own, 3500)
        wait_for(lambda: receiver.messages, lambda told: told == ["plug draws 3500"])
        file.write_text(OVERLOAD.replace("3000", "5000").replace("2800", "4900"))
        wait_for(lambda: receiver.messages, lambda told: told[1:] == ["plug is back at 3500"])
        assert not wait_for(alerter.status, lambda status: not status.get("rules_problem"))["problem"]
    file.write_text("rules: [")
    with RunningAlerter(own) as alerter:
        assert alerter.status()["rules"] == 1, "the last valid rules, kept in the store"
        power(own, 6000)
        wait_for(lambda: receiver.messages, lambda told: told[2:] == ["plug draws 6000"])


def test_acknowledged_and_muted(settings: Settings, events: EventListener, receiver: Receiver) -> None:
    own = with_rules(settings, OVERLOAD, notify={"web": receiver.url})
    with RunningAlerter(own):
        power(own, 3500)
        wait_for(lambda: receiver.messages, bool)
        (alert,) = desk.alerts(own)
        seen = desk.acknowledge(own, alert.alert_id, "Ada")
        assert seen.acknowledged_at and seen.acknowledged_by == "Ada"
        assert desk.acknowledge(own, alert.alert_id, "Bob").acknowledged_by == "Ada"
        wait_for(events.transitions, lambda told: told.count("acknowledged") == 1, seconds=5)
        desk.mute(own, "over*", "plug", minutes=5)
        assert desk.alerts(own)[0].muted
        power(own, 0)
        power(own, 3500)
        wait_for(lambda: [one.cleared_at for one in desk.alerts(own)], lambda told: len(told) == 2)
        wait_for(events.transitions, lambda told: told.count("firing") == 2 and told.count("cleared") == 1)
        assert desk.unmute(own, "over*", "plug") == 1
        power(own, 0)
        power(own, 3700)
        wait_for(lambda: receiver.messages, lambda told: told == ["plug draws 3500", "plug draws 3700"])
    with pytest.raises(AlertError, match="no such open alert"):
        desk.acknowledge(own, "nonsense")


def test_a_broker_that_dies_is_waited_for_and_timers_go_on(
    settings: Settings, mosquitto: Any, receiver: Receiver
) -> None:
    own = with_rules(settings, OVERLOAD + "    for: 3s\n", notify={"web": receiver.url})
    with RunningAlerter(own) as alerter:
        power(own, 3500)
        wait_for(alerter.status, lambda status: status.get("messages", 0) >= 1)
        mosquitto.kill()
        wait_for(alerter.status, lambda status: not status["connected"])
        wait_for(lambda: receiver.messages, lambda told: told == ["plug draws 3500"])
        mosquitto.start()
        wait_for(alerter.status, lambda status: bool(status["connected"]) and not status["catching_up"])
        power(own, 0)
        wait_for(lambda: receiver.messages, lambda told: told == ["plug draws 3500", "plug is back at 0"])


def test_what_ended_while_the_alerter_was_away_does_not_fire(
    settings: Settings, mosquitto: Any, receiver: Receiver
) -> None:
    """The overload was over before it had lasted; the message waits at the broker, and nobody knows since when."""
    own = with_rules(settings, OVERLOAD + "    for: 2s\n", notify={"web": receiver.url})
    alerter = AlerterProcess(own)
    with alerter.keep():
        alerter.start()
        power(own, 3500)
        opened = store.connect(own)
        wait_for(lambda: opened.execute("SELECT count(*) FROM watches").fetchone()[0], bool)
        alerter.kill()
        power(own, 0)
        killed = time.monotonic()
        wait_for(lambda: time.monotonic() - killed, lambda seconds: seconds > 2.5)
        alerter.start()
        with Publisher(own) as publisher:
            publisher.publish("zigbee2mqtt/other", b'{"power": 4000}')
        wait_for(lambda: receiver.messages, bool)
        assert receiver.messages == ["other draws 4000"]
        assert alerter.kill(signal.SIGTERM) == 0


def test_a_test_message_and_channels_that_are_none(settings: Settings, receiver: Receiver) -> None:
    own = with_rules(
        settings,
        OVERLOAD,
        notify={"web": receiver.url, "bad": "nonsense://se-cret", "shut": "json://127.0.0.1:9/se-cret"},
    )
    found = channels.test(own)
    assert found["web"] is None and receiver.told[0][0] == "test: home"
    assert found["bad"] and found["shut"] and "se-cret" not in f"{found}"
    with pytest.raises(AlertError, match="there are: bad, shut, web"):
        channels.test(own, "phone")


def test_what_fires_before_any_bridge_has_subscribed_is_published_again_for_the_lake(settings, events, receiver):
    own = with_rules(settings, OVERLOAD, notify={"hook": receiver.url})
    memory_path(own).unlink()
    with RunningAlerter(own) as alerter:
        power(own, 3500)
        wait_for(events.transitions, lambda seen: "firing" in seen)
        wait_for(alerter.status, lambda status: status["outbox"] > 0 and status["notified"] > 0)
        Memory(settled=True).save(own)  # as a bridge does whose SUBSCRIBE was granted
        wait_for(alerter.status, lambda status: status["outbox"] == 0)
        wait_for(events.transitions, lambda seen: seen.count("firing") == 2)
    first, again = (event for event in events.events if event.transition == "firing")
    assert first == again


def test_what_fires_right_after_a_bridge_has_subscribed_is_published_once(settings, events, receiver):
    own = with_rules(settings, OVERLOAD, notify={"hook": receiver.url})
    memory_path(own).unlink()
    with RunningAlerter(own) as alerter:
        Memory(settled=True).save(own)
        power(own, 3500)
        wait_for(alerter.status, lambda status: status["outbox"] == 0 and status["notified"] > 0)
        wait_for(events.transitions, lambda seen: seen.count("notified") == 1)
    assert events.transitions().count("firing") == 1


WARM = """
rules:
  - name: warm
    kind: room
    devices: ["Workshop"]
    condition: {measurement: temperature, above: 30}
    message: "{device} has {value}"
"""


def test_a_room_is_called_as_people_call_it(settings, mosquitto, receiver):
    own = with_rules(settings, WARM, notify={"hook": receiver.url})
    with RunningAlerter(own), Publisher(own) as publisher:
        rooms.describe(own, "lab", room_name="Workshop")

        def warm() -> list[str]:
            publisher.publish("building/lab/telemetry", b'{"temperature": 35}')
            return receiver.messages

        wait_for(warm, lambda messages: messages == ["Workshop has 35"] or "Workshop has 35.0" in messages)


def test_who_switches_alerts_off_leaves_no_session_behind(settings, mosquitto):
    own = with_rules(settings, OVERLOAD)
    wanted, unwanted = (with_settings(own, alerts={"enabled": enabled}) for enabled in (True, False))
    with RunningAlerter(own):
        pass
    assert has_session(own)
    (own.home / "alerts").mkdir(exist_ok=True)
    assert not farewell.leave(wanted) and has_session(own)
    assert farewell.leave(unwanted) and not has_session(own)
    mosquitto.stop()
    assert not farewell.leave(unwanted), "nobody answers: another time"


def has_session(settings: Settings) -> bool:
    """Whether the broker keeps one for the alerter; asking makes one."""
    said: list[bool] = []
    client = make_client(settings, farewell.session_id(settings), clean_session=False)
    client.on_connect = lambda *told: said.append(told[2].session_present)
    client.connect(*address(settings))
    while not said:
        client.loop(0.1)
    client.disconnect()
    return said[0]
