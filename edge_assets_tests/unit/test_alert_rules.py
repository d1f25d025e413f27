"""Rules: what is understood, and how a mistake is told: file, line, field, what was given, what is accepted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_assets.alerts import durations, rule_file, wording
from edge_assets.alerts.rule_file import BadRules, parse
from edge_assets.alerts.schedule import MINUTE, Schedule
from edge_assets.settings import Settings
from edge_assets_tests.unit.test_docs import blocks

ROOT = Path(__file__).parents[2]
HEAD = "rules:\n  - name: a\n"
GOOD = "    condition: {measurement: power, above: 1}\n"

MISTAKES = [
    ("rules:\n  - name: a\n    condition: [", r"^f:\d: not YAML"),
    ("- a\n", r"^f:1: expected `rules:`"),
    ("rulez: []\n", r"^f:1: rulez: no such field"),
    (HEAD, r"^f:2: rules\[0\]\.condition: it is missing"),
    (HEAD + "    condition: {measurement: power, abov: 3}\n", r"^f:3: rules\[0\]\.condition\.abov: no such field"),
    (HEAD + "    condition: {measurement: power, above: high}\n", r"^f:3: .*\.above: .*number \(given: 'high'\)"),
    (HEAD + "    condition: {measurement: power}\n", r"^f:3: .*has one of all, any, above.*not none of them"),
    (HEAD + "    condition: {above: 3}\n", r"with `above` goes `measurement`, which is missing"),
    (HEAD + "    condition: {offline: true, door: open}\n", r"not door and offline"),
    (HEAD + "    condition: {door: open, within: 3m}\n", r"`within` means nothing beside `door`"),
    (HEAD + "    condition: {measurement: p, above: 3, clear: 4}\n", r"clear \(4\) has to be at or below"),
    (HEAD + "    condition: {measurement: p, below: 3, clear: 2}\n", r"clear \(2\) has to be at or above"),
    (HEAD + "    condition: {measurement: p, rises_by: 3, within: soon}\n", r"within: a duration is .*given: 'soon'"),
    (
        HEAD + "    condition:\n      any:\n        - {door: open}\n        - {door: ajar}\n",
        r"^f:6: .*any\[1\]\.door: .*'open' or 'closed'",
    ),
    (HEAD + GOOD + "    for: 90\n", r"^f:4: rules\[0\]\.for: a duration is a number with a unit: 30s.* \(given: 90\)"),
    (HEAD + GOOD + "    remind: 5s\n", r"remind: reminders are a minute apart"),
    (HEAD + GOOD + "    severity: bad\n", r"^f:4: rules\[0\]\.severity: .*'info', 'warning' or 'critical'.*'bad'"),
    (HEAD + GOOD + '    message: "{name}"\n', r"^f:4: .*message: \{name\} is not known; there are \{device\}"),
    (HEAD + GOOD + '    message: "{value:.2f}"\n', r"\{value:.2f\} is not known"),
    (HEAD + GOOD + '    message: "{device.__class__}"\n', r"is not known"),
    (HEAD + GOOD + '    message: "{device"\n', r"a brace that is meant as such is written twice"),
    (HEAD + GOOD + "    when: {from: 25:00, to: 07:00}\n", r"^f:4: .*when\.from: a time of day .*given: '25:00'"),
    (HEAD + GOOD + "    when: {from: 22:00, to: 07:00, days: [monday]}\n", r"days\[0\]: .*'mon'"),
    (HEAD + GOOD + "    quiet: {from: 22:00}\n", r"quiet\.to: it is missing"),
    ("time_zone: Berlin\n", r"^f:1: time_zone: a time zone has a name as in Europe/Berlin \(given: 'Berlin'\)"),
    ("rules:\n  - name: a b\n" + GOOD, r"^f:2: rules\[0\]\.name: a name is 1 to 64 letters.*given: 'a b'"),
    (HEAD + GOOD + "    name: b\n", r"^f:4: rules\[0\]\.name: it stands here twice"),
    (HEAD + GOOD + "  - name: a\n" + GOOD, r"^f:4: rules\[1\]\.name: there is a rule 'a' above already"),
    ("a: &x [1]\nb: *x\n", r"^f:2: not YAML: aliases"),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES)
def test_a_mistake_is_one_line_with_its_place(text: str, told: str) -> None:
    with pytest.raises(BadRules, match=told) as caught:
        parse(text, "f")
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_told() -> None:
    text = HEAD + GOOD + "    for: x\n    severity: y\n"
    with pytest.raises(BadRules, match=r"and 1 more: `edge alerts check`") as caught:
        parse(text, "f")
    assert [problem.place for problem in caught.value.problems] == ["f:4", "f:5"]


def test_the_ready_made_rules_are_valid_and_written_where_there_are_none(settings: Settings) -> None:
    file = rule_file.ensure(settings)
    rules = rule_file.load(file)
    assert {"door-sensor-offline", "plug-overload", "battery-low", "zigbee-offline"} <= {r.name for r in rules.in_force}
    file.write_text("rules: []\n")
    assert rule_file.load(rule_file.ensure(settings)).rules == ()


@pytest.mark.parametrize("block", blocks(ROOT / "docs" / "alerts.md", "yaml"))
def test_the_documents_rules_are_valid(block: str) -> None:
    assert parse(block, "docs/alerts.md").rules


def test_words_of_yaml_1_1_are_texts() -> None:
    (rule,) = parse(HEAD + "    condition: {measurement: state, equals: ON}\n    when: {from: 22:00, to: 6:30}\n").rules
    assert rule.condition.equals == "ON" and rule.when and (rule.when.begin, rule.when.end) == (1320, 390)


def test_whom_a_rule_means() -> None:
    (rule,) = parse(HEAD + GOOD + '    devices: ["plug*", "0x0?"]\n    except: "plug attic"\n').rules
    assert rule.means("device", "0xff", "plug 1") and rule.means("room", "0x01", "x")
    assert not rule.means("device", "0xff", "plug attic") and not rule.means("bridge", "plug", "plug")


def test_channels_that_no_setting_names() -> None:
    rules = parse(HEAD + GOOD + "    notify: [phone, mail]\n")
    assert rule_file.missing_channels(rules, ["mail"]) == ["rule a: notify: 'phone' is no channel; there are: mail"]


@pytest.mark.parametrize(
    ("text", "micros"), [("30s", 30_000_000), ("1h30m", 5_400_000_000), ("2d", 172_800_000_000), (0, 0)]
)
def test_durations(text: str | int, micros: int) -> None:
    assert durations.parse(text) == micros


@pytest.mark.parametrize("text", ["", "s", "5", 5, True, None, "5 m", "-5s", "1m1h", "4000d", "٣s"[:1] + "x"])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        durations.parse(text)


def test_durations_in_words() -> None:
    assert [durations.words(n * 1_000_000) for n in (0, 59, 125, 7500, 90_000)] == [
        "0 s",
        "59 s",
        "2 min 5 s",
        "2 h 5 min",
        "1 d 1 h",
    ]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def test_a_schedule_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    friday = Schedule.model_validate({"from": "22:00", "to": "07:00", "days": ["fri"]})
    assert friday.covers(at("2026-03-06T23:00")) and friday.covers(at("2026-03-07T06:59"))
    assert not friday.covers(at("2026-03-07T23:00")) and not friday.covers(at("2026-03-06T06:00"))
    assert friday.next_change(at("2026-03-07T12:00")) == at("2026-03-13T22:00")


def test_a_schedule_follows_the_clocks_on_the_wall() -> None:
    berlin = Schedule.model_validate({"from": "02:30", "to": "03:30", "time_zone": "Europe/Berlin"})
    assert berlin.next_change(at("2026-03-29T00:00")) == at("2026-03-29T01:00"), "clocks go from 02:00 to 03:00"
    assert berlin.next_change(at("2026-03-29T01:00")) == at("2026-03-29T01:30")


def test_a_whole_day_never_changes() -> None:
    assert Schedule.model_validate({"from": "00:00", "to": "24:00"}).next_change(at("2026-03-06T23:00")) is None


@given(begin=st.integers(0, 1439), end=st.integers(0, 1439), start=st.integers(0, 10_000))
def test_the_next_change_is_the_first(begin: int, end: int, start: int) -> None:
    clock = {"from": f"{begin // 60:02}:{begin % 60:02}", "to": f"{end // 60:02}:{end % 60:02}"}
    schedule = Schedule.model_validate(clock)
    first = start * MINUTE
    change = schedule.next_change(first)
    assert (change is None) == (begin == end)
    if change is not None:
        assert schedule.covers(change) != schedule.covers(first) == schedule.covers(change - MINUTE)


def test_messages_without_a_template() -> None:
    told = {}
    for condition in (
        "{measurement: power, above: 3000}",
        "{measurement: t, falls_by: 5, within: 10m}",
        "{offline: true}",
        "{battery_below: 15}",
        "{measurement: state, equals: '{device}'}",
        "{measurement: t, unchanged_for: 1d}",
    ):
        (rule,) = parse(HEAD + f"    condition: {condition}\n").rules
        told[condition] = wording.message(
            rule,
            "firing",
            device="fridge {x}",
            measurement="power",
            value=3200.5,
            unit="W",
            since=0,
            at=9,
            time_zone="UTC",
        )
    assert list(told.values()) == [
        "fridge {x}: power is 3200.5 W, above 3000",
        "fridge {x}: power fell by more than 5 within 10 min, to 3200.5 W",
        "fridge {x}: offline",
        "fridge {x}: battery low (3200.5 W)",
        "fridge {x}: a: power is 3200.5 W",
        "fridge {x}: power has said 3200.5 W for 1 d",
    ]
