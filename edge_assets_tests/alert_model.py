"""What the alerter's tests share: observations by hand, and the alerter as a naive model.

The model knows rules as the documents tell them, and nothing of the engine's: for each rule and device it goes over the
whole trace from the beginning, microsecond by microsecond of what was told, keeps everything it has heard, and asks of
each moment anew what is true. It has no timers, no index, no state to put away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from edge_assets.listening.heard import Device, Observation

SECOND = 1_000_000
MINUTE = 60 * SECOND


@dataclass(frozen=True)
class Tick:
    now: int
    listening: bool = True


@dataclass(frozen=True)
class Said:
    """An observation, the clock at its arrival, and its network."""

    observation: Observation
    clock: int
    network: str | None = None
    heard: bool = True


Input = Tick | Said
Told = tuple[str, str, str, str, int, int]
"""rule, kind, device, transition, when, since"""


def observation(
    device: str,
    measurement: str,
    value: float | None,
    at: int,
    *,
    kind: str = "device",
    text: str | None = None,
    quality: str = "good",
    received_at: int | None = None,
    stale: bool = False,
    name: str | None = None,
    unit: str | None = None,
) -> Observation:
    told = at if received_at is None else received_at
    who = Device(kind, device)  # type: ignore[arg-type]
    return Observation(who, name or device, None, measurement, value, text, unit, quality, at, told, stale)


def expected(rules: Sequence[dict[str, Any]], trace: Sequence[Input]) -> list[Told]:
    """All firings and clearings of the trace, sorted."""
    devices = {
        (one.observation.device.kind, one.observation.device.device_id) for one in trace if isinstance(one, Said)
    }
    told = []
    for rule in rules:
        for kind, device in sorted(devices):
            if kind in rule.get("kind", ["device", "room"]) and fnmatchcase(device, rule.get("devices", "*")):
                told += [(rule["name"], kind, device, *one) for one in _one(rule, kind, device, trace)]
    return sorted(told)


class _Mind:
    """All that was ever heard of one device, asked for what is true now."""

    def __init__(self, kind: str, device: str) -> None:
        self.kind, self.device = kind, device
        self.values: dict[str, list[tuple[int, float | None, str | None]]] = {}
        self.level_held: dict[int, bool] = {}
        self.stuck: dict[int, bool] = {}
        self.changed: dict[int, bool] = {}
        self.available: bool | None = None
        self.told_at = 0
        self.back_at = 0
        self.network: str | None = None
        self.network_up: dict[str, tuple[bool, int]] = {}
        self.network_told: dict[str, tuple[int, bool]] = {}
        self.heard: list[int] = []
        self.silences: list[tuple[int, int]] = []
        self.listening_since = 0
        self.clock = 0

    def network_away(self) -> bool:
        return self.network in self.network_up and not self.network_up[self.network][0]

    def listened_since(self) -> int:
        up, since = self.network_up.get(self.network or "", (False, 0))
        return max(self.listening_since, since if up else 0)

    def longest(self) -> int | None:
        longest, count = 0, 0
        for _, silence in self.silences:
            longest = max(silence, longest - longest // 256)
            count += 1
        return longest if count >= 20 else None


def _one(rule: dict[str, Any], kind: str, device: str, trace: Sequence[Input]) -> list[tuple[str, int, int]]:
    return _Run(rule, kind, device).over(trace)


class _Run:
    """One rule over one device and one trace."""

    def __init__(self, rule: dict[str, Any], kind: str, device: str) -> None:
        self.rule, self.mind = rule, _Mind(kind, device)
        self.leaves = list(_leaves(rule["condition"]))
        self.holds = [False] * len(self.leaves)
        self.silent_since_heard: list[int | None] = [None] * len(self.leaves)
        self.begun = False
        self.at = 0
        self.since: int | None = None
        self.firing = False
        self.clear_since: int | None = None
        self.in_hours = True
        self.known: set[str] = set()
        self.out: list[tuple[str, int, int]] = []

    def over(self, trace: Sequence[Input]) -> list[tuple[str, int, int]]:
        for one in trace:
            now = one.now if isinstance(one, Tick) else one.clock
            self._clock(now, one.listening if isinstance(one, Tick) else True)
            if isinstance(one, Said):
                self._hear(one)
        return self.out

    # the passing of time: everything that is due by itself, in the order in which it is

    def _clock(self, now: int, listening: bool) -> None:
        if not listening or now - self.mind.clock > 60 * SECOND:
            self.mind.listening_since = now
        self.mind.clock = max(self.mind.clock, now)
        while self.begun:
            due = [at for at in (self._by_itself(), self._silence_begins()) if at is not None and at <= self.mind.clock]
            if not due:
                return
            at = min(due)
            if self._by_itself() == at:
                self._happen(at)
            else:
                self.at = max(self.at, at)
            self._see_presence(at)
            self._judge()

    def _by_itself(self) -> int | None:
        found = [at for at in (self._deadline(), self._hours_change()) if at is not None]
        return min(found, default=None)

    def _deadline(self) -> int | None:
        if self.firing:
            return None if self.clear_since is None else self.clear_since + self.rule.get("clear_after", 0)
        return None if self.since is None else self.since + self.rule.get("for", 0)

    def _hours_change(self) -> int | None:
        if "when" not in self.rule:
            return None
        return _change(*self.rule["when"], self.at // MINUTE, self.in_hours)

    def _within(self, at: int) -> bool:
        return _within(*self.rule["when"], at // MINUTE)

    def _happen(self, at: int) -> None:
        self.at = max(self.at, at)
        if self._deadline() == at:
            self._turn()
        else:
            self.in_hours = not self.in_hours
            self._judge(instantly=False)

    def _turn(self) -> None:
        assert self.since is not None
        self.out.append(("cleared" if self.firing else "firing", self.at, self.since))
        if self.firing:
            self.since = self.clear_since = None
        self.firing = not self.firing

    def _judge(self, instantly: bool = True) -> None:
        true = self.in_hours and _truth(self.rule["condition"], iter(self.holds))
        if self.firing:
            if true:
                self.clear_since = None
            elif self.clear_since is None:
                self.clear_since = self.at
        elif not true:
            self.since = None
        elif self.since is None:
            self.since = self.at
        while instantly and (deadline := self._deadline()) is not None and deadline <= self.at:
            self._turn()

    # what is said

    def _hear(self, one: Said) -> None:
        said, mind = one.observation, self.mind
        if said.device.kind == "bridge" and said.measurement == "state" and said.device.device_id == mind.network:
            self._network(said)
        elif said.device.kind == "bridge" and said.measurement == "state":
            self._note_network(said)
        if (said.device.kind, said.device.device_id) != (mind.kind, mind.device):
            return
        mind.network = one.network or mind.network
        self.known.add(said.measurement)
        self._begin(said)
        if one.heard and not said.stale:
            self._heard()
        if said.measurement == ("state" if mind.kind == "bridge" else "availability"):
            self._availability(said)
        if said.stale or "implausible" in said.quality:
            return
        values = mind.values.setdefault(said.measurement, [])
        if values and (said.event_time, said.value, said.text) == (values[-1][0], values[-1][1], values[-1][2]):
            return
        if values and said.event_time < values[-1][0]:
            return
        if not any(leaf.get("measurement") == said.measurement for leaf in self.leaves):
            return
        values.append((said.event_time, said.value, said.text))
        self._pass(said.event_time)
        for number, leaf in enumerate(self.leaves):
            if leaf.get("measurement") == said.measurement:
                self.holds[number] = _leaf(leaf, self.holds[number], values)
        self.at = max(self.at, said.event_time)
        self._judge()

    def _begin(self, said: Observation) -> None:
        if self.begun:
            return
        watched = {leaf["measurement"] for leaf in self.leaves if "measurement" in leaf}
        presence = any("offline" in leaf for leaf in self.leaves)
        if not presence and not watched & self.known:
            return
        self.begun = True
        at = self.mind.clock if presence else min(said.event_time, self.mind.clock) if said.stale else said.event_time
        self.at = at
        self.in_hours = "when" not in self.rule or self._within(at)
        self._see_presence(at)
        self._judge()

    def _pass(self, at: int) -> None:
        while (due := self._by_itself()) is not None and due <= at:
            self._happen(due)

    # whether it is there

    def _heard(self) -> None:
        mind = self.mind
        if mind.heard and mind.heard[-1] == mind.clock:
            return
        if mind.heard and mind.heard[-1] >= mind.listened_since():
            mind.silences.append((mind.clock, mind.clock - mind.heard[-1]))
        mind.heard.append(mind.clock)
        if any(self.holds[n] for n, leaf in enumerate(self.leaves) if "offline" in leaf):
            self._look(mind.clock)

    def _availability(self, said: Observation) -> None:
        mind, up = self.mind, None if said.value is None else bool(said.value)
        if up is None or (said.stale and up == mind.available):
            return
        if said.event_time < mind.told_at or (said.event_time == mind.told_at and up == mind.available):
            return
        changed, mind.told_at = up != mind.available, said.event_time
        if changed:
            mind.available = up
            self._look(said.event_time)
            if not up:
                self._away()

    def _note_network(self, said: Observation) -> bool:
        name, up = said.device.device_id, bool(said.value)
        at, before = self.mind.network_told.get(name, (0, None))  # type: ignore[assignment]
        if said.event_time < at or (said.event_time == at and up == before):
            return False
        self.mind.network_told[name] = (said.event_time, up)
        if up == before:
            return False
        self.mind.network_up[name] = (up, said.event_time)
        return True

    def _network(self, said: Observation) -> None:
        if self._note_network(said):
            self._look(said.event_time)
            if not said.value:
                self._away()

    def _away(self) -> None:
        if not any("offline" in leaf for leaf in self.leaves):
            self.clear_since = None

    def _look(self, at: int) -> None:
        if not self.begun or not any("offline" in leaf for leaf in self.leaves):
            return
        self._pass(at)
        self.at = max(self.at, at)
        self._see_presence(at)
        self._judge()

    def _see_presence(self, at: int) -> None:
        mind = self.mind
        for number, leaf in enumerate(self.leaves):
            if "offline" not in leaf:
                continue
            if mind.network_away():
                if not self.firing:
                    self.holds[number], self.silent_since_heard[number] = False, None
            elif mind.available is not None:
                self.holds[number], self.silent_since_heard[number] = not mind.available, None
            elif self.holds[number] and self.silent_since_heard[number] is not None:
                self.holds[number] = mind.heard[-1] == self.silent_since_heard[number]
            else:
                begins = self._silent_from(leaf)
                self.holds[number] = begins is not None and begins <= at
                self.silent_since_heard[number] = mind.heard[-1] if self.holds[number] else None

    def _silent_from(self, leaf: dict[str, Any]) -> int | None:
        longest = self.mind.longest()
        if self.mind.available is not None or longest is None or not leaf["times"]:
            return None
        return max(self.mind.heard[-1], self.mind.listened_since()) + max(
            leaf["at_least"], round(leaf["times"] * longest)
        )

    def _silence_begins(self) -> int | None:
        if self.mind.network_away():
            return None
        found = [
            self._silent_from(leaf) for n, leaf in enumerate(self.leaves) if "offline" in leaf and not self.holds[n]
        ]
        return min((at for at in found if at is not None), default=None)


@cache
def _change(begin: str, end: str, minute: int, now: bool) -> int | None:
    later = range(minute + 1, minute + 3 * 24 * 60)
    return next((each * MINUTE for each in later if _within(begin, end, each) != now), None)


@cache
def _within(begin: str, end: str, minute: int) -> bool:
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)).astimezone(ZoneInfo("Europe/Berlin"))
    said = f"{local:%H:%M}"
    return begin <= said < end if begin < end else said >= begin or said < end


def _leaves(condition: dict[str, Any]) -> Any:
    for word in ("all", "any"):
        if word in condition:
            for part in condition[word]:
                yield from _leaves(part)
            return
    yield condition


def _truth(condition: dict[str, Any], holds: Any) -> bool:
    for word, join in (("all", all), ("any", any)):
        if word in condition:
            return join([_truth(part, holds) for part in condition[word]])
    return next(holds)


def _leaf(leaf: dict[str, Any], held: bool, heard: list[tuple[int, float | None, str | None]]) -> bool:
    """Of all that was ever heard of the measurement: whether the leaf holds now."""
    at, value, text = heard[-1]
    if "equals" in leaf:
        return (text if isinstance(leaf["equals"], str) else value) == leaf["equals"]
    if "unchanged_for" in leaf:
        first = at
        for when, was, words in reversed(heard):
            if (was, words) != (value, text):
                break
            first = when
        return at - first >= leaf["unchanged_for"]
    if value is None:
        return held
    if "above" in leaf:
        return value > leaf["above"] or (held and value > leaf.get("clear", leaf["above"]))
    if "below" in leaf:
        return value < leaf["below"] or (held and value < leaf.get("clear", leaf["below"]))
    size = leaf["within"] // 64
    window = [was for when, was, _ in heard if was is not None and at // size - 64 < when // size <= at // size]
    risen, fallen = value - min(window), max(window) - value
    return (risen >= leaf["by"] and leaf["rises"]) or (fallen >= leaf["by"] and leaf["falls"])
