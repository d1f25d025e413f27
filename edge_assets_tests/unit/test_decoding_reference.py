"""The reference decoder: the corpus, and what must hold for any record whatever."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from edge_assets.decoding import contract, reference
from edge_assets.decoding.reference import Decoded, Record
from edge_assets.settings import Settings, load_settings
from edge_assets.tables import OUTCOMES
from edge_assets_tests.decoding_rig import (
    RECEIVED_AT,
    Case,
    World,
    comparable,
    corpus,
    header,
    record,
    world,
)
from edge_assets_tests.decoding_strategies import in_attribute_mode, plain_states, record_parts

CASES = corpus()


@pytest.fixture(scope="module")
def corpus_world() -> World:
    return world(load_settings(_env_file=None))


def decode(given_record: Record, w: World) -> Decoded:
    return reference.decode(given_record, w.registry, w.knowledge, w.settings)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_corpus(case: Case, corpus_world: World) -> None:
    case.check(decode(case.record, corpus_world))


def test_the_corpus_holds_each_reason_and_each_name_once() -> None:
    assert {case.expected.get("reason") for case in CASES} - {None} == set(contract.REASONS)
    assert {case.expected["outcome"] for case in CASES} == set(OUTCOMES)
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []


@hypothesis_settings(max_examples=1_000)
@given(record_parts)
def test_any_record_has_one_outcome(corpus_world: World, parts: tuple[bytes, bytes | None, Any, str]) -> None:
    topic, payload, said, kafka_topic = parts
    said = header(**{"received_at": said.pop("at", RECEIVED_AT), **said}) if isinstance(said, dict) else said
    decoded = decode(Record(topic, payload, RECEIVED_AT, said, "log", kafka_topic, 0, 500), corpus_world)
    assert decoded.outcome in OUTCOMES
    assert decoded.reason in contract.REASONS if decoded.reason else decoded.outcome in ("read", "tombstone")
    measurements = [reading.measurement for reading in decoded.readings]
    assert len(set(measurements)) == len(measurements)
    assert decoded.outcome == "read" or not (decoded.readings or decoded.refused)
    assert not payload or decoded.outcome != "tombstone"
    for reading in decoded.readings:
        assert reading.text is not None or reading.value is not None
        assert reading.value is None or abs(reading.value) < float("inf")


@hypothesis_settings(max_examples=500)
@given(plain_states)
@pytest.mark.parametrize("device", ["washing machine", "living/climate", "unknown"])
def test_both_output_modes_give_the_same_readings(corpus_world: World, device: str, state: dict[str, Any]) -> None:
    in_json = comparable(decode(record(f"zigbee2mqtt/{device}", state, 0), corpus_world))
    apart = [
        decode(record(f"zigbee2mqtt/{device}/{name}", said, number), corpus_world)
        for number, (name, said) in enumerate(in_attribute_mode(state))
    ]
    assert in_json.outcome == "read"
    assert {decoded.outcome for decoded in apart} <= {"read", "tombstone"}
    together = Decoded("read", None, 0, tuple(reading for decoded in apart for reading in decoded.readings))
    assert in_json.readings == comparable(together).readings
    assert in_json.refused == sum(decoded.refused for decoded in apart)


@pytest.mark.parametrize("unit", contract.RANGE_BY_UNIT)
def test_each_unit_has_a_range_that_is_one(unit: str) -> None:
    low, high = contract.RANGE_BY_UNIT[unit]
    assert low < high


@pytest.mark.parametrize("pattern", ["NUMBER", "LOOKS_LIKE_A_NUMBER", "ISO_TIME", "EPOCH_MILLISECONDS"])
def test_no_pattern_repeats_a_group_without_bound(pattern: str) -> None:
    """Java's regular expressions take stack for each repetition of a group, and a payload may be a megabyte long."""
    assert not re.search(r"\)[*+]", getattr(contract, pattern))


def test_the_contract_is_light() -> None:
    """The alerter and the live page import it: no Spark behind it."""
    import subprocess
    import sys

    code = "import sys, edge_assets.decoding.reference; print('pyspark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_settings_are_those_of_the_stream(settings: Settings, corpus_world: World) -> None:
    other = settings.model_copy(update={"stream": settings.stream.model_copy(update={"base_topics": ("attic",)})})
    assert reference.decode(
        record("attic/x", {"a": 1}, 0), corpus_world.registry, corpus_world.knowledge, other
    ).readings
