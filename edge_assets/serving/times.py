"""A time as people, scripts and Grafana write it: ISO 8601, a number since 1970, or relative to now. UTC comes out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""no time of ours is outside"""

MILLISECONDS_FROM = 100_000_000_000
"""A number so large counts milliseconds: as seconds it would be the year 5138, as milliseconds it is 1973."""

GRAIN_SECONDS = 5
"""`now` is rounded down to so much, so that who asks the same again within it asks the same question"""

UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "M": timedelta(days=30),
    "y": timedelta(days=365),
}
SHAPES = "expected ISO 8601 (2026-11-22T09:30:00Z), ms or s since 1970, `now` or a distance from it (-24h, now-7d)"

_RELATIVE = re.compile(r"(?:now)?([+-])([0-9]{1,9})(ms|[smhdwMy])|now", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?", re.ASCII)
_ISO = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Span:
    """From `begin` to before `end`."""

    begin: datetime | None
    end: datetime

    @property
    def seconds(self) -> float:
        """How long it is, a second at least."""
        return max((self.end - (self.begin or FIRST)).total_seconds(), 1)


def now() -> datetime:
    """This time in UTC, rounded down to the grain."""
    seconds = int(datetime.now(UTC).timestamp())
    return datetime.fromtimestamp(seconds - seconds % GRAIN_SECONDS, UTC)


def span(begin: str | None, end: str | None, now: datetime) -> Span:
    """What `from` and `to` say; without `to` up to now and what lies a little ahead of it. Raises `ValueError`."""
    until = moment(end, now, "to") if end else now + timedelta(seconds=GRAIN_SECONDS)
    since = moment(begin, now, "from") if begin else None
    if since is not None and since > until:
        raise ValueError(f"from ({since.isoformat()}) is later than to ({until.isoformat()})")
    return Span(since, until)


def moment(text: str, now: datetime, name: str = "time") -> datetime:
    """The time that a text says, in UTC; one without a zone is taken for UTC. Raises `ValueError`, in one line."""
    try:
        found = _moment(text.strip(), now)
    except (ValueError, OverflowError):
        found = None
    if found is None:
        raise ValueError(f"{name}: {text[:60]!r} is no time; {SHAPES}")
    if not FIRST <= found <= LAST:
        raise ValueError(f"{name}: {text[:60]!r} is not between {FIRST.year} and {LAST.year}")
    return found


def _moment(text: str, now: datetime) -> datetime | None:
    if match := _RELATIVE.fullmatch(text):
        if match[1] is None:
            return now
        distance = UNITS[match[3]] * int(match[2])
        return now - distance if match[1] == "-" else now + distance
    if _NUMBER.fullmatch(text):
        number = float(text)
        return FIRST + timedelta(seconds=number / 1_000 if number >= MILLISECONDS_FROM else number)
    if not _ISO.fullmatch(text):
        return None
    found = datetime.fromisoformat(text.upper().replace(",", "."))
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
