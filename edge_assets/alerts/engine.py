"""What devices say and how time goes by → firings and clearings. Pure and deterministic: no clock, file or network.

The engine is told two things, in the order in which they happen: ticks of a clock (`tick`), and observations
(`observe`), each with its own event time. All it knows can be put away (`changes`) and taken up again (`Saved`) between
any two of them without a difference in what follows.

    presence    is the device there: availability, its network, how long it is usually silent
    series      the last value of a measurement that some rule watches; older observations change nothing
    watch       one rule over one device; the series knows which watches look at it, so that most messages cost nothing
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from edge_assets.alert_record import AlertEvent
from edge_assets.alerts import wording
from edge_assets.alerts.conditions import Offline, compiled
from edge_assets.alerts.durations import SECOND
from edge_assets.alerts.presence import LEARNED_AFTER, Presence
from edge_assets.alerts.rules import Rules
from edge_assets.alerts.watch import RuleInForce, Turn, Watch
from edge_assets.decoding.contract import AVAILABILITY
from edge_assets.listening.heard import STATE, Device, Observation

AWAY = 60 * SECOND
"""between two ticks: whoever drives the engine was away, and heard nothing"""
AHEAD = 300 * SECOND
"""so far may the times of devices be before the clock's; further means that the clock was set back"""
SET_BACK = 10 * SECOND

FIRING, NOTIFIED_OF_FIRING, ACKNOWLEDGED, CLEARED, NOTIFIED_OF_CLEARING = range(1, 6)
"""numbers of events within an alert: always the same, so that an event that is made twice is one"""


class SavedWatch(NamedTuple):
    """A watch as it is put away; the first three say which."""

    rule: str
    kind: str
    device_id: str
    fingerprint: str
    state: dict[str, Any]


@dataclass(slots=True)
class Saved:
    """What an engine knows, or what has changed of it. `gone`: watches that are no more."""

    clock: int = 0
    listening_since: int = 0
    devices: list[Presence] = field(default_factory=list)
    series: list[tuple[Device, str, int, float | None, str | None, str | None]] = field(default_factory=list)
    watches: list[SavedWatch] = field(default_factory=list)
    gone: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Series:
    device: Device
    measurement: str
    at: int | None = None
    value: float | None = None
    text: str | None = None
    unit: str | None = None
    watching: list[tuple[Watch, list[int]]] = field(default_factory=list)


class Engine:
    """`grave` says whether something has changed since the last `changes` that may not be lost."""

    def __init__(self, rules: Rules, saved: Saved | None = None, *, away_after: int = AWAY) -> None:
        saved = saved or Saved()
        self.clock = saved.clock
        self.grave = False
        self._queued = False
        self._listening_since = saved.listening_since
        self._away_after = away_after
        self._devices = {one.device: one for one in saved.devices}
        self._series = {(one[0], one[1]): Series(*one) for one in saved.series}
        self._saved = {(one.rule, Device(one.kind, one.device_id)): one for one in saved.watches}  # type: ignore[arg-type]
        self._watches: dict[Device, dict[str, Watch]] = {}
        self._heap: list[tuple[int, str, str, str, int, Watch]] = []
        self._order = count()
        self._forget_changes()
        self._waiting = self.use(rules)

    # -- what it is told ---------------------------------------------------------------------------------------------

    def tick(self, now: int, listening: bool = True, hold: bool = False) -> list[AlertEvent]:
        """It is now this late. `listening`: what devices say is heard at present. `hold`: nothing becomes due yet,
        since what was said while we were away is still to come."""
        self._queued = False
        if now < self.clock - SET_BACK:
            self._set_back(now)
        if not listening or now - self.clock > self._away_after or now < self.clock - SET_BACK:
            self._listening_since = now
        self.clock = now if now < self.clock - SET_BACK else max(now, self.clock)
        events, self._waiting = self._waiting, []
        while not hold and self._heap and self._heap[0][0] <= self.clock:
            at, *_, watch = heapq.heappop(self._heap)
            if not watch.retired and watch.armed == at:
                watch.armed = None
                events += self._let_happen(watch, at)
        return _in_order(events)

    def observe(
        self, said: Observation, network: str | None = None, *, heard: bool = True, queued: bool = False
    ) -> list[AlertEvent]:
        """A device has said something; the clock has been told before. `network`: the base topic of its Zigbee2MQTT.

        `heard`: it said so just now, which a message that was retained did not. `queued`: it may have waited at the
        broker while we were away, so that nobody knows when between then and now it was said; what was until then
        neither fires nor clears for having lasted, as far as this message contradicts it.
        """
        self._queued = queued
        presence, events = self._known(said.device, said.device_name, network)
        if said.measurement not in presence.measurements:
            presence.measurements.add(said.measurement)
            self._changed(presence, grave=True)
            events += self._match(presence, min(said.event_time, self.clock) if said.stale else said.event_time)
        if heard and not said.stale:
            events += self._heard(presence)
        if said.measurement == _PRESENCE.get(said.device.kind, AVAILABILITY):
            events += self._told(presence, said)
        series = self._series.get((said.device, said.measurement))
        if series is None or said.stale or not said.plausible or not self._news(series, said):
            return _in_order(events)
        series.at, series.value, series.text, series.unit = said.event_time, said.value, said.text, said.unit
        self._dirty_series.add(series)
        for watch, numbers in series.watching:
            events += self._say(watch, numbers, said)
            if watch in self._grave_watches:
                self._grave_series.add(series)  # its words need the value
        return _in_order(events)

    def describe(
        self, device: Device, name: str, measurements: Iterable[str], network: str | None = None
    ) -> list[AlertEvent]:
        """What is known of a device without a word of its own: its network has described it."""
        self._queued = False
        presence, events = self._known(device, name, network)
        if new := set(measurements) - presence.measurements:
            presence.measurements |= new
            self._changed(presence, grave=True)
            events += self._match(presence, self.clock)
        return events

    def use(self, rules: Rules) -> list[AlertEvent]:
        """Go on with these rules. A state whose rule is the same as before stays; an alert whose rule is gone, or means
        its device no longer, is cleared."""
        self._queued = False
        self.rules = rules
        self._in_force = [
            RuleInForce(rule, compiled(rule.condition), rule.fingerprint, rules.time_zone) for rule in rules.in_force
        ]
        for device, watches in self._watches.items():
            self._saved.update({(name, device): _put_away(watch) for name, watch in watches.items()})
            for watch in watches.values():
                watch.retired = True
        before = self._saved
        self._watches = {}
        for series in self._series.values():
            series.watching = []
        self._matched: dict[Device, list[RuleInForce]] = {}
        events = [event for presence in list(self._devices.values()) for event in self._match(presence, self.clock)]
        for (name, device), state in list(before.items()):
            events += self._let_go(name, device, state)
        self._saved = {}
        self._series = {key: series for key, series in self._series.items() if series.watching}
        return events

    # -- what it knows -----------------------------------------------------------------------------------------------

    def changes(self, everything: bool = True) -> Saved:
        """What has changed since it was last asked; or only what may not be lost of it, and the rest another time."""
        devices = self._dirty_devices if everything else self._grave_devices
        watches = self._dirty_watches if everything else self._grave_watches
        series = self._dirty_series if everything else self._grave_series
        saved = Saved(
            self.clock,
            self._listening_since,
            list(devices),
            [(one.device, one.measurement, one.at, one.value, one.text, one.unit) for one in series],  # type: ignore[misc]
            [_put_away(watch) for watch in watches if not watch.retired],
            list(self._gone),
        )
        if everything:
            self._forget_changes()
        else:
            self._forget_what_is_grave()
        return saved

    @property
    def devices(self) -> list[Presence]:
        return list(self._devices.values())

    def meant(self) -> dict[str, list[Presence]]:
        """Rule → the devices that it watches now."""
        found: dict[str, list[Presence]] = {one.rule.name: [] for one in self._in_force}
        for device, watches in self._watches.items():
            for name in watches:
                found[name].append(self._devices[device])
        return found

    # -- values ------------------------------------------------------------------------------------------------------

    def _news(self, series: Series, said: Observation) -> bool:
        """Whether an observation is later than what is known. At the same time, another value is: clocks of devices
        that tell seconds have doors that open and close within one."""
        if series.at is None or said.event_time > series.at:
            return True
        return said.event_time == series.at and (said.value, said.text) != (series.value, series.text)

    def _say(self, watch: Watch, numbers: list[int], said: Observation) -> list[AlertEvent]:
        def step(watch: Watch) -> None:
            watch.at = max(watch.at, said.event_time)
            for number in numbers:
                watch.step(number, said.value, said.text, said.event_time)

        return self._let(watch, said.event_time, step)

    def _let(self, watch: Watch, at: int, change: Callable[[Watch], None]) -> list[AlertEvent]:
        """Let time pass for a watch, change something, and draw the consequences."""
        before = watch.grave
        turns = [] if self._queued else watch.pass_to(at)
        # What was due until then happened with the values of then: its words are made now, before the change.
        events = [self._event(watch, turn) for turn in turns]
        change(watch)
        events += [self._event(watch, turn) for turn in watch.settle()]
        self._dirty_watches.add(watch)
        if events or watch.grave != before:
            self.grave = True
            self._grave_watches.add(watch)
        self._arm(watch)
        return events

    def _let_happen(self, watch: Watch, at: int) -> list[AlertEvent]:
        """What a watch is due by now: perhaps nothing, since what it was armed for has been put off."""
        due = self._due(watch)
        if due is not None and due <= at:
            return self._let(watch, at, partial(self._look_for, at=at))
        self._arm(watch)
        return []

    def _arm(self, watch: Watch) -> None:
        due = self._due(watch)
        if due is not None and (watch.armed is None or due < watch.armed):
            watch.armed = due
            heapq.heappush(self._heap, (due, *watch.key, next(self._order), watch))

    def _due(self, watch: Watch) -> int | None:
        return min((at for at in (watch.due(), self._silence_due(watch)) if at is not None), default=None)

    # -- presence ----------------------------------------------------------------------------------------------------

    def _heard(self, presence: Presence) -> list[AlertEvent]:
        if presence.heard_at == self.clock:
            return []
        presence.heard(self.clock, self._listened_since(presence))
        self._dirty_devices.add(presence)
        if presence.silences == LEARNED_AFTER:
            for watch in self._of_presence(presence):
                self._arm(watch)
        silent = [watch for watch in self._of_presence(presence) if any(map(watch.held.__getitem__, _presence(watch)))]
        return self._look(silent, self.clock)

    def _told(self, presence: Presence, said: Observation) -> list[AlertEvent]:
        """Its availability. What was retained is what holds, and news only where it says something else."""
        available = None if said.value is None else bool(said.value)
        if available is None or (said.stale and available == presence.available):
            return []
        at = said.event_time
        if at < presence.told_at or (at == presence.told_at and available == presence.available):
            return []
        changed, presence.told_at = available != presence.available, at
        self._changed(presence, grave=changed)
        if not changed:
            return []
        presence.available, presence.changed_at = available, at
        concerned = [presence]
        if presence.device.kind == "bridge":
            concerned += [one for one in self._devices.values() if one.network == presence.device.device_id]
        events = []
        for one in concerned:
            events += self._look(self._of_presence(one), at)
            if not available:
                self._stop_clearing(one)
        return events

    def _stop_clearing(self, presence: Presence) -> None:
        for watch in self._watches.get(presence.device, {}).values():
            if watch.clear_since is not None and not _presence(watch):
                watch.stop_clearing()
                self._dirty_watches.add(watch)
                self._grave_watches.add(watch)
                self.grave = True

    def _look(self, watches: list[Watch], at: int) -> list[AlertEvent]:
        def look(watch: Watch) -> None:
            watch.at = max(watch.at, at)
            self._look_for(watch, at)

        return [event for watch in watches for event in self._let(watch, at, look)]

    def _look_for(self, watch: Watch, at: int) -> None:
        """Set those of its leaves that look at whether the device is there."""
        presence = self._devices[watch.device]
        for number in _presence(watch):
            leaf = watch.what.compiled.leaves[number]
            assert isinstance(leaf, Offline)
            if self._network_is_away(presence):
                # One alert for the network: what fires goes on, nothing new begins.
                if watch.fired_at is None:
                    watch.held[number], watch.memos[number] = False, None
            elif presence.available is not None:
                watch.held[number], watch.memos[number] = not presence.available, None
            elif watch.held[number] and watch.memos[number] is not None:
                # A silence ends with a word, and not by our own absence.
                watch.held[number] = presence.heard_at == watch.memos[number]
            else:
                begins = self._silent_from(presence, leaf)
                watch.held[number] = begins is not None and begins <= at
                watch.memos[number] = presence.heard_at if watch.held[number] else None
                if begins is not None and watch.held[number]:
                    watch.at = max(watch.at, begins)

    def _silence_due(self, watch: Watch) -> int | None:
        presence = self._devices[watch.device]
        if presence.available is not None or self._network_is_away(presence):
            return None
        leaves = watch.what.compiled.leaves
        begins = [self._silent_from(presence, leaves[n]) for n in _presence(watch) if not watch.held[n]]  # type: ignore[arg-type]
        return min((at for at in begins if at is not None), default=None)

    def _silent_from(self, presence: Presence, leaf: Offline) -> int | None:
        return presence.silent_from(self._listened_since(presence), leaf.silence_times, leaf.silence_at_least)

    def _listened_since(self, presence: Presence) -> int:
        """Since when nothing that it said can have been missed: we were there, and so was its network."""
        network = self._network_of(presence)
        return max(self._listening_since, network.changed_at if network and network.available else 0)

    def _network_of(self, presence: Presence) -> Presence | None:
        return self._devices.get(Device("bridge", presence.network)) if presence.network is not None else None

    def _network_is_away(self, presence: Presence) -> bool:
        network = self._network_of(presence)
        return network is not None and network.available is False

    def _of_presence(self, presence: Presence) -> list[Watch]:
        return [watch for watch in self._watches.get(presence.device, {}).values() if _presence(watch)]

    # -- which rule means which device -------------------------------------------------------------------------------

    def _known(self, device: Device, name: str, network: str | None) -> tuple[Presence, list[AlertEvent]]:
        network = None if device.kind == "bridge" else network  # it is one, and belongs to none
        presence = self._devices.get(device)
        if presence is None:
            presence = self._devices[device] = Presence(device, name, network)
            self._changed(presence, grave=True)
            return presence, self._match(presence, self.clock)
        if presence.network != network and network is not None:
            presence.network = network
            self._changed(presence, grave=True)
        if presence.name == name or not name:
            return presence, []
        presence.name = name
        self._changed(presence, grave=True)
        return presence, self._renamed(presence)

    def _renamed(self, presence: Presence) -> list[AlertEvent]:
        self._matched.pop(presence.device, None)
        meant = {one.rule.name for one in self._meaning(presence)}
        events = []
        for name, watch in list(self._watches.get(presence.device, {}).items()):
            if name not in meant:
                events += self._let_go(name, presence.device, _put_away(watch))
                watch.retired = True
                del self._watches[presence.device][name]
        for series in self._series.values():
            if series.device == presence.device:
                series.watching = [(watch, numbers) for watch, numbers in series.watching if not watch.retired]
        return events + self._match(presence, self.clock)

    def _meaning(self, presence: Presence) -> list[RuleInForce]:
        found = self._matched.get(presence.device)
        if found is None:
            found = [one for one in self._in_force if one.rule.means(*presence.device, presence.name)]
            self._matched[presence.device] = found
        return found

    def _match(self, presence: Presence, at: int) -> list[AlertEvent]:
        """Begin to watch a device under each rule that means it and does not yet."""
        watches = self._watches.setdefault(presence.device, {})
        events = []
        for one in self._meaning(presence):
            if one.rule.name in watches or (one.rule.having and one.rule.having not in presence.measurements):
                continue
            if one.compiled.of_presence or one.compiled.measurements & presence.measurements:
                events += self._begin(one, presence, at)
        return events

    def _begin(self, what: RuleInForce, presence: Presence, at: int) -> list[AlertEvent]:
        saved = self._saved.pop((what.rule.name, presence.device), None)
        same = saved is not None and saved.fingerprint == what.fingerprint
        watch = Watch(what, presence.device, saved.state["at"] if saved and same else at)
        self._watches[presence.device][what.rule.name] = watch
        self._dirty_watches.add(watch)
        self._grave_watches.add(watch)
        self.grave = True
        for measurement in what.compiled.measurements:
            series = self._series.setdefault((presence.device, measurement), Series(presence.device, measurement))
            leaves = what.compiled.leaves
            series.watching.append((watch, [n for n, leaf in enumerate(leaves) if leaf.measurement == measurement]))
        if saved and same:
            _take_up(watch, saved.state)
            self._arm(watch)
            return []
        if saved:
            watch.since, watch.fired_at = saved.state["since"], saved.state["fired_at"]
            watch.held = [watch.fired_at is not None] * len(watch.held)
        return self._let(watch, at, lambda watch: self._from_what_is_known(watch, at))

    def _from_what_is_known(self, watch: Watch, at: int) -> None:
        for number, leaf in enumerate(watch.what.compiled.leaves):
            if leaf.measurement is None:
                continue
            series = self._series[(watch.device, leaf.measurement)]
            if series.at is not None:
                watch.step(number, series.value, series.text, series.at)
        self._look_for(watch, at)

    def _let_go(self, name: str, device: Device, saved: SavedWatch) -> list[AlertEvent]:
        """A rule no longer watches a device: its alert, if there is one, is cleared."""
        self._gone.append((name, *device))
        self._saved.pop((name, device), None)
        self.grave = True
        fired_at, since = saved.state["fired_at"], saved.state["since"]
        if fired_at is None:
            return []
        at = max(self.clock, fired_at)
        return [
            AlertEvent(
                **_identity(name, device, since, fired_at, CLEARED),
                transition="cleared",
                severity=saved.state["severity"],
                device_name=self._devices[device].name if device in self._devices else device.device_id,
                measurement=saved.state["measurement"],
                value=None,
                unit=None,
                since=since,
                event_time=at,
                message=f"the rule {name} no longer means this device",
            )
        ]

    # -- events and changes ------------------------------------------------------------------------------------------

    def _event(self, watch: Watch, turn: Turn) -> AlertEvent:
        rule, presence = watch.what.rule, self._devices[watch.device]
        measurement = _measurement(watch)
        series = self._series.get((watch.device, measurement)) if measurement else None
        value, text, unit = (series.value, series.text, series.unit) if series else (None, None, None)
        number = FIRING if turn.transition == "firing" else CLEARED
        return AlertEvent(
            **_identity(rule.name, watch.device, turn.since, turn.fired_at, number),
            transition=turn.transition,
            severity=rule.severity,
            device_name=presence.name,
            measurement=measurement,
            value=value,
            unit=unit,
            since=turn.since,
            event_time=turn.at,
            message=wording.message(
                rule,
                turn.transition,
                device=presence.name or presence.device.device_id,
                measurement=measurement,
                value=text if value is None else value,
                unit=unit,
                since=turn.since,
                at=turn.at,
                time_zone=watch.what.time_zone,
            ),
        )

    def _set_back(self, now: int) -> None:
        """The clock was ahead, and what was heard meanwhile has times that are still to come: it happened just now."""
        for series in self._series.values():
            if series.at is not None and series.at > now + AHEAD:
                series.at = now
                self._dirty_series.add(series)
        for presence in self._devices.values():
            presence.told_at, presence.changed_at = min(presence.told_at, now), min(presence.changed_at, now)
            presence.heard_at = None if presence.heard_at is None else min(presence.heard_at, now)
            self._changed(presence, grave=True)
        for watch in self._all_watches():
            watch.at = min(watch.at, now)
            watch.since = None if watch.since is None else min(watch.since, now)
            watch.clear_since = None if watch.clear_since is None else min(watch.clear_since, now)
            watch.hours_end, watch.counts = watch.what.hours_change(now), watch.what.counts(now)
            self._dirty_watches.add(watch)
            self._arm(watch)

    def _all_watches(self) -> Iterator[Watch]:
        for watches in self._watches.values():
            yield from watches.values()

    def _changed(self, presence: Presence, grave: bool) -> None:
        self._dirty_devices.add(presence)
        if grave:
            self._grave_devices.add(presence)
            self.grave = True

    def _forget_changes(self) -> None:
        self._dirty_devices: set[Presence] = set()
        self._dirty_series: set[Series] = set()
        self._dirty_watches: set[Watch] = set()
        self._forget_what_is_grave()

    def _forget_what_is_grave(self) -> None:
        self.grave = False
        self._grave_devices: set[Presence] = set()
        self._grave_series: set[Series] = set()
        self._grave_watches: set[Watch] = set()
        self._gone: list[tuple[str, str, str]] = []


_PRESENCE = {"bridge": STATE}


def _presence(watch: Watch) -> tuple[int, ...]:
    return watch.what.compiled.of_presence


def _measurement(watch: Watch) -> str | None:
    return watch.what.compiled.leaves[0].measurement


def _in_order(events: list[AlertEvent]) -> list[AlertEvent]:
    """By time, and then by names: however the watches lie in memory. Those of one watch stay in their order."""
    return sorted(events, key=lambda event: (event.event_time, event.rule, event.kind, event.device_id))


def _identity(rule: str, device: Device, since: int, fired_at: int, number: int) -> dict[str, Any]:
    """Of an event: the same whenever it is computed."""
    said = "\0".join((rule, *device, str(since), str(fired_at)))
    alert_id = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return {
        "event_id": f"{alert_id}-{number}",
        "alert_id": alert_id,
        "rule": rule,
        "kind": device.kind,
        "device_id": device.device_id,
    }


def _put_away(watch: Watch) -> SavedWatch:
    state = {name: getattr(watch, name) for name in ("at", "held", "memos", "since", "fired_at", "clear_since")}
    state |= {"severity": watch.what.rule.severity, "measurement": _measurement(watch)}
    return SavedWatch(*watch.key, watch.what.fingerprint, state)


def _take_up(watch: Watch, state: dict[str, Any]) -> None:
    watch.held, watch.memos = list(state["held"]), list(state["memos"])
    watch.since, watch.fired_at, watch.clear_since = state["since"], state["fired_at"], state["clear_since"]
