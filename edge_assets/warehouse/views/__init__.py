"""The views of `edge.duckdb` that people and dashboards ask: one SQL file each; its comment is its description.

    people/    what a person asks for by name
    grafana/   one view a panel, by the panel's name; `time` is the column that a dashboard cuts by
    lake/      the same over tables of the lake, which go on while rollups wait: the serving API asks them there

Those of people and of Grafana are made in the order of their names, people's first, over the rollups and the table
`settings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

GROUPS = ("people", "grafana")
LAKE = "lake"


@dataclass(frozen=True, slots=True)
class View:
    name: str
    group: str
    description: str
    sql: str


@cache
def views() -> tuple[View, ...]:
    """All views of the file, in the order in which they can be made."""
    return _of(GROUPS)


@cache
def lake_views() -> tuple[View, ...]:
    """Those that are in no file, and name tables of the lake."""
    return _of((LAKE,))


def _of(groups: tuple[str, ...]) -> tuple[View, ...]:
    folder = Path(__file__).parent
    return tuple(_view(path, group) for group in groups for path in sorted((folder / group).glob("*.sql")))


def _view(path: Path, group: str) -> View:
    lines = path.read_text().splitlines()
    words = [line.removeprefix("--").strip() for line in lines if line.startswith("--")]
    sql = "\n".join(line for line in lines if not line.startswith("--")).strip().rstrip(";")
    return View(path.stem, group, " ".join(words), sql)
