"""The engine against the naive model: random traces, restarts at random places through the real store, same answers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from edge_assets.alert_record import AlertEvent
from edge_assets.alerts.engine import Engine
from edge_assets.alerts.rules import Rules
from edge_assets.alerts.store import Store, transaction
from edge_assets.settings import Settings
from edge_assets_tests.alert_model import MINUTE, SECOND, Input, Said, Tick, Told, expected, observation

START = 1_774_738_800 * SECOND
"""29 March 2026, an hour before the clocks of Berlin go forward"""
NETWORK = "zigbee2mqtt"
DEVICES = (("device", "plug"), ("device", "door"), ("room", "lab"))

POWER = {"measurement": "power", "above": 100.0, "clear": 80.0}
RULES: list[dict[str, Any]] = [
    {"name": "level", "condition": POWER},
    {"name": "level-for", "condition": POWER, "for": 30 * SECOND, "clear_after": 20 * SECOND},
    {"name": "low", "condition": {"measurement": "power", "below": 60.0}, "clear_after": 90 * SECOND},
    {"name": "open", "condition": {"measurement": "contact", "equals": 0.0}, "for": 2 * MINUTE},
    {"name": "word", "condition": {"measurement": "state", "equals": "ON"}, "for": 5 * SECOND},
    {"name": "stuck", "condition": {"measurement": "power", "unchanged_for": 40 * SECOND}},
    {
        "name": "rising",
        "condition": {"measurement": "power", "by": 50.0, "within": 64 * SECOND, "rises": True, "falls": False},
        "clear_after": 10 * SECOND,
    },
    {
        "name": "jumping",
        "condition": {"measurement": "power", "by": 70.0, "within": 128 * SECOND, "rises": True, "falls": True},
    },
    {"name": "away", "condition": {"offline": True, "times": 0, "at_least": 0}, "for": 20 * SECOND},
    {
        "name": "silent",
        "condition": {"offline": True, "times": 3, "at_least": 30 * SECOND},
        "clear_after": 5 * SECOND,
    },
    {"name": "network", "kind": ["bridge"], "condition": {"offline": True, "times": 0, "at_least": 0}},
    {"name": "both", "condition": {"all": [POWER, {"measurement": "contact", "equals": 0.0}]}, "for": 10 * SECOND},
    {
        "name": "either",
        "condition": {
            "any": [
                {"measurement": "contact", "equals": 1.0},
                {"all": [POWER, {"measurement": "state", "equals": "ON"}]},
            ]
        },
        "clear_after": 15 * SECOND,
    },
    {
        "name": "gone-hot",
        "condition": {"any": [POWER, {"offline": True, "times": 2, "at_least": MINUTE}]},
        "for": SECOND,
    },
    {"name": "hours", "condition": POWER, "when": ("02:30", "03:20"), "for": MINUTE},
    {"name": "night", "devices": "p*", "condition": POWER, "when": ("22:00", "03:15"), "clear_after": MINUTE},
]


def written(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule of the model's as a file says it."""
    said = {**rule, "condition": _condition(rule["condition"])}
    for name in ("for", "clear_after"):
        if name in rule:
            said[name] = f"{rule[name] // SECOND}s"
    if "when" in rule:
        said["when"] = {"from": rule["when"][0], "to": rule["when"][1]}
    return said


def _condition(said: dict[str, Any]) -> dict[str, Any]:
    for word in ("all", "any"):
        if word in said:
            return {word: [_condition(part) for part in said[word]]}
    if "offline" in said:
        return {"offline": True, "silence_times": said["times"], "silence_at_least": f"{said['at_least'] // SECOND}s"}
    if "by" in said:
        word = "changes_by" if said["rises"] and said["falls"] else "rises_by" if said["rises"] else "falls_by"
        return {"measurement": said["measurement"], word: said["by"], "within": f"{said['within'] // SECOND}s"}
    if "unchanged_for" in said:
        return {**said, "unchanged_for": f"{said['unchanged_for'] // SECOND}s"}
    return said


def random_trace(chance: random.Random, length: int) -> list[Input]:
    """What a house may say in some minutes or hours, and what it should not."""
    now = START + chance.randrange(-120, 120) * MINUTE
    trace: list[Input] = [Tick(now)]
    said: list[Said] = []
    calm = chance.random() < 0.5
    # Silences are learned from many: in some traces one device has the word.
    speakers = DEVICES if chance.random() < 0.7 else (("device", "door"),)
    for _ in range(length):
        now += _step(chance, calm)
        if chance.random() < (0.35 if speakers == DEVICES else 0.1):
            trace.append(Tick(now, listening=chance.random() > 0.05))
            continue
        trace.append(Tick(now))
        one = chance.choice(said) if said and chance.random() < 0.05 else _word(chance, now, speakers)
        one = Said(one.observation, now, one.network, one.heard)
        said.append(one)
        trace.append(one)
    for _ in range(8):
        now += _step(chance, calm)
        trace.append(Tick(now))
    return trace


def _step(chance: random.Random, calm: bool) -> int:
    if calm:
        return chance.choice((1, SECOND // 2, SECOND, 5 * SECOND, 10 * SECOND, 20 * SECOND, 59 * SECOND))
    return chance.choice((0, 1, SECOND, 3 * SECOND, 30 * SECOND, 45 * SECOND, 2 * MINUTE, 20 * MINUTE))


def _word(chance: random.Random, now: int, speakers: Sequence[tuple[str, str]]) -> Said:
    what = chance.random()
    if what < 0.06:
        up = float(chance.random() < 0.6)
        return Said(observation(NETWORK, "state", up, now, kind="bridge"), now, None, heard=chance.random() < 0.8)
    kind, device = chance.choice(speakers)
    network = NETWORK if kind == "device" and chance.random() < 0.9 else None
    stale = chance.random() < 0.05
    if what < 0.16 and device != "door":
        said = observation(device, "availability", float(chance.random() < 0.5), now, kind=kind, stale=stale)
        return Said(said, now, network, heard=not stale)
    at = now + chance.choice((0, 0, 0, 0, 0, -SECOND, -40 * SECOND, 20 * SECOND, -5 * MINUTE))
    quality = "implausible" if chance.random() < 0.04 else "good"
    measurement = chance.choice(("power", "power", "power", "contact", "state", "other"))
    value: float | None = chance.choice((50.0, 79.9, 80.0, 90.0, 100.0, 100.1, 130.0, 200.0))
    text = None
    if measurement == "contact":
        value = float(chance.random() < 0.5)
    if measurement == "state":
        value, text = None, chance.choice(("ON", "OFF"))
    said = observation(
        device,
        measurement,
        value,
        now if stale else at,
        kind=kind,
        text=text,
        quality=quality,
        stale=stale,
        received_at=now,
    )
    return Said(said, now, network, heard=not stale)


class Machine:
    """An engine that is put away into the real store and taken up again, as often as one likes."""

    def __init__(self, store: Store, rules: Rules) -> None:
        self.store, self.rules = store, rules
        with transaction(store.connection):
            for table in ("meta", "devices", "series", "watches"):
                store.connection.execute(f"DELETE FROM {table}")
        self.events: list[AlertEvent] = []
        self.engine = Engine(rules)

    def feed(self, one: Input) -> None:
        if isinstance(one, Tick):
            self.events += self.engine.tick(one.now, one.listening)
        else:
            self.events += self.engine.observe(one.observation, one.network, heard=one.heard)

    def store_changes(self, everything: bool = True) -> None:
        with transaction(self.store.connection):
            self.store.save(self.engine.changes(everything))

    def restart(self) -> None:
        self.store_changes()
        self.engine = Engine(self.rules, self.store.load())

    def told(self) -> list[Told]:
        return sorted((e.rule, e.kind, e.device_id, e.transition, e.event_time, e.since) for e in self.events)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    opened = Store(settings)
    yield opened
    opened.close()


def compare(store: Store, seed: int, length: int) -> int:
    """One trace, with and without restarts, against the model. Returns how much was told."""
    chance = random.Random(seed)
    chosen = chance.sample(RULES, 5)
    rules = Rules.model_validate({"time_zone": "Europe/Berlin", "rules": [written(rule) for rule in chosen]})
    trace = random_trace(chance, length)
    machine, steady = Machine(store, rules), Engine(rules)
    straight: list[AlertEvent] = []
    for one in trace:
        machine.feed(one)
        straight += (
            steady.tick(one.now, one.listening)
            if isinstance(one, Tick)
            else steady.observe(one.observation, one.network, heard=one.heard)
        )
        if chance.random() < 0.1:
            machine.restart()
        elif chance.random() < 0.3:
            machine.store_changes(everything=chance.random() < 0.3)
    wanted = expected(chosen, trace)
    assert machine.told() == wanted, f"seed {seed}, {length} long"
    assert [e.event_id for e in machine.events] == [e.event_id for e in straight], f"seed {seed}"
    assert machine.events == straight
    return len(wanted)


def test_as_the_model_says_with_restarts(store: Store) -> None:
    told = sum(compare(store, seed, 60) for seed in range(200))
    assert told > 1_500, "traces in which nothing happens prove nothing"


@pytest.mark.slow
def test_as_the_model_says_with_restarts_for_long(store: Store) -> None:
    assert sum(compare(store, seed, 80) for seed in range(10_000, 16_000)) > 20_000


def test_what_may_not_be_lost_is_enough(store: Store) -> None:
    """A crash, not a stop, after every input: only what is grave was stored. Where devices tell their times in order,
    and no window of values is watched, the answers are the same."""
    chosen = [rule for rule in RULES if rule["name"] not in ("rising", "jumping", "silent", "gone-hot")]
    rules = Rules.model_validate({"time_zone": "Europe/Berlin", "rules": [written(rule) for rule in chosen]})
    told = 0
    for seed in range(60):
        trace = [
            one
            for one in random_trace(random.Random(seed), 50)
            if isinstance(one, Tick) or (one.observation.event_time == one.clock and not one.observation.stale)
        ]
        machine = Machine(store, rules)
        for one in trace:
            machine.feed(one)
            machine.store_changes(everything=False)
            machine.engine = Engine(rules, store.load())
        wanted = expected(chosen, trace)
        assert machine.told() == wanted, seed
        told += len(wanted)
    assert told > 300


@given(seed=st.integers(min_value=1_000_000), length=st.integers(1, 25))
@hypothesis_settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_short_traces_that_hypothesis_makes_shorter(store: Store, seed: int, length: int) -> None:
    compare(store, seed, length)


def test_how_often_the_clock_ticks_changes_nothing(store: Store) -> None:
    """Where devices tell their times in order, more ticks in between tell the same."""
    rules = Rules.model_validate({"time_zone": "UTC", "rules": [written(rule) for rule in RULES[:8]]})
    for seed in range(50):
        chance = random.Random(seed)
        trace = [one for one in random_trace(chance, 60) if isinstance(one, Said)]
        trace = [one for one in trace if one.observation.event_time <= one.clock and not one.observation.stale]
        answers = []
        for every in (None, 7 * SECOND):
            engine, events, now = Engine(rules, away_after=10**18), [], START - 180 * MINUTE
            for one in trace:
                while every and now + every < one.clock and one.clock - now < 600 * SECOND:
                    now += every
                    events += engine.tick(min(now, one.observation.event_time))
                now = one.clock
                events += engine.tick(min(now, one.observation.event_time))
                events += engine.observe(one.observation, one.network)
            answers.append(sorted(e.event_id for e in events))
        assert answers[0] == answers[1], seed
