"""Whether a device is there: its availability where it is told, its network's state, and how long it is usually silent.

Cadence is learned from the silences seen: the longest, forgotten slowly. Only silences count that we have listened to
from begin to end, so that an absence of ours teaches nothing, and accuses nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_assets.listening.heard import Device

LEARNED_AFTER = 20
"""silences; before, a device's silence says nothing"""
FORGETS = 256
"""with each silence that is shorter, the longest is forgotten by one in so many"""


@dataclass(slots=True, eq=False)
class Presence:
    """What is known of one device. Times are microseconds since 1970 UTC, by the clock of who listens."""

    device: Device
    name: str
    network: str | None = None
    """the base topic of its Zigbee2MQTT"""
    available: bool | None = None
    """None: it was never told"""
    told_at: int = 0
    """when that was last told"""
    changed_at: int = 0
    """when it became what it is"""
    heard_at: int | None = None
    silences: int = 0
    longest: int = 0
    measurements: set[str] = field(default_factory=set)

    def heard(self, at: int, listening_since: int) -> None:
        """It has said something. Several observations of one message are one."""
        if self.heard_at is not None and at <= self.heard_at:
            return
        if self.heard_at is not None and self.heard_at >= listening_since:
            self.silences += 1
            self.longest = max(at - self.heard_at, self.longest - self.longest // FORGETS)
        self.heard_at = at

    def silent_from(self, listening_since: int, times: float, at_least: int) -> int | None:
        """When its silence becomes unusual, if it goes on; None: nothing is to be made of it."""
        if self.available is not None or self.heard_at is None or times <= 0 or self.silences < LEARNED_AFTER:
            return None
        return max(self.heard_at, listening_since) + max(at_least, round(times * self.longest))
