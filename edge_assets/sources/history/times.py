"""A cell → microseconds since 1970 UTC.

Known without being told: ISO 8601 (a `T` or a space, with or without seconds, fraction and zone; `/` for `-`),
`DD.MM.YYYY HH:MM`, and seconds, milliseconds, microseconds or nanoseconds since 1970 by their number of digits.
`01/02/2015` can be two days, so its format must be said.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from edge_assets.errors import HistoryError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

_ISO = re.compile(
    r"([0-9]{4})([-/])([0-9]{2})\2([0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?) ?(Z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_SINCE_1970 = re.compile(r"([0-9]+)(?:\.([0-9]+))?")
_CLOCK = r"(?:[ ,T]+([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,6})[0-9]*)?)?(?: ?([AaPp])\.?[Mm]\.?)?)?"
_DAY_DOTS = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})" + _CLOCK)
_SLASHES = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})" + _CLOCK)

_UNITS = {9: 1_000_000, 10: 1_000_000, 12: 1_000, 13: 1_000, 15: 1, 16: 1}
"""Digits of a number → microseconds that it counts in; 18 and 19 are nanoseconds."""

NAMED = ("iso", "epoch", "epoch_ms", "DD.MM.YYYY", "DD/MM/YYYY", "MM/DD/YYYY")
"""Formats by name; to those of days a time of day is added as it comes. Others are strptime's (`%d.%m.%y %H:%M`)."""

Read = Callable[[str], datetime | int]
"""A cell → microseconds since 1970, or a time that may lack its zone. Raises `ValueError`."""


class TimeReader:
    """Reads cells of one column. `timezone` is that of times that have none."""

    def __init__(self, time_format: str | None = None, timezone: str = "UTC") -> None:
        self._read = _reader(time_format)
        self._zone = zone_of(timezone)

    def micros(self, cell: str, after: int | None = None) -> int:
        """Microseconds since 1970. Raises `ValueError` that says what is wrong.

        When clocks are set back an hour comes twice: it is taken for the second where the first is not after `after`
        (the time of the device's line before).
        """
        said = self._read(cell.strip())
        if isinstance(said, int):
            return said
        if said.tzinfo is None:
            said = self._placed(cell, said, after)
        return (said - EPOCH) // MICROSECOND

    def _placed(self, cell: str, said: datetime, after: int | None) -> datetime:
        if self._zone is UTC:
            return said.replace(tzinfo=UTC)
        first = said.replace(tzinfo=self._zone).astimezone(UTC)
        if first.astimezone(self._zone).replace(tzinfo=None) != said:
            raise ValueError(f"{cell!r} does not exist in {self._zone}: the clocks were set forward")
        if after is not None and (first - EPOCH) // MICROSECOND <= after:
            return said.replace(tzinfo=self._zone, fold=1).astimezone(UTC)
        return first


def zone_of(name: str) -> tzinfo:
    """Raises `HistoryError` where nobody knows the time zone."""
    if name.upper() in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise HistoryError(f"--timezone: {name!r} is not known here; expected a name like Europe/Berlin") from error


def iso(micros: int) -> str:
    """ISO 8601, UTC, Z; with milliseconds, or microseconds where there are any."""
    moment = EPOCH + micros * MICROSECOND
    text = moment.isoformat(timespec="microseconds" if micros % 1_000 else "milliseconds")
    return text.replace("+00:00", "Z")


def _reader(time_format: str | None) -> Read:
    if time_format is None:
        return _any
    if "%" in time_format:
        return lambda cell: _strptime(cell, time_format)
    known: dict[str, Read] = {
        "iso": _iso,
        "epoch": lambda cell: _since_1970(cell, 1_000_000),
        "epoch_ms": lambda cell: _since_1970(cell, 1_000),
        "DD.MM.YYYY": lambda cell: _day(cell, _DAY_DOTS, "DD.MM.YYYY", 1, 2),
        "DD/MM/YYYY": lambda cell: _day(cell, _SLASHES, "DD/MM/YYYY", 1, 2),
        "MM/DD/YYYY": lambda cell: _day(cell, _SLASHES, "MM/DD/YYYY", 2, 1),
    }
    name = time_format.split(" ")[0]  # what is said of the time of day is read as it comes
    if name not in known:
        raise HistoryError(
            f"--time-format: {time_format!r} is not known; expected one of {', '.join(NAMED)}, "
            "or one with % as in strptime: '%d.%m.%y %H:%M'"
        )
    return known[name]


def _any(cell: str) -> datetime | int:
    if _ISO.fullmatch(cell):
        return _iso(cell)
    if _DAY_DOTS.fullmatch(cell):
        return _day(cell, _DAY_DOTS, "DD.MM.YYYY", 1, 2)
    if _SINCE_1970.fullmatch(cell):
        return _since_1970(cell)
    if _SLASHES.fullmatch(cell):
        raise ValueError(f"{cell!r} can be two days: say --time-format MM/DD/YYYY or DD/MM/YYYY")
    raise ValueError(f"{cell!r} is no time that is known; --time-format says how it is written" if cell else "no time")


def _iso(cell: str) -> datetime:
    found = _ISO.fullmatch(cell)
    if not found:
        raise ValueError(f"{cell!r} is no ISO 8601 time")
    year, _, month, day, clock, zone = found.groups()
    zone = {None: "", "UTC": "Z"}.get(zone, zone)
    try:
        return datetime.fromisoformat(f"{year}-{month}-{day}T{clock or '00:00'}{zone}")
    except ValueError as error:
        raise ValueError(f"{cell!r} is no time: {error}") from error


def _since_1970(cell: str, unit: int | None = None) -> int:
    found = _SINCE_1970.fullmatch(cell)
    if not found:
        raise ValueError(f"{cell!r} is no number since 1970")
    whole, fraction = found[1], found[2] or ""
    if unit is None and len(whole) in (18, 19):
        return int(whole) // 1_000
    micros = unit or _UNITS.get(len(whole))
    if micros is None or len(whole) > 19:
        raise ValueError(f"{cell!r} is no time: expected seconds, milliseconds, micro- or nanoseconds since 1970")
    return int(whole) * micros + int(fraction[:9].ljust(9, "0")) * micros // 1_000_000_000


def _day(cell: str, pattern: re.Pattern[str], name: str, day: int, month: int) -> datetime:
    found = pattern.fullmatch(cell)
    if not found:
        raise ValueError(f"{cell!r} is not written as {name} HH:MM")
    hour, half = int(found[4] or 0), (found[8] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            raise ValueError(f"{cell!r} is no time: hour {hour} with {half}m")
        hour = hour % 12 + (12 if half == "p" else 0)
    try:
        return datetime(
            int(found[3]),
            int(found[month]),
            int(found[day]),
            hour,
            int(found[5] or 0),
            int(found[6] or 0),
            int((found[7] or "0").ljust(6, "0")),
        )
    except ValueError as error:
        raise ValueError(f"{cell!r} is no time written as {name}: {error}") from error


def _strptime(cell: str, time_format: str) -> datetime:
    try:
        return datetime.strptime(cell, time_format)
    except ValueError as error:
        raise ValueError(f"{cell!r} is not written as {time_format!r}") from error
