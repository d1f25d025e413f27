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

NAMES = (
    *("bridge", "stream", "backlog", "latency", "writes", "footprint", "start", "query", "rollup", "anomalies"),
    *("alert", "live", "serving", "recovery", "cockpit"),
)


def run(name: str, settings: Settings, **options: Any) -> dict[str, Any]:
    """Run the bench of that name, with the options that are not None. Raises `SettingsError`, also for one that it does
    not have."""
    if name not in NAMES or find_spec(f"{__name__}.{name}") is None:
        there = ", ".join(known for known in NAMES if find_spec(f"{__name__}.{known}"))
        raise SettingsError(f"no bench named {name!r}; there are: {there}")
    bench = import_module(f"{__name__}.{name}").run
    given = {option: value for option, value in options.items() if value is not None}
    if unknown := given.keys() - signature(bench).parameters:
        raise SettingsError(f"the bench {name!r} has no use for --{min(unknown)}: leave it out")
    found: dict[str, Any] = bench(settings, **given)
    return found
