"""The first look through a whole file: what is in it, before anything of it is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from edge_assets.sources.history.lines import BadLine, Entry
from edge_assets.sources.history.times import iso

FIRST_ROWS = 5
PROBLEMS_KEPT = 20
DEVICES_KEPT = 1_000


@dataclass(slots=True)
class Column:
    """The values of one measurement."""

    kinds: Counter[str] = field(default_factory=Counter)
    low: float | None = None
    high: float | None = None

    def add(self, value: Any) -> None:
        kind = _kind(value)
        self.kinds[kind] += 1
        if kind == "number":
            self.low = value if self.low is None else min(self.low, value)
            self.high = value if self.high is None else max(self.high, value)

    def as_dict(self) -> dict[str, Any]:
        return {
            "type": " or ".join(sorted(self.kinds)),
            "values": self.kinds.total(),
            "min": self.low,
            "max": self.high,
        }


@dataclass(slots=True)
class Survey:
    """Counts of lines: `good` (with something to send), `empty` (a time, and nothing measured), `repeated` (all that
    they say is in the file before), `bad`."""

    good: int = 0
    empty: int = 0
    repeated: int = 0
    bad: int = 0
    first: int | None = None
    last: int | None = None
    """times of the good lines, microseconds since 1970"""
    devices: Counter[str] = field(default_factory=Counter)
    columns: dict[str, Column] = field(default_factory=dict)
    rows: list[Entry] = field(default_factory=list)
    problems: list[BadLine] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "lines": {"good": self.good, "empty": self.empty, "repeated": self.repeated, "bad": self.bad},
            "first_time": None if self.first is None else iso(self.first),
            "last_time": None if self.last is None else iso(self.last),
            "devices": dict(self.devices.most_common(DEVICES_KEPT)),
            "columns": {name: column.as_dict() for name, column in self.columns.items()},
            "first_rows": [
                {"line": row.number, "device": row.device, "time": iso(row.at), **row.measurements} for row in self.rows
            ],
            "problems": [str(problem) for problem in self.problems],
        }


def survey(entries: Iterator[Entry | BadLine], on_bad: Callable[[BadLine], None]) -> Survey:
    """Go through all of them; `on_bad` is called with each bad line."""
    found = Survey()
    for entry in entries:
        if isinstance(entry, BadLine):
            found.bad += 1
            found.problems += [entry][: PROBLEMS_KEPT - len(found.problems)]
            on_bad(entry)
        elif entry.measurements:
            _add(found, entry)
        elif entry.repeated:
            found.repeated += 1
        else:
            found.empty += 1
    return found


def _add(found: Survey, entry: Entry) -> None:
    found.good += 1
    found.first = entry.at if found.first is None else min(found.first, entry.at)
    found.last = entry.at if found.last is None else max(found.last, entry.at)
    found.devices[entry.device] += 1
    found.rows += [entry][: FIRST_ROWS - len(found.rows)]
    for name, value in entry.measurements.items():
        found.columns.setdefault(name, Column()).add(value)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "object"
