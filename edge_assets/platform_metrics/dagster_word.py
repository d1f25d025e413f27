"""What Dagster's storage says: assets, their freshness and checks, heartbeats, ticks, runs.

Its SQLite files are read as they are, read-only, and not through `DagsterInstance`: that takes 40 MB and 30 ms of
Python for each look (measured, dagster 1.13.27), in a process whose aim is tens of milliseconds; the queries here take
2 ms. A test lets Dagster itself write what is read here, so that a version that writes it otherwise is noticed.

A freshness policy is Dagster's to evaluate, and its daemon's death would freeze the verdict. So the windows of the
policies are exported too, where the process has Dagster loaded anyway: every service under `edge up` does.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_assets.platform_metrics.catalogue import Sample
from edge_assets.settings import Settings

RUNS = "history/runs.db"
INDEX = "history/runs/index.db"
SCHEDULES = "schedules/schedules.db"
BUSY_SECONDS = 2.0

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
_RUNS = "SELECT pipeline_name, status, count(*) FROM runs GROUP BY 1, 2"
_TICKS = """
    SELECT type, max(timestamp) FROM job_ticks WHERE status IN ('SUCCESS', 'SKIPPED')
    AND id > (SELECT max(id) FROM job_ticks) - 500 GROUP BY type"""


class Dagster:
    """The source. Two weeks of checks are tens of thousands of rows: what is known is kept, and only later ones are
    read. An asset that the settings no longer have is told no more, but for its checks."""

    def __init__(self) -> None:
        self._freshness: dict[str, float] = {}
        self._checks: dict[tuple[str, str], tuple[str, float, float]] = {}
        """asset, check → severity, 1 for a pass, time"""
        self._windows: dict[str, float] | None = None
        self._read_to = {"event_logs": 0, "asset_check_executions": 0}

    def __call__(self, settings: Settings) -> Iterator[Sample]:
        home = settings.home / "dagster"
        if not (home / RUNS).exists():
            return
        if self._windows is None:
            self._windows = fail_windows(settings)
        for asset, window in self._windows.items():
            yield "edge_asset_fail_window_seconds", (asset,), window
        with _opened(home / INDEX) as index:
            yield from self._assets(index)
        with _opened(home / RUNS) as runs:
            for daemon, at in runs.execute(_HEARTBEATS):
                yield "edge_dagster_heartbeat_timestamp_seconds", (daemon,), _seconds(at)
            for job, status, count in runs.execute(_RUNS):
                yield "edge_dagster_runs", (job, status.lower()), float(count)
        with _opened(home / SCHEDULES) as schedules:
            for kind, at in schedules.execute(_TICKS):
                yield "edge_dagster_tick_timestamp_seconds", (kind.lower(),), _seconds(at)
        files = (home / f"{name}{log}" for name in (RUNS, INDEX, SCHEDULES) for log in ("", "-wal"))
        yield "edge_dagster_storage_bytes", (), float(sum(path.stat().st_size for path in files if path.exists()))

    def _assets(self, index: sqlite3.Connection) -> Iterator[Sample]:
        for key, at in index.execute(_ASSETS):
            if at:
                yield "edge_asset_materialization_timestamp_seconds", (_name(key),), _seconds(at)
        for key, state in self._later(index, "event_logs", _FRESHNESS):
            self._freshness[_name(key)] = FRESHNESS.get(str(state).rpartition(".")[2], -1.0)
        for key, check, status, at, severity in self._later(index, "asset_check_executions", _CHECKS, PLANNED):
            how_bad = str(severity).rpartition(".")[2].lower()
            self._checks[_name(key), check] = (how_bad, float(status == "SUCCEEDED"), _seconds(at))
        for asset, level in self._freshness.items():
            if level >= 0 and (not self._windows or asset in self._windows):
                yield "edge_asset_freshness", (asset,), level
        for (asset, check), (how_bad, passed, at) in self._checks.items():
            yield "edge_asset_check_passed", (asset, check, how_bad), passed
            yield "edge_asset_check_timestamp_seconds", (asset, check), at

    def _later(self, index: sqlite3.Connection, table: str, query: str, again: int = 0) -> list[tuple[Any, ...]]:
        """The rows since the last look, and so many before them `again`; all of them where the storage is a new one."""
        (newest,) = index.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()
        if newest < self._read_to[table]:
            self._read_to[table] = 0
        found = index.execute(query, [self._read_to[table] - again]).fetchall()
        self._read_to[table] = newest
        return found


def fail_windows(settings: Settings) -> dict[str, float]:
    """Of each asset that has a freshness policy, after how many seconds it fails; none where Dagster is not loaded."""
    if "dagster" not in sys.modules:
        return {}
    from edge_assets.defs import anomalies, assets, gold, rollups

    specs = [*assets.asset_specs(settings), *gold.gold_specs(settings), *rollups.rollup_specs(settings)]
    policies = {"/".join(spec.key.path): spec.freshness_policy for spec in specs}
    if settings.anomalies.enabled:
        policies["/".join(anomalies.KEY.path)] = rollups.freshness(settings)
    windows: dict[str, Any] = {name: getattr(policy, "fail_window", None) for name, policy in policies.items()}
    return {name: window.to_timedelta().total_seconds() for name, window in windows.items() if window is not None}


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Read-only: neither a lock nor a new file is left behind."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as connection:
        yield connection


def _name(key: str) -> str:
    return "/".join(json.loads(key))


def _seconds(text: str) -> float:
    """Dagster's times: UTC without saying so."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
