"""Minutes, hours or days, and how wide a bucket is: what a chart of so many points over such a range is read from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

from edge_assets.serving.times import FIRST, Span

TIERS = {"readings_1m": 60, "readings_1h": 3_600, "readings_1d": 86_400}
"""rollup → seconds of its buckets"""

DAY = 86_400
NICE = (
    1,
    2,
    5,
    10,
    15,
    20,
    30,
    60,
    120,
    300,
    600,
    900,
    1_200,
    1_800,
    3_600,
    7_200,
    10_800,
    14_400,
    21_600,
    43_200,
    DAY,
)
"""widths in seconds; each divides a day, so that buckets lie where hours and days do"""
NICE_DAYS = (1, 2, 5, 7, 14, 28, 91, 182, 364, 1_820)


@dataclass(frozen=True, slots=True)
class Buckets:
    """What to read, and into what to put it."""

    source: str
    source_seconds: int
    seconds: int
    """a multiple of the source's"""

    def aligned(self, span: Span) -> Span:
        """The span, widened to whole buckets."""
        begin = None if span.begin is None else floor(span.begin, self.seconds)
        return Span(begin, ceiling(span.end, self.seconds))


def pick(sources: Iterable[tuple[str, int]], span_seconds: float, points: int) -> Buckets:
    """Buckets of a nice width, as many as asked for at most (and one at each end that is not whole), from the coarsest
    source that they are made of whole; nothing is narrower than the finest source."""
    ordered = sorted(sources, key=lambda source: source[1])
    seconds = width(span_seconds / points, ordered[0][1])
    name, own = next(source for source in reversed(ordered) if seconds % source[1] == 0)
    return Buckets(name, own, seconds)


def finest(sources: Iterable[tuple[str, int]], span_seconds: float, most: int) -> Buckets:
    """The finest source of which at most so many buckets are in the span, as it is; else the coarsest."""
    ordered = sorted(sources, key=lambda source: source[1])
    name, own = next((source for source in ordered if span_seconds / source[1] <= most), ordered[-1])
    return Buckets(name, own, own)


def width(wanted: float, own: int) -> int:
    """The smallest nice width of at least `wanted` seconds that is a multiple of `own`."""
    candidates = (*NICE, *(days * DAY for days in NICE_DAYS))
    for seconds in candidates:
        if seconds >= max(wanted, own) and seconds % own == 0:
            return seconds
    unit = DAY if DAY % own == 0 else own
    return ceil(max(wanted, own) / unit) * unit


def floor(at: datetime, seconds: int) -> datetime:
    """Where the bucket begins that holds `at`; buckets count from 1970."""
    since = int((at - FIRST).total_seconds())
    return datetime.fromtimestamp(since - since % seconds, UTC)


def ceiling(at: datetime, seconds: int) -> datetime:
    """Where the bucket ends that holds what comes just before `at`."""
    below = floor(at, seconds)
    return below if below == at else below + timedelta(seconds=seconds)
