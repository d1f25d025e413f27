"""Ranges of offsets: what a long piece of work is cut into, and how a table is asked for the rows of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from edge_assets.log_record import Place
from edge_assets.stream.decode import text


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets of one place, both ends included."""

    log_id: str
    topic: str
    partition: int
    first: int
    last: int

    @property
    def place(self) -> Place:
        return self.log_id, self.topic, self.partition

    @property
    def offsets(self) -> int:
        return self.last - self.first + 1

    @property
    def condition(self) -> str:
        return (
            f"(log_id = {text(self.log_id)} AND kafka_topic = {text(self.topic)} "
            f"AND kafka_partition = {self.partition} AND kafka_offset BETWEEN {self.first}L AND {self.last}L)"
        )


def condition(ranges: Iterable[Range]) -> str:
    """SQL over the columns of a position: whether a row is of one of the ranges. Nothing but plain comparisons, so that
    files are left out by their statistics."""
    return " OR ".join(each.condition for each in ranges) or "false"


def chunks(ranges: Iterable[Range], offsets: int) -> Iterator[list[Range]]:
    """The ranges in portions of so many offsets; several small ones share a portion, a large one has many."""
    portion: list[Range] = []
    room = offsets
    for whole in ranges:
        rest = whole
        while rest.offsets > room:
            portion.append(replace(rest, last=rest.first + room - 1))
            yield portion
            rest = replace(rest, first=rest.first + room)
            portion, room = [], offsets
        portion.append(rest)
        room -= rest.offsets
        if room == 0:
            yield portion
            portion, room = [], offsets
    if portion:
        yield portion


def united(ranges: Iterable[Range]) -> list[Range]:
    """One range for each place, from its first offset to its last."""
    found: dict[Place, Range] = {}
    for each in ranges:
        known = found.get(each.place, each)
        found[each.place] = replace(each, first=min(each.first, known.first), last=max(each.last, known.last))
    return [found[place] for place in sorted(found)]


def below(ranges: Iterable[Range], positions: dict[Place, int]) -> list[Range]:
    """What of the ranges lies before the positions: place → the offset after the last that counts."""
    cut = (replace(each, last=min(each.last, positions.get(each.place, 0) - 1)) for each in ranges)
    return [each for each in cut if each.offsets > 0]


def as_json(ranges: Sequence[Range]) -> list[list[Any]]:
    return [list(astuple(each)) for each in ranges]


def from_json(raw: Iterable[Sequence[Any]]) -> list[Range]:
    return [Range(*each) for each in raw]
