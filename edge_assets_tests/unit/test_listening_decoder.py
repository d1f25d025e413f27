"""What the alerter and the live page hear: the contract's readings, with names, units and fields learned on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from edge_assets.decoding import reference
from edge_assets.listening.decoder import Decoder
from edge_assets.listening.heard import Device, Heard, Message
from edge_assets.settings import Settings, load_settings
from edge_assets_tests.decoding_rig import corpus, header, world

AT = 1_790_000_000_000_000
DESCRIPTION: dict[str, Any] = {
    "ieee_address": "0x01",
    "friendly_name": "door",
    "type": "EndDevice",
    "definition": {
        "model": "SNZB-04P",
        "vendor": "SONOFF",
        "exposes": [
            {"type": "binary", "property": "contact", "value_on": False, "value_off": True},
            {"type": "numeric", "property": "voltage", "unit": "mV"},
        ],
    },
}


@pytest.fixture
def decoder() -> Decoder:
    return Decoder(load_settings(_env_file=None))


def hear(decoder: Decoder, topic: str, payload: Any, *, retained: bool = False, at: int = AT) -> Heard:
    raw = (
        payload
        if isinstance(payload, bytes)
        else (payload if isinstance(payload, str) else json.dumps(payload)).encode()
    )
    return decoder.hear(Message(topic, raw, at, retained))


def said(heard: Heard) -> dict[str, tuple[float | None, str | None, str | None]]:
    return {o.measurement: (o.value, o.text, o.unit) for o in heard.observations}


def test_a_device_is_its_name_until_it_is_described(decoder: Decoder) -> None:
    before = hear(decoder, "zigbee2mqtt/door", {"contact": True, "voltage": 2900})
    assert {o.device for o in before.observations} == {Device("device", "door")}
    assert said(before) == {"contact": (1.0, None, None), "voltage": (2900.0, None, None)}
    described = hear(decoder, "zigbee2mqtt/bridge/devices", [DESCRIPTION], retained=True)
    assert described.describes and not described.observations
    assert not hear(decoder, "zigbee2mqtt/bridge/devices", [DESCRIPTION], retained=True).describes
    after = hear(decoder, "zigbee2mqtt/door", {"contact": True, "voltage": 2900})
    assert {(o.device, o.device_name, o.model) for o in after.observations} == {
        (Device("device", "0x01"), "door", "SNZB-04P")
    }
    assert said(after)["voltage"] == (2900.0, None, "mV")
    assert [entry.device_name for entry in decoder.devices] == ["door"]


def test_a_renamed_device_stays_itself(decoder: Decoder) -> None:
    hear(decoder, "zigbee2mqtt/bridge/devices", [DESCRIPTION])
    assert hear(decoder, "zigbee2mqtt/bridge/devices", [DESCRIPTION | {"friendly_name": "porch"}], at=AT + 1).describes
    (contact,) = hear(decoder, "zigbee2mqtt/porch", {"contact": False}, at=AT + 2).observations
    assert (contact.device, contact.device_name) == (Device("device", "0x01"), "porch")


def test_a_clock_that_is_set_back_hides_no_device(decoder: Decoder) -> None:
    hear(decoder, "zigbee2mqtt/bridge/devices", [DESCRIPTION])
    hear(decoder, "zigbee2mqtt/bridge/devices", [DESCRIPTION | {"friendly_name": "porch"}], at=AT + 1_000_000)
    (contact,) = hear(decoder, "zigbee2mqtt/porch", {"contact": False}, at=AT - 5_000_000).observations
    assert contact.device == Device("device", "0x01")


def test_availability_says_0_or_1_and_a_retained_one_is_known_to_be_old(decoder: Decoder) -> None:
    hear(decoder, "zigbee2mqtt/bridge/devices", [DESCRIPTION])
    for payload, value in (({"state": "online"}, 1.0), ("offline", 0.0)):
        heard = hear(decoder, "zigbee2mqtt/door/availability", payload, retained=True)
        (available,) = heard.observations
        assert (available.measurement, available.value, available.stale) == ("availability", value, True)
        assert available.device == Device("device", "0x01")
    (news,) = hear(decoder, "zigbee2mqtt/door/availability", {"state": "online"}).observations
    assert not news.stale


def test_a_retained_state_with_a_time_of_its_own_is_a_reading_of_that_time(decoder: Decoder) -> None:
    payload = {"contact": True, "last_seen": "2026-09-21T14:13:10.000Z"}
    (contact,) = hear(decoder, "zigbee2mqtt/door", payload, retained=True).observations
    assert not contact.stale and contact.event_time == AT - 10_000_000 and contact.received_at == AT


def test_rooms_and_the_fields_that_they_bring(decoder: Decoder) -> None:
    payload = {"temperature": 21.5, "motion_detected": True, "occupancy_count": 2, "radon": 40, "firmware": "1.0"}
    heard = hear(decoder, "building/lab/telemetry", payload)
    assert {o.device for o in heard.observations} == {Device("room", "lab")}
    assert said(heard) == {
        "temperature": (21.5, None, "°C"),
        "motion_detected": (1.0, None, None),
        "occupancy_count": (2.0, None, None),
        "radon": (40.0, None, None),
        "firmware": (None, "1.0", None),
    }


def test_a_room_has_the_name_that_people_gave_it(decoder: Decoder) -> None:
    decoder.room_names = {"lab": "Workshop"}
    (said_of,) = hear(decoder, "building/lab/telemetry", {"temperature": 21.5}).observations
    assert (said_of.device, said_of.device_name) == (Device("room", "lab"), "Workshop")


def test_a_pico_has_its_routes_units(decoder: Decoder) -> None:
    (temperature,) = hear(decoder, "pico/temperature/dht22", "21.5\n").observations
    assert (temperature.device, temperature.value, temperature.unit) == (Device("device", "pico/dht22"), 21.5, "°C")


def test_what_a_zigbee2mqtt_says_of_itself(decoder: Decoder) -> None:
    bridge = Device("bridge", "zigbee2mqtt")
    for payload, value in (({"state": "online"}, 1.0), ("offline", 0.0)):
        (state,) = hear(decoder, "zigbee2mqtt/bridge/state", payload, retained=True).observations
        assert (state.device, state.measurement, state.value, state.stale) == (bridge, "state", value, False)
    health = {
        "response_time": 1,
        "os": {"load_average": [1, 2]},
        "mqtt": {"queued": 3},
        "devices": {"0x01": {"messages": 9}},
    }
    assert said(hear(decoder, "zigbee2mqtt/bridge/health", health)) == {
        "response_time": (1.0, None, None),
        "mqtt.queued": (3.0, None, None),
    }


@pytest.mark.parametrize(
    ("topic", "payload", "outcome"),
    [
        ("zigbee2mqtt/bridge/state", b"\xff", "ignored"),
        ("zigbee2mqtt/bridge/state", b'{"state": "dancing"}', "ignored"),
        ("zigbee2mqtt/bridge/state", b"", "ignored"),
        ("zigbee2mqtt/bridge/health", b"[" * 100_000, "ignored"),
        ("zigbee2mqtt/bridge/health", b"5", "ignored"),
        ("zigbee2mqtt/bridge/devices", b'{"a": 1}', "dead_letter"),
        ("zigbee2mqtt/bridge/devices", b'[{"friendly_name": 5}]', "dead_letter"),
        ("zigbee2mqtt/bridge/logging", b"{}", "ignored"),
        ("zigbee2mqtt/door", b"{", "dead_letter"),
        ("zigbee2mqtt/door", b"", "tombstone"),
        ("zigbee2mqtt/door/set", b'{"state": "ON"}', "ignored"),
        ("building/lab/telemetry", b'{"temperature": "warm"}', "dead_letter"),
        ("somewhere/else", b"5", "dead_letter"),
    ],
)
def test_what_says_nothing_of_a_device_has_its_outcome(
    decoder: Decoder, topic: str, payload: bytes, outcome: str
) -> None:
    heard = decoder.hear(Message(topic, payload, AT))
    assert (heard.outcome, heard.observations) == (outcome, ())


@hypothesis_settings(max_examples=300)
@given(
    st.sampled_from(["zigbee2mqtt/", "zigbee2mqtt/bridge/", "pico/", "building/", "edge/alerts/", ""]),
    st.text(max_size=12),
    st.binary(max_size=60)
    | st.recursive(st.none() | st.floats() | st.text(max_size=5), st.lists).map(
        lambda value: json.dumps(value).encode()
    ),
    st.booleans(),
)
def test_nothing_that_is_said_raises(base: str, rest: str, payload: bytes, retained: bool) -> None:
    heard = _DECODER.hear(Message(base + rest, payload, AT, retained))
    assert heard.outcome in ("read", "ignored", "tombstone", "dead_letter")


_DECODER = Decoder(load_settings(_env_file=None))


def test_it_hears_what_the_tables_get(settings: Settings) -> None:
    """The corpus again: whatever is a reading or a room's row in the lake is heard, with the same values."""
    w = world(settings)
    compared = 0
    for case in corpus():
        if case.record.header != header() or case.record.kafka_topic == w.settings.bridge.dead_letter_topic:
            continue  # the log's own: clocks, barriers, pieces
        topic = case.record.topic.decode("utf-8", "surrogateescape")
        expected = reference.decode(case.record, w.registry, w.knowledge, w.settings)
        if expected.outcome != "read" or not (expected.readings or expected.room) or expected.teaches:
            continue
        decoder = Decoder(w.settings, w.registry, w.knowledge)
        heard = decoder.hear(Message(topic, case.record.payload or b"", expected.received_at))
        readings = [(o.measurement, o.value, o.text, o.unit, o.quality) for o in heard.observations]
        if expected.room is None:
            assert readings == [(r.measurement, r.value, r.text, r.unit, r.quality) for r in expected.readings]
        else:
            filled = {name: value for name, value in expected.room.items() if value is not None}
            assert {name: text if value is None else value for name, value, text, _, _ in readings} == filled
        assert {o.event_time for o in heard.observations} <= {expected.event_time}
        compared += 1
    assert compared > 150
