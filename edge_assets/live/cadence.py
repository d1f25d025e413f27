"""How often a device speaks, learned from when it did, and how long its silence means nothing.

Who is event-driven, a door or a motion sensor, is silent while nothing happens: what its network says of it counts, and
without that only a silence of more than a day. Everything else has a rhythm.
"""

from __future__ import annotations

import math
from array import array
from statistics import median

from edge_assets.settings import LiveSettings

GAPS = 32
"""so many last gaps are remembered"""
LEARNED = 3
"""with fewer, nothing is known"""
ONE_REPORT_SECONDS = 0.1
"""messages that come closer than this are one report: bare topics say each measurement in a message of its own"""
FACTOR = 5
"""silent for so many times the usual"""
SELDOM_SECONDS = 25 * 3_600
"""the silence after which Zigbee2MQTT takes a device on battery for gone"""

EVENT_DRIVEN = frozenset(
    (
        *("contact", "occupancy", "presence", "motion", "action", "vibration", "water_leak", "smoke", "gas"),
        *("carbon_monoxide", "tamper", "button"),
    )
)
"""measurements of devices that speak when something happens"""


class Cadence:
    """Times are microseconds since 1970 UTC, as received."""

    __slots__ = ("_gaps", "_latest", "usual_seconds")

    def __init__(self) -> None:
        self._gaps = array("f")
        self._latest: int | None = None
        self.usual_seconds: float | None = None
        """what the lake has learned of it over days: 95 of 100 messages came within"""

    def heard(self, at: int) -> None:
        if self._latest is not None:
            gap = (at - self._latest) / 1e6
            if 0 <= gap < ONE_REPORT_SECONDS:
                return
            if gap < 0:  # the clock was set back
                self._latest = at
                return
            self._gaps.append(gap)
            if len(self._gaps) > GAPS:
                del self._gaps[0]
        self._latest = at

    @property
    def seconds(self) -> float | None:
        """The usual time between two reports; None: not known yet."""
        return round(median(self._gaps), 3) if len(self._gaps) >= LEARNED else self.usual_seconds

    @property
    def longest_seconds(self) -> float | None:
        """Nine of ten gaps are within this one."""
        if len(self._gaps) < LEARNED:
            return self.usual_seconds
        return max(sorted(self._gaps)[math.ceil(0.9 * len(self._gaps)) - 1], self.usual_seconds or 0.0)


def patience_seconds(cadence: Cadence, settings: LiveSettings, *, event_driven: bool, available: bool | None) -> float:
    """How long a device may be silent before it is stale. `available`: what its network says, if anything."""
    if event_driven:
        return math.inf if available else SELDOM_SECONDS
    usual = cadence.longest_seconds
    if available:
        return max(settings.stale_online_seconds, FACTOR * (usual or 0.0))
    return SELDOM_SECONDS if usual is None else max(settings.stale_seconds, FACTOR * usual)
