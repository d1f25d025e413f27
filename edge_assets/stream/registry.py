"""The registry of devices: who has which name, since when, and what each of its measurements is.

It is fed by `bridge/devices` and `bridge/groups`, each of which tells the whole state of one network. The registry
keeps every state, valid from/to by received time (a slowly changing dimension of type 2), so that a record is
always decoded by what was true when it was received, however often it is decoded again. A few hundred rows that
change a few times a day: plain Python, on the driver, and never per reading.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from edge_assets.decoding import contract
from edge_assets.stream.decode import Lookup

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ENTRY_COLUMNS = (
    "entry int, base_topic string, name string, device_id string, model string, device_kind string, "
    "valid_from bigint, valid_to bigint"
)
PROPERTY_COLUMNS = (
    "entry int, measurement string, type string, unit string, value_on string, value_off string, "
    "value_min double, value_max double, plausible_min double, plausible_max double"
)
TYPES = ("numeric", "binary", "enum", "text")
Exposes = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Source:
    """The record that told it: position, and received time in microseconds since 1970 UTC."""

    log_id: str
    kafka_topic: str
    kafka_partition: int
    kafka_offset: int
    received_at: int


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


class BadRegistry(ValueError):
    """A `bridge/devices` or `bridge/groups` that is not what Zigbee2MQTT writes: its record is a dead letter."""


class Registry:
    """All entries known, in the order in which they were told. `apply` returns a new registry."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries = tuple(entries)

    def apply(self, key: str, payload: bytes, source: Source) -> Registry:
        """The registry after a record on `<base>/bridge/devices` or `<base>/bridge/groups`.

        Applying a record twice, or one older than what is known, changes nothing: the same registry returns.
        Raises `BadRegistry`.
        """
        base, _, sort = key.rpartition("/bridge/")
        told = {entry.device_id: entry for entry in _told(base, sort, payload, source)}
        mine = [e for e in self.entries if e.base_topic == base and (e.kind == "group") == (sort == "groups")]
        if any(e.source.received_at >= source.received_at for e in mine):
            return self
        current = {e.device_id: e for e in mine if e.valid_to is None}
        changed = {i for i, entry in told.items() if i not in current or current[i].what != entry.what}
        gone = current.keys() - told.keys()
        if not changed and not gone:
            return self
        ended = {id(current[i]) for i in (changed | gone) if i in current}
        kept = tuple(replace(e, valid_to=source.received_at) if id(e) in ended else e for e in self.entries)
        return Registry((*kept, *(self._dated(told[i]) for i in sorted(changed))))

    def _dated(self, entry: Entry) -> Entry:
        """A name's first owner has it since ever: its readings may have come before its description."""
        owned = any(e.base_topic == entry.base_topic and e.device_name == entry.device_name for e in self.entries)
        return replace(entry, valid_from=entry.source.received_at if owned else None)

    def names(self) -> set[tuple[str, str]]:
        """(base topic, name) of all that have ever had one."""
        return {(e.base_topic, e.device_name) for e in self.entries}

    def lookup(self, spark: SparkSession) -> Lookup:
        """The registry as frames for decoding, with the plausible range of each measurement worked out."""
        devices = [
            (i, e.base_topic, e.device_name, e.device_id, e.model, e.kind, e.valid_from, e.valid_to)
            for i, e in enumerate(self.entries)
        ]
        properties = [row for i, e in enumerate(self.entries) for row in _property_rows(i, e.exposes)]
        times = {name: F.timestamp_micros(name) for name in ("valid_from", "valid_to")}
        return Lookup(
            spark.createDataFrame(devices, ENTRY_COLUMNS).withColumns(times),
            spark.createDataFrame(properties, PROPERTY_COLUMNS),
        )


def _property_rows(entry: int, exposes: Exposes) -> Iterator[tuple[Any, ...]]:
    for name, about in exposes.items():
        low, high = contract.RANGE_BY_UNIT.get(about["unit"] or "", (None, None))
        # What the device declares goes before what its unit allows, where it is the wider of the two.
        if low is not None and about["value_min"] is not None:
            low = min(low, about["value_min"])
        if high is not None and about["value_max"] is not None:
            high = max(high, about["value_max"])
        columns = ("type", "unit", "value_on", "value_off", "value_min", "value_max")
        yield (entry, name, *(about[column] for column in columns), _as_number(low), _as_number(high))


def _told(base: str, sort: str, payload: bytes, source: Source) -> Iterator[Entry]:
    try:
        listed = json.loads(payload)
        if not isinstance(listed, list):
            raise BadRegistry(f"{base}/bridge/{sort}: expected a list, got {type(listed).__name__}")
        for item in listed:
            yield (_group if sort == "groups" else _device)(base, item, source)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadRegistry(f"{base}/bridge/{sort}: {error!r}") from error


def _group(base: str, item: dict[str, Any], source: Source) -> Entry:
    name, number = str(item["friendly_name"]), int(item["id"])
    return Entry(base, f"group:{number}", name, "group", None, None, None, {}, None, None, source)


def _device(base: str, item: dict[str, Any], source: Source) -> Entry:
    definition = item.get("definition") or {}
    kind = "coordinator" if item.get("type") == "Coordinator" else "device"
    model = definition.get("model") or item.get("model_id")
    return Entry(
        base,
        str(item["ieee_address"]),
        str(item["friendly_name"]),
        kind,
        model,
        definition.get("vendor") or item.get("manufacturer"),
        definition.get("description"),
        dict(_exposes(definition.get("exposes") or [], "")),
        None,
        None,
        source,
    )


def _exposes(features: list[dict[str, Any]], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measurements by flattened name. A composite's features lie below its property; those of a light, switch,
    cover, lock, fan or climate lie beside it."""
    for feature in features:
        name = prefix + str(feature.get("property") or feature.get("name") or "")
        kind = feature.get("type")
        if "features" in feature:
            yield from _exposes(feature["features"], f"{name}." if kind == "composite" else prefix)
        elif name:
            yield name, _about(feature)


def _about(feature: dict[str, Any]) -> dict[str, Any]:
    kind = feature.get("type")
    return {
        "type": kind if kind in TYPES else "other",
        "unit": feature.get("unit") or None,
        "value_on": _as_text(feature.get("value_on")),
        "value_off": _as_text(feature.get("value_off")),
        "value_min": _as_number(feature.get("value_min")),
        "value_max": _as_number(feature.get("value_max")),
    }


def _as_text(value: Any) -> str | None:
    """As the decoder sees the value in a payload."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _as_number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
