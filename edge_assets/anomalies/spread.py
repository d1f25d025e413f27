"""Medians of small rings, and from a series' daily maxima how far from the usual a value may be.

The largest departure of a day is an extreme, and extremes of days have a distribution of their own (Gumbel's, for
whatever has no heavy tail). It is fitted by quartiles: fewer than a quarter of the days may have been anomalous without
harm, while weekends, which are more than a quarter of whole weeks, make it wider. The tolerance is what it exceeds once
in `RETURN_DAYS`. That is the only threshold, the same for every series, and its meaning is a rate of false alarms.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

RETURN_DAYS = 1_000
"""a departure is an anomaly where a series has one so large once in so many days. Chosen on made-up series
(edge_assets.bench.made_series): from a year to ten the score hardly changes, and longer means fewer false alarms"""

WEEK = 7
DAYS_BEFORE_ALARM = WEEK
"""so many daily maxima must be known"""

LEAST_SPREAD = 0.25
"""of the median day's maximum. Where all days are alike, a kettle that boils once an hour may still boil twice: what is
up to about twice the usual maximum is no news"""

_GUMBEL_QUARTILES = -math.log(math.log(4 / 3)) + math.log(math.log(4))
_GUMBEL_MEDIAN = -math.log(math.log(2))
QUARTILE_DISTANCES = (-math.log(-math.log1p(-1 / RETURN_DAYS)) - _GUMBEL_MEDIAN) / _GUMBEL_QUARTILES
"""how many quartile distances above its median Gumbel's distribution has that quantile: 4.16"""


def median(rows: Floats, at_least: int) -> Floats:
    """The median of each row, NaN left out; NaN where fewer than `at_least` are left."""
    return np.where(np.isfinite(rows).sum(axis=1) >= at_least, quantile(rows, 0.5), np.nan)


def quantile(rows: Floats, share: float) -> Floats:
    """A quantile of each row, linear between two values, NaN left out; NaN for a row without any."""
    ordered = np.sort(rows, axis=1)  # NaN last
    count = np.isfinite(ordered).sum(axis=1)
    place = share * np.maximum(count - 1, 0)
    below = place.astype(np.intp)
    row = np.arange(len(rows))
    low, high = ordered[row, below], ordered[row, np.minimum(below + 1, np.maximum(count - 1, 0))]
    return low + (high - low) * (place - below)


def tolerance(maxima: Floats, step: Floats) -> Floats:
    """By series, how large a departure may be, from its daily maxima (the newest first, NaN: none yet; whole weeks
    count) and its `step`, the smallest change ever seen of it. Infinite before `DAYS_BEFORE_ALARM`."""
    days = np.isfinite(maxima).sum(axis=1) // WEEK * WEEK
    maxima = np.where(np.arange(maxima.shape[1]) < days[:, None], maxima, np.nan)
    middle = quantile(maxima, 0.5)
    quartiles = quantile(maxima, 0.75) - quantile(maxima, 0.25)
    spread = np.fmax(np.fmax(quartiles, LEAST_SPREAD * middle), np.where(np.isfinite(step), step, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        # A spread that is known from few days is taken for wider: twice after a week, a quarter after four.
        found = middle + QUARTILE_DISTANCES * spread * (1 + DAYS_BEFORE_ALARM / days)
    return np.where(days >= DAYS_BEFORE_ALARM, found, np.inf)
