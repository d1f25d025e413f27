"""What people are told of the platform: each change once, a cause and what follows from it as one."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_assets.notices import store
from edge_assets.notices.engine import Level, Memory, News, Thing, look
from edge_assets.notices.words import NAMED, message

OK, LATE, WARNING, FAILED = Level.OK, Level.LATE, Level.WARNING, Level.FAILED
ABOVE: Mapping[str, frozenset[str]] = {
    "broker": frozenset(),
    "log": frozenset({"broker"}),
    "bronze": frozenset({"broker", "log"}),
    "silver": frozenset({"broker", "log", "bronze"}),
    "rollups": frozenset({"broker", "log", "bronze", "silver"}),
    "other": frozenset(),
}
MINUTE = 60.0
LIMIT = 1_200.0


def asset(name: str, level: Level, moved_at: float = 0.0, muted: bool = False) -> Thing:
    return Thing(name, name, level, "stands still", moved_at, stops=True, patience_seconds=LIMIT, muted=muted)


def check(
    name: str, level: Level | None, stops: str | None = None, moved_at: float = 0.0, muted: bool = False
) -> Thing:
    about = stops or name.partition(":")[0]
    return Thing(name, about, level, "fails", moved_at, stops=stops is not None, follows=False, muted=muted)


@dataclass
class People:
    """Looks, every half minute; each look begins from what the last one has stored, as after a restart."""

    memory: Memory = field(default_factory=Memory)
    now: float = 1e6

    def see(self, *things: Thing, resumed: bool = False, after: float = 30.0) -> list[tuple[str, Level]]:
        return [(one.thing.name, one.level) for one in self.hear(*things, resumed=resumed, after=after)]

    def hear(self, *things: Thing, resumed: bool = False, after: float = 30.0) -> list[News]:
        self.now += after
        self.memory, news = look(store.decoded(store.encoded(self.memory)), things, ABOVE, self.now, resumed)
        return news


@pytest.fixture
def people() -> People:
    return People()


# -- one thing ---------------------------------------------------------------------------------------------------------


def test_a_failure_and_its_end_are_told_once_each(people: People) -> None:
    bad, well = asset("log", FAILED), asset("log", OK)
    seen = [people.see(one) for one in (well, bad, bad, bad, bad, well, well, well)]
    assert seen == [[], [], [("log", FAILED)], [], [], [], [("log", OK)], []]
    assert people.memory.things == {}


def test_how_long_it_lasted_is_told(people: People) -> None:
    for _ in range(10):
        people.see(asset("log", FAILED))
    people.see(asset("log", OK))
    (news,) = people.hear(asset("log", OK))
    assert news.lasted_seconds == 11 * 30


def test_what_comes_and_goes_is_not_told(people: People) -> None:
    bad, well = check("log:whole", FAILED), check("log:whole", OK)
    assert [people.see(one) for one in (bad, well, bad, well, well)] == [[]] * 5
    people.see(bad)
    assert people.see(bad) == [("log:whole", FAILED)]
    assert [people.see(one) for one in (well, bad, well, bad)] == [[]] * 4, "nor that it is well for a moment"


def test_a_warning_that_becomes_a_failure_is_told_again_and_not_backwards(people: People) -> None:
    levels = (WARNING, WARNING, FAILED, FAILED, WARNING, WARNING, FAILED, FAILED, OK, OK)
    told = [news for level in levels for news in people.see(check("log:disk", level))]
    assert told == [("log:disk", WARNING), ("log:disk", FAILED), ("log:disk", OK)]


def test_a_check_that_is_being_evaluated_changes_nothing(people: People) -> None:
    levels = (FAILED, None, FAILED, None, None, OK, None, OK)
    told = [people.see(check("log:whole", level)) for level in levels]
    assert [len(one) for one in told] == [0, 0, 1, 0, 0, 0, 0, 1]


def test_what_is_defined_no_more_is_forgotten(people: People) -> None:
    for _ in range(2):
        people.see(asset("log", FAILED))
    assert people.see(asset("bronze", OK)) == [] and people.memory.things == {}


def test_what_is_late_is_not_told(people: People) -> None:
    assert [people.see(asset("log", LATE)) for _ in range(3)] == [[]] * 3


# -- causes ------------------------------------------------------------------------------------------------------------


def test_one_message_names_the_root_and_what_follows(people: People) -> None:
    down = [asset(name, FAILED) for name in ("rollups", "silver", "bronze", "log", "broker")]
    people.see(*down)
    (news,) = people.hear(*down)
    assert (news.thing.name, news.below) == ("broker", ("log", "bronze", "silver", "rollups"))
    up = [asset(name, OK, people.now) for name in ABOVE]
    people.see(*up)
    (over,) = people.hear(*up)
    assert (over.thing.name, over.level, len(over.below)) == ("broker", OK, 4)


def test_what_follows_later_is_not_told_by_itself(people: People) -> None:
    first, rest = asset("broker", FAILED), [asset("log", LATE), asset("bronze", OK)]
    for _ in range(2):
        people.see(first, *rest)
    later = [asset("log", FAILED), asset("bronze", FAILED)]
    assert [people.see(first, *later) for _ in range(4)] == [[]] * 4


def test_what_is_below_something_late_waits_for_the_verdict(people: People) -> None:
    """Reports come at different times, so that a table may fail minutes before the one above it."""
    early = [asset("broker", LATE), asset("silver", FAILED)]
    assert [people.see(*early) for _ in range(5)] == [[]] * 5
    both = [asset("broker", FAILED), asset("silver", FAILED)]
    assert [people.see(*both) for _ in range(3)] == [[], [("broker", FAILED)], []]


def test_what_waited_in_vain_is_told(people: People) -> None:
    for _ in range(3):
        people.see(asset("broker", LATE), asset("silver", FAILED))
    moved = asset("broker", OK, people.now)
    assert people.see(moved, asset("silver", FAILED)) == [("silver", FAILED)]


def test_an_asset_that_moved_on_after_the_one_above_stopped_has_a_cause_of_its_own(people: People) -> None:
    """The alerts' topic has been still for days when the bridge dies."""
    old, new = asset("broker", FAILED, moved_at=0), asset("bronze", FAILED, moved_at=9e5)
    people.see(old)
    people.see(old)
    assert [people.see(old, new) for _ in range(3)] == [[], [("bronze", FAILED)], []]


def test_what_is_not_over_when_its_root_is_has_its_time_and_is_told_then(people: People) -> None:
    down = [asset("broker", FAILED), asset("rollups", FAILED)]
    for _ in range(2):
        people.see(*down)
    up = [asset("broker", OK, 1e6), asset("rollups", FAILED)]
    told = [people.see(*up) for _ in range(3)]
    assert told == [[], [("broker", OK)], []]
    assert people.see(*up, after=LIMIT - 90) == []
    assert people.see(*up, after=90) == [("rollups", FAILED)]


def test_a_check_is_told_whatever_stands_still_above(people: People) -> None:
    seen = [asset("broker", FAILED), check("bronze:whole", FAILED), check("bronze:odd", WARNING), asset("log", OK, 1e6)]
    people.see(*seen)
    assert people.see(*seen) == [("broker", FAILED), ("bronze:odd", WARNING), ("bronze:whole", FAILED)]


def test_a_check_that_says_why_an_asset_stands_still_is_the_root(people: People) -> None:
    """`caught_up` is a check of silver, and is about the stream writer, which stands still from bronze on."""
    full = check("silver:caught_up", FAILED, stops="bronze")
    seen = [full, asset("bronze", OK), asset("silver", OK)]
    assert [people.see(*seen) for _ in range(2)] == [[], [("silver:caught_up", FAILED)]]
    later = [full, asset("bronze", FAILED), asset("silver", FAILED), asset("broker", OK, 1e6)]
    assert [people.see(*later) for _ in range(3)] == [[]] * 3


def test_a_warning_of_that_check_explains_nothing(people: People) -> None:
    seen = [check("bronze:disk", WARNING, stops="bronze"), asset("silver", FAILED)]
    people.see(*seen)
    assert people.see(*seen) == [("bronze:disk", WARNING), ("silver", FAILED)]


def test_what_fails_beside_it_is_told_in_the_same_message(people: People) -> None:
    seen = [asset("broker", FAILED), asset("log", FAILED), asset("other", FAILED)]
    people.see(*seen)
    news = people.hear(*seen)
    said = message(news, "home", "http://127.0.0.1:3000")
    assert [one.thing.name for one in news] == ["broker", "other"]
    assert said.kind == "failure" and said.title == "home: failed: 2 things"
    assert said.body.splitlines() == [
        "failed: broker: stands still; below it follow 1: log",
        "failed: other: stands still",
        "http://127.0.0.1:3000/assets/broker",
    ]


# -- pauses and mutes --------------------------------------------------------------------------------------------------


def test_after_a_pause_everything_has_as_long_as_its_limit(people: People) -> None:
    stale = [asset(name, FAILED) for name in ("broker", "log", "bronze")]
    assert people.see(*stale, resumed=True) == []
    assert people.see(*stale) == []
    well = [asset("broker", OK, people.now), asset("log", OK, people.now), asset("bronze", FAILED)]
    assert people.see(*well, after=10 * MINUTE) == []
    assert people.see(*well, after=5 * MINUTE) == []
    assert people.see(*well, after=10 * MINUTE) == [("bronze", FAILED)]


def test_what_was_told_before_a_pause_is_known_after_it(people: People) -> None:
    for _ in range(2):
        people.see(asset("log", FAILED))
    assert people.see(asset("log", FAILED), resumed=True, after=1e5) == []
    assert [people.see(asset("log", FAILED), after=LIMIT) for _ in range(2)] == [[]] * 2
    people.see(asset("log", OK))
    assert people.see(asset("log", OK)) == [("log", OK)]


def test_what_is_muted_tells_nothing_and_neither_does_what_follows_from_it(people: People) -> None:
    seen = [asset("broker", FAILED, muted=True), asset("log", FAILED)]
    assert [people.see(*seen) for _ in range(4)] == [[]] * 4
    assert people.see(asset("broker", FAILED), asset("log", FAILED)) == [("broker", FAILED)], "muted no more"


def test_the_end_of_what_is_muted_by_then_is_not_told(people: People) -> None:
    for _ in range(2):
        people.see(asset("log", FAILED))
    assert [people.see(asset("log", OK, muted=True)) for _ in range(2)] == [[]] * 2
    assert people.memory.things == {}


# -- properties --------------------------------------------------------------------------------------------------------

LEVELS = st.sampled_from([OK, LATE, WARNING, FAILED])
RUNS = st.lists(st.tuples(LEVELS, st.integers(1, 4)), max_size=12)


def expected(levels: Sequence[Level]) -> list[Level]:
    """A model in other words: what is told of one thing on its own, going over all looks at once."""
    told, known = [], OK
    for before, now in zip([OK, *levels], levels, strict=False):
        if known is OK or now.is_bad:
            worst = min(before, now)
            if worst.is_bad and worst > known:
                known = worst
                told.append(known)
        elif not before.is_bad and not now.is_bad:
            known = OK
            told.append(OK)
    return told


@settings(max_examples=120)
@given(histories=st.dictionaries(st.sampled_from(["broker:a", "log:b", "silver:c", "other:d"]), RUNS, min_size=1))
def test_each_change_is_told_once_whatever_else_happens_and_however_often_it_restarts(
    histories: dict[str, list[tuple[Level, int]]],
) -> None:
    """Checks that nothing explains; each look reads what the last one has written, as a new process would."""
    looks = {name: [level for level, count in runs for _ in range(count)] for name, runs in histories.items()}
    length = max(map(len, looks.values()))
    told: dict[str, list[Level]] = {name: [] for name in looks}
    people = People()
    for number in range(length):
        levels = {
            name: (all_[number] if number < len(all_) else all_[-1] if all_ else OK) for name, all_ in looks.items()
        }
        things = [
            Thing(name, name.partition(":")[0], level, follows=False, patience_seconds=0)
            for name, level in levels.items()
        ]
        for name, level in people.see(*things):
            told[name].append(level)
    for name, levels_ in looks.items():
        rest = [levels_[-1] if levels_ else OK] * (length - len(levels_))
        assert told[name] == expected([*levels_, *rest])


def outage(root: str, seed: int) -> Iterator[list[Thing]]:
    """What looks see when one asset stops and all below it do: each fails, and is well again, at a time of its own."""
    chance = random.Random(seed)
    names = [name for name in ABOVE if name == root or root in ABOVE[name]]
    stopped = {name: 1e6 + chance.uniform(-300, 300 if name != root else 0) for name in names}
    late = {name: chance.randrange(2, 30) for name in names}
    fails = {name: late[name] + chance.randrange(1, 30) for name in names}
    # What is below may fail while the root is late, and before that it is late itself.
    late[root], fails[root] = min(late.values()), min(max(late.values()), max(fails.values()))
    back = 75
    again = {name: back + chance.randrange(0, 30) for name in names}
    again[root] = back
    for number in range(130):
        seen = []
        for name in ABOVE:
            level = OK
            if name in names and late[name] <= number < again[name]:
                level = FAILED if number >= fails[name] else LATE
            seen.append(asset(name, level, stopped[name] if level else 1e6 + number * 30))
        yield chance.sample(seen, len(seen))


@settings(max_examples=40)
@given(root=st.sampled_from(["broker", "log", "bronze", "silver"]), seed=st.integers(0, 10**9))
def test_a_root_cause_is_one_message_and_its_end_another(root: str, seed: int) -> None:
    people, told = People(), []
    for things in outage(root, seed):
        told += people.see(*things)
    assert told == [(root, FAILED), (root, OK)]


def test_a_long_list_is_counted() -> None:
    below = tuple(f"asset {number}" for number in range(12))
    said = message([News(asset("log", FAILED), FAILED, 0, below), News(check("a:b", OK), OK, 3_700)], "home")
    assert f"below it follow 12: {', '.join(below[:NAMED])} and 7 more" in said.body
    assert said.body.endswith("recovered: a:b, after 1 h 1 min") and said.title == "home: failed: log, recovered: a:b"
    mild = message([News(check("a:b", WARNING), WARNING, 0)], "home")
    assert (mild.kind, message([News(check("a:b", OK), OK, 0)], "home").kind) == ("warning", "success")
