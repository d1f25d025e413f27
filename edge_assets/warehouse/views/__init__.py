"""The views of `edge.duckdb` that people and dashboards ask: one SQL file each; its comment is its description.

Below it, indented, what a column is that is not a column of what the view reads: `--   open: 1 where …`.

    people/    what a person asks for by name
    grafana/   one view a panel, by the panel's name; `time` is the column that a dashboard cuts by
    lake/      the same over tables of the lake, which go on while rollups wait: the serving API asks them there

Those of people and of Grafana are made in the order of their names, people's first, over the rollups and the table
`settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

GROUPS = ("people", "grafana")
LAKE = "lake"

COLUMN = "   "
"""what a comment begins with that is about a column"""


@dataclass(frozen=True, slots=True)
class View:
    name: str
    group: str
    description: str
    sql: str
    columns: Mapping[str, str]
    """its own words for columns, by name"""


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
    comments = [line.removeprefix("--") for line in lines if line.startswith("--")]
    of_columns = [line.strip() for line in comments if line.startswith(COLUMN)]
    words = [line.strip() for line in comments if not line.startswith(COLUMN)]
    sql = "\n".join(line for line in lines if not line.startswith("--")).strip().rstrip(";")
    columns = {name: told for name, _, told in (line.partition(": ") for line in of_columns)}
    return View(path.stem, group, " ".join(words), sql, columns)
