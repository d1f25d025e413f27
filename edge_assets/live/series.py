"""The last points of one numeric series, 16 bytes each: a thousand series of 600 points are 10 MB."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator

SLACK = 4
"""a series grows by a quarter more than it keeps before it is cut, so that cutting costs next to nothing a point"""


class Series:
    """Points in the order of their times, whole milliseconds; one value a time, the latest that was told."""

    __slots__ = ("_most", "_times", "_values")

    def __init__(self, most: int) -> None:
        self._most = most
        self._times = array("q")
        self._values = array("d")

    def add(self, at: int, value: float) -> bool:
        """Whether it is news: another value, or another time, than is known."""
        if self._times and at <= self._times[-1]:
            return self._put_between(at, value)
        self._times.append(at)
        self._values.append(value)
        self._cut()
        return True

    def begin_with(self, older: Iterable[tuple[int, float]]) -> None:
        """Put points before the first that is known; those that are not older than it are left out."""
        first = self._times[0] if self._times else None
        kept = sorted((at, value) for at, value in older if first is None or at < first)
        self._times = array("q", [at for at, _ in kept]) + self._times
        self._values = array("d", [value for _, value in kept]) + self._values
        self._cut()

    def points(self, most: int | None = None) -> tuple[array[int], array[float]]:
        """Times and values of now, the last `most` of them: copies, which stay as they are."""
        first = -min(most or self._most, self._most)
        return self._times[first:], self._values[first:]

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return zip(*self.points(), strict=True)

    def __len__(self) -> int:
        return min(len(self._times), self._most)

    def _put_between(self, at: int, value: float) -> bool:
        position = bisect_left(self._times, at)
        if self._times[position] == at:
            known, self._values[position] = self._values[position], value
            return known != value
        self._times.insert(position, at)
        self._values.insert(position, value)
        self._cut()
        return True

    def _cut(self) -> None:
        if (beyond := len(self._times) - self._most) > self._most // SLACK:
            del self._times[:beyond]
            del self._values[:beyond]
