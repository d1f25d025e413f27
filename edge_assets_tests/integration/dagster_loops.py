"""Definitions with small loops in place of the services' own, for a real code server to load.

What a loop does is told by files in the home: `run/<service>.fails` makes it raise, `run/<service>.deaf` makes it
ignore its stop.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from edge_assets.definitions import build
from edge_assets.defs.services import Service
from edge_assets.service import Report
from edge_assets.settings import Settings, load_settings


def carry(settings: Settings, stop: threading.Event, report: Report) -> None:
    """A bridge that counts in place of carrying."""
    count = 0
    while not stop.wait(0.1) or (settings.home / "run" / "bridge.deaf").exists():
        if (settings.home / "run" / "bridge.fails").exists():
            raise RuntimeError("the test wants this loop to fail")
        count += 1
        now = datetime.now(UTC).isoformat()
        report(
            {
                "received": count,
                "logged": count,
                "routes": {"zigbee2mqtt/#": count},
                "last_received_at": now,
                "dropped_by_broker": 0,
            }
        )


defs = build(load_settings(), [Service("bridge", "edge_assets_tests.integration.dagster_loops:carry", "A small loop.")])
