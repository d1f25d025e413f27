"""Hours of the week, by the clock on the wall of a time zone: when a rule counts, and when nobody wants to hear of it.

A schedule whose end is not after its begin goes on past midnight, and its days are those on which it begins: from
22:00 to 07:00 on `fri` ends on Saturday morning. Where clocks are changed it follows them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTE = 60_000_000
FURTHEST_MINUTES = 9 * 24 * 60
"""within which a schedule changes, if it ever does: a week, and a day for what clocks are changed by"""


def _minutes(said: Any) -> int:
    match = re.fullmatch(r"([01]?\d|2[0-4]):([0-5]\d)", said) if isinstance(said, str) else None
    minutes = int(match[1]) * 60 + int(match[2]) if match else -1
    if not 0 <= minutes <= 24 * 60:
        raise ValueError('a time of day is hours and minutes: "22:00"')
    return minutes % (24 * 60)


def _zone(said: Any) -> str:
    try:
        zone(said)
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise ValueError("a time zone has a name as in Europe/Berlin") from error
    return said


TimeOfDay = Annotated[int, BeforeValidator(_minutes)]
TimeZone = Annotated[str, BeforeValidator(_zone)]


class Schedule(BaseModel):
    """From one time of day to another, on some days. Both times alike: the whole day."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    begin: TimeOfDay = Field(alias="from", description="minutes after midnight")
    end: TimeOfDay = Field(alias="to")
    days: tuple[Day, ...] = Field(default=DAYS, min_length=1)
    time_zone: TimeZone | None = Field(default=None, description="unset: the rules' own")

    def covers(self, at: int, time_zone: str = "UTC") -> bool:
        """Whether a time, microseconds since 1970, is within."""
        local = datetime.fromtimestamp(at // 1_000_000, zone(self.time_zone or time_zone))
        minutes, today = local.hour * 60 + local.minute, DAYS[local.weekday()]
        if self.begin < self.end:
            return today in self.days and self.begin <= minutes < self.end
        yesterday = DAYS[local.weekday() - 1]
        return (today in self.days and minutes >= self.begin) or (yesterday in self.days and minutes < self.end)

    def next_change(self, at: int, time_zone: str = "UTC") -> int | None:
        """The first time after `at` at which `covers` says something else; None: never."""
        return _next_change(self, at // MINUTE, time_zone)


@cache
def zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@cache
def machine_zone() -> str:
    """The time zone of this machine by name, UTC where it has none that can be told."""
    try:
        name = str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
        return zone(name).key if name else "UTC"
    except (ValueError, OSError, KeyError):
        return "UTC"


def local(at: int, time_zone: str) -> datetime:
    """A time on the wall of a zone."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)).astimezone(zone(time_zone))


@lru_cache(1024)
def _next_change(schedule: Schedule, minute: int, time_zone: str) -> int | None:
    """Minute by minute: whatever clocks do, they do it on a whole one. A few milliseconds, twice a day."""
    now = schedule.covers(minute * MINUTE, time_zone)
    for later in range(minute + 1, minute + FURTHEST_MINUTES):
        if schedule.covers(later * MINUTE, time_zone) != now:
            return later * MINUTE
    return None
