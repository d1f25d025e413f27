"""Occupancy sessions folded slice by slice are those of the whole, wherever the slices are cut."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_assets.stream.gold.sessions import Session, fold
from edge_assets.stream.gold.silver import State

GAP = 10

times = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 200), st.integers(1, 5)), max_size=40)
cuts = st.lists(st.integers(0, 230), max_size=8).map(sorted)


def runs(seen: list[tuple[str, int, int]], begin: int, end: int) -> list[Session]:
    """As Spark's session window gives them: messages within one gap of each other are one run."""
    found: list[Session] = []
    for room, at, people in sorted(one for one in seen if begin <= one[1] < end):
        one = Session(room, at, at, people, 400.0 + people, 1, 1)
        if found and found[-1].room_id == room and at - found[-1].end <= GAP:
            found[-1] = found[-1].joined(one)
        else:
            found.append(one)
    return found


@given(times, cuts)
def test_slices_give_what_the_whole_gives(seen: list[tuple[str, int, int]], cut: list[int]) -> None:
    bounds = [0, *cut, 240]
    opened: dict[str, Session] = {}
    over: list[Session] = []
    for begin, end in pairwise(bounds):
        done, opened = fold(opened, runs(seen, begin, end), GAP, end)
        over += done
    assert not opened  # the last slice ends long after the last message
    assert sorted(over, key=key) == sorted(runs(seen, 0, 240), key=key)


def key(session: Session) -> tuple[str, int]:
    return session.room_id, session.start


def test_a_session_is_open_until_the_gap_has_passed_whole() -> None:
    run = Session("lab", 0, 20, 3, 0.0, 0, 5)
    assert fold({}, [run], GAP, 30) == ([], {"lab": run})  # a message at 30 would still belong to it
    assert fold({}, [run], GAP, 31) == ([run], {})
    assert run.avg_co2 is None


def test_what_is_open_is_in_the_commits_note() -> None:
    state = State(7, 1_790_000_000_000_000, 3, (Session("lab", 1, 2, 3, 812.5, 2, 4),))
    assert State.of(json.loads(state.encode())) == state
