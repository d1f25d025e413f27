"""Asking for a recomputation: times, ranges of offsets, and what is refused before anybody works."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_assets.errors import LakeError, NotRunning
from edge_assets.service import service_lock
from edge_assets.settings import Settings
from edge_assets.stream import asking, ranges, requests
from edge_assets.stream.ranges import Range

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
        ("2026-02-28T10:00", datetime(2026, 2, 28, 10, tzinfo=UTC)),
        ("2026-02-28T10:00:00+02:00", datetime(2026, 2, 28, 8, tzinfo=UTC)),
        ("90m", NOW - timedelta(minutes=90)),
        ("1.5h", NOW - timedelta(minutes=90)),
        ("2d", NOW - timedelta(days=2)),
    ],
)
def test_a_time_is_iso_or_so_long_ago(said: str, meant: datetime) -> None:
    assert asking.moment(said, NOW) == meant


def test_what_is_no_time_says_what_is_one() -> None:
    with pytest.raises(LakeError, match="2h, 1d"):
        asking.moment("yesterday", NOW)


def test_what_cannot_be_is_refused_before_anybody_is_asked(settings: Settings) -> None:
    with pytest.raises(LakeError, match="is not before --to"):
        asking.reprocess(settings, "1h", "2h")
    with pytest.raises(LakeError, match=r"'silver\.nope' is no table"):
        asking.reprocess(settings, "1h", table="silver.nope")
    with pytest.raises(LakeError, match="--from-log"):
        asking.reprocess(settings, "1h", table="bronze")
    with pytest.raises(NotRunning, match="edge up"):
        asking.reprocess(settings, "1h")
    with pytest.raises(LakeError, match="--from-log"):
        asking.rollback(settings, "bronze.events", 1)
    with pytest.raises(LakeError, match=r"'silver\.devices' is no table"):
        asking.rollback(settings, "silver.devices", 1)
    assert not list(requests.folder(settings).glob("*"))


def test_whoever_waits_hears_how_far_it_is(settings: Settings) -> None:
    def work() -> None:
        while not (found := list(requests.waiting(settings))):
            time.sleep(0.01)
        for done in range(2):
            found[0].remember({"done": done})
            assert found[0].progress == {"done": done}
            time.sleep(0.3)
        found[0].answer(records=0)

    told: list[dict[str, Any]] = []
    worker = threading.Thread(target=work)
    with service_lock(settings, "stream_writer"):
        worker.start()
        assert requests.ask(settings, "reprocess", progress=told.append) == {"records": 0}
    worker.join()
    assert told == [{"done": 0}, {"done": 1}]
    assert not list(requests.folder(settings).iterdir()), "nothing is left behind"


SPANS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.integers(1, 40)), max_size=6)


@given(SPANS, st.integers(1, 30))
def test_portions_hold_each_offset_once_and_no_more_than_they_may(spans: list[tuple[int, int, int]], size: int) -> None:
    whole = ranges.united(Range("log", "topic", place, first, first + count - 1) for place, first, count in spans)
    portions = list(ranges.chunks(whole, size))
    held = [(each.partition, n) for portion in portions for each in portion for n in range(each.first, each.last + 1)]
    assert sorted(held) == sorted((each.partition, n) for each in whole for n in range(each.first, each.last + 1))
    assert len(set(held)) == len(held)
    assert all(0 < sum(each.offsets for each in portion) <= size for portion in portions)
    assert all(sum(each.offsets for each in portion) == size for portion in portions[:-1])
    assert [ranges.from_json(ranges.as_json(portion)) for portion in portions] == portions


def test_nothing_at_or_behind_the_position_counts() -> None:
    asked = [Range("log", "a", 0, 5, 20), Range("log", "b", 0, 5, 20), Range("old", "a", 0, 0, 9)]
    assert ranges.below(asked, {("log", "a", 0): 11, ("log", "b", 0): 5}) == [Range("log", "a", 0, 5, 10)]
