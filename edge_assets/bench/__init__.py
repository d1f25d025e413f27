"""`edge bench NAME`: figures beside a reference that was taken in the same run. One module a bench.

Nothing here is a test: a figure has no right value, only a comparison. Kept in docs/benchmarks.md.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from typing import Any

from edge_assets.errors import SettingsError
from edge_assets.settings import Settings

NAMES = ("bridge", "stream", "latency", "writes", "footprint", "start", "query", "rollup")


def run(name: str, settings: Settings, seconds: float | None = None) -> dict[str, Any]:
    """Run the bench of that name, for so many `seconds` where it goes on for a time. Raises `SettingsError`."""
    if name not in NAMES or find_spec(f"{__name__}.{name}") is None:
        there = ", ".join(known for known in NAMES if find_spec(f"{__name__}.{known}"))
        raise SettingsError(f"no bench named {name!r}; there are: {there}")
    bench = import_module(f"{__name__}.{name}").run
    if seconds is None:
        found: dict[str, Any] = bench(settings)
    elif "seconds" in signature(bench).parameters:
        found = bench(settings, seconds=seconds)
    else:
        raise SettingsError(f"the bench {name!r} ends by itself: leave --seconds out")
    return found
