"""Lists as Grafana's variables write them; views, and what their texts say of them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_assets.serving.answers import Answer
from edge_assets.serving.asking import Remembered, matches
from edge_assets.serving.catalogue import all_views, chain, tables
from edge_assets.serving.parameters import ALL, LIMIT, MOST_ROWS, ViewAsked, choices, wanted
from edge_assets.serving.refusals import Misasked


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ([], None),
        ([""], None),
        (["All"], None),
        (["*"], None),
        (["$__all"], None),
        (["a"], ["a"]),
        (["b,a"], ["a", "b"]),
        (["{a,b}"], ["a", "b"]),
        (["a", "b"], ["a", "b"]),
        (['["a, b","c"]'], ["a, b", "c"]),
        ([" a , b ,"], ["a", "b"]),
        (["a,All"], None),
    ],
)
def test_lists(given_: list[str], expected: list[str] | None) -> None:
    assert choices(given_, "device") == expected


@given(st.lists(st.text(min_size=1, max_size=20).filter(lambda text: text.lower() not in ALL), min_size=1, max_size=8))
def test_any_names_go_through_as_json(names: list[str]) -> None:
    assert choices([json.dumps(names)], "device") == sorted(set(names))


@pytest.mark.parametrize("text", ['["a"', "[1]", '{"a": 1}x,[', '["a",{}]'])
def test_what_begins_like_json_and_is_none(text: str) -> None:
    if text.startswith("["):
        with pytest.raises(Misasked, match="device"):
            choices([text], "device")
    else:
        assert choices([text], "device")


def test_too_many() -> None:
    with pytest.raises(Misasked, match="at most"):
        choices([",".join(str(n) for n in range(501))], "device")


def test_a_chart_of_many_series_is_not_cut_short() -> None:
    """Buckets bound each series: what is cut beyond that is the most that any answer holds."""
    assert wanted(ViewAsked(points=480, from_="-1d")).limit == MOST_ROWS
    assert wanted(ViewAsked(from_="-1d")).limit == LIMIT
    assert wanted(ViewAsked(points=480, limit=7, from_="-1d")).limit == 7


def test_views_follow_what_they_read() -> None:
    views = all_views()
    assert [view.name for view in chain(views["grafana_climate"])] == ["climate", "grafana_climate"]
    assert tables(views["grafana_alerts"]) == [("silver", "alerts")]
    assert all(view.description for view in views.values())
    assert all((view.group == "lake") == bool(tables(view)) for view in views.values()), "one mechanism each"


@pytest.mark.parametrize(
    ("header", "same"),
    [(None, False), ('W/"a"', True), ('"a"', True), ('W/"b", W/"a"', True), ("*", True), ("a", False)],
)
def test_tags(header: str | None, same: bool) -> None:
    assert matches(header, 'W/"a"') is same


def test_the_memory_of_answers_is_bounded() -> None:
    memory = Remembered(most_bytes=1_000)
    for number in range(50):
        memory.put(Answer(b"x" * 100, str(number)))
    memory.put(Answer(b"x" * 900, "large"))
    assert [number for number in range(50) if memory.get(str(number))] == list(range(40, 50))
    assert memory.get("large") is None, "one answer does not drive out all others"
