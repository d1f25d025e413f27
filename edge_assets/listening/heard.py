"""What one message says. Times are integers, microseconds since 1970 UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["device", "room", "bridge"]
"""bridge: a Zigbee2MQTT's word on itself (its `state` and `health`); its device_id is its base topic"""

STATE = "state"
"""the measurement of a bridge that says whether it is online: 1 or 0, as `availability` of a device"""


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT message as it came."""

    topic: str
    payload: bytes
    received_at: int
    retained: bool = False
    """the broker kept it: what was said at some time before this subscription"""
    qos: int = 0
    mid: int = 0
    """packet identifier, for who acknowledges by hand; 0 at QoS 0"""


class Device(NamedTuple):
    """Who speaks. Two networks may each have a lamp: by IEEE address they differ, and rooms and bridges by kind."""

    kind: Kind
    device_id: str


@dataclass(frozen=True, slots=True)
class Observation:
    """One value of one measurement, as in `silver.readings`; of a room, one column of `silver.room_telemetry`."""

    device: Device
    device_name: str
    model: str | None
    measurement: str
    value: float | None
    """the number; 0/1 for two-valued measurements, `availability` among them"""
    text: str | None
    unit: str | None
    quality: str
    event_time: int
    received_at: int
    stale: bool
    """retained and without a time of its own: a state that held at some time before `received_at`, no news"""

    @property
    def plausible(self) -> bool:
        """Whether the value can be one: within what its unit allows."""
        return "implausible" not in self.quality.split(" ")


@dataclass(frozen=True, slots=True)
class Heard:
    """What one message came to. Without observations where it says nothing of a device, a room or a bridge."""

    message: Message
    outcome: str
    """as in `bronze.events`: read, ignored, tombstone or dead_letter"""
    reason: str | None
    observations: tuple[Observation, ...] = ()
    describes: bool = False
    """it told of devices, and something in the registry changed: names may have"""
