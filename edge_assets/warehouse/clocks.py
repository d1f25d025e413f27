"""Devices whose clock cannot be right, by the readings of the last day: event time against the bridge's received time.

Being late is no sign by itself: a message may have waited in a queue. But one whose fastest message of a day took a
minute has a clock that is behind, and one whose messages usually come before they were sent has one that is ahead.
History that was imported is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_assets.settings import Settings
from edge_assets.warehouse import lake
from edge_assets.warehouse.duck_types import text
from edge_assets.warehouse.sql import ask

AHEAD_SECONDS = 10.0
BEHIND_SECONDS = 60.0
FEW = 10
"""so many readings say something of a clock"""
SHARE = 0.05
"""of a device's readings whose time may be doubted"""

_QUERY = """WITH said AS (
    SELECT device_name AS device, quality, received_at, event_time, event_time_source, date, kafka_topic
    FROM silver.readings
    UNION ALL
    SELECT room_id, quality, received_at, event_time, event_time_source, date, kafka_topic FROM silver.room_telemetry
), latest AS (
    SELECT *, epoch(received_at) - epoch(event_time) AS late FROM said
    WHERE date >= current_date - 1 AND received_at >= now() - INTERVAL 24 HOUR AND kafka_topic <> {imported}
)
SELECT device, count(*) AS readings,
    count(*) FILTER (quality LIKE '%time_implausible%') AS not_believed,
    count(*) FILTER (quality LIKE '%clock_unsynchronised%') AS unsynchronised,
    round(min(late) FILTER (event_time_source = 'payload'), 1) AS least_late_seconds,
    round(median(late) FILTER (event_time_source = 'payload'), 1) AS usually_late_seconds
FROM latest GROUP BY device ORDER BY device"""


@dataclass(frozen=True, slots=True)
class Clock:
    """What the readings of one device or room say of its clock, and of ours."""

    device: str
    readings: int
    not_believed: int
    """its own time was too far from ours, which was taken in its place"""
    unsynchronised: int
    """our clock was not set when they came"""
    least_late_seconds: float | None
    """None: it tells no time of its own"""
    usually_late_seconds: float | None

    @property
    def problem(self) -> str:
        """What is wrong, in words; empty: nothing is."""
        if self.readings < FEW:
            return ""
        if self.not_believed > SHARE * self.readings:
            return "its time is not believed"
        if self.usually_late_seconds is not None and self.usually_late_seconds < -AHEAD_SECONDS:
            return f"ahead by {-self.usually_late_seconds:,.0f} s"
        if self.least_late_seconds is not None and self.least_late_seconds > BEHIND_SECONDS:
            return f"behind by {self.least_late_seconds:,.0f} s"
        return "came while our clock was not set" if self.unsynchronised > SHARE * self.readings else ""


def query(settings: Settings) -> str:
    """What is asked, for `edge sql`."""
    return _QUERY.format(imported=text(settings.history.topic))


def look(settings: Settings) -> list[Clock]:
    """All devices and rooms that were heard in the last day. Raises `LakeError`."""
    with lake.connection(settings) as opened:
        return [Clock(*row) for row in ask(opened, settings, query(settings)).fetchall()]
