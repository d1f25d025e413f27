"""Buckets: never more than points were asked for, made of whole ones of their source, where hours and days begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_assets.serving.tiers import DAY, TIERS, ceiling, floor, pick
from edge_assets.serving.times import Span

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2199, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
YEAR = 365 * DAY


@given(st.floats(1, 200 * YEAR), st.integers(1, 5_000))
def test_as_many_buckets_as_points_and_of_whole_source_buckets(seconds: float, points: int) -> None:
    found = pick(TIERS.items(), seconds, points)
    assert found.seconds % found.source_seconds == 0
    assert TIERS[found.source] == found.source_seconds
    assert seconds / found.seconds <= points or (found.seconds == 60 and seconds / 60 <= points)
    assert DAY % found.seconds == 0 or found.seconds % DAY == 0, "they lie where days do"


@given(MOMENTS, st.floats(0, 20 * YEAR), st.integers(1, 5_000))
def test_the_span_is_widened_to_whole_buckets(begin: datetime, seconds: float, points: int) -> None:
    span = Span(begin, begin + timedelta(seconds=seconds))
    found = pick(TIERS.items(), span.seconds, points)
    whole = found.aligned(span)
    assert whole.begin is not None and whole.begin <= begin and whole.end >= span.end
    assert begin - whole.begin < timedelta(seconds=found.seconds)
    assert whole.end - span.end < timedelta(seconds=found.seconds)
    assert whole.begin.timestamp() % found.seconds == 0


@pytest.mark.parametrize(
    ("seconds", "points", "source", "width"),
    [
        (3_600, 800, "readings_1m", 60),
        (DAY, 800, "readings_1m", 120),
        (30 * DAY, 800, "readings_1h", 3_600),
        (YEAR, 800, "readings_1h", 43_200),
        (YEAR, 300, "readings_1d", 2 * DAY),
        (10 * YEAR, 800, "readings_1d", 5 * DAY),
    ],
)
def test_what_a_chart_is_read_from(seconds: float, points: int, source: str, width: int) -> None:
    found = pick(TIERS.items(), seconds, points)
    assert (found.source, found.seconds) == (source, width)


def test_odd_windows_of_somebodys_own() -> None:
    """Steps that divide nothing: buckets are whole multiples all the same."""
    assert pick([("own", 7)], 7_000, 100).seconds % 7 == 0
    assert pick([("a", 7), ("b", 700)], 700_000, 1_000).seconds % 7 == 0


def test_floor_and_ceiling() -> None:
    at = datetime(2026, 11, 22, 9, 31, 7, tzinfo=UTC)
    assert floor(at, 3_600) == datetime(2026, 11, 22, 9, tzinfo=UTC)
    assert ceiling(at, 3_600) == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert ceiling(floor(at, 60), 60) == floor(at, 60)
    assert ceiling(floor(at, 60) + timedelta(microseconds=1), 60) == floor(at, 60) + timedelta(minutes=1)
