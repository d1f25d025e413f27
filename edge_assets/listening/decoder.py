"""A message → what it says, by the contract of `edge_assets.decoding`.

The reference decoder does the work. What the log's records get from Spark's tables, the registry of devices and the
columns that rooms bring, is learned here from the messages themselves: `bridge/devices` is retained, so a new
subscription has it at once. A device that is not described yet is known by its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from edge_assets.decoding import contract, reference
from edge_assets.decoding.knowledge import Knowledge
from edge_assets.decoding.reference import Decoded, Reading, Record
from edge_assets.decoding.registry import BadRegistry, Entry, Registry, Source
from edge_assets.listening.heard import STATE, Device, Heard, Message, Observation
from edge_assets.settings import Settings

_RETAINED = "retain=1"
_NOBODY, _NOTHING = Registry(), Knowledge()


class Decoder:
    """Decodes one message at a time, in the order in which they came. Not for several threads at once.

    `registry` and `knowledge` are what it knows to begin with.
    """

    def __init__(self, settings: Settings, registry: Registry = _NOBODY, knowledge: Knowledge = _NOTHING) -> None:
        self._settings = settings
        self._registry = registry
        self._knowledge = knowledge
        self.room_names: Mapping[str, str] = {}
        """what people call the rooms (`edge rooms`), by identifier: no message tells it. A new name holds from the
        room's next message on"""
        self._order = 0
        self._bases = sorted(settings.stream.base_topics, key=len, reverse=True)

    def hear(self, message: Message) -> Heard:
        """What the message says. Never raises for what a message holds."""
        if (told := self._bridge(message)) is not None:
            return Heard(message, "read", None, tuple(told))
        topic = message.topic.encode("utf-8", "surrogateescape")
        header = _RETAINED if message.retained else None
        record = Record(topic, message.payload, message.received_at, header)
        decoded = self._decoded(record)
        if message.topic.endswith(("/bridge/devices", "/bridge/groups")) and decoded.outcome == "read":
            return self._learn(message, decoded)
        observations = tuple(self._observations(message, decoded))
        return Heard(message, decoded.outcome, decoded.reason, observations)

    @property
    def devices(self) -> list[Entry]:
        """The devices that are described now, in the order of their names; without groups and coordinators."""
        current = (e for e in self._registry.entries if e.valid_to is None and e.kind == "device")
        return sorted(current, key=lambda entry: entry.device_name)

    def _decoded(self, record: Record) -> Decoded:
        decoded = reference.decode(record, self._registry, self._knowledge, self._settings)
        if decoded.teaches:
            more = reference.taught(record, self._knowledge, self._settings)
            known = {**self._knowledge.room_fields, **more}
            self._knowledge = replace(self._knowledge, room_fields=known)
            decoded = reference.decode(record, self._registry, self._knowledge, self._settings)
        return decoded

    def _learn(self, message: Message, decoded: Decoded) -> Heard:
        self._order += 1
        source = Source("", "", 0, self._order, message.received_at)
        try:
            registry = self._registry.apply(message.topic, message.payload, source)
        except BadRegistry:
            return Heard(message, "dead_letter", "bad_registry")
        changed = registry is not self._registry
        if changed:
            # What was valid before is of no use here: nothing is decoded as of an earlier time.
            current = (e for e in registry.entries if e.valid_to is None)
            self._registry = Registry(replace(entry, valid_from=None) for entry in current)
        return Heard(message, decoded.outcome, decoded.reason, describes=changed)

    def _observations(self, message: Message, decoded: Decoded) -> Iterator[Observation]:
        if decoded.device_name is None and not decoded.states:
            return
        stale = bool(decoded.states)
        kind = "device" if decoded.room is None else "room"
        device = Device(kind, decoded.device_id or "")  # type: ignore[arg-type]
        name, model = decoded.device_name or "", decoded.model
        if kind == "room":
            name = self.room_names.get(device.device_id, name)
        for reading in (*decoded.readings, *decoded.states, *_of_room(decoded)):
            yield Observation(
                device,
                name,
                model,
                reading.measurement,
                reading.value,
                reading.text,
                reading.unit,
                reading.quality,
                decoded.received_at if decoded.event_time is None else decoded.event_time,
                decoded.received_at,
                stale,
            )

    # -- what a Zigbee2MQTT says of itself ---------------------------------------------------------------------------

    def _bridge(self, message: Message) -> Iterator[Observation] | None:
        """Of `bridge/state` and `bridge/health`, which tables do not have; None: another topic."""
        base = next((base for base in self._bases if message.topic.startswith(f"{base}/bridge/")), None)
        sort = message.topic.removeprefix(f"{base}/bridge/")
        if base is None or sort not in (STATE, "health") or not message.payload:
            return None
        try:
            said = message.payload.decode("utf-8")
            if sort == STATE:
                word = json.loads(said)["state"] if said.lstrip().startswith("{") else said.strip()
                figures: dict[str, float] = {STATE: contract.AVAILABILITY_VALUES[word]}
            else:
                figures = dict(_numbers(json.loads(said), ""))
        except (ValueError, KeyError, TypeError, RecursionError):
            return None  # the contract's own answer: Zigbee2MQTT's word on itself, ignored
        return (
            Observation(
                Device("bridge", base),
                base,
                None,
                name,
                value,
                None,
                None,
                "good",
                message.received_at,
                message.received_at,
                stale=False,  # the last will replaces it: what is retained is what holds
            )
            for name, value in figures.items()
        )


def _of_room(decoded: Decoded) -> Iterator[Reading]:
    for name, value in (decoded.room or {}).items():
        if value is None:
            continue
        unit = contract.ROOM_FIELDS[name][1] if name in contract.ROOM_FIELDS else None
        number, said = (None, value) if isinstance(value, str) else (float(value), None)
        yield Reading(name, number, said, unit, decoded.quality or "good")


def _numbers(value: Any, prefix: str) -> Iterator[tuple[str, float]]:
    """Numbers of a health report by dotted name, but for those of single devices."""
    if not isinstance(value, dict):
        raise TypeError(f"a health report is an object, not {type(value).__name__}")
    for name, inner in value.items():
        if isinstance(inner, dict) and name != "devices":
            yield from _numbers(inner, f"{prefix}{name}.")
        elif isinstance(inner, int | float):
            yield f"{prefix}{name}", float(inner)
