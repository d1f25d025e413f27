"""Times as they are asked for: what is a time means the same in each of its forms, and what is none is told so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_assets.serving.times import FIRST, GRAIN_SECONDS, LAST, UNITS, moment, now, span

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(1973, 3, 4), datetime(2199, 12, 31)).map(lambda at: at.replace(tzinfo=UTC))
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(MOMENTS, ZONES)
def test_a_time_is_the_same_in_every_zone(at: datetime, zone: timezone) -> None:
    assert moment(at.astimezone(zone).isoformat(), NOW) == at
    assert moment(at.replace(tzinfo=None).isoformat(), NOW) == at, "without a zone it is UTC"
    assert moment(at.strftime("%Y-%m-%dt%H:%M:%S.%fz"), NOW) == at


@given(MOMENTS)
def test_milliseconds_and_seconds_since_1970(at: datetime) -> None:
    micros = (at - FIRST) // timedelta(microseconds=1)
    assert abs(moment(str(micros // 1_000), NOW) - at) <= timedelta(milliseconds=1)
    assert abs(moment(str(micros // 1_000_000), NOW) - at) <= timedelta(seconds=1)


@given(st.integers(0, 600), st.sampled_from(sorted(UNITS)))
def test_relative_times(number: int, unit: str) -> None:
    distance = number * UNITS[unit]
    for sign, expected in (("-", NOW - distance), ("+", NOW + distance)):
        for text in (f"{sign}{number}{unit}", f"now{sign}{number}{unit}"):
            if FIRST <= expected <= LAST:
                assert moment(text, NOW) == expected
            else:
                with pytest.raises(ValueError, match="not between"):
                    moment(text, NOW)


@given(st.text(max_size=80))
def test_whatever_comes_is_a_time_or_one_line(text: str) -> None:
    try:
        found = moment(text, NOW, "from")
    except ValueError as error:
        assert str(error).startswith("from: ") and "\n" not in str(error)
    else:
        assert FIRST <= found <= LAST and found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    ["", "nan", "inf", "1e9", "0x10", "1_000", "\u0663", "2026-02-30", "2026-13-01T00:00Z", "2026-1-1", "yesterday",
     "now-", "-24", "now-1.5h", "-24 h", "2026-01-01T25:00:00Z", "1969-12-31", "99999999999999999", "-1",
     "2026-W01-1", "1; DROP TABLE readings", "' OR 1=1 --", "-999999999y"],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="from: "):
        moment(text, NOW, "from")


def test_days_and_shorter_forms() -> None:
    assert moment("2026-11-22", NOW) == datetime(2026, 11, 22, tzinfo=UTC)
    assert moment("2026-11-22 09:30", NOW) == NOW
    assert moment("2026-11-22T10:30+0100", NOW) == NOW
    assert moment("2026-11-22T09:30:00,5Z", NOW) == NOW + timedelta(seconds=0.5)
    assert moment("now", NOW) == NOW


def test_a_span() -> None:
    assert span(None, None, NOW).begin is None
    assert span(None, None, NOW).end > NOW, "what comes now is in it"
    assert span("-1h", "now", NOW).seconds == 3_600
    assert span("now", "now", NOW).seconds == 1, "nothing is divided by zero"
    with pytest.raises(ValueError, match="later than to"):
        span("now", "-1h", NOW)


def test_now_stands_still_for_a_while() -> None:
    """So that who asks for the last hour again and again asks the same question."""
    found = now()
    assert int(found.timestamp()) % GRAIN_SECONDS == 0
    assert timedelta(0) <= datetime.now(UTC) - found < timedelta(seconds=GRAIN_SECONDS + 1)
