"""The detector on made-up series: what it must tell, and what it must keep quiet about."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from edge_assets.anomalies.detector import DAY, Detector, Found, judged, scored
from edge_assets.anomalies.memory import NEVER, Memory, Series
from edge_assets.anomalies.spread import DAYS_BEFORE_ALARM, QUARTILE_DISTANCES, RETURN_DAYS, quantile, tolerance

BUCKET = 900
"""seconds of a bucket here: days pass faster"""
Course = Callable[[int, np.random.Generator], float | None]
"""A series: its value at a time (seconds), None where it says nothing"""


def memory_of(count: int) -> Memory:
    memory = Memory()
    memory.numbers([Series("device", "home", f"0x{n:02}", "temperature", "°C") for n in range(count)], ["a"] * count)
    return memory


def feed(memory: Memory, courses: Sequence[Course], begin: float, end: float, seed: int = 1) -> list[Found]:
    """All buckets from one day to another; each course has its own noise, the same in each call."""
    detector, found = Detector(memory, BUCKET), []
    for at in range(int(begin * DAY), int(end * DAY), BUCKET):
        said = [(n, course(at, np.random.default_rng([seed, n, at]))) for n, course in enumerate(courses)]
        heard = [(n, value) for n, value in said if value is not None]
        numbers, values = np.array([n for n, _ in heard], np.intp), np.array([value for _, value in heard])
        found += detector.take(at, numbers, values, values, values)
    return found + detector.close(int(end * DAY))


def indoor(at: int, noise: np.random.Generator) -> float:
    """A room's temperature, with a daily course, other weather each day, and a sensor's noise."""
    weather = math.sin(at / DAY * 1.9) + math.sin(at / DAY * 0.7)
    return round(21 + 1.5 * math.sin(2 * math.pi * at / DAY) + weather + noise.normal(0, 0.1), 1)


def plus(course: Course, by: Mapping[tuple[float, float], float]) -> Course:
    """A course with something added between two days."""

    def changed(at: int, noise: np.random.Generator) -> float | None:
        value = course(at, noise)
        added = sum(more for (low, high), more in by.items() if low * DAY <= at < high * DAY)
        return None if value is None else value + added

    return changed


def told(found: Sequence[Found]) -> list[tuple[int, str, float]]:
    return [(one.series, one.type, round(one.begin / DAY, 2)) for one in found]


def test_a_spike_is_one_anomaly_with_its_value_and_what_was_expected() -> None:
    found = feed(memory_of(1), [plus(indoor, {(20.5, 20.51): 8})], 0, 24)
    ((series, kind, day),) = told(found)
    assert (series, kind, day) == (0, "spike", 20.5)
    assert found[0].value - found[0].expected == pytest.approx(8, abs=1) and found[0].score > 1
    assert found[0].end - found[0].begin == BUCKET


def test_a_slow_shift_of_level_is_one_anomaly_and_becomes_the_usual() -> None:
    steps = {(20 + n / 48, 60.0): -0.25 for n in range(32)}  # a heating that fails: eight degrees in sixteen hours
    found = feed(memory_of(1), [plus(indoor, steps)], 0, 45)
    ((_, kind, day),) = told(found)
    assert kind in ("level_shift", "drift") and 20 <= day < 21.5
    assert found[0].value < found[0].expected


def test_a_day_in_which_nothing_is_unusual_but_all_of_it_is_a_drift() -> None:
    """Within the day it hides: it comes in steps that are none, and has the usual course."""
    steps = {(20 + n / 20, 60.0): 0.2 for n in range(60)}  # twelve degrees in three days
    assert "drift" in {one.type for one in feed(memory_of(1), [plus(indoor, steps)], 0, 30)}


def test_a_level_that_stays_and_then_goes_back_is_two_events() -> None:
    found = feed(memory_of(1), [plus(indoor, {(20.0, 40.0): 12})], 0, 45)
    assert [round(day) for _, _, day in told(found)] == [20, 40]


def test_an_event_that_goes_on_is_told_once() -> None:
    jumps = {(20 + n / 24, 20.02 + n / 24): 9 for n in range(60)}  # one an hour, for two days and a half
    assert len(feed(memory_of(1), [plus(indoor, jumps)], 0, 25)) == 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sixty_quiet_days_of_all_kinds_tell_next_to_nothing(seed: int) -> None:
    def spiky(at: int, noise: np.random.Generator) -> float:
        return 2_150.0 if noise.random() < 0.02 else 0.3 + round(noise.random(), 1)  # a kettle

    def office(at: int, noise: np.random.Generator) -> float:
        at_work = at // DAY % 7 < 5 and 8 <= at % DAY / 3600 < 18
        return round(450 + 500 * at_work + noise.normal(0, 15))

    def sawtooth(at: int, noise: np.random.Generator) -> float:
        return round(at % DAY / DAY * 4, 3)

    def walk(at: int, noise: np.random.Generator) -> float:
        return round(230 + 4 * math.sin(at / 7_000) * math.cos(at / 50_000) + noise.normal(0, 0.3), 1)

    assert len(feed(memory_of(5), [indoor, spiky, office, sawtooth, walk], 0, 60, seed)) <= 1


def test_an_office_s_weekend_is_not_unusual_but_a_night_shift_is() -> None:
    """Five days of seven are alike. Judged by days alone, 2,000 ppm more would be within what weekends teach."""

    def office(at: int, noise: np.random.Generator) -> float:
        at_work = at // DAY % 7 < 5 and 8 <= at % DAY / 3600 < 18
        night_shift = 49 * DAY <= at < 49.2 * DAY  # a Monday's first hours
        return round(450 + 500 * at_work + 300 * night_shift + noise.normal(0, 15))

    memory = memory_of(1)
    found = feed(memory, [office], 0, 60)
    assert [(one.type, one.begin // DAY) for one in found] == [("level_shift", 49)]
    assert found[0].expected == pytest.approx(450, abs=30)


def test_what_has_two_values_or_goes_one_way_is_not_scored() -> None:
    def door(at: int, noise: np.random.Generator) -> float:
        return float(noise.random() < 0.1 and at < 20 * DAY)

    def counter(at: int, noise: np.random.Generator) -> float:
        return at // 900 * 0.01 + (0 if at < 20 * DAY else 500)

    def battery(at: int, noise: np.random.Generator) -> float:
        return 200.0 - at // (DAY // 2) - (0 if at < 20 * DAY else 40)

    def constant(at: int, noise: np.random.Generator) -> float:
        return 5.0

    memory = memory_of(5)
    assert feed(memory, [door, counter, battery, constant, indoor], 0, 24) == []
    assert scored(memory).tolist() == [False, False, False, False, True]
    assert judged(memory) == 1


def test_of_a_device_that_is_rarely_heard_nothing_is_said() -> None:
    def sparse(at: int, noise: np.random.Generator) -> float | None:
        return noise.normal(50, 1) + 900 * (at > 20 * DAY) if at % DAY == 0 else None

    assert feed(memory_of(1), [sparse], 0, 30) == []


def test_nothing_is_said_in_the_first_week() -> None:
    assert feed(memory_of(1), [plus(indoor, {(5.0, 5.1): 30})], 0, DAYS_BEFORE_ALARM) == []


def test_an_outage_is_no_anomaly_and_hides_none_after_it() -> None:
    def away(at: int, noise: np.random.Generator) -> float | None:
        return None if 20.3 * DAY <= at < 22.6 * DAY else indoor(at, noise)

    def patchy(at: int, noise: np.random.Generator) -> float | None:
        return indoor(at, noise) if noise.random() < 0.4 else None

    found = feed(memory_of(2), [plus(away, {(24.0, 24.01): 9}), patchy], 0, 26)
    assert [(series, kind) for series, kind, _ in told(found)] == [(0, "spike")]


@pytest.mark.parametrize("nonsense", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_passed_over(nonsense: float) -> None:
    def broken(at: int, noise: np.random.Generator) -> float:
        return nonsense if noise.random() < 0.05 else indoor(at, noise)

    memory = memory_of(1)
    assert feed(memory, [broken], 0, 15) == [] and judged(memory) == 1


def test_an_anomaly_teaches_nothing() -> None:
    """Five days of nonsense within the 28 that count leave the tolerance nearly where it was."""
    noisy = plus(indoor, {(20 + n, 20.1 + n): 15.0 for n in range(5)})
    memory = memory_of(2)
    feed(memory, [indoor, noisy], 0, 28)
    usual, taught = memory.rows["limit"][:, 0]
    assert taught < 3 * usual < 15


def test_a_smallest_step_is_no_anomaly() -> None:
    """A whole number that hardly ever moves."""

    def count(at: int, noise: np.random.Generator) -> float:
        return 3.0 + (noise.integers(-1, 2) if at >= 20 * DAY or noise.random() < 0.001 else 0)

    assert feed(memory_of(1), [count], 0, 24) == []


def test_it_does_not_matter_how_the_time_is_cut() -> None:
    courses = [plus(indoor, {(11.3, 11.32): 9, (14.0, 20.0): 7}), indoor]
    whole, cut = memory_of(2), memory_of(2)
    expected = feed(whole, courses, 0, 18)
    found, at = [], 0.0
    for piece in (0.02, 3.3, 0.0417, 8.9, 1 / 96, 2.0, 18):
        end = min(at + round(piece * 96) / 96, 18)
        found += feed(cut, courses, at, end)
        at = end
    assert found == expected and len(found) >= 2
    for name, rows in whole.rows.items():
        np.testing.assert_array_equal(rows, cut.rows[name], name)


def test_the_tolerance_is_what_a_gumbel_distribution_exceeds_once_in_a_thousand_days() -> None:
    """Of many days' maxima; few days take more, and never less."""
    draws = np.random.default_rng(5).gumbel(10, 2, (3, 4_000))
    found = tolerance(draws, np.full(3, np.inf))
    np.testing.assert_allclose(found, 10 + 2 * math.log(RETURN_DAYS), rtol=0.05)
    assert pytest.approx(4.16, abs=0.01) == QUARTILE_DISTANCES
    few = np.where(np.arange(28) < 6, 1.0, np.nan)[None, :]
    assert np.isinf(tolerance(few, np.zeros(1))).all()


def test_quantiles_leave_out_what_is_no_number() -> None:
    rows = np.array([[3.0, 1.0, np.nan, 2.0], [np.nan] * 4, [7.0, np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(quantile(rows, 0.5), [2.0, np.nan, 7.0])
    np.testing.assert_array_equal(quantile(rows[:1], 0.25), [1.5])


def test_new_series_find_room_and_silent_ones_are_forgotten() -> None:
    memory = memory_of(2)
    feed(memory, [indoor, indoor], 0, 1)
    memory.until = 100 * DAY
    assert memory.numbers([Series("room", "home", "hall", "co2", None)], ["Hall"]) == [2]
    assert memory.rows["seen_at"][2] == NEVER
    memory.rows["seen_at"][1] = 99 * DAY
    kept = memory.without_the_silent()
    assert [series.device_id for series in kept.series] == ["0x01"]
    assert kept.numbers([kept.series[0]], ["b"]) == [0] and kept.names == ["b"]
