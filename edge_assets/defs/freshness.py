"""Limits of freshness that a person sets in place of the platform's own: `EDGE_DAGSTER__FRESHNESS_MINUTES`.

What a policy is by itself stands with its asset; here is only what settings make of it.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TypeAlias

import dagster as dg

from edge_assets.settings import Settings

Asset: TypeAlias = dg.AssetSpec | dg.AssetsDefinition

WARNS_AT = 0.5
"""of the limit"""
LEAST_WINDOW = timedelta(minutes=1)
"""Dagster has none below"""

log = logging.getLogger(__name__)


def with_limits(assets: Iterable[Asset], settings: Settings) -> Sequence[Asset]:
    """The assets, each with the limit that the settings have for it. One that is set and not there is logged."""
    limits = settings.dagster.freshness_minutes
    met: set[str] = set()

    def limited(spec: dg.AssetSpec) -> dg.AssetSpec:
        name = "/".join(spec.key.path)
        met.add(name)
        return dg.apply_freshness_policy(spec, policy(limits[name])) if name in limits else spec

    found = dg.map_asset_specs(limited, assets)
    for name in sorted(limits.keys() - met):
        log.warning("setting EDGE_DAGSTER__FRESHNESS_MINUTES: there is no asset %s; it says nothing", name)
    return found


def policy(minutes: int) -> dg.FreshnessPolicy:
    """Fails at an age of so many minutes, and warns at half of it, where Dagster can."""
    fails = timedelta(minutes=minutes)
    warns = fails * WARNS_AT
    return dg.FreshnessPolicy.time_window(fail_window=fails, warn_window=warns if warns >= LEAST_WINDOW else None)
