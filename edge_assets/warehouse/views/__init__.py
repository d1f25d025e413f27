"""The views of `edge.duckdb` that people and dashboards ask: one SQL file each; its comment is its description.

    people/    what a person asks for by name
    grafana/   one view a panel, by the panel's name; `time` is the column that a dashboard cuts by

They are made in the order of their names, people's first, over the rollups and the table `settings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

GROUPS = ("people", "grafana")


@dataclass(frozen=True, slots=True)
class View:
    name: str
    group: str
    description: str
    sql: str


@cache
def views() -> tuple[View, ...]:
    """All views, in the order in which they can be made."""
    folder = Path(__file__).parent
    return tuple(_view(path, group) for group in GROUPS for path in sorted((folder / group).glob("*.sql")))


def _view(path: Path, group: str) -> View:
    lines = path.read_text().splitlines()
    words = [line.removeprefix("--").strip() for line in lines if line.startswith("--")]
    sql = "\n".join(line for line in lines if not line.startswith("--")).strip().rstrip(";")
    return View(path.stem, group, " ".join(words), sql)
