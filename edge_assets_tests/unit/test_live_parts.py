"""The live server's parts by themselves: series, cadence, devices and alerts, frames and metrics."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from websockets.frames import Frame, Opcode

from edge_assets.alert_record import AlertEvent
from edge_assets.listening.decoder import Decoder
from edge_assets.listening.heard import Device, Heard, Message, Observation
from edge_assets.live import metrics, protocol
from edge_assets.live.alerts import MOST, Alerts
from edge_assets.live.cadence import LEARNED, Cadence
from edge_assets.live.devices import Devices
from edge_assets.live.series import Series
from edge_assets.live.visitors import is_own_name
from edge_assets.live.wire import framed
from edge_assets.settings import Settings
from edge_assets_tests.bridge_rig import with_settings

NOW = 1_795_000_000_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND
DOOR, PLUG = "0x00124b0000000001", "0x00124b0000000002"

POINTS = st.lists(st.tuples(st.integers(0, 50), st.floats(-1e6, 1e6)))


@given(POINTS, st.integers(1, 20))
def test_series_keeps_the_latest_points_in_order(points: list[tuple[int, float]], most: int) -> None:
    series = Series(most)
    for at, value in points:
        series.add(at, value)
    kept = list(series)
    times = [at for at, _ in kept]
    assert times == sorted(set(times)) and len(kept) == len(series) <= most
    if len(points) <= most:  # nothing had to go
        assert dict(kept) == dict(points)
    assert [list(few) for few in series.points(2)] == [times[-2:], [value for _, value in kept[-2:]]]


@given(POINTS, POINTS)
def test_past_of_a_series_comes_before_what_was_heard(past: list[tuple[int, float]], heard: list[Any]) -> None:
    series = Series(1_000)
    for at, value in heard:
        series.add(at, value)
    first = min((at for at, _ in heard), default=None)
    series.begin_with(dict(past).items())
    expected = {at: value for at, value in past if first is None or at < first} | dict(heard)
    assert dict(series) == expected and [at for at, _ in series] == sorted(expected)


def test_series_says_what_is_news() -> None:
    series = Series(10)
    assert series.add(1, 5.0) and not series.add(1, 5.0) and series.add(1, 6.0) and series.add(0, 6.0)


@given(st.text(max_size=200_000 // 50).map(lambda text: text * 50))
def test_frame_is_what_the_protocol_library_writes(text: str) -> None:
    payload = text.encode("utf-8", "replace")
    assert framed(text) == Frame(Opcode.TEXT, payload).serialize(mask=False)


# -- cadence -----------------------------------------------------------------------------------------------------------


def test_cadence_is_learned_and_several_messages_of_a_report_count_once() -> None:
    cadence = Cadence()
    for number in range(LEARNED + 1):
        assert cadence.seconds is None
        cadence.heard(NOW + number * 10 * SECOND)
        cadence.heard(NOW + number * 10 * SECOND + 5_000)
    assert cadence.seconds == 10 and cadence.longest_seconds == 10


def test_clock_that_is_set_back_is_no_gap() -> None:
    cadence = Cadence()
    for at in (NOW, NOW - DAY, NOW - DAY + 5 * SECOND, NOW - DAY + 10 * SECOND, NOW - DAY + 15 * SECOND):
        cadence.heard(at)
    assert cadence.seconds == 5


# -- devices -----------------------------------------------------------------------------------------------------------


class House:
    """Devices, heard through the real decoder."""

    def __init__(self, settings: Settings) -> None:
        self.devices = Devices(settings)
        self.decoder = Decoder(settings)
        self.now = NOW

    def say(self, topic: str, payload: Any, *, retained: bool = False) -> list[dict[str, Any]]:
        """Returns the frames that follow."""
        raw = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
        heard: Heard = self.decoder.hear(Message(topic, raw, self.now, retained))
        if heard.describes:
            self.devices.describe(self.decoder.devices, self.now)
        else:
            self.devices.hear(heard)
        return [json.loads(frame) for frame in self.devices.take_news()]

    def describe(self, **names: str) -> list[dict[str, Any]]:
        about = {
            "door": (DOOR, [{"type": "binary", "property": "contact", "value_on": False, "value_off": True}]),
            "plug": (PLUG, [{"type": "numeric", "property": "power", "unit": "W"}]),
        }
        listed = [
            {
                "ieee_address": about[sort][0],
                "friendly_name": name,
                "type": "Router",
                "definition": {"model": f"M-{sort}", "vendor": "Maker", "exposes": about[sort][1]},
            }
            for sort, name in names.items()
        ]
        return self.say("zigbee2mqtt/bridge/devices", listed, retained=True)

    def told(self, kind: str, identity: str) -> dict[str, Any]:
        known = self.devices.get(Device(kind, identity))  # type: ignore[arg-type]
        assert known is not None
        return known.told()

    def wait(self, seconds: float) -> bool:
        self.now += int(seconds * SECOND)
        return self.devices.grow_stale(self.now)


def test_described_devices_are_there_before_they_speak_with_group_vendor_and_model(settings: Settings) -> None:
    frames = House(settings).describe(door="front door", plug="kettle")
    told = {frame["device"]["name"]: frame["device"] for frame in frames}
    assert told["front door"]["group"] == "doors" and told["kettle"]["group"] == "plugs"
    assert (
        told["kettle"] | {"model": "M-plug", "vendor": "Maker", "last_seen": None, "available": None} == told["kettle"]
    )


def test_groups_of_what_is_not_described(settings: Settings) -> None:
    house = House(settings)
    house.say("pico/temperature/dht22", "21.5")
    house.say("pico/lux/bh1750", "300")
    house.say("building/lab/telemetry", {"temperature": 20.5})
    house.say("zigbee2mqtt/bridge/state", {"state": "online"})
    assert house.told("device", "pico/dht22")["group"] == "climate"
    assert house.told("device", "pico/bh1750")["group"] == "other"
    assert house.told("room", "lab")["group"] == "rooms"
    assert house.told("bridge", "zigbee2mqtt")["group"] == "bridges"


def test_points_are_told_after_their_new_device_and_once(settings: Settings) -> None:
    house = House(settings)
    device, points = house.say("pico/temperature/dht22", "21.5")
    assert device["type"] == "device" and device["device"]["measurements"]["temperature"]["unit"] == "°C"
    assert points == {
        "type": "points",
        "points": [["device:pico/dht22", "temperature", NOW // 1_000, 21.5, None, "°C", "good"]],
    }
    house.now += SECOND
    assert [frame["type"] for frame in house.say("pico/temperature/dht22", "22")] == ["points"]
    assert house.say("pico/temperature/dht22", "22") == []  # the same again, of the same moment


def test_rename_keeps_the_history(settings: Settings) -> None:
    house = House(settings)
    house.describe(plug="kettle")
    house.say("zigbee2mqtt/kettle", {"power": 5})
    (renamed,) = house.describe(plug="coffee")
    assert renamed["device"]["key"] == f"device:{PLUG}" and renamed["device"]["name"] == "coffee"
    house.now += SECOND
    house.say("zigbee2mqtt/coffee", {"power": 6})
    known = house.devices.get(Device("device", PLUG))
    assert known and known.measurements["power"].series
    assert [value for _, value in known.measurements["power"].series] == [5, 6]
    assert len(house.devices) == 1


def test_device_that_was_known_by_name_takes_its_history_along(settings: Settings) -> None:
    house = House(settings)
    house.say("zigbee2mqtt/kettle", {"power": 5})
    assert house.told("device", "kettle")["name"] == "kettle"
    frames = house.describe(plug="kettle")
    assert [frame["type"] for frame in frames] == ["gone", "device", "points"]
    assert frames[0]["key"] == "device:kettle" and frames[1]["device"]["measurements"]["power"]["value"] == 5
    assert frames[2]["points"] == [[f"device:{PLUG}", "power", NOW // 1_000, 5, None, None, "good"]]
    assert frames[1]["device"]["last_seen"] == NOW // 1_000


def test_device_that_the_description_leaves_out_is_gone_and_others_stay(settings: Settings) -> None:
    house = House(settings)
    house.say("pico/temperature/dht22", "21.5")
    house.describe(door="front door", plug="kettle")
    house.say("zigbee2mqtt/kettle/availability", "")  # a tombstone alone removes nothing
    assert house.devices.get(Device("device", PLUG))
    assert house.describe(door="front door") == [{"type": "gone", "key": f"device:{PLUG}"}]
    assert {known.key for known in house.devices} == {"device:pico/dht22", f"device:{DOOR}"}


def test_what_the_broker_had_kept_is_a_state_and_no_news(settings: Settings) -> None:
    house = House(settings)
    house.describe(door="front door")
    (frame,) = house.say("zigbee2mqtt/front door", {"contact": False}, retained=True)
    assert frame["type"] == "device" and frame["device"]["last_seen"] is None
    assert frame["device"]["measurements"]["contact"] | {"at": None} == frame["device"]["measurements"]["contact"]
    house.say("zigbee2mqtt/front door", {"contact": True})
    assert house.say("zigbee2mqtt/front door", {"contact": False}, retained=True) == []
    assert house.told("device", DOOR)["measurements"]["contact"]["at"] == NOW // 1_000


def test_availability_is_told_and_forgotten_with_its_zigbee2mqtt(settings: Settings) -> None:
    house = House(settings)
    house.describe(plug="kettle")
    house.say("zigbee2mqtt/bridge/state", {"state": "online"}, retained=True)
    (frame,) = house.say("zigbee2mqtt/kettle/availability", {"state": "online"}, retained=True)
    assert frame["device"]["available"] is True
    house.say("zigbee2mqtt/bridge/state", {"state": "offline"})
    assert house.told("device", PLUG)["available"] is None
    assert house.told("bridge", "zigbee2mqtt")["available"] is False
    house.say("zigbee2mqtt/bridge/state", {"state": "online"})
    assert house.told("device", PLUG)["available"] is True


def test_who_has_a_rhythm_grows_stale_without_it_and_is_back_with_a_word(settings: Settings) -> None:
    house = House(with_settings(settings, live={"stale_seconds": 30}))
    for number in range(8):
        house.say("pico/temperature/dht22", str(20 + number))
        house.wait(10)
    assert not house.wait(39) and house.wait(2)
    assert house.devices.stale == ["device:pico/dht22"]
    frames = house.say("pico/temperature/dht22", "21")
    assert frames[0]["device"]["stale"] is False and not house.devices.stale


def test_door_is_naturally_silent(settings: Settings) -> None:
    house = House(settings)
    house.describe(door="front door")
    for number in range(8):  # coming home with the shopping
        house.say("zigbee2mqtt/front door", {"contact": number % 2 == 0})
        house.wait(3)
    assert not house.wait(20 * 3_600)
    house.say("zigbee2mqtt/front door/availability", {"state": "online"})
    assert not house.wait(10 * 86_400)
    house.say("zigbee2mqtt/bridge/state", {"state": "offline"})
    assert house.wait(61) and house.devices.stale == [f"device:{DOOR}"]


def test_available_device_may_be_silent_for_longer(settings: Settings) -> None:
    house = House(settings)
    house.describe(plug="kettle")
    house.say("zigbee2mqtt/kettle/availability", {"state": "online"})
    for number in range(8):
        house.say("zigbee2mqtt/kettle", {"power": number})
        house.wait(5)
    assert not house.wait(settings.live.stale_online_seconds - 10) and house.wait(20)


def test_memory_is_bounded_by_series(settings: Settings) -> None:
    house = House(with_settings(settings, live={"series": 5}))
    for number in range(20):
        house.say(f"pico/temperature/sensor{number}", "1")
    assert len(house.devices) == 5 and house.devices.refused == 15
    house.say("building/lab/telemetry", {"temperature": 20.5})
    assert len(house.devices) == 5


def test_rooms_have_the_names_that_people_gave_them(settings: Settings) -> None:
    house = House(settings)
    house.say("building/lab/telemetry", {"temperature": 20.5})
    assert house.told("room", "lab")["name"] == "lab"
    house.decoder.room_names = {"lab": "The lab"}
    house.say("building/lab/telemetry", {"temperature": 20.6})
    assert house.told("room", "lab")["name"] == "The lab"


def test_past_of_an_address_that_nothing_describes_any_more_goes(settings: Settings) -> None:
    house = House(settings)
    for identity in (DOOR, PLUG, "pico/dht22"):
        known = house.devices.remember(Device("device", identity), "old name", NOW)
        assert known
        house.devices.remember_series(known, "power", "W", [(NOW // 1_000 - 60_000, 5.0)])
    house.describe(plug="kettle")
    assert {known.key for known in house.devices} == {f"device:{PLUG}", "device:pico/dht22"}
    told = house.told("device", PLUG)
    assert told["name"] == "kettle" and told["measurements"]["power"]["value"] == 5


# -- visitors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8090", "[::1]:8090", "localhost", "pi", "pi.lan:80", "Pi.Local", "my.site", ""]
)
def test_names_that_are_ours(host: str) -> None:
    assert is_own_name(host, frozenset(["my.site"]))


@pytest.mark.parametrize("host", ["evil.example:8090", "127.0.0.1.evil.example", "evil.example.", "lan.evil.example"])
def test_names_that_could_be_another_sites(host: str) -> None:
    assert not is_own_name(host, frozenset(["my.site"]))


# -- alerts ------------------------------------------------------------------------------------------------------------

FIRED = AlertEvent(
    "a1-1", "a1", "firing", "too-warm", "warning", "room", "lab", "lab", "temperature", 31.0, "°C", NOW, NOW, "warm"
)


def test_alert_through_its_life(settings: Settings) -> None:
    alerts = Alerts()
    told = alerts.hear(FIRED)
    assert told and told["fired_at"] == NOW // 1_000 and told["cleared_at"] is None and alerts.open == 1
    assert alerts.hear(FIRED) is None  # a copy
    assert alerts.hear(replace(FIRED, transition="notified")) is None
    seen = alerts.hear(replace(FIRED, transition="acknowledged", event_time=NOW + SECOND))
    assert seen and seen["acknowledged_at"] == NOW // 1_000 + 1_000
    cleared = alerts.hear(replace(FIRED, transition="cleared", event_time=NOW + 2 * SECOND))
    assert cleared and cleared["cleared_at"] == NOW // 1_000 + 2_000 and alerts.open == 0
    assert alerts.hear(FIRED) is None, "a copy that comes late opens nothing again"


@pytest.mark.parametrize("wrong", [{"value": math.nan}, {"value": "warm"}, {"device_name": {"a": 1}}, {"unit": 5}])
def test_event_that_is_none_of_the_alerters_is_not_shown(wrong: dict[str, Any]) -> None:
    assert Alerts().hear(replace(FIRED, **wrong)) is None


def test_open_alerts_outlive_those_that_are_over() -> None:
    alerts = Alerts()
    for number in range(MOST + 50):
        fired = replace(FIRED, alert_id=f"a{number}", event_time=NOW + number)
        alerts.hear(fired)
        if number >= 10:
            alerts.hear(replace(fired, transition="cleared"))
    kept = {alert["alert_id"] for alert in alerts.told()}
    assert len(kept) == MOST and {f"a{number}" for number in range(10)} <= kept


# -- metrics -----------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8")))
def test_any_name_can_be_scraped(name: str, unit: str) -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    devices = Devices(settings)
    observation = Observation(Device("device", name), name, None, name, 1.5, None, unit, "good", NOW, NOW, False)
    devices.hear(Heard(Message("zigbee2mqtt/x", b"", NOW), "read", None, (observation,)))
    samples = metrics.Samples()
    samples.latest = metrics.samples_of(devices, {"edge_live_viewers": 3.0})
    text = generate_latest(metrics.registry(samples)).decode()
    parsed = {family.name: family.samples for family in text_string_to_metric_families(text)}
    (measured,) = parsed["edge_device_measurement"]
    labels = {"kind": "device", "device": name, "device_id": name, "measurement": name, "unit": unit}
    assert (measured.labels, measured.value) == (labels, 1.5)
    assert parsed["edge_live_viewers"][0].value == 3


def test_metrics_of_zigbee_devices_have_the_customary_names(settings: Settings) -> None:
    house = House(settings)
    house.describe(door="front door")
    house.say("zigbee2mqtt/front door", {"contact": True, "battery": 97, "linkquality": 112})
    house.say("zigbee2mqtt/front door/availability", {"state": "offline"})
    house.say("zigbee2mqtt/bridge/state", {"state": "online"})
    house.say("zigbee2mqtt/bridge/health", {"mqtt": {"queued": 3}, "process": {"uptime_sec": 60}})
    house.say("pico/temperature/dht22", "999")  # no temperature of this world
    found = {(one.name, one.labels): one.value for one in metrics.samples_of(house.devices, {})}
    who = ("front door", DOOR)
    assert found["zigbee_sensor_available", who] == found["zigbee2mqtt_device_up", who] == 0
    assert found["zigbee2mqtt_device_battery_level", who] == 97
    assert found["zigbee2mqtt_device_link_quality", who] == 112
    assert found["zigbee2mqtt_device_last_seen_timestamp", who] == NOW / 1e6
    assert found["zigbee2mqtt_device_info", (*who, "M-door", "Maker")] == 1
    assert found["zigbee2mqtt_bridge_up", ("zigbee2mqtt",)] == 1
    assert found["zigbee2mqtt_bridge_health", ("zigbee2mqtt", "mqtt.queued")] == 3
    pico = ("device", "pico/dht22", "pico/dht22")
    assert found["edge_device_messages_total", pico] == 1
    assert not [labels for name, labels in found if name == "edge_device_measurement" and labels[:3] == pico]
    assert {name for name, _ in found} <= {about.name for about in metrics.METRICS}


def test_hello_is_json_whatever_the_devices_are_called(settings: Settings) -> None:
    house = House(settings)
    house.say('pico/temperature/a "quoted" \\ sensor', "21.5")
    history = [
        (known.key, [(name, one.series.points()) for name, one in known.measurements.items() if one.series])
        for known in house.devices
    ]
    pieces = protocol.hello("home", 1, True, [known.told() for known in house.devices], history, [])
    hello = json.loads("".join(pieces))
    assert hello["history"] == {hello["devices"][0]["key"]: {"temperature": [[NOW // 1_000, 21.5]]}}
