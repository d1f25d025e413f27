"""The method: a few questions of each series, each answered by comparing with its own past. Plain arrays, no clock.

    spike         a bucket against the median of the five before it; asked of each bucket
    level_shift   an hour's mean against the usual course at the present level: the level is the median of the last 24
                  hours; the course is the median of what this hour was above it, on the last 14 days; and again in the
                  same hour of the last 4 weeks; asked each hour
    drift         a day's mean against the median of the last 14 days, and of the same day of the last 4 weeks; asked
                  each day

How far is too far: `edge_assets.anomalies.spread.tolerance`, for each question from its own largest departures on the
last 28 days. So the question that knows a series best, by days or by weeks, is the keenest, and nothing is chosen;
nothing is said in a series' first week. Medians everywhere: an anomaly teaches nothing until it has become the usual.

What is not scored: series of one or two values (contacts, switches), those that only rise or only fall (counters,
batteries), and hours and days of which too little was heard. An event is one anomaly: another one of the same series
needs a whole day before it (`QUIET_SECONDS`) in which nothing was too far.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_assets.anomalies.memory import Memory
from edge_assets.anomalies.spread import median, tolerance

HOUR, DAY = 3_600, 86_400
TYPES = ("spike", "level_shift", "level_shift", "drift", "drift")
SPIKE, HOUR_OF_DAY, HOUR_OF_WEEK, AMONG_DAYS, DAY_OF_WEEK = range(5)

DAY_NEEDS = (12, 6, 6, 1, 1)
"""so often a day must have asked each question for its maximum to count"""
LEVEL_HOURS, LEAST_DAYS, LEAST_WEEKS = 12, 3, 2
"""of so many of the last 24 hours, 14 days, 4 weeks a median is taken; of fewer it is not known"""
DRIFT_HOURS = 18
"""so many hours must a day have to be compared with others"""

GAP_SECONDS, GAP_BUCKETS = 2 * HOUR, 10
"""what was said before a longer gap is not `just before`"""
QUIET_SECONDS = DAY

ONE_WAY_MOVES, ONE_WAY_SHARE = 8, 0.02
"""a series goes one way where, of at least so many moves, at most this share goes the other way"""
FORGET_MOVES = 1 / 28
"""share of the counted moves that is forgotten each day"""
COUNT_FOLLOWS = 0.1

Numbers = NDArray[np.intp]
Floats = NDArray[np.floating]


class Found(NamedTuple):
    """An anomaly: times in seconds since 1970; value, expected and limit in the series' unit."""

    series: int
    type: str
    begin: int
    end: int
    value: float
    expected: float
    limit: float
    """how far from `expected` it might have been"""

    @property
    def score(self) -> float:
        """How many times as far as it may be: above 1."""
        return abs(self.value - self.expected) / self.limit


class Detector:
    """Takes buckets in order of time; what it says depends on them alone, however they are cut into calls."""

    def __init__(self, memory: Memory, bucket_seconds: int = 60) -> None:
        self.memory = memory
        self._bucket = bucket_seconds
        self._gap = max(GAP_SECONDS, GAP_BUCKETS * bucket_seconds)

    def take(self, at: int, series: Numbers, low: Floats, high: Floats, mean: Floats) -> list[Found]:
        """Score one bucket, which begins at `at`: of each series (by number, each once) its smallest and largest value
        and its mean. Values that are no numbers are passed over."""
        found = self.close(at)
        sane = np.isfinite(low) & np.isfinite(high) & np.isfinite(mean)
        if not sane.all():
            series, low, high, mean = series[sane], low[sane], high[sane], mean[sane]
        rows = self.memory.rows
        rows["recent"][series[at - rows["seen_at"][series] > self._gap]] = np.nan
        before = median(rows["recent"][series], 3)
        far = np.where(np.abs(high - before) >= np.abs(low - before), high, low)
        found += self._judge(SPIKE, series, (at, at + self._bucket), far, before)
        self._learn_values(series, low, high)
        _push(rows["recent"], series, mean)
        rows["seen_at"][series] = at
        rows["hour_sum"][series] += mean
        rows["hour_count"][series] += 1
        return found

    def close(self, until: int) -> list[Found]:
        """Score the hour and the day that have ended by then."""
        memory, found = self.memory, []
        if memory.hour is None:
            memory.hour = until - until % HOUR
        if until >= memory.hour + HOUR:
            found += self._close_hour(memory.hour)
            day = memory.hour - memory.hour % DAY
            if until >= day + DAY:
                found += self._close_day(day)
            memory.hour = until - until % HOUR
        return found

    def _learn_values(self, series: Numbers, low: Floats, high: Floats) -> None:
        """Whether it has had more than two values, its smallest step, and which way it goes."""
        rows = self.memory.rows
        lowest, highest = np.fmin(rows["lowest"][series], low), np.fmax(rows["highest"][series], high)
        old_low, old_high = rows["lowest"][series], rows["highest"][series]
        two = old_low < old_high
        moved = two & ((lowest < old_low) | (highest > old_high))
        between = ((low > lowest) & (low < highest)) | ((high > lowest) & (high < highest))
        rows["varied"][series] |= moved | between
        rows["lowest"][series], rows["highest"][series] = lowest, highest
        change = high - rows["previous"][series]
        rows["previous"][series] = high
        rows["rises"][series] += change > 0
        rows["falls"][series] += change < 0
        for size in (np.abs(change), high - low):
            rows["step"][series] = np.fmin(rows["step"][series], np.where(size > 0, size, np.inf))

    def _close_hour(self, hour: int) -> list[Found]:
        rows = self.memory.rows
        series = np.flatnonzero(rows["hour_count"])
        count = rows["hour_count"][series]
        mean = rows["hour_sum"][series] / np.maximum(count, 1)
        usual = rows["usual_count"][series]
        rows["usual_count"][series] = np.where(usual > 0, usual + COUNT_FOLLOWS * (count - usual), count)
        rows["hour_sum"][:], rows["hour_count"][:] = 0, 0
        whole = count * 2 >= usual
        return self._compare_hour(hour, series[whole], mean[whole])

    def _compare_hour(self, hour: int, series: Numbers, mean: Floats) -> list[Found]:
        rows = self.memory.rows
        level = median(rows["last_hours"][series], LEVEL_HOURS)
        above, found = mean - level, []
        known, window = np.isfinite(above), (hour, hour + HOUR)
        for question, course, least in (
            (HOUR_OF_DAY, rows["hours_of_day"][:, hour // HOUR % 24], LEAST_DAYS),
            (HOUR_OF_WEEK, rows["hours_of_week"][:, hour // HOUR % 168], LEAST_WEEKS),
        ):
            found += self._judge(question, series, window, mean, level + median(course[series], least))
            _push(course, series[known], above[known])
        _push(rows["last_hours"], series, mean)
        rows["day_sum"][series] += mean
        rows["day_hours"][series] += 1
        return found

    def _close_day(self, day: int) -> list[Found]:
        rows = self.memory.rows
        series = np.flatnonzero(rows["day_hours"] >= DRIFT_HOURS)
        mean = rows["day_sum"][series] / rows["day_hours"][series]
        found = []
        for question, days, least in (
            (AMONG_DAYS, rows["last_days"], LEAST_DAYS),
            (DAY_OF_WEEK, rows["days_of_week"][:, day // DAY % 7], LEAST_WEEKS),
        ):
            found += self._judge(question, series, (day, day + DAY), mean, median(days[series], least))
            _push(days, series, mean)
        rows["day_sum"][:], rows["day_hours"][:] = 0, 0
        for question, needed in enumerate(DAY_NEEDS):
            series = np.flatnonzero(rows["day_count"][:, question] >= needed)
            _push(rows["maxima"][:, question], series, rows["day_maximum"][series, question])
            of_series = rows["maxima"][series, question].astype(np.float64)
            rows["limit"][series, question] = tolerance(of_series, rows["step"][series])
        rows["day_maximum"][:], rows["day_count"][:] = 0, 0
        rows["rises"] *= 1 - FORGET_MOVES
        rows["falls"] *= 1 - FORGET_MOVES
        return found

    def _judge(
        self, question: int, series: Numbers, window: tuple[int, int], value: Floats, expected: Floats
    ) -> list[Found]:
        """Learn how far the values are from what was expected, and return those that are too far, and news."""
        rows = self.memory.rows
        departure = np.abs(value - expected)
        known = np.isfinite(departure)
        asked = series[known]
        rows["day_maximum"][asked, question] = np.maximum(rows["day_maximum"][asked, question], departure[known])
        rows["day_count"][asked, question] += 1
        limit = rows["limit"][series, question]
        over = np.flatnonzero(known & (departure > limit))
        over = over[self._is_scored(series[over])]
        return list(self._news(question, window, series[over], value[over], expected[over], limit[over]))

    def _news(
        self, question: int, window: tuple[int, int], series: Numbers, value: Floats, expected: Floats, limit: Floats
    ) -> Iterator[Found]:
        over_at, (begin, end) = self.memory.rows["over_at"], window
        for place, number in enumerate(series.tolist()):
            if begin - over_at[number] > QUIET_SECONDS:
                about = (float(value[place]), float(expected[place]), float(limit[place]))
                yield Found(number, TYPES[question], begin, end, *about)
            over_at[number] = end

    def _is_scored(self, series: Numbers) -> NDArray[np.bool_]:
        return scored(self.memory)[series] if len(series) else np.zeros(0, np.bool_)


def scored(memory: Memory) -> NDArray[np.bool_]:
    """Of each series whether it is scored: it has had more than two values and goes both ways."""
    rows = memory.rows
    moves = rows["rises"] + rows["falls"]
    one_way = (moves >= ONE_WAY_MOVES) & (np.minimum(rows["rises"], rows["falls"]) <= ONE_WAY_SHARE * moves)
    return rows["varied"] & ~one_way  # type: ignore[no-any-return]


def judged(memory: Memory) -> int:
    """How many series are scored, and known for long enough that something can be said."""
    return int((scored(memory) & np.isfinite(memory.rows["limit"]).any(axis=1)).sum())


def _push(ring: NDArray[Any], rows: Numbers, values: Floats) -> None:
    """Put a value at the front of some rows of a ring; the oldest falls out."""
    ring[rows, 1:] = ring[rows, :-1]
    ring[rows, 0] = values
