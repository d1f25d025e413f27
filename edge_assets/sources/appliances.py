"""What stands behind a simulated plug: its power at any time, and the exact integral of it.

An appliance is a function of the calendar and a seed, not a process with a memory: a day is a list of segments of
nearly steady power, drawn from the seed and the day's number. So its energy meter goes on where it was when the
simulator is started again, and power and energy agree to the last digit.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate, pairwise
from random import Random

DAY_SECONDS = 86_400
INSTALLED = datetime(2026, 1, 1, tzinfo=UTC)
"""The day on which all energy meters stood at 0."""

INSTALLED_DAY = int(INSTALLED.timestamp()) // DAY_SECONDS
RIPPLE_SECONDS = 47.0
"""Period of the small swing around a segment's power."""


@dataclass(frozen=True, slots=True)
class Segment:
    """From `start` (seconds since midnight UTC) to the next segment's start: `watts`, swinging by `ripple` of it."""

    start: float
    watts: float
    ripple: float = 0.0
    on: bool = True

    def power_w(self, elapsed: float) -> float:
        return self.watts * (1 + self.ripple * math.sin(2 * math.pi * elapsed / RIPPLE_SECONDS))

    def energy_j(self, elapsed: float) -> float:
        """The integral of `power_w` over the segment's first `elapsed` seconds."""
        swing = RIPPLE_SECONDS / (2 * math.pi) * (1 - math.cos(2 * math.pi * elapsed / RIPPLE_SECONDS))
        return self.watts * (elapsed + self.ripple * swing)


@dataclass(frozen=True, slots=True)
class Day:
    """A whole day in segments, with the energy (J) that was used before each begins, and in all of them."""

    segments: list[Segment]
    starts: list[float]
    joules: list[float]

    @classmethod
    def of(cls, segments: list[Segment]) -> Day:
        starts = [segment.start for segment in segments]
        lengths = [end - start for start, end in pairwise([*starts, DAY_SECONDS])]
        used = (segment.energy_j(length) for segment, length in zip(segments, lengths, strict=True))
        return cls(segments, starts, list(accumulate(used, initial=0.0)))

    def at(self, second: float) -> int:
        return bisect_right(self.starts, second) - 1

    def energy_j(self, second: float) -> float:
        index = self.at(second)
        return self.joules[index] + self.segments[index].energy_j(second - self.starts[index])


Program = Callable[[Random], list[Segment]]


class Appliance:
    """Power in W and energy in kWh at a time, which is always seconds since 1970 UTC."""

    def __init__(self, seed: str, program: Program) -> None:
        self._seed = seed
        self._program = program
        self._midnights = [0.0]
        self._day = lru_cache(maxsize=64)(self._make_day)

    def power_w(self, at: float) -> float:
        segment, elapsed = self._segment(at)
        return segment.power_w(elapsed)

    def is_on(self, at: float) -> bool:
        return self._segment(at)[0].on

    def energy_kwh(self, at: float) -> float:
        """What the meter shows: everything since it was installed."""
        day, second = divmod(at, DAY_SECONDS)
        if day < INSTALLED_DAY:
            return 0.0
        return (self._until_midnight_j(int(day)) + self._day(int(day)).energy_j(second)) / 3.6e6

    def energy_between_kwh(self, start: float, end: float) -> float:
        return self.energy_kwh(end) - self.energy_kwh(start)

    def switchings(self, day: int) -> Iterator[tuple[float, bool]]:
        """The times of a day (its number since 1970) at which somebody switches the plug; and to what."""
        midnight = float(day * DAY_SECONDS)
        on = self.is_on(midnight)
        for segment in self._day(day).segments:
            if segment.on != on:
                on = segment.on
                yield midnight + segment.start, on

    def _segment(self, at: float) -> tuple[Segment, float]:
        number, second = divmod(at, DAY_SECONDS)
        day = self._day(int(number))
        index = day.at(second)
        return day.segments[index], second - day.starts[index]

    def _make_day(self, number: int) -> Day:
        return Day.of(self._program(Random(f"{self._seed}/{number}")))

    def _until_midnight_j(self, number: int) -> float:
        while len(self._midnights) <= number - INSTALLED_DAY:
            yesterday = self._day(INSTALLED_DAY + len(self._midnights) - 1)
            self._midnights.append(self._midnights[-1] + yesterday.joules[-1])
        return self._midnights[number - INSTALLED_DAY]


def kettle(rng: Random) -> list[Segment]:
    """Idle but for a boil of two to four minutes, about every quarter of an hour: an office's kitchen."""
    return _runs(rng, idle_w=0.3, pause=(300, 1_500), run=lambda: [(rng.uniform(120, 240), 2_150.0, 0.01)])


def washing_machine(rng: Random) -> list[Segment]:
    """Three to six washes a day: it fills and heats, turns for long, spins, and waits on standby."""

    def wash() -> list[tuple[float, float, float]]:
        turns = [(rng.uniform(240, 420), rng.uniform(90, 160), 0.3) for _ in range(4)]
        return [(rng.uniform(700, 1_100), 1_980.0, 0.02), *turns, (420.0, 480.0, 0.15)]

    return _runs(rng, idle_w=1.2, pause=(6_000, 14_000), run=wash)


def television(rng: Random) -> list[Segment]:
    """Switched off at the plug for the night, on standby by day, watched in the evening."""
    morning, evening, night = (rng.uniform(h - 0.4, h + 0.4) * 3_600 for h in (7, 19, 23.3))
    return [
        Segment(0, 0.0, on=False),
        Segment(morning, 0.6),
        Segment(evening, rng.uniform(85, 110), 0.06),
        Segment(night, 0.0, on=False),
    ]


def fridge(rng: Random) -> list[Segment]:
    """A compressor: a quarter of an hour on, half an hour off, all day."""
    return _runs(rng, idle_w=1.8, pause=(1_500, 2_400), run=lambda: [(rng.uniform(700, 1_000), 88.0, 0.03)])


def _runs(
    rng: Random, idle_w: float, pause: tuple[float, float], run: Callable[[], list[tuple[float, float, float]]]
) -> list[Segment]:
    """Idle, with runs of (seconds, watts, ripple) after pauses; a run that would pass midnight is left out."""
    segments = [Segment(0, idle_w)]
    at = rng.uniform(0, pause[1])
    while True:
        steps = run()
        if at + sum(seconds for seconds, _, _ in steps) >= DAY_SECONDS:
            return segments
        for seconds, watts, ripple in steps:
            segments.append(Segment(at, watts, ripple))
            at += seconds
        segments.append(Segment(at, idle_w))
        at += rng.uniform(*pause)


APPLIANCES: tuple[Program, ...] = (kettle, washing_machine, television, fridge)
