"""Limits of freshness that the settings have in place of the platform's own."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from edge_assets.definitions import build
from edge_assets.settings import Settings
from edge_assets_tests.bridge_rig import with_settings


def windows(settings: Settings) -> dict[str, tuple[timedelta, timedelta | None]]:
    """Asset → when it fails, and warns."""
    found = {}
    for spec in build(settings).resolve_all_asset_specs():
        if isinstance(policy := spec.freshness_policy, TimeWindowFreshnessPolicy):
            warns = policy.warn_window.to_timedelta() if policy.warn_window else None
            found["/".join(spec.key.path)] = policy.fail_window.to_timedelta(), warns
    return found


def test_a_limit_of_the_settings_holds_for_that_asset_alone(settings: Settings) -> None:
    own = {"silver/readings": 1440, "rollups/readings_1h": 1, "lake/maintenance": 30}
    found = windows(with_settings(settings, dagster={"freshness_minutes": own}))
    assert found.pop("silver/readings") == (timedelta(days=1), timedelta(hours=12))
    assert found.pop("rollups/readings_1h") == (timedelta(minutes=1), None)
    assert found.pop("lake/maintenance") == (timedelta(minutes=30), timedelta(minutes=15))
    others = windows(settings)
    assert found.items() <= others.items()


def test_a_limit_of_an_asset_that_is_not_there_is_named(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        build(with_settings(settings, dagster={"freshness_minutes": {"silver/reading": 60}}))
    assert "FRESHNESS_MINUTES: there is no asset silver/reading;" in caplog.text
