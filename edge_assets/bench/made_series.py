"""Made-up hourly series with known anomalies: what the detector's one threshold was chosen on.

A daily course, an office's week in every second series, weather that lasts hours and days, a year's drift; and twice in
ten months a departure of three to six times the weather's spread: a level that stays for days, a spike of hours, a slow
ramp, or a restless spell. Each lies in the middle of a window of 5 % of the series, as NAB labels its own.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_assets.bench.nab import Labelled

HOURS = 300 * 24
WINDOW_HALF = HOURS // 40

Floats = NDArray[np.floating]


def make(count: int, seed: int) -> list[Labelled]:
    """So many series, reproducibly; times count from 1970."""
    return [_series(np.random.default_rng([seed, number]), office=number % 2 == 1) for number in range(count)]


def _series(draw: np.random.Generator, office: bool) -> Labelled:
    at = np.arange(HOURS)
    short, long = draw.uniform(0.2, 1), draw.uniform(0.5, 3)
    phase, year = draw.uniform(0, 6, 2)
    values = 20 + draw.uniform(0.5, 4) * np.sin(2 * np.pi * at / 24 + phase)
    values += _weather(draw, 6, short) + _weather(draw, 72, long)
    values += draw.uniform(0, 5) * np.sin(2 * np.pi * at / 24 / 365 + year)
    if office:
        values += draw.uniform(1, 4) * ((at // 24 % 7 < 5) & (at % 24 >= 8) & (at % 24 < 18))
    windows = []
    for low, high in ((0.25, 0.5), (0.65, 0.95)):
        begin = int(draw.uniform(low, high) * HOURS)
        _disturb(draw, values[begin:], draw.uniform(3, 6) * math.hypot(short, long) * draw.choice([-1, 1]))
        windows.append((begin - WINDOW_HALF, min(begin + WINDOW_HALF, HOURS - 1)))
    return Labelled((at * 3_600).tolist(), np.round(values, 2).tolist(), windows)


def _weather(draw: np.random.Generator, hours: float, spread: float) -> Floats:
    """Noise that remembers for so many hours."""
    keep = math.exp(-1 / hours)
    steps = draw.normal(0, spread * math.sqrt(1 - keep * keep), HOURS)
    for hour in range(1, HOURS):
        steps[hour] += keep * steps[hour - 1]
    return steps


def _disturb(draw: np.random.Generator, values: Floats, size: float) -> None:
    kind = draw.integers(4)
    hours = (int(draw.uniform(24, 96)), int(draw.integers(1, 4)), 72, 48)[kind]
    part = values[:hours]
    if kind <= 1:
        part += size
    elif kind == 2:
        part += np.linspace(0, size, len(part))
    else:
        part += draw.normal(0, abs(size) / 2, len(part))
