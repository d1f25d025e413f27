"""A rule's condition taken apart: leaves that each look at one measurement, and how they are joined.

A leaf holds or does not. What it holds is changed by observations alone: what was last said is true until something
else is said. It keeps what it has to remember in a memo, plain data that JSON can carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_assets.alerts.rules import BATTERY, BATTERY_LOW, CONTACT, Condition

SLOTS = 64
"""into so many a window is divided: the resolution of "within", and the bound of what is remembered"""

Stepped = tuple[bool, Any]
"""whether the leaf holds now, and its memo"""


@dataclass(frozen=True, slots=True)
class Level:
    """Above (or below) a level, until it is back at `clear`."""

    measurement: str
    level: float
    clear: float
    above: bool

    def step(self, held: bool, memo: Any, value: float | None, text: str | None, at: int) -> Stepped:
        if value is None:
            return held, memo
        bound = self.clear if held else self.level
        return (value > bound if self.above else value < bound), memo


@dataclass(frozen=True, slots=True)
class Equals:
    """One value, or one text."""

    measurement: str
    wanted: float | str

    def step(self, held: bool, memo: Any, value: float | None, text: str | None, at: int) -> Stepped:
        return (text if isinstance(self.wanted, str) else value) == self.wanted, memo


@dataclass(frozen=True, slots=True)
class Change:
    """Risen or fallen by so much against what it was within the window. The window is looked at in `SLOTS` slots of
    time: it reaches back over the slots before the present one, of each of which the extremes are remembered."""

    measurement: str
    by: float
    within: int
    rises: bool
    falls: bool

    def step(self, held: bool, memo: Any, value: float | None, text: str | None, at: int) -> Stepped:
        if value is None:
            return held, memo
        slot = at // max(self.within // SLOTS, 1)
        kept = [list(one) for one in memo or () if slot - SLOTS < one[0]]
        if kept and kept[-1][0] == slot:
            kept[-1][1:] = [min(kept[-1][1], value), max(kept[-1][2], value)]
        else:
            kept.append([slot, value, value])
        risen = self.rises and value - min(low for _, low, _ in kept) >= self.by
        fallen = self.falls and max(high for _, _, high in kept) - value >= self.by
        return risen or fallen, kept


@dataclass(frozen=True, slots=True)
class Stuck:
    """The same value for so long, while messages come. Memo: the value, and when it was first said."""

    measurement: str
    duration: int

    def step(self, held: bool, memo: Any, value: float | None, text: str | None, at: int) -> Stepped:
        if memo is None or memo[:2] != [value, text]:
            return False, [value, text, at]
        return at - memo[2] >= self.duration, memo


@dataclass(frozen=True, slots=True)
class Offline:
    """Away: by its availability; where none is known, by a silence. The engine knows which, and says so."""

    silence_times: float
    silence_at_least: int

    measurement = None


Leaf = Level | Equals | Change | Stuck | Offline
Tree = int | tuple[str, tuple[Any, ...]]
"""the number of a leaf, or all/any of several trees"""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A condition as leaves, and the tree that joins them by number."""

    leaves: tuple[Leaf, ...]
    tree: Tree

    def holds(self, held: Sequence[bool]) -> bool:
        return _holds(self.tree, held)

    @property
    def measurements(self) -> frozenset[str]:
        return frozenset(leaf.measurement for leaf in self.leaves if leaf.measurement is not None)

    @property
    def of_presence(self) -> tuple[int, ...]:
        """Numbers of the leaves that look at whether the device is there."""
        return tuple(number for number, leaf in enumerate(self.leaves) if isinstance(leaf, Offline))


def compiled(condition: Condition) -> Compiled:
    leaves: list[Leaf] = []
    tree = _tree(condition, leaves)
    return Compiled(tuple(leaves), tree)


def _holds(tree: Tree, held: Sequence[bool]) -> bool:
    if isinstance(tree, int):
        return held[tree]
    joined, parts = tree
    return (all if joined == "all" else any)(_holds(part, held) for part in parts)


def _tree(said: Condition, leaves: list[Leaf]) -> Tree:
    if said.all is not None:
        return "all", tuple(_tree(part, leaves) for part in said.all)
    if said.any is not None:
        return "any", tuple(_tree(part, leaves) for part in said.any)
    first = len(leaves)
    leaves.extend(_leaves(said))
    return first if len(leaves) == first + 1 else ("any", tuple(range(first, len(leaves))))


def _leaves(said: Condition) -> list[Leaf]:
    name = said.measurement or ""
    if said.offline:
        return [Offline(said.silence_times, said.silence_at_least)]
    if said.door is not None:
        return [Equals(CONTACT, 0.0 if said.door == "open" else 1.0)]
    if said.battery_below is not None:
        clear = said.battery_below if said.clear is None else said.clear
        return [Level(BATTERY, said.battery_below, clear, above=False), Equals(BATTERY_LOW, 1.0)]
    if said.equals is not None:
        return [Equals(name, said.equals if isinstance(said.equals, str) else float(said.equals))]
    if said.unchanged_for is not None:
        return [Stuck(name, said.unchanged_for)]
    for level, above in ((said.above, True), (said.below, False)):
        if level is not None:
            return [Level(name, level, level if said.clear is None else said.clear, above)]
    return [_change(said, name)]


def _change(said: Condition, name: str) -> Change:
    by = said.rises_by or said.falls_by or said.changes_by or 0.0
    return Change(name, by, said.within or 0, said.falls_by is None, said.rises_by is None)
