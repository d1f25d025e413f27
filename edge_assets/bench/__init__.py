"""`edge bench NAME`: figures beside a reference that was taken in the same run. One module a bench.

Nothing here is a test: a figure has no right value, only a comparison. Kept in docs/benchmarks.md.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from edge_assets.errors import SettingsError
from edge_assets.settings import Settings

NAMES = ("bridge", "stream", "latency", "writes", "footprint", "start", "query", "rollup")


def run(name: str, settings: Settings) -> dict[str, Any]:
    """Run the bench of that name. Raises `SettingsError` where there is none."""
    if name not in NAMES or find_spec(f"{__name__}.{name}") is None:
        there = ", ".join(known for known in NAMES if find_spec(f"{__name__}.{known}"))
        raise SettingsError(f"no bench named {name!r}; there are: {there}")
    return import_module(f"{__name__}.{name}").run(settings)
