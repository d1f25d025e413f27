"""What the detector remembers of each series, as arrays with one row a series, and the file that keeps it.

`EDGE_HOME/anomalies/memory.npz` is a cache: a file that is gone, torn or of another `FORMAT` is made anew from the
minutes of the last weeks. It is a few kilobytes a series, and does not grow with the history.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from edge_assets.settings import Settings
from edge_assets.warehouse.rollups.layout import into_place

FORMAT = 1

HOURS_A_DAY = 24
RECENT = 5
USUAL_DAYS = 14
USUAL_WEEKS = 4
QUESTIONS = 5
MAXIMA_DAYS = 28
FORGOTTEN_AFTER_SECONDS = 60 * 86_400
"""a series that has been silent for so long starts anew"""

NEVER = -(2**62)

COLUMNS: dict[str, tuple[tuple[int, ...], Any, float]] = {
    "recent": ((RECENT,), np.float64, np.nan),
    "seen_at": ((), np.int64, NEVER),
    "over_at": ((), np.int64, NEVER),
    "lowest": ((), np.float64, np.nan),
    "highest": ((), np.float64, np.nan),
    "varied": ((), np.bool_, False),
    "previous": ((), np.float64, np.nan),
    "step": ((), np.float64, np.inf),
    "rises": ((), np.float64, 0),
    "falls": ((), np.float64, 0),
    "hour_sum": ((), np.float64, 0),
    "hour_count": ((), np.int32, 0),
    "usual_count": ((), np.float64, 0),
    "last_hours": ((HOURS_A_DAY,), np.float64, np.nan),
    "hours_of_day": ((HOURS_A_DAY, USUAL_DAYS), np.float32, np.nan),
    "hours_of_week": ((7 * HOURS_A_DAY, USUAL_WEEKS), np.float32, np.nan),
    "day_sum": ((), np.float64, 0),
    "day_hours": ((), np.int32, 0),
    "last_days": ((USUAL_DAYS,), np.float64, np.nan),
    "days_of_week": ((7, USUAL_WEEKS), np.float64, np.nan),
    "day_maximum": ((QUESTIONS,), np.float64, 0),
    "day_count": ((QUESTIONS,), np.int32, 0),
    "maxima": ((QUESTIONS, MAXIMA_DAYS), np.float32, np.nan),
    "limit": ((QUESTIONS,), np.float64, np.inf),
}
"""name → (shape of a row, type, what it is at first); what each means is said where the detector uses it"""


class Series(NamedTuple):
    """One measurement of one device or room."""

    kind: str
    site: str
    device_id: str
    measurement: str
    unit: str | None


@dataclass(slots=True)
class Memory:
    until: int | None = None
    """minutes that end by then (seconds since 1970) are in it; None: nothing is"""
    told: int | None = None
    """the latest end of an anomaly's window in gold.anomalies, when this was written"""
    hour: int | None = None
    """where the hour that is being summed up begins"""
    series: list[Series] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    """the device's name, by series"""
    rows: dict[str, NDArray[Any]] = field(default_factory=lambda: _blank(0))
    _known: dict[Series, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._known = {series: number for number, series in enumerate(self.series)}

    def numbers(self, series: Sequence[Series], names: Sequence[str | None]) -> list[int]:
        """The row of each series; a new one gets the next."""
        for one, name in zip(series, names, strict=True):
            if one not in self._known:
                self._known[one] = len(self.series)
                self.series.append(one)
                self.names.append(name)
            self.names[self._known[one]] = name
        self.make_room(len(self.series))
        return [self._known[one] for one in series]

    def make_room(self, count: int) -> None:
        if more := count - len(self.rows["seen_at"]):
            new = _blank(more)
            self.rows = {name: np.concatenate([rows, new[name]]) for name, rows in self.rows.items()}

    def without_the_silent(self) -> Memory:
        """The same without series that have been silent for long."""
        kept = np.flatnonzero(self.rows["seen_at"] > (self.until or 0) - FORGOTTEN_AFTER_SECONDS)
        rows = {name: rows[kept] for name, rows in self.rows.items()}
        series, names = [self.series[n] for n in kept], [self.names[n] for n in kept]
        return Memory(self.until, self.told, self.hour, series, names, rows)


def _blank(count: int) -> dict[str, NDArray[Any]]:
    return {name: np.full((count, *shape), first, kind) for name, (shape, kind, first) in COLUMNS.items()}


def path(settings: Settings) -> Path:
    return settings.home / "anomalies" / "memory.npz"


def write(settings: Settings, memory: Memory) -> int:
    """Replace the file; returns its size in bytes."""
    memory = memory.without_the_silent()
    about = {
        "format": FORMAT,
        "until": memory.until,
        "told": memory.told,
        "hour": memory.hour,
        "series": memory.series,
        "names": memory.names,
    }
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    packed = io.BytesIO()
    columns: dict[str, Any] = {"about": text, **memory.rows}
    np.savez_compressed(packed, **columns)
    file = path(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f"{file.name}.aside")
    aside.write_bytes(packed.getvalue())
    into_place(aside, file)
    return len(packed.getvalue())


def read(settings: Settings) -> Memory | None:
    """None where there is none that can be used."""
    try:
        with np.load(path(settings), allow_pickle=False) as packed:
            about = json.loads(packed["about"].tobytes())
            if about.pop("format") != FORMAT:
                return None
            rows = {name: packed[name] for name in COLUMNS}
        series = [Series(*one) for one in about.pop("series")]
        if any(len(each) != len(series) for each in rows.values()):
            return None
        return Memory(series=series, rows=rows, **about)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None
