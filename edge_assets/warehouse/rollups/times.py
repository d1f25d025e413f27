"""UTC buckets and units of files, as Python's times and as SQL.

All SQL here counts microseconds since 1970, so that it says the same whatever time zone a reader's session has.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

MINUTE, HOUR, DAY = 60, 3_600, 86_400
FORMATS = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
"""names of files, by the time that one spans"""

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)


def floor(at: datetime, tier: str) -> datetime:
    """Where the unit that holds `at` begins."""
    at = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if tier == "hour":
        return at
    at = at.replace(hour=0)
    if tier == "day":
        return at
    return at.replace(day=1) if tier == "month" else at.replace(day=1, month=1)


def after(start: datetime, tier: str) -> datetime:
    """Where the next unit begins."""
    steps = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
    return start + steps[tier] if tier in steps else floor(start + timedelta(days=32 if tier == "month" else 367), tier)


def unit_name(at: datetime, tier: str) -> str:
    return floor(at, tier).strftime(FORMATS[tier])


def unit_start(name: str, tier: str) -> datetime:
    """The inverse of `unit_name`. Raises `ValueError` for a name that is none."""
    return datetime.strptime(name, FORMATS[tier]).replace(tzinfo=UTC)


def day_start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def literal(at: datetime) -> str:
    """A time as an SQL literal."""
    return f"TIMESTAMPTZ '{at.astimezone(UTC).strftime('%Y-%m-%d %H:%M:%S.%f')}+00'"


def date_literal(day: date) -> str:
    return f"DATE '{day.isoformat()}'"


def bucket(column: str, seconds: int) -> str:
    """SQL: where the bucket of that length begins, a TIMESTAMPTZ."""
    size = seconds * 1_000_000
    return f"make_timestamptz((epoch_us({column}) // {size}) * {size})"


def utc_day(column: str) -> str:
    """SQL: the UTC day of a TIMESTAMPTZ, a DATE."""
    return f"CAST(make_timestamp(epoch_us({column})) AS DATE)"


def since(column: str, before: str) -> str:
    """SQL: seconds between two times, a DOUBLE."""
    return f"((epoch_us({column}) - epoch_us({before})) / 1e6)"
