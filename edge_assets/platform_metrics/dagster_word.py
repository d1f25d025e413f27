"""What Dagster's storage says: assets, their freshness and checks, heartbeats, ticks, runs.

Its SQLite files are read as they are, read-only, and not through `DagsterInstance`: that takes 40 MB and 30 ms of
Python for each look (measured, dagster 1.13.27), in a process whose aim is tens of milliseconds; the queries here take
2 ms. A test lets Dagster itself write what is read here, so that a version that writes it otherwise is noticed.

A freshness policy is Dagster's to evaluate, and its daemon's death would freeze the verdict. So the windows of the
policies are exported too, where the process has the definitions loaded anyway: every service under `edge up` does. They
also say which assets and checks there are: what a former version or other settings have left is not told.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_assets.platform_metrics.catalogue import Sample, told
from edge_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

RUNS = "history/runs.db"
INDEX = "history/runs/index.db"
SCHEDULES = "schedules/schedules.db"
BUSY_SECONDS = 2.0

DEADLINES = 40
"""of a schedule are looked at: a month of days"""

PLANNED = 500
"""executions of checks that are read once more: a row is written when its check is planned, and anew when it ends"""

FRESHNESS = {"PASS": 0.0, "WARN": 1.0, "FAIL": 2.0}
"""Dagster's states; UNKNOWN and NOT_APPLICABLE are no figure"""

_ASSETS = "SELECT asset_key, last_materialization_timestamp FROM asset_keys"
_FRESHNESS = """
    SELECT asset_key, json_extract(event, '$.dagster_event.event_specific_data.new_state.__enum__')
    FROM event_logs WHERE dagster_event_type = 'FRESHNESS_STATE_CHANGE' AND id > ? ORDER BY id"""
_CHECKS = """
    SELECT asset_key, check_name, execution_status, evaluation_event_timestamp,
        json_extract(evaluation_event, '$.dagster_event.event_specific_data.severity.__enum__')
    FROM asset_check_executions WHERE id > ? AND execution_status IN ('SUCCEEDED', 'FAILED') ORDER BY id"""
_HEARTBEATS = "SELECT daemon_type, timestamp FROM daemon_heartbeats"
_RUNS = "SELECT pipeline_name, status, count(*), min(create_timestamp) FROM runs GROUP BY 1, 2"
_TICKS = """
    SELECT type, max(timestamp) FROM job_ticks WHERE status IN ('SUCCESS', 'SKIPPED')
    AND id > (SELECT max(id) FROM job_ticks) - 500 GROUP BY type"""


WAITING = ("QUEUED", "NOT_STARTED", "STARTING")
"""states of a run that has not begun"""


@dataclass(frozen=True, slots=True)
class Defined:
    """What the definitions have; assets as `group/name`."""

    fail_windows: Mapping[str, float]
    """of each asset that has a freshness policy: it is not fresh when it is older than so many seconds"""
    assets: frozenset[str]
    checks: frozenset[tuple[str, str]]


class Dagster:
    """The source. Two weeks of checks are tens of thousands of rows: what is known is kept, and only later ones are
    read."""

    def __init__(self) -> None:
        self._freshness: dict[str, float] = {}
        self._checks: dict[tuple[str, str], tuple[str, float, float]] = {}
        """asset, check → severity, 1 for a pass, time"""
        self._defined: Defined | None = None
        self._read_to = {"event_logs": 0, "asset_check_executions": 0}

    def __call__(self, settings: Settings) -> Iterator[Sample]:
        home = settings.home / "dagster"
        if not (home / RUNS).exists():
            return
        self._defined = self._defined or defined(settings)
        if self._defined:
            for asset, window in self._defined.fail_windows.items():
                yield "edge_asset_fail_window_seconds", (asset,), window
        with _opened(home / INDEX) as index:
            yield from self._assets(index)
        with _opened(home / RUNS) as runs:
            for daemon, at in runs.execute(_HEARTBEATS):
                yield "edge_dagster_heartbeat_timestamp_seconds", (daemon,), _seconds(at)
            yield from _runs(runs)
        with _opened(home / SCHEDULES) as schedules:
            for kind, at in schedules.execute(_TICKS):
                yield "edge_dagster_tick_timestamp_seconds", (kind.lower(),), _seconds(at)
        files = (home / f"{name}{log}" for name in (RUNS, INDEX, SCHEDULES) for log in ("", "-wal"))
        yield "edge_dagster_storage_bytes", (), float(sum(path.stat().st_size for path in files if path.exists()))

    def _assets(self, index: sqlite3.Connection) -> Iterator[Sample]:
        for key, at in index.execute(_ASSETS):
            if at and self._has(_name(key)):
                yield "edge_asset_materialization_timestamp_seconds", (_name(key),), _seconds(at)
        for key, state in self._later(index, "event_logs", _FRESHNESS):
            self._freshness[_name(key)] = FRESHNESS.get(str(state).rpartition(".")[2], -1.0)
        for key, check, status, at, severity in self._later(index, "asset_check_executions", _CHECKS, PLANNED):
            how_bad = str(severity).rpartition(".")[2].lower()
            self._checks[_name(key), check] = (how_bad, float(status == "SUCCEEDED"), _seconds(at))
        for asset, level in self._freshness.items():
            if level >= 0 and self._has(asset):
                yield "edge_asset_freshness", (asset,), level
        for (asset, check), (how_bad, passed, at) in self._checks.items():
            if self._has(asset, check):
                yield "edge_asset_check_passed", (asset, check, how_bad), passed
                yield "edge_asset_check_timestamp_seconds", (asset, check), at

    def _has(self, asset: str, check: str | None = None) -> bool:
        """Whether there is such an asset, or check of it; where nobody can say, there is."""
        if self._defined is None:
            return True
        return asset in self._defined.assets if check is None else (asset, check) in self._defined.checks

    def _later(self, index: sqlite3.Connection, table: str, query: str, again: int = 0) -> list[tuple[Any, ...]]:
        """The rows since the last look, and so many before them `again`; all of them where the storage is a new one."""
        (newest,) = index.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()
        if newest < self._read_to[table]:
            self._read_to[table] = 0
        found = index.execute(query, [self._read_to[table] - again]).fetchall()
        self._read_to[table] = newest
        return found


def _runs(storage: sqlite3.Connection) -> Iterator[Sample]:
    waiting, since = 0, []
    for job, status, count, oldest in storage.execute(_RUNS):
        yield "edge_dagster_runs", (job, status.lower()), float(count)
        if status in WAITING:
            waiting += count
            since.append(_seconds(oldest))
    yield "edge_dagster_queued_runs", (), float(waiting)
    yield from told("edge_dagster_queued_runs_oldest_timestamp_seconds", min(since, default=None))


def defined(settings: Settings) -> Defined | None:
    """What the definitions of these settings have; None where this process does not have them loaded."""
    if "edge_assets.definitions" not in sys.modules:
        return None
    from edge_assets.definitions import build

    definitions = build(settings)
    specs = definitions.resolve_all_asset_specs()
    windows = {_path(spec.key): fail_window(spec.freshness_policy) for spec in specs}
    checks = definitions.resolve_asset_graph().asset_check_keys
    return Defined(
        {asset: window for asset, window in windows.items() if window is not None},
        frozenset(windows),
        frozenset((_path(check.asset_key), check.name) for check in checks),
    )


def fail_window(policy: dg.FreshnessPolicy | None) -> float | None:
    """The seconds after which an asset is not fresh by any reading of its policy; None without one.

    Of a schedule it is the longest time between two deadlines, and what before a deadline counts for it.
    """
    from dagster._core.definitions.freshness import CronFreshnessPolicy, TimeWindowFreshnessPolicy
    from dagster._utils.schedules import cron_string_iterator

    if isinstance(policy, TimeWindowFreshnessPolicy):
        return policy.fail_window.to_timedelta().total_seconds()
    if isinstance(policy, CronFreshnessPolicy):
        ticks = cron_string_iterator(time.time(), policy.deadline_cron, policy.timezone)
        longest = max(later.timestamp() - earlier.timestamp() for earlier, later in pairwise(islice(ticks, DEADLINES)))
        return longest + policy.lower_bound_delta.total_seconds()
    return None


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Read-only: neither a lock nor a new file is left behind."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as connection:
        yield connection


def _name(key: str) -> str:
    return "/".join(json.loads(key))


def _path(key: dg.AssetKey) -> str:
    return "/".join(key.path)


def _seconds(text: str) -> float:
    """Dagster's times: UTC without saying so."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
