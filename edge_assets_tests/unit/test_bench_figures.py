"""Figures of benches: percentiles and growth."""

from __future__ import annotations

import pytest

from edge_assets.bench.figures import growth_per_day, percentiles


def test_growth_is_the_slope_of_a_line_through_all_samples() -> None:
    hour = 3_600.0
    assert growth_per_day([(0, 100), (hour, 101), (2 * hour, 102)]) == pytest.approx(24)
    assert growth_per_day([(0, 100), (hour, 104), (2 * hour, 100)]) == pytest.approx(0)
    assert growth_per_day([(0, 100)]) == 0


def test_percentiles_are_named_by_unit() -> None:
    assert percentiles([1.0, 2.0, 3.0], "ms") == {"p50_ms": 2.0, "p95_ms": 2.9, "max_ms": 3.0}
    assert percentiles([1.0], "ms") == {}
