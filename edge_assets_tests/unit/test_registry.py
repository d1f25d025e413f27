"""The registry of devices: who had which name when, whatever is told, and whatever is told badly."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from edge_assets.decoding.registry import BadRegistry, Registry, Source

DEVICES, GROUPS = "zigbee2mqtt/bridge/devices", "zigbee2mqtt/bridge/groups"
DAY = 86_400_000_000


def device(address: str, name: str, **definition: Any) -> dict[str, Any]:
    return {"ieee_address": address, "friendly_name": name, "type": "EndDevice", "definition": definition or None}


def source(at: int, offset: int | None = None, log_id: str = "log") -> Source:
    """Told at that time; the log's order is that of time where nothing else is said."""
    return Source(log_id, "sensor-events", 0, at if offset is None else offset, at)


def told(registry: Registry, at: int, *devices: dict[str, Any], key: str = DEVICES, **position: Any) -> Registry:
    return registry.apply(key, json.dumps(devices).encode(), source(at, **position))


def owner(registry: Registry, name: str, at: int) -> str | None:
    found = registry.owner("zigbee2mqtt", name, at)
    return found[1].device_id if found else None


A, B = device("0xa", "door"), device("0xb", "window")


def test_a_name_s_first_owner_has_it_since_ever() -> None:
    registry = told(Registry(), 100, A)
    assert registry.entries[0].valid_from is None
    assert owner(registry, "door", 0) == owner(registry, "door", 100) == owner(registry, "door", 10**15) == "0xa"
    assert owner(registry, "window", 100) is None


def test_a_rename_ends_one_name_and_begins_another() -> None:
    registry = told(told(Registry(), 100, A, B), 200, device("0xa", "front door"), B)
    assert [(e.device_name, e.valid_from, e.valid_to) for e in registry.entries] == [
        ("door", None, 200),
        ("window", None, None),
        ("front door", None, None),
    ]
    assert (owner(registry, "door", 199), owner(registry, "door", 200)) == ("0xa", None)
    assert owner(registry, "front door", 150) == "0xa", "its first readings may come before its description"


def test_a_removal_ends_a_name() -> None:
    registry = told(told(Registry(), 100, A, B), 200, B)
    assert (owner(registry, "door", 199), owner(registry, "door", 200)) == ("0xa", None)
    assert owner(registry, "window", 300) == "0xb"


def test_the_last_device_s_removal_ends_its_name() -> None:
    registry = told(told(Registry(), 100, A), 200)
    assert (owner(registry, "door", 199), owner(registry, "door", 200)) == ("0xa", None)


def test_a_device_that_comes_back_has_its_name_again_from_then_on() -> None:
    registry = told(told(told(Registry(), 100, A), 200), 300, A)
    assert [owner(registry, "door", at) for at in (150, 250, 299, 300)] == ["0xa", None, None, "0xa"]


def test_a_name_is_taken_over_by_another_device() -> None:
    registry = told(told(Registry(), 100, A), 200, device("0xa", "old door"), device("0xb", "door"))
    assert [owner(registry, "door", at) for at in (0, 199, 200)] == ["0xa", "0xa", "0xb"]


def test_two_devices_change_names() -> None:
    registry = told(told(Registry(), 100, A, B), 200, device("0xa", "window"), device("0xb", "door"))
    assert [(owner(registry, "door", at), owner(registry, "window", at)) for at in (199, 200)] == [
        ("0xa", "0xb"),
        ("0xb", "0xa"),
    ]


def test_a_name_back_and_forth() -> None:
    registry = Registry()
    for at, name in ((100, "door"), (200, "window"), (300, "door"), (400, "window")):
        registry = told(registry, at, device("0xa", name))
    assert [owner(registry, "door", at) for at in (150, 250, 350, 450)] == ["0xa", None, "0xa", None]
    assert [owner(registry, "window", at) for at in (250, 350, 450)] == ["0xa", None, "0xa"]


def test_a_new_description_keeps_the_old_one_for_old_records() -> None:
    expose = {"type": "numeric", "property": "voltage", "unit": "mV"}
    registry = told(Registry(), 100, device("0xa", "door", model="old", exposes=[expose]))
    registry = told(registry, 200, device("0xa", "door", model="new", exposes=[{**expose, "unit": "V"}]))
    units = []
    for at in (199, 200):
        found = registry.owner("zigbee2mqtt", "door", at)
        assert found
        about = registry.property(found[0], "voltage")
        units.append((found[1].model, about.unit if about else None))
    assert units == [("old", "mV"), ("new", "V")]


def test_what_was_told_before_changes_nothing() -> None:
    first = told(Registry(), 100, A)
    assert told(first, 100, A) is first, "the same record"
    assert told(first, 100, B) is first, "a record at the same position"
    assert told(first, 200, A) is first, "the same state, told again"
    second = told(first, 200, B)
    assert told(second, 100, A) is second, "an older record"
    assert told(second, 150, device("0xc", "lamp")) is second


def test_replaying_all_of_it_changes_nothing() -> None:
    messages = [(100, [A]), (200, [A, B]), (300, [B]), (400, [device("0xb", "door")])]
    registry = Registry()
    for at, devices in messages:
        registry = told(registry, at, *devices)
    again = registry
    for at, devices in messages:
        again = told(again, at, *devices)
    assert again is registry


def test_a_clock_that_was_set_back_hides_no_rename() -> None:
    """In one partition the log's order counts; what is told later is valid later, whatever the clock says."""
    registry = told(Registry(), 1_000, A, offset=1)
    registry = told(registry, 500, device("0xa", "front door"), offset=2)
    assert owner(registry, "front door", 1_500) == "0xa"
    assert (owner(registry, "door", 1_000), owner(registry, "door", 1_500)) == ("0xa", None)


def test_in_another_log_the_clock_counts() -> None:
    """A new Kafka counts from 0 again."""
    first = told(Registry(), 1_000, A, offset=500)
    assert told(first, 900, B, offset=0, log_id="older") is first
    assert owner(told(first, 1_100, B, offset=0, log_id="newer"), "window", 1_200) == "0xb"


def test_groups_and_devices_are_told_apart() -> None:
    registry = told(told(Registry(), 100, A), 101, {"id": 1, "friendly_name": "Lights"}, key=GROUPS)
    assert (owner(registry, "door", 200), owner(registry, "Lights", 200)) == ("0xa", "group:1")
    registry = told(registry, 300, key=GROUPS)
    assert (owner(registry, "door", 300), owner(registry, "Lights", 300)) == ("0xa", None)
    registry = told(registry, 400, B)
    assert (owner(registry, "Lights", 250), owner(registry, "door", 400)) == ("group:1", None)


def test_a_name_that_two_claim_is_whose_claim_came_last() -> None:
    """A device is renamed and a group takes its name: between the two messages both have it."""
    registry = told(told(Registry(), 100, A), 200, {"id": 1, "friendly_name": "door"}, key=GROUPS)
    assert [owner(registry, "door", at) for at in (199, 200, 250)] == ["0xa", "group:1", "group:1"]
    registry = told(registry, 300, key=GROUPS)
    assert [owner(registry, "door", at) for at in (250, 300)] == ["group:1", "0xa"]


def test_networks_are_of_their_own() -> None:
    registry = told(told(Registry(), 100, A), 100, B, key="attic/zigbee2mqtt/bridge/devices")
    assert owner(registry, "door", 100) == "0xa"
    assert registry.owner("attic/zigbee2mqtt", "window", 100)
    assert not registry.owner("attic/zigbee2mqtt", "door", 100)
    assert told(registry, 200, key="attic/zigbee2mqtt/bridge/devices").owner("zigbee2mqtt", "door", 200)


def test_the_same_address_twice_is_one_device_and_the_same_name_twice_one_owner() -> None:
    registry = told(Registry(), 100, A, device("0xa", "window"))
    assert (owner(registry, "door", 100), owner(registry, "window", 100)) == (None, "0xa")
    registry = told(Registry(), 100, A, device("0xb", "door"))
    assert owner(registry, "door", 100) in ("0xa", "0xb")


BAD = {
    "empty": b"",
    "no JSON": b"[{]",
    "not UTF-8": b'[{"ieee_address":"\xff"}]',
    "UTF-16, which Python's parser would take": json.dumps([A]).encode("utf-16"),
    "an object": json.dumps(A).encode(),
    "null": b"null",
    "a list of texts": b'["0xa"]',
    "a list of lists": b"[[]]",
    "a list of null": b"[null]",
    "no address": json.dumps([{"friendly_name": "door"}]).encode(),
    "no name": json.dumps([{"ieee_address": "0xa"}]).encode(),
    "an empty name": json.dumps([device("0xa", "")]).encode(),
    "a number for a name": json.dumps([{**A, "friendly_name": 5}]).encode(),
    "null for an address": json.dumps([{**A, "ieee_address": None}]).encode(),
    "a text for a definition": json.dumps([{**A, "definition": "door"}]).encode(),
    "a text for exposes": json.dumps([device("0xa", "door", exposes="contact")]).encode(),
    "texts for features": json.dumps([device("0xa", "door", exposes=[{"features": "xy"}])]).encode(),
    "null for a feature": json.dumps([device("0xa", "door", exposes=[None])]).encode(),
    "a range that no double holds": b'[{"ieee_address":"0xa","friendly_name":"x","definition":{"exposes":['
    b'{"type":"numeric","property":"a","value_max":1' + b"0" * 400 + b"}]}}]",
    "very deep": b'[{"a":' + b"[" * 100_000,
    "features without end": b'[{"ieee_address":"0xa","friendly_name":"x","definition":{"exposes":'
    + b'[{"features":' * 400
    + b"[]"
    + b"}]" * 400
    + b"}}",
}


@pytest.mark.parametrize("payload", BAD.values(), ids=BAD)
def test_what_is_no_description_says_so_and_changes_nothing(payload: bytes) -> None:
    registry = told(Registry(), 100, A)
    with pytest.raises(BadRegistry, match="bridge/devices"):
        registry.apply(DEVICES, payload, source(200))


@pytest.mark.parametrize("group", [{"id": "1", "friendly_name": "x"}, {"id": 1.5, "friendly_name": "x"}, {"id": 1}, 1])
def test_what_is_no_group_says_so(group: Any) -> None:
    with pytest.raises(BadRegistry, match="bridge/groups"):
        told(Registry(), 100, group, key=GROUPS)


def test_odd_values_of_a_description_are_passed_over() -> None:
    """Whatever is not as it should be must not reach a table, where its type would fail the batch."""
    exposes = [
        {"type": ["numeric"], "property": "a", "unit": 5, "value_min": "0", "value_max": True},
        {"type": "numeric", "property": "b", "value_min": float("nan"), "value_max": float("inf")},
        {"type": "binary", "property": "c", "value_on": {"x": 1}, "value_off": [1]},
        {"type": "numeric", "property": 7},
        {"type": "numeric"},
    ]
    odd = device("0xa", "do\ud800or", model=5, vendor=["x"], description={}, exposes=exposes)
    entry = told(Registry(), 100, odd).entries[0]
    assert (entry.device_name, entry.model, entry.vendor, entry.description) == ("do?or", None, None, None)
    nothing = dict.fromkeys(("unit", "value_on", "value_off", "value_min", "value_max"))
    assert entry.exposes == {
        "a": {**nothing, "type": "other"},
        "b": {**nothing, "type": "numeric"},
        "c": {**nothing, "type": "binary", "value_on": '{"x": 1}', "value_off": "[1]"},
    }


# -- exposes ---------------------------------------------------------------------------------------------------------


def test_exposes_are_flattened_by_the_names_in_the_payload() -> None:
    exposes = [
        {"type": "light", "endpoint": "l1", "features": [{"type": "binary", "name": "state", "property": "state_l1"}]},
        {"type": "composite", "name": "color_xy", "property": "color", "features": [{"type": "numeric", "name": "x"}]},
        {"type": "composite", "property": "a", "features": [{"type": "composite", "property": "b", "features": [
            {"type": "numeric", "property": "c", "unit": "W"}]}]},
        {"type": "climate", "features": [{"type": "numeric", "property": "local_temperature", "unit": "°C"}]},
        {"type": "list", "property": "schedule", "item_type": {"type": "composite", "features": []}},
        {"type": "enum", "property": "action", "values": ["single"]},
    ]  # fmt: skip
    entry = told(Registry(), 100, device("0xa", "lamp", exposes=exposes)).entries[0]
    assert {name: (about["type"], about["unit"]) for name, about in entry.exposes.items()} == {
        "state_l1": ("binary", None),
        "color.x": ("numeric", None),
        "a.b.c": ("numeric", "W"),
        "local_temperature": ("numeric", "°C"),
        "schedule": ("other", None),
        "action": ("enum", None),
    }


@pytest.mark.parametrize(
    ("unit", "declared", "plausible"),
    [
        ("%", (None, None), (0, 100)),
        ("%", (10, 90), (0, 100)),
        ("%", (-10, 120), (-10, 120)),
        ("°C", (-100, None), (-100, 150)),
        (None, (0, 254), (None, None)),
        ("bogomips", (0, 5), (None, None)),
    ],
)
def test_the_wider_of_unit_and_declaration_is_plausible(unit: Any, declared: Any, plausible: Any) -> None:
    feature = {"type": "numeric", "property": "x", "unit": unit, "value_min": declared[0], "value_max": declared[1]}
    registry = told(Registry(), 100, device("0xa", "x", exposes=[feature]))
    about = registry.property(0, "x")
    assert about and (about.plausible_min, about.plausible_max) == plausible


def test_real_devices_are_described(sample_data: Path) -> None:
    """34 real devices of 28 models and their coordinator, as matterbridge-zigbee2mqtt recorded them."""
    lines = (sample_data / "zigbee2mqtt" / "matterbridge_bridge.jsonl").read_text().splitlines()
    registry = Registry()
    for number, line in enumerate(map(json.loads, lines)):
        if line["topic"] in (DEVICES, GROUPS):
            registry = registry.apply(line["topic"], line["payload"].encode(), source(number))
    devices = [entry for entry in registry.entries if entry.kind == "device"]
    assert len(devices) > 30 and sum(entry.kind == "coordinator" for entry in registry.entries) == 1
    assert {e.device_name for e in registry.entries if e.kind == "group"} >= {"At home", "Lights", "Thermostats"}
    assert all(entry.model and entry.vendor and entry.exposes for entry in devices)
    described = list(registry.properties())
    assert all(about.type in ("numeric", "binary", "enum", "text", "other") for _, _, about in described)
    units = {(measurement, about.unit) for _, measurement, about in described if about.unit}
    assert units >= {("temperature", "°C"), ("battery", "%"), ("linkquality", "lqi"), ("co2", "ppm")}
    assert {name for _, name, _ in described} >= {"color.x", "color.hue", "state", "brightness", "local_temperature"}


# -- whatever is told ------------------------------------------------------------------------------------------------

names = st.sampled_from(["door", "window", "lamp"])
networks = st.dictionaries(st.sampled_from(["0xa", "0xb", "0xc"]), names, max_size=3)
steps = st.lists(st.tuples(networks, st.lists(names, max_size=2, unique=True)), min_size=1, max_size=8)


@hypothesis_settings(max_examples=300)
@given(steps)
def test_at_any_time_a_name_has_one_owner_at_most_and_it_is_a_right_one(history: list[Any]) -> None:
    registry = Registry()
    for step, (devices, groups) in enumerate(history):
        registry = told(registry, 100 * step + 100, *(device(a, name) for a, name in devices.items()))
        named = [{"id": number, "friendly_name": name} for number, name in enumerate(groups)]
        registry = told(registry, 100 * step + 150, *named, key=GROUPS)
    for name in ("door", "window", "lamp"):
        spans = sorted((o.since or 0, o.until or 10**9) for o in registry.owners() if o.name == name)
        assert all(until <= since for (_, until), (since, _) in pairwise(spans))
        for step, (devices, groups) in enumerate(history):
            at = 100 * step + 190
            claims = {a for a, claimed in devices.items() if claimed == name}
            claims |= {f"group:{number}" for number, claimed in enumerate(groups) if claimed == name}
            since_ever = not any(name in d.values() or name in g for d, g in history[:step])
            found = owner(registry, name, at)
            assert found in claims if claims else since_ever or found is None
