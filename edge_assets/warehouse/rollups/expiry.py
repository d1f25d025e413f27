"""Minutes that are too old (`settings.retention`) leave readings_1m, month by month; hours and days stay.

The raw rows are the stream writer's to delete (`edge_assets.stream.expiry`). What has been done to which file is kept
in `EDGE_HOME/warehouse/minutes_expired.json`, so that a month is looked at again only when there is something to do.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from edge_assets import retention
from edge_assets.service import write_json
from edge_assets.settings import Settings
from edge_assets.warehouse import lake
from edge_assets.warehouse.rollups import publish, times
from edge_assets.warehouse.rollups.layout import Layout, folder, read_state, write_state
from edge_assets.warehouse.rollups.model import READINGS_1M
from edge_assets.warehouse.rollups.silver import Silver
from edge_assets.warehouse.rollups.update import alone
from edge_assets.warehouse.rollups.work import Work


def expire_minutes(settings: Settings, today: date | None = None) -> int:
    """Drop the minutes that are too old. Returns how many buckets went. Raises `LakeError`, `AlreadyRunning`."""
    with alone(settings), lake.connection(settings) as opened:
        state = read_state(settings)
        if state is None or state.building_from:
            return 0
        todo = _todo(settings, Layout(settings, state), today or datetime.now(UTC).date())
        if not todo:
            return 0
        begin = max(state.minutes_begin or "", *(_after(unit).isoformat() for unit in todo))
        state = replace(state, minutes_begin=begin)
        write_state(settings, state)
        work = Work(settings, opened, Silver(settings), state)
        dropped = sum(work.drop_minutes(unit, condition) for unit, condition in todo.items())
        if dropped:
            publish.publish(settings, state)
        _remember(settings, work.layout, todo)
        return dropped


def _todo(settings: Settings, layout: Layout, today: date) -> dict[str, str]:
    """Month → SQL of the rows that are to go, where that has not been done to its file."""
    found = {}
    done = _done(settings)
    for unit, turns in layout.turns(READINGS_1M, "month").items():
        if times.unit_start(unit, "month") >= layout.state.closed_until("month"):
            continue
        condition = _condition(settings, unit, today)
        if condition != "false" and done.get(unit) != [str(turns[-1]), condition]:
            found[unit] = condition
    return found


def _condition(settings: Settings, unit: str, today: date) -> str:
    rules = settings.retention.readings
    last = _after(unit) - timedelta(days=1)
    old = [rule for rule in rules if rule.minutes_days and last <= retention.last_day(today, rule.minutes_days)]
    return retention.too_old(rules, old, "device_id, device_name", "measurement")


def _after(unit: str) -> date:
    return times.after(times.unit_start(unit, "month"), "month").date()


def _path(settings: Settings) -> Path:
    return folder(settings) / "minutes_expired.json"


def _done(settings: Settings) -> dict[str, list[str]]:
    try:
        return json.loads(_path(settings).read_text())
    except (FileNotFoundError, ValueError):
        return {}


def _remember(settings: Settings, layout: Layout, todo: dict[str, str]) -> None:
    now = {unit: [str(layout.path(READINGS_1M, "month", unit)), condition] for unit, condition in todo.items()}
    write_json(_path(settings), {**_done(settings), **now})
