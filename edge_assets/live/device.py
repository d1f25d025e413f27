"""One device, room or Zigbee2MQTT as the page shows it: names, presence, and the latest of each measurement."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edge_assets.listening import heard
from edge_assets.live.cadence import EVENT_DRIVEN, Cadence, patience_seconds
from edge_assets.live.protocol import Group, key_of, milliseconds
from edge_assets.live.series import Series
from edge_assets.settings import LiveSettings

_GROUP_BY_MEASUREMENT: tuple[tuple[Group, frozenset[str]], ...] = (
    ("doors", frozenset(("contact",))),
    ("plugs", frozenset(("power", "energy"))),
    ("climate", frozenset(("temperature", "humidity"))),
)


@dataclass(slots=True)
class Measured:
    """The latest of one measurement; `at` (microseconds) is None where the broker had kept it."""

    value: float | None
    text: str | None
    unit: str | None
    at: int | None
    quality: str
    series: Series | None = None

    def told(self) -> dict[str, Any]:
        at = None if self.at is None else milliseconds(self.at)
        return {"value": self.value, "text": self.text, "unit": self.unit, "at": at, "quality": self.quality}


@dataclass(slots=True)
class LiveDevice:
    """Times are microseconds since 1970 UTC."""

    device: heard.Device
    name: str
    known_since: int
    base: str | None = None
    """the base topic of its Zigbee2MQTT; None: it has none, or has not spoken nor been described yet"""
    model: str | None = None
    vendor: str | None = None
    available: bool | None = None
    """as its network last said"""
    network_up: bool | None = None
    """whether that network's Zigbee2MQTT is online; None: it does not say"""
    last_seen: int | None = None
    messages: int = 0
    stale: bool = False
    remembered: bool = False
    """known from the lake alone: it has not been heard, nor described"""
    described: frozenset[str] | None = None
    """measurements that its description tells of; None: it is not described"""
    cadence: Cadence = field(default_factory=Cadence)
    measurements: dict[str, Measured] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return key_of(self.device)

    @property
    def group(self) -> Group:
        if self.device.kind != "device":
            return "rooms" if self.device.kind == "room" else "bridges"
        return next((group for group, names in _GROUP_BY_MEASUREMENT if names & self.measures), "other")

    @property
    def measures(self) -> frozenset[str]:
        """What it has said or is described to say."""
        return (self.described or frozenset()) | self.measurements.keys()

    @property
    def said_available(self) -> bool | None:
        """What its network says, where there is somebody to say it: of a Zigbee2MQTT that is gone it is old news."""
        return None if self.network_up is False else self.available

    def is_silent(self, now: int, settings: LiveSettings) -> bool:
        """Whether it has been silent for longer than can be its way."""
        silence = (now - (self.last_seen or self.known_since)) / 1e6
        floor = min(settings.stale_seconds, settings.stale_online_seconds)
        if silence <= floor:
            return False
        if self.network_up is False:
            return True
        by_event = self.device.kind == "bridge" or not EVENT_DRIVEN.isdisjoint(self.measures)
        available = self.said_available
        return silence > patience_seconds(self.cadence, settings, event_driven=by_event, available=available)

    def told(self) -> dict[str, Any]:
        """As the protocol's Device."""
        return {
            "key": self.key,
            "kind": self.device.kind,
            "id": self.device.device_id,
            "name": self.name,
            "model": self.model,
            "vendor": self.vendor,
            "group": self.group,
            "last_seen": None if self.last_seen is None else milliseconds(self.last_seen),
            "available": self.said_available,
            "cadence_seconds": self.cadence.seconds,
            "stale": self.stale,
            "measurements": {name: measured.told() for name, measured in self.measurements.items()},
        }
