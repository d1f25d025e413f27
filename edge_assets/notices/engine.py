"""Looks in, news out: each change is told once, and what follows from something above it is not told by itself.

A thing is an asset's freshness or one check. The rules:

- A state counts when two looks in a row have found it: what comes and goes between two looks is not told.
- What fails is told once, once more where a warning becomes a failure, and once when it is over.
- **Causes.** Where an asset stands still, what is below it in the lineage and has not moved since either, follows from
  it: it is counted in the message about its root and tells nothing of its own. An asset that has moved on after the one
  above stopped does not follow. Where something above is merely late, what is below waits for the verdict. A check
  speaks of something else than of standing still, which nothing above excuses: it is told in any case.
- When the root is over, what followed has as long as its own limit to be over, too; what is not by then is told.
- **Pauses.** After a time without looks (the platform was down) everything has as long as its own limit, too: what was
  not looked after is stale, which is no news.
- What is muted tells nothing, neither its beginning nor its end, and neither does what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

SLACK_SECONDS = 900.0
"""assets are reported every five minutes, each at its own time: one that has moved for so long after another stopped
may still follow from it"""


class Level(IntEnum):
    OK = 0
    LATE = 1
    """not failed yet, and about to be"""
    WARNING = 2
    FAILED = 3

    @property
    def is_bad(self) -> bool:
        return self >= Level.WARNING


@dataclass(frozen=True, slots=True)
class Thing:
    """What one look saw of one asset's freshness, or of one check. Times are seconds since 1970."""

    name: str
    """`bronze/events` for the freshness of an asset, `bronze/events:complete` for a check"""
    asset: str
    """the asset that it is about, by its place in the lineage"""
    level: Level | None
    """None: it cannot be said now, because it is being evaluated"""
    words: str = ""
    """what is wrong, and what to do"""
    moved_at: float | None = None
    """when the asset last moved"""
    stops: bool = False
    """while it has failed, or is late, nothing new reaches the asset"""
    follows: bool = True
    """it may be nothing but the consequence of an asset above that stands still"""
    patience_seconds: float = 1200.0
    """how long it may take to be well again after a pause, or after its cause is over"""
    muted: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a thing that is not simply well. `LATE` counts as well here."""

    last: Level = Level.OK
    """what the last look found"""
    before: Level = Level.OK
    """what the look before it found"""
    since: float = 0.0
    """when it began to be bad"""
    told: Level = Level.OK
    """the worst that people know of it"""
    root: str | None = None
    """it follows from this one"""
    excused_until: float = 0.0
    below: tuple[str, ...] = ()
    """of a root: what has followed"""

    @property
    def sure(self) -> Level:
        """How bad it is at least, by two looks in a row."""
        return min(self.last, self.before)

    @property
    def is_over(self) -> bool:
        return not (self.last.is_bad or self.before.is_bad)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered between two looks."""

    things: Mapping[str, Known] = field(default_factory=dict)
    resumed_at: float = 0.0
    """when looking began anew after a pause"""


@dataclass(frozen=True, slots=True)
class News:
    """One change that people are told."""

    thing: Thing
    level: Level
    """`OK`: it is over"""
    lasted_seconds: float
    below: tuple[str, ...] = ()
    """what follows from it"""


def look(
    memory: Memory, things: Sequence[Thing], above: Mapping[str, frozenset[str]], now: float, resumed: bool = False
) -> tuple[Memory, list[News]]:
    """One look. `above`: the assets above each; `resumed`: it is the first look after a pause.

    Returns what to remember, and what to tell: what began, causes before others, then what is over. A thing that is
    not among `things` any more is forgotten.
    """
    resumed_at = now if resumed else memory.resumed_at
    known = {thing.name: _seen(memory.things.get(thing.name, Known()), thing, now) for thing in things}
    ordered = sorted(things, key=lambda one: (len(above.get(one.asset, ())), one.asset, not one.stops, one.name))
    over = list(_over(known, ordered, now))
    began = list(_begun(known, ordered, above, resumed_at, now))
    return Memory({name: one for name, one in known.items() if one != Known()}, resumed_at), [*began, *over]


def _seen(known: Known, thing: Thing, now: float) -> Known:
    if thing.level is None:
        return known
    level = thing.level if thing.level.is_bad else Level.OK
    begins = level.is_bad and known.is_over
    return replace(known, last=level, before=known.last, since=now if begins else known.since)


def _over(known: dict[str, Known], ordered: Sequence[Thing], now: float) -> Iterator[News]:
    """What is over. What followed from it is let go, and has its time to be over, too."""
    for thing in ordered:
        one = known[thing.name]
        if one.is_over:
            if one.told and not thing.muted:
                yield News(thing, Level.OK, now - one.since, one.below)
            known[thing.name] = Known()
    for thing in ordered:
        one = known[thing.name]
        if one.root is not None and known.get(one.root, Known()).is_over:
            known[thing.name] = replace(one, root=None, excused_until=now + thing.patience_seconds)


def _begun(
    known: dict[str, Known],
    ordered: Sequence[Thing],
    above: Mapping[str, frozenset[str]],
    resumed_at: float,
    now: float,
) -> Iterator[News]:
    """What is bad, and by nothing else than itself."""
    roots: dict[str, Thing] = {}
    for thing in ordered:
        one = known[thing.name]
        if one.root is not None or one.sure <= one.told or thing.level is None:
            continue
        if now < max(one.excused_until, resumed_at + thing.patience_seconds):
            continue
        causes = [] if one.told else [cause for cause in ordered if _explains(cause, thing, above)]
        found = [root for cause in causes if (root := _root(cause, known, roots)) is not None]
        if found:
            known[thing.name] = replace(one, root=found[0])
        elif not causes:  # else the verdict on what may be its cause is waited for
            roots[thing.name] = thing
            known[thing.name] = one if thing.muted else replace(one, told=one.sure)
    _note_below(known, ordered, above)
    for thing in roots.values():
        one = known[thing.name]
        if not thing.muted:
            yield News(thing, one.told, now - one.since, one.below)


def _explains(cause: Thing, thing: Thing, above: Mapping[str, frozenset[str]]) -> bool:
    """Whether a thing may be bad because of another, which stands still or is about to."""
    if not thing.follows or not cause.stops or cause.level not in (Level.LATE, Level.FAILED):
        return False
    if cause.asset == thing.asset:  # the asset stands still for the reason that a check of it names
        return thing.stops and not cause.follows
    if cause.asset not in above.get(thing.asset, ()):
        return False
    if thing.moved_at is None or cause.moved_at is None:
        return True
    return thing.moved_at <= cause.moved_at + SLACK_SECONDS


def _root(cause: Thing, known: Mapping[str, Known], roots: Mapping[str, Thing]) -> str | None:
    """What a cause leads to; None where it is not known yet whether it counts."""
    one = known[cause.name]
    if one.root is not None:
        return one.root
    return cause.name if cause.name in roots or (one.told and one.last.is_bad) else None


def _note_below(known: dict[str, Known], ordered: Sequence[Thing], above: Mapping[str, frozenset[str]]) -> None:
    """With each root what follows from it: what was found to, and what is about to."""
    for root in ordered:
        one = known[root.name]
        if one.root is not None or not one.sure.is_bad:
            continue
        follow = (
            thing.name
            for thing in ordered
            if known[thing.name].root == root.name
            or (thing.level and not known[thing.name].told and _explains(root, thing, above))
        )
        below = tuple(dict.fromkeys((*one.below, *follow)))
        known[root.name] = replace(one, below=below)
