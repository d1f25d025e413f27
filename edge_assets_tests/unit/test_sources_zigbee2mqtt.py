"""The simulated network says what a real Zigbee2MQTT would, the same each time, and its numbers belong together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest

from edge_assets.settings import SimulatorSettings
from edge_assets.sources.appliances import APPLIANCES, INSTALLED, Appliance, Program
from edge_assets.sources.message import Message, rounded
from edge_assets.sources.zigbee2mqtt import START, events, last_will

HOUR = 3_600.0


def network(seconds: float, start: datetime = START, **settings: Any) -> list[Message]:
    return list(takewhile(lambda m: m.at_seconds <= seconds, events(SimulatorSettings(**settings), start)))


def states(messages: list[Message], name: str) -> Iterator[tuple[float, dict[str, Any]]]:
    for message in messages:
        if message.topic == f"zigbee2mqtt/{name}" and message.payload:
            yield message.at_seconds, json.loads(message.payload)


def test_same_seed_same_bytes() -> None:
    assert network(2 * HOUR) == network(2 * HOUR)
    assert network(HOUR) != network(HOUR, seed=8)


def test_time_never_goes_back() -> None:
    times = [m.at_seconds for m in network(3 * HOUR)]
    assert times == sorted(times)


def test_begins_as_zigbee2mqtt_does() -> None:
    first = list(islice(events(SimulatorSettings()), 6))
    assert [m.topic.removeprefix("zigbee2mqtt/bridge/") for m in first] == [
        "state",
        "info",
        "devices",
        "groups",
        "converters",
        "extensions",
    ]
    assert [m.qos for m in first] == [1, 0, 0, 0, 0, 0]
    assert all(m.retain for m in first)


def test_qos_and_retain_of_each_kind() -> None:
    for message in network(HOUR):
        name = message.topic.removeprefix("zigbee2mqtt/")
        if name.endswith("/availability") or name in ("bridge/state", "bridge/health"):
            expected = (1, True)
        elif name in ("bridge/logging", "bridge/event", "bridge/response/device/rename"):
            expected = (0, False)
        else:
            expected = (0, name.startswith("bridge/") or not message.payload)
        assert (message.qos, message.retain) == expected, name


def test_contact_is_false_while_open_and_state_is_whole() -> None:
    seen = list(states(network(3 * HOUR), "Kitchen/Back Door"))
    assert {state.get("contact") for _, state in seen} >= {True, False}
    known: set[str] = set()
    for _, state in seen:
        assert set(state) >= known, "a report republishes everything that is cached"
        known = set(state)
        assert list(state) == sorted(state)
    assert known == {"battery", "battery_low", "contact", "linkquality", "tamper", "voltage"}
    assert "tamper" not in seen[0][1], "absent until first reported"
    assert all(2_400 <= state["voltage"] <= 3_000 for _, state in seen if "voltage" in state)


def test_plug_reports_steadily_and_its_numbers_belong_together() -> None:
    seen = [(at, state) for at, state in states(network(2 * HOUR), "washing_machine") if "power" in state]
    steps = {round(b - a, 3) for (a, _), (b, _) in pairwise(seen)}
    assert steps == {5.0}
    for _, state in seen:
        assert state["current"] == pytest.approx(state["power"] / (state["voltage"] * 0.98), abs=0.006)


def test_energy_is_the_integral_of_power() -> None:
    """With a report each second, the sum of powers and the growth of energy_today must meet."""
    seen = [s for _, s in states(network(2 * HOUR, interval_seconds=1.0), "kitchen/kettle") if "power" in s]
    summed = sum((a["power"] + b["power"]) / 2 for a, b in pairwise(seen)) / 3.6e6
    grown = seen[-1]["energy_today"] - seen[0]["energy_today"]
    assert grown > 0.1, "a kettle boiled"
    # Each switching of 2 kW is known to half a second either way.
    assert grown == pytest.approx(summed, abs=0.001 + 16 * 2_150 / 3.6e6)


def test_energy_today_starts_anew_at_midnight_and_becomes_yesterday() -> None:
    start = datetime(2026, 3, 31, 23, 30, tzinfo=UTC)
    seen = [s for _, s in states(network(HOUR, start), "washing_machine") if "power" in s]
    before = [s for s in seen if s["energy_today"] > 1][-1]
    after = seen[-1]
    assert after["energy_today"] < 0.5
    assert after["energy_yesterday"] == pytest.approx(before["energy_today"], abs=0.01)
    assert after["energy_month"] < 0.5, "and a month began, too"
    energies = [s["energy"] for s in seen]
    assert energies == sorted(energies)


def test_meter_goes_on_where_it_was_when_started_again() -> None:
    first = [s for _, s in states(network(HOUR), "washing_machine") if "energy" in s]
    later = START + timedelta(hours=1)
    second = [s for _, s in states(network(60, later), "washing_machine") if "energy" in s]
    assert 0 <= second[0]["energy"] - first[-1]["energy"] < 0.05


@pytest.mark.parametrize("program", APPLIANCES, ids=lambda program: program.__name__)
def test_appliance_has_standby_and_peaks(program: Program) -> None:
    appliance = Appliance("seed", program)
    begin = (INSTALLED + timedelta(days=60)).timestamp()
    powers = [appliance.power_w(begin + second) for second in range(0, 86_400, 10)]
    assert min(powers) >= 0
    assert max(powers) > 20 * (min(powers) + 0.1)
    energy = appliance.energy_between_kwh(begin, begin + 86_400)
    assert energy == pytest.approx(sum(powers) * 10 / 3.6e6, rel=0.02)


def test_every_publication_but_the_bridges_own_is_quoted_in_the_log() -> None:
    messages = network(HOUR)
    for line, message in pairwise(messages):
        if "/bridge/" in message.topic or message.topic.endswith("/set"):
            continue
        text = json.loads(line.payload)["message"]
        assert text == f"z2m:mqtt: MQTT publish: topic '{message.topic}', payload '{message.payload.decode()}'"


def test_rename_gives_up_the_old_topics_and_keeps_the_identity() -> None:
    messages = [m for m in network(601) if m.at_seconds == 600 and "logging" not in m.topic]
    topics = [m.topic.removeprefix("zigbee2mqtt/") for m in messages]
    assert topics[:5] == [
        "front door",
        "front door/availability",
        "Hall/Front Door/availability",
        "bridge/devices",
        "Hall/Front Door",
    ]
    assert [m.payload for m in messages[:2]] == [b"", b""]
    entries = {d["ieee_address"]: d["friendly_name"] for d in json.loads(messages[3].payload)}
    before = next(m for m in network(1) if m.topic.endswith("bridge/devices"))
    old = {d["ieee_address"]: d["friendly_name"] for d in json.loads(before.payload)}
    assert {address for address in old if old[address] != entries[address]} == {
        address for address, name in old.items() if name == "front door"
    }


def test_a_plug_drops_out_and_returns() -> None:
    name = "розетка ТВ"
    messages = network(600)
    silent = [at for at, _ in states(messages, name) if 240 <= at < 480]
    assert silent == []
    changes = [
        (m.at_seconds, json.loads(m.payload)["state"])
        for m in messages
        if m.topic == f"zigbee2mqtt/{name}/availability"
    ]
    assert changes == [(0.0, "online"), (315.0, "offline"), (480.0, "online")]
    assert any(m.topic.endswith("bridge/event") and b"device_announce" in m.payload for m in messages)


def test_the_night_comes_as_a_command_and_the_plug_obeys() -> None:
    messages = network(2 * HOUR, datetime(2026, 3, 1, 22, 30, tzinfo=UTC))
    command = next(m for m in messages if m.topic.endswith("/set"))
    assert json.loads(command.payload) == {"state": "OFF"}
    after = [s for at, s in states(messages, "розетка ТВ") if at > command.at_seconds and "power" in s]
    assert {s["state"] for s in after} == {"OFF"}
    assert {s["power"] for s in after[1:]} == {0}
    group = next(m for m in messages if m.topic == "zigbee2mqtt/All plugs")
    assert json.loads(group.payload) == {"state": "OFF"}


def test_describes_each_measurement_that_a_device_reports() -> None:
    messages = network(HOUR)
    devices = json.loads(next(m for m in messages if m.topic.endswith("bridge/devices")).payload)
    assert devices[0]["type"] == "Coordinator"
    for device in devices[1:]:
        described = {e["property"] for e in flat(device["definition"]["exposes"])}
        for _, state in states(messages, device["friendly_name"]):
            assert set(state) - {"update"} <= described


def test_units_and_values_of_the_two_models() -> None:
    devices = json.loads(next(m for m in network(1) if m.topic.endswith("bridge/devices")).payload)
    models = {d["definition"]["model"]: flat(d["definition"]["exposes"]) for d in devices[1:]}
    door = {e["property"]: e for e in models["SNZB-04P"]}
    plug = {e["property"]: e for e in models["S60ZBTPF"]}
    assert (door["contact"]["value_on"], door["contact"]["value_off"]) == (False, True)
    assert door["voltage"]["unit"] == "mV"
    assert plug["voltage"]["unit"] == "V"
    assert (plug["state"]["value_on"], plug["state"]["value_off"]) == ("ON", "OFF")
    assert {plug[name]["unit"] for name in plug if name.startswith("energy")} == {"kWh"}


def test_exposes_agree_with_a_recording(sample_data: Path) -> None:
    """Type, unit, range and values of each property, as a real Zigbee2MQTT described the same models."""
    recorded = _recorded_devices(sample_data / "zigbee2mqtt" / "sonoff_devices.jsonl")
    simulated = json.loads(next(m for m in network(1) if m.topic.endswith("bridge/devices")).payload)
    for model in ("SNZB-04P", "S60ZBTPF"):
        assert _facts(simulated, model) == _facts(recorded, model)


def test_any_number_of_devices() -> None:
    assert len({m.topic for m in network(60, doors=9, plugs=9) if m.topic.endswith("/availability")}) >= 18
    nobody = network(HOUR, doors=0, plugs=0)
    assert {m.topic.split("/")[1] for m in nobody} == {"bridge"}


def test_interval_is_of_real_time() -> None:
    seen = [at for at, s in states(network(HOUR, speed=60.0, interval_seconds=1.0), "washing_machine") if "power" in s]
    assert {round(b - a, 3) for a, b in pairwise(seen)} == {60.0}


def test_last_will() -> None:
    will = last_will(SimulatorSettings(base_topic="z2m"))
    assert (will.topic, will.payload, will.qos, will.retain) == ("z2m/bridge/state", b'{"state":"offline"}', 1, True)


def test_numbers_as_javascript_prints_them() -> None:
    assert json.dumps([rounded(231.0, 2), rounded(9.4444, 2)]) == "[231, 9.44]"


def flat(exposes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [e for top in exposes for e in ([top] if "property" in top else top["features"])]


def _recorded_devices(path: Path) -> list[dict[str, Any]]:
    for line in path.open():
        record = json.loads(line)
        if record["topic"].endswith("bridge/devices"):
            return json.loads(record["payload"])
    raise AssertionError(path)


def _facts(devices: list[dict[str, Any]], model: str) -> dict[str, dict[str, Any]]:
    device = next(d for d in devices if (d.get("definition") or {}).get("model") == model)
    return _facts_of(flat(device["definition"]["exposes"]))


def _facts_of(exposes: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    words = {"description", "label", "features"}
    return {
        e["property"]: {k: v for k, v in e.items() if k not in words}
        | ({"features": _facts_of(e["features"])} if "features" in e else {})
        for e in exposes
    }
