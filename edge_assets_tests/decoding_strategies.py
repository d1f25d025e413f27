"""Records that hypothesis makes up: what devices send, what breaks on the way, and what nobody should send."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from edge_assets_tests.decoding_rig import DEAD_LETTER_TOPIC, DEVICE_TOPIC, RECEIVED_AT

# Digits and letters that the oldest Java and the newest Python that we run on know alike.
letters = st.characters(max_codepoint=0xFFFF, exclude_categories=("Cs", "Cn"))
any_text = st.text(
    letters | st.sampled_from("𝟐🔌🚪{}[]\"'\\,.:-+eE_/0123456789 \t\n\r\0\u2028\u0660\u0967\uff11"), max_size=12
)

NAMES = [
    *("contact", "battery", "battery_low", "voltage", "linkquality", "state", "power", "current", "energy"),
    *("power_on_behavior", "temperature", "humidity", "pressure", "co2", "action", "schedule", "weekdays", "offset"),
    *("brightness", "color", "overload_protection", "update", "bolt", "level", "raw", "wide", "half", "strange"),
    *("availability", "device", "last_seen", "max_current", "x"),
]
DEVICES = [
    *("front door", "washing machine", "living/climate", "lamp", "meter", "Lights", "All/Doors", "unknown", "a/b"),
    *("розетка 🔌", "0x00000000000000e4", "Kitchen/Back Door", "attic/window", "availability", "set", "bridge", ""),
]

odd_words = st.sampled_from(
    [
        *("NaN", "nan", "Infinity", "-Infinity", "inf", "1_000", "1_0_0", "21,5", "1,234", "1,234,567.8", "12'345"),
        *("021", "+5", "-5", ".5", "5.", "1e5", "1E-5", "1e999", "-1e999", "٢١", "２１", "१२", "1.0.2", "12:30"),
        *("ON", "OFF", "on", "off", "true", "false", "True", "null", "None", "online", "offline", "LOCK", "UNLOCK"),
        *("ENABLE", "single", "{}", "[]", "{a}", "[1]", "-", ".", "e", "0x1F", "255,0,12", "", " ", "21.5\n", " 21.5"),
        *("1 000", '"NaN"', '{"a":1}', '[{"a":1}]', '"', "9" * 400, "1" + "_1" * 40),
    ]
)
odd_numbers = st.sampled_from(
    [-8_388_608, 8_388_607, 16_777_215, 65_535, -32_768, 2**31 - 1, 2**63, -(2**63), 10**30, 0, 1, -1, 100, 101, 255]
)
numbers = st.integers() | st.floats() | odd_numbers | st.decimals(-1000, 1000, places=2).map(float)
plain_texts_of_numbers = st.sampled_from(["1", "2.0", "1.0.2", "true", "false", "NaN", "{x}", "[", "good"])
times = st.sampled_from(
    [
        *("2026-09-21T14:13:19.250Z", "2026-09-21T16:13:19+02:00", "1970-01-01T00:00:00Z", "2099-01-01T00:00:00Z"),
        *("2026-02-30T00:00:00Z", 1_789_999_999_250, "1789999999250", 12_000, 1_789_999_999, "", None, True),
    ]
)
scalars = st.none() | st.booleans() | numbers | odd_words | any_text
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | any_text, inner, max_size=4),
    max_leaves=8,
)
states = st.dictionaries(st.sampled_from(NAMES) | st.sampled_from(NAMES) | any_text, values, max_size=7)
timed_states = st.builds(lambda state, at: {**state, "last_seen": at}, states, times)


@st.composite
def json_texts(draw: st.DrawFn, objects: st.SearchStrategy[Any] = states | timed_states) -> str:
    """JSON as different writers write it."""
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")]))
    return json.dumps(draw(objects), ensure_ascii=draw(st.booleans()), separators=separators)


fragments = st.sampled_from(
    [
        *'{}[]",:\\-+.0eE \n\t\x00\x0b',
        *("null", "NaN", "Infinity", "1_0", "\\u", "\\ud800", '"a":1,', "{}", ",]", "]}"),
    ]
)


@st.composite
def mutated(draw: st.DrawFn, objects: st.SearchStrategy[Any] = states | timed_states) -> bytes:
    """A payload with a few pieces lost, doubled or put in."""
    raw = bytearray(draw(json_texts(objects)).encode("utf-8", "replace"))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw)))
        until = min(len(raw), at + draw(st.integers(0, 6)))
        piece = draw(fragments.map(str.encode) | st.binary(max_size=3) | st.just(bytes(raw[at:until])))
        raw[at : until if draw(st.booleans()) else at] = piece
    return bytes(raw)


def mostly(usual: st.SearchStrategy[Any], *others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """`usual` in seven of ten cases: hypothesis by itself would give each of them the same share."""
    share = [usual] * round(7 / 3 * len(others)) + list(others)
    return st.sampled_from(range(len(share))).flatmap(share.__getitem__)


def in_bytes(texts: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    return texts.map(lambda text: text.encode("utf-8", "replace"))


payloads = mostly(
    in_bytes(json_texts()),
    mutated(),
    in_bytes(json_texts(values)),
    in_bytes(odd_words),
    in_bytes(any_text) | st.binary(max_size=40) | st.none(),
    st.sampled_from([b"online", b"offline", b'{"state":"online"}', b'{"state":"off"}', b"", b"{}", b"ON"]),
)

suffixes = st.sampled_from(
    [
        *("", "", "", "", "/availability", "/power", "/contact", "/state", "/temperature", "/color-x", "/last_seen"),
        *("/set", "/get", "/set/state", "/device-model", "/", "/a--b", "/a.b", "/overload_protection-max_current"),
    ]
)
topics = mostly(
    in_bytes(st.builds("zigbee2mqtt/{}{}".format, st.sampled_from(DEVICES), suffixes)),
    in_bytes(st.builds("zigbee2mqtt/{}{}".format, any_text, suffixes)),
    st.sampled_from(["devices", "groups", "state", "logging"]).map(lambda rest: f"zigbee2mqtt/bridge/{rest}".encode()),
    st.sampled_from([b"homeassistant/sensor/x/config", b"$edge/bridge", b"$edge/clock", b"zigbee2mqtt", b"other/x"]),
    in_bytes(any_text) | st.binary(max_size=20) | st.binary(max_size=6).map(lambda raw: b"zigbee2mqtt/" + raw),
)

headers = st.fixed_dictionaries(
    {},
    optional={
        "at": st.sampled_from([RECEIVED_AT, 100_000_000, 4_000_000_000_000_000]) | st.integers(-(2**63), 2**63 - 1),
        "sync": st.booleans(),
        "mono": st.integers(-(2**63), 2**63 - 1) | st.just(5_000_000),
        "boot": st.sampled_from(["known-boot", "unknown-boot"]),
        "retain": st.booleans(),
        "dup": st.booleans(),
        "rep": st.booleans(),
        "inc": st.integers(0, 9),
        "by": st.sampled_from(["bridge", "other"]),
    },
)
raw_headers = (
    st.none() | any_text | st.from_regex(r"(at|sync|mono|boot|retain|rep|inc)=[0-9]{0,20}( sync=[01])?", fullmatch=True)
)

record_parts = st.tuples(
    topics, payloads, mostly(headers, raw_headers), st.sampled_from([DEVICE_TOPIC] * 30 + [DEAD_LETTER_TOPIC])
)
"""(topic, payload, changes of the header or a raw one, Kafka topic)"""


# -- rooms -----------------------------------------------------------------------------------------------------------

ROOM_NAMES = [
    *("temperature", "humidity", "co2_ppm", "occupancy_count", "motion_detected", "pm25", "window_open", "firmware"),
    *("air", "voc", "filter", "state", "room_id", "timestamp", "last_seen", "quality", "radon", "PM25", "a__b", "_x"),
    *("air__voc", "Air", "x" * 60, "", "a.b", "x", "y"),
]
room_names = st.sampled_from(ROOM_NAMES) | any_text
room_values = st.recursive(
    scalars | plain_texts_of_numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(room_names, inner, max_size=4),
    max_leaves=8,
)
fitting = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(-10, 40),
        "occupancy_count": st.integers(0, 9),
        "motion_detected": st.booleans(),
        "pm25": st.floats(0, 100),
        "window_open": st.booleans(),
        "firmware": plain_texts_of_numbers | any_text | st.lists(any_text, max_size=2),
        "air": st.fixed_dictionaries({}, optional={"voc": st.integers(0, 500), "filter": st.dictionaries(
            st.sampled_from(["state", "age"]), plain_texts_of_numbers, max_size=2)}),
    },
)  # fmt: skip
room_states = st.builds(
    lambda fits, others: {**fits, **others}, fitting, st.dictionaries(room_names, room_values, max_size=2)
)
room_payloads = mostly(in_bytes(json_texts(room_states)), in_bytes(json_texts(fitting)), mutated(room_states))

# -- alerts --------------------------------------------------------------------------------------------------------

AN_ALERT = {
    "event_id": "a-1",
    "alert_id": "a",
    "transition": "firing",
    "rule": "door-open",
    "severity": "warning",
    "kind": "device",
    "device_id": "0x01",
    "device_name": "door",
    "measurement": "contact",
    "value": 0.0,
    "unit": None,
    "since": "2026-09-21T14:12:20.000000Z",
    "event_time": "2026-09-21T14:13:19.500000Z",
    "message": "door is open",
}
alert_values = (
    scalars
    | plain_texts_of_numbers
    | any_text
    | st.sampled_from(["", "firing", "cleared", "critical", "room", "NaN", '"NaN"', "{", "[1]", "2026-02-30T00:00:00Z"])
    | st.lists(any_text, max_size=2)
    | st.dictionaries(any_text, any_text, max_size=2)
)
alert_events = st.builds(
    lambda changed, lost: {name: value for name, value in {**AN_ALERT, **changed}.items() if name not in lost},
    st.dictionaries(st.sampled_from([*AN_ALERT]) | any_text, alert_values, max_size=3),
    st.sets(st.sampled_from([*AN_ALERT]), max_size=1),
)
alert_payloads = mostly(in_bytes(json_texts(alert_events)), mutated(alert_events))

# -- states as Zigbee2MQTT has them, which both of its output modes can say ------------------------------------------

plain_names = st.sampled_from(
    [name for name in NAMES if name not in ("availability", "device", "last_seen")] + ["температура", "a b", "🌡"]
)
plain_words = st.sampled_from(
    ["ON", "OFF", "single", "21,5", "NaN", "1_000", "1.0.2", "idle", "٢١", "x y", "-5", "5.50"]
)
plain_scalars = st.booleans() | st.none() | plain_words | odd_numbers | st.decimals(-1000, 1000, places=2).map(float)
plain_values = st.recursive(
    plain_scalars | st.lists(st.booleans() | plain_words | st.integers(0, 300), max_size=4),
    lambda inner: st.dictionaries(plain_names, inner, max_size=3),
    max_leaves=5,
)
plain_states = st.dictionaries(plain_names, plain_values, min_size=1, max_size=6)


def in_attribute_mode(state: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    """(property, payload) of each message that Zigbee2MQTT writes in its attribute mode (its documentation,
    "MQTT topics and messages": one topic a property, nested names joined by dashes, lists by commas)."""
    messages: list[tuple[str, str]] = []
    for name, value in state.items():
        if isinstance(value, dict):
            messages += in_attribute_mode(value, f"{above}{name}-")
        elif isinstance(value, list):
            messages.append((above + name, ",".join(v if isinstance(v, str) else json.dumps(v) for v in value)))
        else:
            text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
            messages.append((above + name, text))
    return messages
