"""A small plot in one line of text: it costs an event of Dagster's log 70 bytes, and shows wherever text does."""

from __future__ import annotations

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """One bar a value, from zero to the largest; empty without values. Raises `ValueError` where one is negative."""
    if any(value < 0 for value in values):
        raise ValueError(f"expected no value below zero, got {min(values)}")
    top = max(values, default=0) or 1
    return "".join(BARS[min(int(value / top * len(BARS)), len(BARS) - 1)] for value in values)
