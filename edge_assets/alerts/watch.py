"""One rule over one device: waiting, counting down, firing, clearing. Times are microseconds since 1970 UTC.

    idle ──condition holds──▶ pending ──for──▶ firing ──condition no longer holds──▶ clearing ──clear_after──▶ idle

A watch lives on the times of what it is told: `pass_to` lets everything happen that was due until then, at the time at
which it was due and not at the one at which it is noticed, so that how often the clock ticks changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from edge_assets.alerts.conditions import Change, Compiled
from edge_assets.alerts.rules import Rule
from edge_assets.listening.heard import Device


class Turn(NamedTuple):
    """What happened, and when; and when the condition had begun to hold, and fired."""

    transition: Literal["firing", "cleared"]
    at: int
    since: int
    fired_at: int


@dataclass(frozen=True, slots=True)
class RuleInForce:
    """A rule with what follows from it, computed once."""

    rule: Rule
    compiled: Compiled
    fingerprint: str
    time_zone: str

    def counts(self, at: int) -> bool:
        """Whether its hours are."""
        return self.rule.when is None or self.rule.when.covers(at, self.time_zone)

    def hours_change(self, at: int) -> int | None:
        return None if self.rule.when is None else self.rule.when.next_change(at, self.time_zone)


@dataclass(slots=True, eq=False)
class Watch:
    """The state of one rule over one device."""

    what: RuleInForce
    device: Device
    at: int
    """the latest time that it knows of"""
    held: list[bool] = field(default_factory=list)
    memos: list[Any] = field(default_factory=list)
    counts: bool = True
    """the rule's hours are"""
    hours_end: int | None = None
    since: int | None = None
    """the condition began to hold; while it fires, of this firing"""
    fired_at: int | None = None
    clear_since: int | None = None
    """it fires, and the condition no longer holds since"""
    retired: bool = False
    armed: int | None = None
    """the time at which the engine will look at it"""

    def __post_init__(self) -> None:
        if not self.held:
            self.held = [False] * len(self.what.compiled.leaves)
            self.memos = [None] * len(self.what.compiled.leaves)
        self.counts = self.what.counts(self.at)
        self.hours_end = self.what.hours_change(self.at)

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.what.rule.name, *self.device)

    @property
    def grave(self) -> tuple[Any, ...]:
        """What may not be lost: equal before and after means that nothing happened that matters. The window of a change
        is made of last values, which may."""
        leaves = self.what.compiled.leaves
        memos = tuple(memo for memo, leaf in zip(self.memos, leaves, strict=True) if not isinstance(leaf, Change))
        return tuple(self.held), memos, self.counts, self.since, self.fired_at, self.clear_since

    def due(self) -> int | None:
        """When something happens by time alone."""
        return min((at for at in (self._deadline(), self.hours_end) if at is not None), default=None)

    def _deadline(self) -> int | None:
        rule = self.what.rule
        if self.fired_at is None:
            return None if self.since is None else self.since + rule.for_
        return None if self.clear_since is None else self.clear_since + rule.clear_after

    def pass_to(self, at: int) -> list[Turn]:
        """Let happen what was due until a time, that included."""
        turns: list[Turn] = []
        while (due := self.due()) is not None and due <= at:
            # What is due by a time that has passed already (a shorter `for` after a reload) happens now.
            self.at = max(self.at, due)
            if self._deadline() == due:
                turns.append(self._turn())
            else:
                self.counts = not self.counts
                self.hours_end = self.what.hours_change(due)
                self._judge()
        return turns

    def step(self, number: int, value: float | None, text: str | None, at: int) -> None:
        """One of its leaves is told a value. `settle` after the last."""
        leaf = self.what.compiled.leaves[number]
        self.held[number], self.memos[number] = leaf.step(  # type: ignore[union-attr]
            self.held[number], self.memos[number], value, text, at
        )

    def settle(self) -> list[Turn]:
        """Draw the consequences of what its leaves hold now."""
        self._judge()
        turns: list[Turn] = []
        while (due := self._deadline()) is not None and due <= self.at:
            turns.append(self._turn())
        return turns

    def stop_clearing(self) -> None:
        """Its device is away: that is no recovery. What it says when it is back counts from then."""
        self.clear_since = None

    def _judge(self) -> None:
        holds = self.counts and self.what.compiled.holds(self.held)
        if self.fired_at is not None:
            self.clear_since = None if holds else self.at if self.clear_since is None else self.clear_since
        elif not holds:
            self.since = None
        elif self.since is None:
            self.since = self.at

    def _turn(self) -> Turn:
        since = self.at if self.since is None else self.since
        if self.fired_at is None:
            self.fired_at = self.at
            return Turn("firing", self.at, since, self.at)
        fired_at = self.fired_at
        self.fired_at = self.since = self.clear_since = None
        return Turn("cleared", self.at, since, fired_at)
