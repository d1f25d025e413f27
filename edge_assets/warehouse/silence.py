"""Devices that are silent for longer than they ever usually are, each by what was learned of itself.

What is usual is the longer of two: the time within which 95 of 100 messages of a day follow one another, and the pause
from a day's last message to the next one's first, both as nine of ten days of the last four weeks have kept it. So a
door that nobody opens at night, or over a weekend, is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from edge_assets.settings import Settings
from edge_assets.warehouse import lake
from edge_assets.warehouse.rollups.publish import reader
from edge_assets.warehouse.sql import ask

TIMES = 2.0
AT_LEAST_SECONDS = 1800.0
NEW_SECONDS = 86_400.0
"""of a device that is known by a single day, nobody knows yet what its nights are like"""
GONE_SECONDS = 30 * 86_400.0
"""one that is silent for longer is taken for gone, and is not named any more"""

QUERY = """WITH days AS (
    SELECT kind, site, device_id, gap_p95_seconds,
        epoch(first_at) - epoch(lag(last_at) OVER (PARTITION BY kind, site, device_id ORDER BY day)) AS pause_seconds
    FROM messages_daily WHERE day >= current_date - 28
), usual AS (
    SELECT kind, site, device_id, count(*) AS days, greatest(
        coalesce(quantile_cont(gap_p95_seconds, 0.9), 0), coalesce(quantile_cont(pause_seconds, 0.9), 0)) AS longest
    FROM days GROUP BY ALL
)
SELECT kind, device_id, device_name, last_seen, silent_seconds, longest AS usually_at_most_seconds, days, available,
    battery_percent
FROM device_health JOIN usual USING (kind, site, device_id) WHERE last_seen IS NOT NULL
ORDER BY silent_seconds / greatest(longest, 1) DESC, device_id"""


@dataclass(frozen=True, slots=True)
class Heard:
    """One device or room; times in seconds."""

    kind: str
    device_id: str
    device_name: str
    last_seen: datetime
    silent_seconds: float
    usually_at_most_seconds: float
    days: int
    """with messages, of the last four weeks"""
    available: bool | None
    """as its network says; None: it says nothing"""
    battery_percent: float | None

    @property
    def patience_seconds(self) -> float:
        """How long a silence is no news."""
        patience = max(TIMES * self.usually_at_most_seconds, AT_LEAST_SECONDS)
        return max(patience, NEW_SECONDS) if self.days < 2 else patience

    @property
    def is_silent(self) -> bool:
        """For longer than is usual for it, and it is not gone for good."""
        return self.patience_seconds < self.silent_seconds < max(GONE_SECONDS, self.patience_seconds)


def look(settings: Settings) -> list[Heard]:
    """All that have been heard in the last four weeks, the most unusual silence first. Raises `LakeError`."""
    if reader(settings) is None:
        return []
    with lake.connection(settings) as opened:
        return [Heard(*row) for row in ask(opened, settings, QUERY).fetchall()]


def nothing_comes(devices: list[Heard]) -> bool:
    """Whether it is not the devices that are silent: nothing comes from any of them, and of several that is unusual.

    Who was silent already when the last of the others spoke is so by itself, and says nothing of the way to us.
    """
    shared = min((one.silent_seconds for one in devices), default=0.0)
    judges = [one for one in devices if one.silent_seconds - shared <= one.patience_seconds]
    silent = sum(one.is_silent for one in judges)
    return shared > AT_LEAST_SECONDS and silent > 1 and 2 * silent >= len(judges)
