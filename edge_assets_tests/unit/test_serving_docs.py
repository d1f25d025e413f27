"""docs/api.md lists the endpoints that OpenAPI has, and says the limits that the code has."""

from __future__ import annotations

import re
from pathlib import Path

from edge_assets.serving import answers, asking, opened, parameters, times, turns
from edge_assets.serving.api import app
from edge_assets.serving.catalogue import FILTERS
from edge_assets.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def test_the_table_of_endpoints_is_whole(settings: Settings) -> None:
    listed = re.findall(r"^\| `(/api/v1/[^`]*)` \|", PAGE, flags=re.MULTILINE)
    assert sorted(listed) == sorted(app(settings).openapi()["paths"])


def test_limits_are_as_they_are_said() -> None:
    limits = "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))
    for number in (
        *(parameters.LIMIT, parameters.MOST_ROWS, parameters.POINTS, parameters.MOST_POINTS),
        *(parameters.MOST_CHOICES, parameters.LIMIT_ALERTS, parameters.MOST_ALERTS, turns.THREADS, turns.WAITING),
    ):
        assert f"{number:,}" in limits
    assert f"{turns.DEADLINE_SECONDS:.0f} s, then" in limits and opened.MEMORY_LIMIT == "96MB"
    assert f"for {answers.CACHE_SECONDS} seconds" in PAGE and f"steps of {times.GRAIN_SECONDS} seconds" in PAGE
    assert f"({asking.REMEMBERED_BYTES // 1_000_000} MB)" in PAGE
    assert f"{times.MILLISECONDS_FROM:,}" in PAGE
    assert all(f"`{name}`" in PAGE for name in FILTERS)
    assert " ".join(times.UNITS) in PAGE
