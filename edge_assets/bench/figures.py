"""Latencies as figures: percentiles of a list, and of a question that is asked again and again."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any


def percentiles(values: Sequence[float], unit: str, *wanted: int, digits: int = 1) -> dict[str, float]:
    """p50, p95, whichever are `wanted` beside them, and the largest: `p50_ms`, … , `max_ms`; nothing of one value."""
    if len(values) < 2:
        return {}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    named = {f"p{percent}_{unit}": cuts[percent - 1] for percent in sorted({50, 95, *wanted})}
    return {name: round(value, digits) for name, value in {**named, f"max_{unit}": max(values)}.items()}


def timed(ask: Callable[[], Any], times: int) -> dict[str, float]:
    """Milliseconds that a question takes, asked so many times."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - begun) * 1e3)
    return percentiles(taken, "ms")


def growth_per_day(samples: Sequence[tuple[float, float]]) -> float:
    """The slope of (seconds, value), by least squares, as a growth in a day; 0 of fewer than two samples."""
    if len(samples) < 2:
        return 0.0
    at, values = zip(*samples, strict=True)
    return statistics.linear_regression(at, values).slope * 86_400
