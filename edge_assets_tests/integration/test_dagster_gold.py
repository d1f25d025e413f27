"""Gold's checks in Dagster: a recompute by another engine, and rooms that nobody has described."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from edge_assets import rooms
from edge_assets.defs import gold
from edge_assets.service import status_path, write_json
from edge_assets.settings import Settings
from edge_assets.tables import ROOM_TELEMETRY, window_table
from edge_assets.warehouse.windows import Comparison, compare
from edge_assets_tests.lake_tables import position, write

BEGIN = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
Change = Callable[[list[dict[str, Any]]], None]


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def lake(settings: Settings, change: Change = lambda rows: None) -> None:
    """A minute of a lab, a message each second whose temperature is the second's number, and its sliding windows."""
    message = {"room_id": "lab", "humidity": 40.0, "occupancy_count": 1, "motion_detected": True, "quality": "good"}
    said = [
        {**position(n), **message, "temperature": float(n), "event_time": at(n), "received_at": at(n), "date": BEGIN}
        for n in range(60)
    ]
    said.append({**said[0], **position(60), "temperature": 999.0})  # beyond what °C can be
    write(settings, ROOM_TELEMETRY, said)
    rows = [_window(start, [n for n in range(60) if start <= n < start + 10]) for start in range(-5, 60, 5)]
    change(rows)
    write(settings, window_table(settings.windows.tables[0]), rows)


def _window(start: int, seconds: list[int]) -> dict[str, Any]:
    figures = {"avg_temperature": sum(seconds) / len(seconds), "motion_events": len(seconds) + (0 in seconds)}
    figures |= {"min_temperature": float(min(seconds)), "max_temperature": float(max(seconds)), "max_occupancy": 1}
    figures |= {f"{name}_humidity": 40.0 for name in ("avg", "min", "max")}
    return {"window_start": at(start), "window_end": at(start + 10), "room_id": "lab", "date": at(start), **figures}


def _alter(rows: list[dict[str, Any]]) -> None:
    rows[4]["avg_temperature"] += 0.001


def _miss(rows: list[dict[str, Any]]) -> None:
    del rows[6:8]


def _invent(rows: list[dict[str, Any]]) -> None:
    rows.append({**rows[4], "room_id": "attic"})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: None, Comparison(10, 0, 0, 0)),
        (_alter, Comparison(10, 1, 0, 0)),
        (_miss, Comparison(10, 0, 2, 0)),
        (_invent, Comparison(11, 0, 0, 1)),
    ],
)
def test_windows_are_compared_with_their_messages(settings: Settings, change: Change, expected: Comparison) -> None:
    lake(settings, change)
    assert compare(settings, settings.windows.tables[0], at(0), at(50)) == expected


def verdicts(settings: Settings, written_until: datetime) -> dict[str, tuple[bool, str]]:
    window = settings.windows.tables[0]
    news = {window_table(window).full_name: {"last_event_at": written_until.isoformat()}}
    write_json(status_path(settings, "stream_writer"), {"tables": news})
    wanted = [
        check for check in gold.gold_checks(settings) if any("5s" in key.asset_key.path[-1] for key in check.check_keys)
    ]
    with dg.DagsterInstance.ephemeral() as instance:
        selection = dg.AssetSelection.checks(*wanted)
        result = dg.materialize([*gold.gold_specs(settings), *wanted], instance=instance, selection=selection)
        return {e.check_name: (e.passed, e.description or "") for e in result.get_asset_check_evaluations()}


def test_the_checks_pass_fail_and_say_what_to_do(settings: Settings) -> None:
    settled = timedelta(minutes=2 * settings.windows.repair_minutes + 1, seconds=10)
    lake(settings, _miss)
    told = verdicts(settings, at(50) + settled)
    assert not told["equals_silver"][0] and "2 are missing" in told["equals_silver"][1]
    assert "edge reprocess --table gold.telemetry_5s_agg" in told["equals_silver"][1]
    passed, words = told["rooms_described"]
    assert not passed and "edge rooms set lab" in words
    rooms.describe(settings, "lab", room_name="Laboratory")
    assert verdicts(settings, at(30) + settled)["rooms_described"][0]


def test_where_no_room_has_spoken_nothing_is_wrong(settings: Settings) -> None:
    assert gold.compared_span(settings, settings.windows.tables[0]) is None
    assert gold.undescribed(settings, settings.windows.tables[0]) == []
