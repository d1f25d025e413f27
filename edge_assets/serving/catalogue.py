"""Which views can be asked, and what each can be cut by. Views are those of `edge_assets.warehouse.views`.

A view says by its columns what can be asked of it: one that begins with a time is cut by from and to, one that names
devices by device, and so on. What its text reads says how wide its rows are, and whether they can be had in minutes,
hours or days alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from edge_assets.serving.refusals import Unknown
from edge_assets.serving.tiers import DAY, TIERS
from edge_assets.warehouse.lake import TableName
from edge_assets.warehouse.views import View, lake_views, views

FILTERS = {
    "device": ("device_id", "device_name", "device", "door"),
    "room": ("room_id", "room_name", "room"),
    "measurement": ("measurement",),
    "kind": ("kind",),
    "rule": ("rule",),
    "severity": ("severity",),
}
"""filter → the columns of which one must have a value that was asked for"""

TIMES = ("time", "bucket", "day")
WINDOWS = ("gold", "telemetry_5s_agg")
"""the table that stands for any kind of windows: which one is read follows from the range"""

_STEPS = {
    **TIERS,
    "room_comfort": 3_600,
    "energy_daily": DAY,
    "door_activity": DAY,
    "messages_daily": DAY,
    "date_trunc('day'": DAY,
}
"""what a view's text reads → seconds between two of its rows"""


class Describes(Protocol):
    def __call__(self, view: View) -> dict[str, str]:
        """DuckDB's type of each column."""


@dataclass(frozen=True, slots=True)
class Known:
    """A view, with all that a question needs to know of it."""

    view: View
    columns: dict[str, str]

    @property
    def name(self) -> str:
        return self.view.name

    @property
    def time(self) -> str | None:
        """The column to cut by, which is the first; None: the view is of now."""
        first = next(iter(self.columns), "")
        return first if first in TIMES else None

    @property
    def filters(self) -> dict[str, list[str]]:
        found = {name: [column for column in columns if column in self.columns] for name, columns in FILTERS.items()}
        return {name: columns for name, columns in found.items() if columns}

    @property
    def tables(self) -> list[TableName]:
        """The tables of the lake that its text names."""
        return tables(self.view)

    @property
    def tier(self) -> str | None:
        """The one rollup of readings that it reads, in the place of which another tier can be read."""
        found = {name for name in TIERS if _names(chain_text(self.view), name)}
        return found.pop() if len(found) == 1 and self.time else None

    @property
    def step(self) -> int | None:
        """Seconds between two rows of a series; None: its rows are events, and are not put into buckets."""
        text = chain_text(self.view)
        return next((step for what, step in _STEPS.items() if _names(text, what)), None) if self.time else None

    @property
    def windows(self) -> bool:
        return WINDOWS in self.tables


@cache
def all_views() -> dict[str, View]:
    return {view.name: view for view in sorted((*views(), *lake_views()), key=lambda view: view.name)}


def view(name: str) -> View:
    """Raises `Unknown`."""
    if found := all_views().get(name):
        return found
    raise Unknown(f"there is no view {name[:60]!r}; /api/v1/views lists them")


def known(view: View, memory: dict[str, Any], describes: Describes) -> Known:
    """The view with its columns, which are looked up once in the life of `memory`."""
    if view.name not in memory:
        memory[view.name] = Known(view, describes(view))
    found: Known = memory[view.name]
    return found


def tables(view: View) -> list[TableName]:
    return sorted({(layer, name) for layer, name in re.findall(r"\b(silver|gold)\.(\w+)", view.sql)})


def chain(view: View) -> list[View]:
    """The view and those that it reads, each after those that it reads itself."""
    found: list[View] = []
    for other in views():
        if other.name != view.name and _names(view.sql, other.name):
            found += [each for each in chain(other) if each not in found]
    return [*found, view]


def chain_text(view: View) -> str:
    return "\n".join(each.sql for each in chain(view))


def _names(text: str, what: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(what)}(?!\w)", text) is not None
