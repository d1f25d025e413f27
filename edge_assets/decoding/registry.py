"""The registry of devices: who has which name, since when, and what each of its measurements is.

It is fed by `bridge/devices` and `bridge/groups`, each of which tells the whole state of one network. The registry
keeps every state, valid from/to by received time (a slowly changing dimension of type 2), so that a record is
always decoded by what was true when it was received, however often it is decoded again. A few hundred rows that
change a few times a day: plain Python, and never per reading.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

from edge_assets.decoding import contract
from edge_assets.settings import Route

TYPES = ("numeric", "binary", "enum", "text")
EVER = -(2**63)
"""Before all times: where a name has its owner since ever."""

Exposes = dict[str, dict[str, Any]]
"""measurement → type, unit, value_on, value_off, value_min, value_max"""


@dataclass(frozen=True, slots=True)
class Source:
    """The record that told it: position, and received time in microseconds since 1970 UTC."""

    log_id: str
    kafka_topic: str
    kafka_partition: int
    kafka_offset: int
    received_at: int

    def is_later_than(self, other: Source) -> bool:
        """By the log's own order where it is one partition: a clock that was set back must not hide a rename."""
        if self._place == other._place:
            return self.kafka_offset > other.kafka_offset
        return self.received_at > other.received_at

    @property
    def _place(self) -> tuple[str, str, int]:
        return self.log_id, self.kafka_topic, self.kafka_partition


@dataclass(frozen=True, slots=True)
class Entry:
    """One state of one device or group, as in `silver.devices`; times as in `Source`."""

    base_topic: str
    device_id: str
    device_name: str
    kind: str
    model: str | None
    vendor: str | None
    description: str | None
    exposes: Exposes
    valid_from: int | None
    valid_to: int | None
    source: Source

    @property
    def what(self) -> tuple[Any, ...]:
        """What the network said, without when: equal means nothing new."""
        return self.device_name, self.kind, self.model, self.vendor, self.description, self.exposes

    def is_valid(self, at: int) -> bool:
        return (self.valid_from is None or self.valid_from <= at) and (self.valid_to is None or at < self.valid_to)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a name is from `since` until `until` (microseconds, `until` excluded; None: since ever, until further
    notice). `entry` is the number of the entry in the registry."""

    base_topic: str
    name: str
    entry: int
    since: int | None
    until: int | None


@dataclass(frozen=True, slots=True)
class Property:
    """What a device says of one of its measurements, and which of its values are plausible (None: any)."""

    type: str
    unit: str | None
    value_on: str | None
    value_off: str | None
    value_min: float | None
    value_max: float | None
    plausible_min: float | None
    plausible_max: float | None


class BadRegistry(ValueError):
    """A `bridge/devices` or `bridge/groups` that is not what Zigbee2MQTT writes: its record is a dead letter."""


class Registry:
    """All entries known, in the order in which they were told. `apply` returns a new registry."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries = tuple(entries)
        self._properties: dict[tuple[int, str], Property] = {}

    def apply(self, key: str, payload: bytes, source: Source) -> Self:
        """The registry after a record on `<base>/bridge/devices` or `<base>/bridge/groups`.

        Applying a record twice, or one older than what is known, changes nothing: the same registry returns.
        Raises `BadRegistry`.
        """
        base, _, sort = key.rpartition("/bridge/")
        told = {entry.device_id: entry for entry in _told(base, sort, payload, source)}
        mine = [e for e in self.entries if e.base_topic == base and (e.kind == "group") == (sort == "groups")]
        if not all(source.is_later_than(e.source) for e in mine):
            return self
        current = {e.device_id: e for e in mine if e.valid_to is None}
        changed = {i for i, entry in told.items() if i not in current or current[i].what != entry.what}
        gone = current.keys() - told.keys()
        if not changed and not gone:
            return self
        # What is told later is valid later, also where the clock went back in between.
        known = (at for e in mine for at in (e.source.received_at, e.valid_from, e.valid_to) if at is not None)
        since = max([source.received_at, *(at + 1 for at in known)])
        ended = {id(current[i]) for i in (changed | gone) if i in current}
        kept = tuple(replace(e, valid_to=since) if id(e) in ended else e for e in self.entries)
        return type(self)((*kept, *(self._dated(told[i], since) for i in sorted(changed))))

    def _dated(self, entry: Entry, since: int) -> Entry:
        """A name's first owner has it since ever: its readings may have come before its description."""
        owned = (entry.base_topic, entry.device_name) in self.names()
        return replace(entry, valid_from=since if owned else None)

    def names(self) -> set[tuple[str, str]]:
        """(base topic, name) of all that have ever had one."""
        return {(e.base_topic, e.device_name) for e in self.entries}

    def owners(self) -> Iterator[Owner]:
        """Each name's owners, one at a time: where two claim it (a device and a group, for an instant between two
        messages), it is whose claim was told last."""
        claims: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, entry in enumerate(self.entries):
            claims[entry.base_topic, entry.device_name].append(number)
        for (base, name), numbers in claims.items():
            for number, since, until in self._shared_out(numbers):
                yield Owner(base, name, number, since, until)

    def _shared_out(self, numbers: list[int]) -> Iterator[tuple[int, int | None, int | None]]:
        ends = {at for n in numbers for at in (self.entries[n].valid_from, self.entries[n].valid_to) if at is not None}
        cuts = sorted({EVER, *ends})
        for since, until in zip(cuts, [*cuts[1:], None], strict=True):
            if valid := [n for n in numbers if self.entries[n].is_valid(since)]:
                yield valid[-1], None if since == EVER else since, until

    def owner(self, base: str, name: str, at: int) -> tuple[int, Entry] | None:
        """The entry (with its number) that has the name at that time; None: nobody is known to."""
        owners = self._by_name.get((base, name), [])
        position = bisect_right(owners, at, key=lambda o: EVER if o.since is None else o.since) - 1
        if position < 0 or ((until := owners[position].until) is not None and until <= at):
            return None
        number = owners[position].entry
        return number, self.entries[number]

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], list[Owner]]:
        found: dict[tuple[str, str], list[Owner]] = defaultdict(list)
        for owner in self.owners():
            found[owner.base_topic, owner.name].append(owner)
        return dict(found)

    def property(self, entry: int, measurement: str) -> Property | None:
        place = entry, measurement
        if place not in self._properties:
            about = self.entries[entry].exposes.get(measurement)
            if about is None:
                return None  # not remembered: a device may say anything
            self._properties[place] = _with_plausible_range(about)
        return self._properties[place]

    def properties(self) -> Iterator[tuple[int, str, Property]]:
        """(number of the entry, measurement, property) of all that was ever described."""
        for number, entry in enumerate(self.entries):
            for measurement, about in entry.exposes.items():
                yield number, measurement, _with_plausible_range(about)


def bare_properties(routes: Iterable[Route]) -> Iterator[tuple[int, str, Property]]:
    """The same of bare topics, whose units the routes tell: their patterns are numbered -1, -2, …"""
    patterns = (route for route in routes if route.pattern)
    for index, route in enumerate(patterns):
        for measurement, unit in route.units.items():
            told = {
                "type": "numeric",
                "unit": unit,
                **dict.fromkeys(("value_on", "value_off", "value_min", "value_max")),
            }
            yield -1 - index, measurement, _with_plausible_range(told)


def _with_plausible_range(about: dict[str, Any]) -> Property:
    """What the device declares goes before what its unit allows, where it is the wider of the two."""
    low, high = contract.RANGE_BY_UNIT.get(about["unit"] or "", (None, None))
    if low is not None and about["value_min"] is not None:
        low = min(low, about["value_min"])
    if high is not None and about["value_max"] is not None:
        high = max(high, about["value_max"])
    return Property(**about, plausible_min=_number(low), plausible_max=_number(high))


# -- what Zigbee2MQTT writes ---------------------------------------------------------------------------------------


def _told(base: str, sort: str, payload: bytes, source: Source) -> Iterator[Entry]:
    try:
        listed = json.loads(payload.decode("utf-8"))
        if not isinstance(listed, list):
            raise BadRegistry(f"{base}/bridge/{sort}: expected a list, got {type(listed).__name__}")
        for item in listed:
            yield (_group if sort == "groups" else _device)(base, item, source)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise BadRegistry(f"{base}/bridge/{sort}: {error!r}") from error


def _group(base: str, item: dict[str, Any], source: Source) -> Entry:
    name, number = _name(item["friendly_name"]), item["id"]
    if not isinstance(number, int):
        raise ValueError(f"a group's id is a number, not {number!r}")
    return Entry(base, f"group:{number}", name, "group", None, None, None, {}, None, None, source)


def _device(base: str, item: dict[str, Any], source: Source) -> Entry:
    definition = item.get("definition") or {}
    kind = "coordinator" if item.get("type") == "Coordinator" else "device"
    return Entry(
        base,
        _name(item["ieee_address"]),
        _name(item["friendly_name"]),
        kind,
        _text(definition.get("model")) or _text(item.get("model_id")),
        _text(definition.get("vendor")) or _text(item.get("manufacturer")),
        _text(definition.get("description")),
        dict(_exposes(definition.get("exposes") or [], "")),
        None,
        None,
        source,
    )


def _exposes(features: list[dict[str, Any]], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measurements by flattened name. A composite's features lie below its property; those of a light, switch,
    cover, lock, fan or climate lie beside it."""
    for feature in features:
        own = _text(feature.get("property")) or _text(feature.get("name")) or ""
        if "features" in feature:
            below = f"{prefix}{own}." if feature.get("type") == "composite" and own else prefix
            yield from _exposes(feature["features"], below)
        elif own:
            yield prefix + own, _about(feature)


def _about(feature: dict[str, Any]) -> dict[str, Any]:
    kind = feature.get("type")
    return {
        "type": kind if kind in TYPES else "other",
        "unit": _text(feature.get("unit")) or None,
        "value_on": _as_in_payload(feature.get("value_on")),
        "value_off": _as_in_payload(feature.get("value_off")),
        "value_min": _number(feature.get("value_min")),
        "value_max": _number(feature.get("value_max")),
    }


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"a name is a text, not {value!r}")
    return _text(value) or value


def _text(value: Any) -> str | None:
    """A text that every reader can take: half of a surrogate pair, which JSON can spell, becomes `?`."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else None


def _as_in_payload(value: Any) -> str | None:
    """As the decoder sees the value in a payload."""
    return value if value is None else _text(value) if isinstance(value, str) else json.dumps(value)


def _number(value: Any) -> float | None:
    """A range's end. NaN and Infinity, which JSON does not have and Python reads all the same, are no end."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    number = float(value)
    return number if abs(number) < float("inf") else None
