"""Which file holds a bucket, and which commits are news: the rules alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_assets.errors import LakeError
from edge_assets.settings import Settings, load_settings
from edge_assets.warehouse.rollups import changes, times
from edge_assets.warehouse.rollups.changes import LogGone
from edge_assets.warehouse.rollups.layout import Layout, State
from edge_assets.warehouse.rollups.model import DEVICE_HEALTH, ROLLUPS
from edge_assets.warehouse.views import views

moments = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))


def a_layout(latest: datetime) -> Layout:
    return Layout(load_settings(_env_file=None), State(latest=latest.isoformat()))


@given(moments, moments)
def test_each_bucket_is_in_one_tier_and_readers_look_there(latest: datetime, at: datetime) -> None:
    layout = a_layout(latest)
    for rollup in ROLLUPS:
        if rollup is DEVICE_HEALTH:
            continue
        spans = list(layout.spans(rollup))
        assert all(one[2] == other[1] for one, other in pairwise(spans)), "no gap, no overlap"
        holding = [tier for tier, low, high in spans if low <= at < high]
        if rollup.from_minutes is not None and at >= layout.state.closed_until("day"):
            assert holding == [], "an open day is a view's"
        else:
            assert holding == [layout.place(rollup, at)[0]]


@given(moments, st.timedeltas(timedelta(0), timedelta(days=800)))
def test_what_is_closed_stays_closed(latest: datetime, more: timedelta) -> None:
    before = State(latest=latest.isoformat())
    after = before.reaching(latest + more)
    for tier in ("day", "month", "year"):
        assert after.closed_until(tier) >= before.closed_until(tier)
    assert before.reaching(latest - more) == before


@given(moments, st.sampled_from(["hour", "day", "month", "year"]))
def test_a_unit_holds_its_time(at: datetime, tier: str) -> None:
    start = times.unit_start(times.unit_name(at, tier), tier)
    assert start <= at < times.after(start, tier)
    assert times.unit_name(times.after(start, tier), tier) != times.unit_name(start, tier)


def test_nothing_seen_closes_nothing(settings: Settings) -> None:
    assert State().closed_until("day") == times.EARLIEST


def commit(table: Path, version: int, *actions: dict[str, object]) -> None:
    path = changes.commit_path(table, version)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(action) + "\n" for action in actions))


def add(path: str, **more: object) -> dict[str, object]:
    return {"add": {"path": path, "dataChange": True, **more}}


def test_commits_since_a_version(tmp_path: Path) -> None:
    commit(tmp_path, 0, {"metaData": {"id": "a"}})
    seen = changes.latest(tmp_path)
    assert changes.since(tmp_path, seen).commits == []
    stats = json.dumps(
        {"minValues": {"event_time": "2026-03-01T00:00:00.000Z"}, "maxValues": {"event_time": "2026-03-01T01:00:00.5Z"}}
    )
    commit(tmp_path, 1, {"commitInfo": {}}, add("date=2026-03-01/a%20b.parquet", stats=stats))
    commit(tmp_path, 2, {"remove": {"path": "x", "dataChange": False}}, add("y", dataChange=False))
    commit(tmp_path, 3, {"remove": {"path": "y", "dataChange": True}}, add("z"))
    news = changes.since(tmp_path, seen)
    assert [(len(c.added), len(c.removed)) for c in news.commits] == [(1, 0), (0, 0), (1, 1)]
    (file,) = news.commits[0].added
    assert file.path == tmp_path / "date=2026-03-01" / "a b.parquet"
    assert file.low == datetime(2026, 3, 1, tzinfo=UTC) and file.high is not None
    assert file.high > datetime(2026, 3, 1, 1, 0, 0, 500_000, tzinfo=UTC), "Spark cuts a bound down to milliseconds"
    assert changes.since(tmp_path, news.seen).commits == []
    changes.commit_path(tmp_path, 0).unlink()
    assert changes.since(tmp_path, news.seen).commits == [], "older versions may be cleaned up"
    with pytest.raises(LogGone):
        changes.since_beginning(tmp_path)


def test_another_table_of_the_same_version_is_noticed(tmp_path: Path) -> None:
    commit(tmp_path, 0, {"metaData": {"id": "a"}})
    seen = changes.latest(tmp_path)
    commit(tmp_path, 0, {"metaData": {"id": "b"}})
    with pytest.raises(LogGone, match="made anew"):
        changes.since(tmp_path, seen)
    changes.commit_path(tmp_path, 0).unlink()
    with pytest.raises(LogGone):
        changes.since(tmp_path, seen)


def test_a_torn_commit_is_told_on_one_line(tmp_path: Path) -> None:
    commit(tmp_path, 0)
    seen = changes.latest(tmp_path)
    changes.commit_path(tmp_path, 1).write_text('{"add":')
    with pytest.raises(LakeError, match="no JSON") as raised:
        changes.since(tmp_path, seen)
    assert "\n" not in str(raised.value)


def test_columns_and_views_are_named_and_described() -> None:
    for rollup in ROLLUPS:
        names = [column.name for column in rollup.columns]
        assert len(set(names)) == len(names) and {*rollup.order} <= {*names}
        assert all(column.description for column in rollup.columns)
    assert len({view.name for view in views()}) == len(views())
    assert all(view.name.startswith("grafana_") == (view.group == "grafana") for view in views())
