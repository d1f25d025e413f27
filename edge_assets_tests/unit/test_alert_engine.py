"""The engine, condition by condition: what a person would expect of a rule."""

from __future__ import annotations

import time
from typing import Any

import pytest

from edge_assets.alert_record import AlertEvent
from edge_assets.alerts.engine import Engine, Saved
from edge_assets.alerts.rule_file import parse
from edge_assets.alerts.rules import Rules
from edge_assets_tests.alert_model import MINUTE, SECOND, observation

START = 1_772_323_200 * SECOND
NETWORK = "zigbee2mqtt"


class Story:
    """Devices speak, time goes by; `told` is what came of it since it was last asked."""

    def __init__(self, rules: str) -> None:
        self.engine = Engine(parse("time_zone: UTC\n" + rules))
        self.now = START
        self.events: list[AlertEvent] = self.engine.tick(self.now)

    def wait(self, micros: int, every: int = 10 * SECOND) -> Story:
        end = self.now + micros
        while self.now < end:
            self.now = min(self.now + every, end)
            self.events += self.engine.tick(self.now)
        return self

    def say(self, measurement: str, value: float | None, device: str = "d", **more: Any) -> Story:
        queued, network = more.pop("queued", False), more.pop("network", NETWORK)
        heard = not more.get("stale", False)
        said = observation(device, measurement, value, more.pop("at", self.now), **more)
        self.events += self.engine.tick(self.now, hold=queued)
        self.events += self.engine.observe(said, network, heard=heard, queued=queued)
        return self

    def told(self) -> list[tuple[str, str, int]]:
        """rule, transition, seconds since the start"""
        found: list[tuple[str, str, int]] = [
            (e.rule, e.transition, (e.event_time - START) // SECOND) for e in self.events
        ]
        self.events = []
        return found


def rule(condition: str, more: str = "", name: str = "r") -> str:
    return f"rules:\n  - {{name: {name}, condition: {condition}{', ' + more if more else ''}}}\n"


def test_a_level_with_hysteresis() -> None:
    story = Story(rule("{measurement: power, above: 100, clear: 80}"))
    for value in (100, 101, 90, 150, 81, 80, 90):
        story.wait(SECOND).say("power", value)
    assert story.told() == [("r", "firing", 2), ("r", "cleared", 6)]


def test_for_and_clear_after_are_exact_and_begin_anew() -> None:
    story = Story(rule("{measurement: power, above: 100}", "for: 60s, clear_after: 30s"))
    story.say("power", 200).wait(59 * SECOND).say("power", 50).say("power", 200, at=START + 59 * SECOND + 1)
    story.wait(60 * SECOND, every=7 * SECOND).wait(10 * SECOND)
    assert story.told() == [("r", "firing", 119)]
    story.say("power", 50).wait(20 * SECOND).say("power", 200).wait(20 * SECOND).say("power", 1).wait(MINUTE)
    assert story.told() == [("r", "cleared", 199)]


def test_what_is_not_news_changes_nothing() -> None:
    story = Story(rule("{measurement: power, above: 100}")).wait(MINUTE)
    story.say("power", 50).say("power", 500, at=START).say("power", 500, quality="implausible")
    story.say("power", None).say("power", 500, stale=True)
    assert story.told() == []
    story.say("power", 500)
    assert story.told() == [("r", "firing", 60)], "of the same time, and another value: a clock that tells seconds"


def test_an_offline_plug_does_not_clear_its_overload() -> None:
    story = Story(rule("{measurement: power, above: 100}", "clear_after: 60s"))
    story.say("power", 200).wait(MINUTE).say("power", 50).wait(30 * SECOND).say("availability", 0).wait(60 * MINUTE)
    assert story.told() == [("r", "firing", 0)]
    story.say("availability", 1).wait(60 * MINUTE).say("power", 50).wait(2 * MINUTE)
    assert story.told() == [("r", "cleared", 7350)]


def test_a_dead_network_clears_nothing_either() -> None:
    story = (
        Story(rule("{measurement: power, above: 100}", "clear_after: 60s"))
        .say("power", 200)
        .say("power", 1, at=START + 1)
    )
    story.say("state", 0, device=NETWORK, kind="bridge").wait(10 * MINUTE)
    assert story.told() == [("r", "firing", 0)]


@pytest.mark.parametrize(
    ("condition", "values", "fires"),
    [
        ("{measurement: t, rises_by: 5, within: 10m}", (20, 22, 24, 25.5), 3 * 120),
        ("{measurement: t, rises_by: 5, within: 5m}", (20, 22, 24, 25.5), None),
        ("{measurement: t, falls_by: 5, within: 10m}", (25, 27, 21.9), 2 * 120),
        ("{measurement: t, changes_by: 5, within: 10m}", (25, 31), 120),
        ("{measurement: t, unchanged_for: 6m}", (1, 1, 1, 1, 1), 3 * 120),
        ("{measurement: t, unchanged_for: 6m}", (1, 1, 2, 1, 1), None),
        ("{measurement: t, equals: 3}", (1, 3), 120),
    ],
)
def test_conditions_over_time(condition: str, values: tuple[float, ...], fires: int | None) -> None:
    story = Story(rule(condition))
    for value in values:
        story.say("t", value).wait(2 * MINUTE)
    assert story.told()[:1] == ([] if fires is None else [("r", "firing", fires)])


def test_stuck_needs_messages() -> None:
    assert Story(rule("{measurement: t, unchanged_for: 6m}")).say("t", 1).wait(60 * MINUTE).told() == []


def test_a_door_open_for_too_long_and_a_word() -> None:
    story = Story(rule("{door: open}", "for: 10m")).say("contact", 0).wait(9 * MINUTE).say("contact", 1).wait(MINUTE)
    story.say("contact", 0).wait(11 * MINUTE).say("contact", 1)
    assert story.told() == [("r", "firing", 1200), ("r", "cleared", 1260)]
    assert Story(rule("{measurement: s, equals: ON}")).say("s", 1, text="ON").told() == [("r", "firing", 0)]


def test_battery_low_by_percent_or_by_word() -> None:
    rules = rule("{battery_below: 15, clear: 25}")
    assert Story(rules).say("battery", 14).say("battery", 20, at=START + 1).say("battery", 26, at=START + 2).told() == [
        ("r", "firing", 0),
        ("r", "cleared", 0),
    ]
    assert Story(rules).say("battery_low", 1).told() == [("r", "firing", 0)]
    assert Story(rules).say("battery", 50).say("battery_low", 0).told() == []


def test_all_and_any() -> None:
    both = "{all: [{door: open}, {measurement: power, above: 10}]}"
    assert Story(rule(both)).say("power", 20).wait(SECOND).say("contact", 0).told() == [("r", "firing", 1)]
    assert Story(rule(both)).say("power", 20).say("contact", 0, device="other").told() == [], "of one device"
    either = rule("{any: [{door: open}, {measurement: power, above: 10}]}")
    story = Story(either).say("power", 20).wait(SECOND).say("contact", 0).say("power", 1).wait(SECOND).say("contact", 1)
    assert story.told() == [("r", "firing", 0), ("r", "cleared", 2)]


def test_only_in_its_hours() -> None:
    hours = rule("{door: open}", 'when: {from: "00:30", to: "01:00"}')
    story = Story(hours).say("contact", 0).wait(20 * MINUTE)
    assert story.told() == []
    story.wait(50 * MINUTE)
    assert story.told() == [("r", "firing", 1800), ("r", "cleared", 3600)]


OFFLINE = rule("{offline: true}", "for: 60s")


def test_offline_by_availability() -> None:
    story = Story(OFFLINE).say("availability", 1).wait(MINUTE).say("availability", 0).wait(2 * MINUTE)
    story.say("availability", 1)
    assert story.told() == [("r", "firing", 120), ("r", "cleared", 180)]


def test_a_retained_availability_is_what_holds_and_twice_is_once() -> None:
    story = Story(OFFLINE).say("availability", 0, stale=True).wait(2 * MINUTE).say("availability", 0, stale=True)
    assert story.wait(MINUTE).told() == [("r", "firing", 60)]


def test_a_network_that_is_away_is_one_alert() -> None:
    rules = OFFLINE + "  - {name: net, kind: bridge, condition: {offline: true}}\n"
    story = Story(rules)
    for device in "abc":
        story.say("availability", 1, device=device)
    story.say("state", 1, device=NETWORK, kind="bridge").wait(MINUTE)
    story.say("availability", 0, device="a").wait(30 * SECOND)
    story.say("state", 0, device=NETWORK, kind="bridge").say("availability", 0, device="b").wait(10 * MINUTE)
    assert story.told() == [("net", "firing", 90)]
    story.say("state", 1, device=NETWORK, kind="bridge").say("availability", 1, device="a").wait(2 * MINUTE)
    assert story.told() == [("net", "cleared", 690), ("r", "firing", 750)]


def talking(story: Story, count: int, every: int, device: str = "pico") -> Story:
    for _ in range(count):
        story.wait(every).say("t", 1, device=device, network=None)
    return story


def test_silence_beyond_what_is_usual() -> None:
    story = talking(Story(rule("{offline: true, silence_at_least: 5m}")), 30, 20 * SECOND)
    assert story.wait(4 * MINUTE).told() == []
    last = (story.now - START) // SECOND - 240
    assert story.wait(2 * MINUTE).told() == [("r", "firing", last + 300)]
    story.say("t", 1, device="pico", network=None)
    assert [told[1] for told in story.told()] == ["cleared"]


def test_a_door_that_is_silent_by_nature_is_left_alone() -> None:
    story = Story(rule("{offline: true}"))
    for _ in range(15):
        story.wait(9 * 60 * MINUTE, every=30 * SECOND).say("contact", 0, device="door").wait(MINUTE).say(
            "contact", 1, device="door"
        )
    assert story.wait(40 * 60 * MINUTE, every=30 * SECOND).told() == []


def test_silence_says_nothing_where_availability_is_told_or_we_were_away() -> None:
    story = talking(Story(rule("{offline: true, silence_at_least: 5m}")), 30, 20 * SECOND)
    story.say("availability", 1, device="pico")
    assert story.wait(60 * MINUTE).told() == []
    story = talking(Story(rule("{offline: true, silence_at_least: 5m}")), 30, 20 * SECOND)
    story.now += 60 * MINUTE
    assert story.wait(4 * MINUTE).told() == [], "we were away, and hear nothing of it yet"
    assert story.wait(2 * MINUTE).told() != []


def test_having_and_renamed() -> None:
    story = Story(rule("{offline: true}", "having: contact, devices: 'door*'"))
    story.say("availability", 0, device="0x1", name="door")
    assert story.told() == []
    story.say("contact", 1, device="0x1", name="door")
    assert story.told() == [("r", "firing", 0)]
    story.say("contact", 1, device="0x1", name="window")
    assert [told[1] for told in story.told()] == ["cleared"]


def test_described_by_its_network_it_is_meant_before_it_speaks() -> None:
    story = Story(rule("{offline: true}", "having: contact"))
    story.say("availability", 0, device="0x1")
    found = story.engine.describe(observation("0x1", "x", 1, 0).device, "door", ["contact", "battery"], NETWORK)
    assert [(event.transition, event.device_name) for event in found] == [("firing", "door")]


def test_what_waited_at_the_broker_neither_fires_nor_clears_for_having_lasted() -> None:
    story = Story(rule("{measurement: power, above: 100}", "for: 60s")).say("power", 200)
    story.now += 10 * MINUTE
    story.say("power", 50, queued=True).wait(2 * MINUTE)
    assert story.told() == []
    story.say("power", 200)
    story.now += 10 * MINUTE
    assert story.say("power", 300, queued=True).told() == [("r", "firing", 1320)], "it held before, and it holds now"


def test_rules_are_exchanged_in_flight() -> None:
    story = Story(rule("{measurement: power, above: 100}", "for: 60s")).say("power", 200).wait(30 * SECOND)
    story.events += story.engine.use(parse(rule("{measurement: power, above: 100}", "for: 40s")))
    assert story.wait(20 * SECOND).told() == [("r", "firing", 40)], "the condition is the same: it goes on"
    story.events += story.engine.use(parse(rule("{measurement: power, above: 150, clear: 120}")))
    assert story.told() == []
    story.events += story.engine.use(parse(rule("{measurement: power, above: 300}")))
    assert [told[1] for told in story.told()] == ["cleared"]
    story.events += story.engine.use(parse(rule("{measurement: power, below: 300}", name="other")))
    assert story.told() == [("other", "firing", 50)], "what is known already counts"
    (event,) = story.engine.use(Rules())
    assert event.transition == "cleared" and "no longer means" in event.message


def test_a_rule_that_is_gone_after_a_restart_clears_its_alert() -> None:
    story = Story(rule("{measurement: power, above: 100}")).say("power", 200)
    saved = story.engine.changes()
    events = Engine(Rules(), Saved(saved.clock, 0, saved.devices, saved.series, saved.watches)).tick(story.now)
    assert [(event.transition, event.alert_id) for event in events] == [("cleared", story.events[0].alert_id)]


def test_a_clock_that_was_ahead_and_is_set_back() -> None:
    story = Story(rule("{measurement: power, above: 100}", "for: 10s"))
    story.now += 10**16
    story.say("power", 50)
    story.now -= 10**16
    story.wait(SECOND).say("power", 200).wait(MINUTE)
    assert [told[:2] for told in story.told()] == [("r", "firing")]


def test_the_event_says_what_happened() -> None:
    text = rule(
        "{measurement: power, above: 100}",
        'severity: critical, message: "{device}: {value} {unit} {duration}", for: 5s',
    )
    (event,) = Story(text).say("power", 200.5, unit="W", name="Heater").wait(10 * SECOND).events
    assert (event.severity, event.measurement, event.value, event.unit) == ("critical", "power", 200.5, "W")
    assert (event.device_name, event.message, event.since) == ("Heater", "Heater: 200.5 W 5 s", START)
    assert event.event_id == f"{event.alert_id}-1" and AlertEvent.decode(event.encode()) == event


def test_500_rules_cost_little() -> None:
    """No timing gate: the work is counted. A message that no rule means touches no watch."""
    rules = "".join(
        f"  - {{name: r{n}, devices: 'plug {n}', condition: {{measurement: power, above: {n}}}}}\n" for n in range(500)
    )
    story = Story("rules:\n" + rules)
    for n in range(50):
        story.say("power", 0, device=f"plug {n}")
    begun = time.process_time()
    for second in range(20):
        story.now += SECOND
        for n in range(50):
            story.say("power", second, device=f"plug {n}")
    assert story.engine.meant()["r7"][0].name == "plug 7"
    assert time.process_time() - begun < 5, "1,000 observations, far from any limit even on a slow machine"
