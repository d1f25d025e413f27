"""Spark's decoder on a real Spark: the corpus, what nobody thought of, and real recordings, against the reference."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis.strategies import SearchStrategy

from edge_assets.decoding import contract
from edge_assets.decoding.knowledge import Knowledge
from edge_assets.decoding.reference import Decoded, Record
from edge_assets.decoding.registry import Registry, Source
from edge_assets.settings import load_settings
from edge_assets.tables import OUTCOMES
from edge_assets_tests.decoding_rig import (
    FIRST_OFFSET,
    RECEIVED_AT,
    Case,
    World,
    comparable,
    corpus,
    decode_in_python,
    decode_in_spark,
    differences,
    header,
    micros,
    record,
    with_base_topics,
    world,
)
from edge_assets_tests.decoding_strategies import (
    alert_payloads,
    in_attribute_mode,
    plain_states,
    record_parts,
    room_payloads,
)

pytestmark = [pytest.mark.java, pytest.mark.timeout(600)]

CASES = corpus()


@pytest.fixture(scope="module")
def corpus_world() -> World:
    return world(load_settings(_env_file=None))


@pytest.fixture(scope="module")
def decoded_corpus(spark, corpus_world: World) -> dict[str, Decoded]:
    """All of the corpus in one frame: no record may spoil another's."""
    w = corpus_world
    decoded = decode_in_spark(spark, [case.record for case in CASES], w.registry, w.knowledge, w.settings)
    return {case.name: outcome for case, outcome in zip(CASES, decoded, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_corpus(case: Case, decoded_corpus: dict[str, Decoded]) -> None:
    case.check(decoded_corpus[case.name])


# -- what nobody thought of ----------------------------------------------------------------------------------------

RECORDS_PER_BATCH = 400


def made_up(number: int) -> list[Record]:
    """A batch of records that hypothesis makes up; the number is the seed. One Spark job for all of them, so
    hypothesis only makes and does not shrink: `differences` shows the shortest first."""
    records: list[Record] = []

    @seed(number)
    @hypothesis_settings(
        max_examples=RECORDS_PER_BATCH,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(record_parts)
    def make(parts: tuple[bytes, bytes | None, Any, str]) -> None:
        topic, payload, said, kafka_topic = parts
        said = header(**{"received_at": said.pop("at", RECEIVED_AT), **said}) if isinstance(said, dict) else said
        offset = FIRST_OFFSET + len(records) if len(records) % 5 else len(records)
        records.append(Record(topic, payload, RECEIVED_AT, said, "log", kafka_topic, 0, offset))

    make()
    return records


@pytest.mark.parametrize("number", range(5))
def test_both_decoders_agree_on_whatever_comes(spark, corpus_world: World, number: int) -> None:
    w, records = corpus_world, made_up(number)
    assert len(records) >= RECORDS_PER_BATCH
    expected = decode_in_python(records, w.registry, w.knowledge, w.settings)
    found = decode_in_spark(spark, records, w.registry, w.knowledge, w.settings)
    different = differences(records, expected, found)
    assert not different, f"{len(different)} of {len(records)} (seed {number})\n" + "\n".join(different[:5])
    # An empty payload is rare among what is made up; the corpus has them.
    assert {decoded.outcome for decoded in found} >= set(OUTCOMES) - {"tombstone"}, "all outcomes are there"
    for decoded in found:
        measurements = [reading.measurement for reading in decoded.readings]
        assert len(set(measurements)) == len(measurements), "no measurement twice in a record"
        assert all(reading.value is not None or reading.text is not None for reading in decoded.readings)


def all_saying(topic: str, said: SearchStrategy[bytes], number: int) -> list[Record]:
    payloads: list[bytes] = []

    @seed(number)
    @hypothesis_settings(
        max_examples=RECORDS_PER_BATCH,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(said)
    def make(payload: bytes) -> None:
        payloads.append(payload)

    make()
    return [record(topic, payload, at) for at, payload in enumerate(payloads)]


@pytest.mark.parametrize("number", range(3))
def test_both_decoders_agree_on_whatever_a_room_says(spark, corpus_world: World, number: int) -> None:
    w, records = corpus_world, all_saying("building/lab/telemetry", room_payloads, number)
    expected = decode_in_python(records, w.registry, w.knowledge, w.settings)
    found = decode_in_spark(spark, records, w.registry, w.knowledge, w.settings)
    different = differences(records, expected, found)
    assert not different, f"{len(different)} of {len(records)} (seed {number})\n" + "\n".join(different[:5])
    read = [decoded for decoded in found if decoded.outcome == "read"]
    assert len(read) > RECORDS_PER_BATCH / 5 and any(d.teaches for d in read) and any(not d.teaches for d in read)
    assert ("dead_letter", "wrong_type") in {(decoded.outcome, decoded.reason) for decoded in found}


def test_both_decoders_agree_on_whatever_an_alert_says(spark, corpus_world: World) -> None:
    w, records = corpus_world, all_saying("edge/alerts/door-open", alert_payloads, 0)
    expected = decode_in_python(records, w.registry, w.knowledge, w.settings)
    found = decode_in_spark(spark, records, w.registry, w.knowledge, w.settings)
    different = differences(records, expected, found)
    assert not different, f"{len(different)} of {len(records)}\n" + "\n".join(different[:5])
    assert sum(decoded.outcome == "read" for decoded in found) > RECORDS_PER_BATCH / 5
    assert ("dead_letter", "bad_alert") in {(decoded.outcome, decoded.reason) for decoded in found}


@pytest.mark.parametrize("device", ["washing machine", "living/climate", "lamp", "unknown"])
def test_both_output_modes_give_the_same_readings(spark, corpus_world: World, device: str) -> None:
    w, states = corpus_world, [state for number in range(3) for state in made_up_states(number)]
    whole = [record(f"zigbee2mqtt/{device}", state, number) for number, state in enumerate(states)]
    apart = [
        record(f"zigbee2mqtt/{device}/{name}", said, len(whole) + 100 * number + part)
        for number, state in enumerate(states)
        for part, (name, said) in enumerate(in_attribute_mode(state))
    ]
    decoded = iter(decode_in_spark(spark, [*whole, *apart], w.registry, w.knowledge, w.settings))
    in_json = [next(decoded) for _ in whole]
    for state, expected in zip(states, in_json, strict=True):
        parts = [next(decoded) for _ in in_attribute_mode(state)]
        together = replace(expected, readings=tuple(reading for part in parts for reading in part.readings))
        together = replace(together, refused=sum(part.refused for part in parts))
        assert comparable(together) == comparable(expected), state


def made_up_states(number: int) -> list[dict[str, Any]]:
    states: list[dict[str, Any]] = []

    @seed(number)
    @hypothesis_settings(max_examples=60, database=None, phases=[Phase.generate])
    @given(plain_states)
    def make(state: dict[str, Any]) -> None:
        states.append(state)

    make()
    return states


MEGABYTE = 1_000_000
HUGE = {
    "digits": b"9" * MEGABYTE,
    "digits and underscores": b"1" + b"_1" * (MEGABYTE // 2),
    "digits and commas": b"111" + b",111" * (MEGABYTE // 4),
    "digits and points": b"1." * (MEGABYTE // 2),
    "signs": b"-" * MEGABYTE,
    "blanks": b" " * MEGABYTE,
    "quotes": b'"' * MEGABYTE,
    "letters": b"a" * MEGABYTE,
    "other script's digits": "٢".encode() * (MEGABYTE // 2),
    "brackets": b'{"a":' + b"[" * MEGABYTE,
    "braces": b'{"a":' * (MEGABYTE // 5),
    "a list": b'{"a":[' + b"1," * (MEGABYTE // 2) + b"1]}",
    "a text": b'{"a":"' + b"x" * MEGABYTE + b'"}',
    "a text of braces": b'{"a":"' + b"{" * MEGABYTE + b'"}',
    "a text of escapes": b'{"a":"' + b"\\u00e9" * (MEGABYTE // 6) + b'"}',
    "a name that is long enough": b'{"' + b"n" * contract.MAX_NAME_LENGTH + b'":1}',
    "a name that is too long": b'{"' + b"n" * (contract.MAX_NAME_LENGTH + 1) + b'":1}',
    "many properties": b"{" + b",".join(b'"p%d":%d' % (n, n) for n in range(20_000)) + b"}",
    "many names twice": b"{" + b",".join(b'"p%d":%d' % (n % 100, n) for n in range(20_000)) + b"}",
    "many objects": b"{" + b",".join(b'"p%d":{"a":%d}' % (n, n) for n in range(20_000)) + b"}",
    "an exponent": b'{"a":1e' + b"9" * 900 + b"}",
    "a time": b'{"last_seen":"' + b"9" * MEGABYTE + b'"}',
    "an availability": b'{"state":"' + b"online" * 100_000 + b'"}',
}


def test_no_payload_is_too_much(spark, corpus_world: World) -> None:
    """Each within the log's limit, and each of them once tried to be too much for some parser."""
    w = corpus_world
    topics = ("zigbee2mqtt/front door/note", "zigbee2mqtt/front door", "zigbee2mqtt/front door/availability")
    payloads = [(topic, payload) for topic in topics for payload in HUGE.values()]
    records = [record(topic, payload, number) for number, (topic, payload) in enumerate(payloads)]
    expected = decode_in_python(records, w.registry, w.knowledge, w.settings)
    found = decode_in_spark(spark, records, w.registry, w.knowledge, w.settings)
    assert [(a.outcome, a.reason, a.refused) for a in found] == [(b.outcome, b.reason, b.refused) for b in expected]
    for a, b in zip(found, expected, strict=True):
        assert set(a.readings) == set(b.readings)


# -- recordings of real devices --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """Messages of one network, with the registry that its bridge files give."""

    records: list[Record]
    registry: Registry

    @classmethod
    def of(cls, lines: list[dict[str, Any]], received_at: int) -> Recording:
        records, registry = [], Registry()
        for number, line in enumerate(lines):
            at = micros(line["ts"]) if "ts" in line else received_at
            records.append(record(line["topic"], line["payload"].encode(), number, at))
            if line["topic"].endswith(("bridge/devices", "bridge/groups")):
                source = Source("log", "sensor-events", 0, number, at)
                registry = registry.apply(line["topic"], line["payload"].encode(), source)
        return cls(records, registry)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def recordings(sample_data: Path) -> dict[str, Recording]:
    folder = sample_data / "zigbee2mqtt"
    sonoff = lines_of(folder / "sonoff_devices.jsonl")
    modes = {mode: [line for line in sonoff if line["mode"] == mode] for mode in {line["mode"] for line in sonoff}}
    others = [line for part in ("bridge", "payloads") for line in lines_of(folder / f"matterbridge_{part}.jsonl")]
    return {
        "matterbridge": Recording.of(others, micros("2025-01-01T00:00:00Z")),
        **{f"sonoff {mode}": Recording.of(lines, 0) for mode, lines in modes.items()},
    }


@pytest.fixture(scope="module")
def decoded_recordings(spark, recordings: dict[str, Recording], corpus_world: World) -> dict[str, list[Decoded]]:
    settings = with_base_topics(corpus_world.settings, ("zigbee2mqtt",))
    return {
        name: decode_in_spark(spark, recording.records, recording.registry, Knowledge(), settings)
        for name, recording in recordings.items()
    }


RECORDINGS = ["matterbridge", "sonoff default", "sonoff last_seen_iso8601"]


@pytest.mark.parametrize("name", RECORDINGS)
def test_each_record_of_a_recording_is_accounted_for(
    recordings: dict[str, Recording], decoded_recordings: dict[str, list[Decoded]], corpus_world: World, name: str
) -> None:
    recording, found = recordings[name], decoded_recordings[name]
    settings = with_base_topics(corpus_world.settings, ("zigbee2mqtt",))
    expected = decode_in_python(recording.records, recording.registry, Knowledge(), settings)
    assert differences(recording.records, expected, found) == []
    wanted = [fate(recorded, recording.registry) for recorded in recording.records]
    assert [(decoded.outcome, decoded.reason) for decoded in found] == wanted, "no dead letter among them"
    assert sum(decoded.refused for decoded in found) == 0, "real devices send nothing that is refused"
    described = {device for _, device in recording.registry.names()}
    pending = {decoded.device_name for decoded in found if decoded.pending}
    assert not pending & described
    assert len(pending) <= 1, "but for one group that the recording leaves out"


def fate(recorded: Record, registry: Registry) -> tuple[str, str | None]:
    """What should become of a real device's record: from its topic alone."""
    groups = {entry.device_name for entry in registry.entries if entry.kind == "group"}
    name = recorded.topic.decode().removeprefix("zigbee2mqtt/")
    if name.startswith("bridge/"):
        return ("read", None) if name in ("bridge/devices", "bridge/groups") else ("ignored", "bridge")
    if name.endswith(("/set", "/get")):
        return "ignored", "command"
    return ("ignored", "group") if name.removesuffix("/availability") in groups else ("read", None)


@pytest.mark.parametrize("name", RECORDINGS)
def test_what_a_recording_says_is_what_is_read(
    recordings: dict[str, Recording], decoded_recordings: dict[str, list[Decoded]], name: str
) -> None:
    """Numbers, booleans and ON/OFF at the top of each payload, compared with nothing but `json.loads`."""
    compared = 0
    binary = {
        (number, measurement)
        for number, measurement, about in recordings[name].registry.properties()
        if about.type == "binary"
    }
    for recorded, decoded in zip(recordings[name].records, decoded_recordings[name], strict=True):
        if decoded.outcome != "read" or decoded.device_id is None or recorded.topic.endswith(b"/availability"):
            continue
        values = {reading.measurement: reading.value for reading in decoded.readings}
        owner = recordings[name].registry.owner("zigbee2mqtt", decoded.device_name or "", decoded.received_at)
        for measurement, said in json.loads(recorded.payload or b"").items():
            if isinstance(said, bool | int | float) and measurement != "last_seen":
                assert values[measurement] == said
                compared += 1
            if said in ("ON", "OFF") and owner and (owner[0], measurement) in binary:
                assert values[measurement] == (said == "ON")
                compared += 1
    assert compared > 2_000


def test_units_and_identities_of_the_recordings(decoded_recordings: dict[str, list[Decoded]]) -> None:
    units: dict[str, set[Any]] = defaultdict(set)
    devices: dict[str, set[Any]] = defaultdict(set)
    for name in ("sonoff default", "sonoff last_seen_iso8601"):
        for decoded in decoded_recordings[name]:
            devices[decoded.device_name or ""].add((decoded.device_id, decoded.model))
            for reading in decoded.readings:
                units[f"{decoded.model} {reading.measurement}"].add((reading.unit, reading.quality))
    assert units["SNZB-04P voltage"] == {("mV", "good")}
    assert units["S60ZBTPF voltage"] == {("V", "good")}
    assert units["S60ZBTPF energy"] == {("kWh", "good")}
    assert units["SNZB-04P battery"] == {("%", "good")}
    assert devices["living/tv plug"] == {("0xa4c1380000000012", "S60ZBTPF")}
    assert devices["розетка_кухня"] == {("0xa4c1380000000013", "S60ZBTPF")}
    assert devices["Tür Büro 🚪"] == {("0xa4c1380000000003", "SNZB-04P")}
    assert devices["0xa4c1380000000004"] == {("0xa4c1380000000004", "SNZB-04P")}


def test_times_of_the_recordings(
    recordings: dict[str, Recording], decoded_recordings: dict[str, list[Decoded]]
) -> None:
    for name in RECORDINGS:
        for recorded, decoded in zip(recordings[name].records, decoded_recordings[name], strict=True):
            if not decoded.readings or recorded.topic.endswith(b"/availability"):
                continue
            last_seen = json.loads(recorded.payload or b"").get("last_seen")
            told = decoded.received_at if last_seen is None else micros(last_seen)
            assert (decoded.event_time, decoded.event_time_source) == (
                told,
                "received" if last_seen is None else "payload",
            )
