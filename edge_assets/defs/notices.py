"""The one path by which people are told of freshness and checks: a sensor that looks, and launches no run.

What is told, and when, is decided by `edge_assets.notices.engine`; here is what Dagster knows, in its words. Looking is
two queries to Dagster's storage, and one more while something is amiss. The cursor is the time of the last look, by
which a pause is known; what was told is in a file of its own, with what is still to be handed over (`notices.store`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.freshness import CronFreshnessPolicy, FreshnessState, TimeWindowFreshnessPolicy
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from edge_assets.alerts import durations
from edge_assets.defs.checks import STOPS
from edge_assets.errors import AlertError
from edge_assets.notices import engine, post, store
from edge_assets.notices.engine import Level, Thing
from edge_assets.notices.words import message
from edge_assets.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph, BaseAssetNode
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

SENSOR = "tell_people"
LOOK_SECONDS = 30
PAUSE_SECONDS = 300.0
"""so long without a look, and the platform was down, or its daemon: what is stale then is no news"""

CHECK_PATIENCE_SECONDS = 1200.0
"""two looks of the cheap checks"""

LEVELS = {
    FreshnessState.PASS: Level.OK,
    FreshnessState.WARN: Level.LATE,
    FreshnessState.FAIL: Level.FAILED,
}
"""UNKNOWN and NOT_APPLICABLE: nothing was ever reported of it, and so nothing can be missed"""


def notice_sensor(settings: Settings) -> dg.SensorDefinition:
    """Looks, keeps what is news, and has it handed over. It rests where there is nobody to tell: a tick is a write."""
    somebody = settings.notices.enabled and settings.alerts.notify
    status = dg.DefaultSensorStatus

    @dg.sensor(
        name=SENSOR,
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=status.RUNNING if somebody else status.STOPPED,
        description="Tells people, through the channels of the alerts, when an asset stands still or a check fails, "
        "and when that is over: once each, one message for a cause and all that follows from it. Launches nothing. "
        "Turned off, it tells nothing (EDGE_NOTICES__ENABLED, EDGE_NOTICES__MUTE).",
    )
    def tell(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        assert context.repository_def
        now = time.time()
        if not somebody:
            why = (
                "no channel is set: EDGE_ALERTS__NOTIFY" if settings.notices.enabled else "EDGE_NOTICES__ENABLED=false"
            )
            return dg.SensorResult(skip_reason=f"nobody is told: {why}")
        try:
            said = look(context.instance, context.repository_def.asset_graph, settings, _looked_at(context.cursor), now)
        except AlertError as error:
            said = str(error)
        return dg.SensorResult(skip_reason=said, cursor=str(now))

    return tell


def look(
    instance: dg.DagsterInstance, graph: BaseAssetGraph[Any], settings: Settings, before: float, now: float
) -> str:
    """One look; `before`: the time of the last one. Returns in a line what came of it. Raises `AlertError`."""
    things = list(seen(instance, graph, settings, now))
    remembered = store.memory(settings)
    remember, news = engine.look(remembered, things, _above(graph), now, resumed=now - before > PAUSE_SECONDS)
    if news or remember != remembered:
        told = message(news, settings.site, _page(settings)) if news else None
        store.keep(settings, remember, told, now)
    sent = post.send(settings)
    bad = sum(one.last.is_bad for one in remember.things.values())
    return "; ".join([f"{bad} of {len(things)} are amiss" if bad else f"{len(things)} are well", *filter(None, [sent])])


def seen(instance: dg.DagsterInstance, graph: BaseAssetGraph[Any], settings: Settings, now: float) -> Iterator[Thing]:
    """The freshness of each asset that has a policy and was ever materialized, and the latest word of each check."""
    nodes = {node.key: node for node in graph.asset_nodes}
    fresh = instance.get_freshness_state_records([key for key, node in nodes.items() if node.freshness_policy])
    checks = [key for node in nodes.values() for key in node.check_keys]
    said = instance.event_log_storage.get_latest_asset_check_execution_by_key(checks)
    levels = {key: LEVELS[one.freshness_state] for key, one in fresh.items() if one.freshness_state in LEVELS}
    verdicts = {key: _verdict(instance, record) for key, record in said.items()}
    amiss = any(levels.values()) or any(level for level, _ in verdicts.values())
    moved = _moved(instance, list(nodes)) if amiss else {}
    for key, level in levels.items():
        words = _standing_still(nodes[key], moved.get(key), now) if level else ""
        patience = _patience(nodes[key])
        name = key.to_user_string()
        yield Thing(
            name,
            name,
            level,
            words,
            moved.get(key),
            stops=True,
            patience_seconds=patience,
            muted=_muted(settings, name),
        )
    for check, (verdict, words) in verdicts.items():
        of = check.asset_key.to_user_string()
        stops, name = STOPS.get((of, check.name)), f"{of}:{check.name}"
        about = stops or check.asset_key
        yield Thing(
            name,
            about.to_user_string(),
            verdict,
            words,
            moved.get(about),
            stops=stops is not None,
            follows=False,
            patience_seconds=CHECK_PATIENCE_SECONDS,
            muted=_muted(settings, name),
        )


def _verdict(instance: dg.DagsterInstance, record: AssetCheckExecutionRecord) -> tuple[Level | None, str]:
    """How bad it is by a check's latest word; None while it is being evaluated, or where nobody can say."""
    if record.status is AssetCheckExecutionRecordStatus.PLANNED:
        run = instance.get_run_by_id(record.run_id)
        if run is None or run.status is not dg.DagsterRunStatus.FAILURE:
            return None, ""
        return Level.WARNING, f"it could not be evaluated: the run {record.run_id[:8]} failed, and says why"
    found = record.evaluation
    if found is None or found.passed:
        return Level.OK, ""
    level = Level.FAILED if found.severity is dg.AssetCheckSeverity.ERROR else Level.WARNING
    return level, found.description or "it does not pass; its page says why"


def _standing_still(node: BaseAssetNode, moved_at: float | None, now: float) -> str:
    since = f"nothing new for {durations.words(int((now - moved_at) * 1e6))}" if moved_at else "nothing new"
    writer = node.metadata.get("written by")
    if writer:
        step = f"; it is written by {writer}: does that run, and what does it say?"
    else:
        step = "; what does its last run say?" if node.is_executable else "; `edge status` says what runs"
    policy = node.freshness_policy
    if isinstance(policy, TimeWindowFreshnessPolicy):
        limit = durations.words(int(policy.fail_window.to_timedelta().total_seconds() * 1e6))
        return f"{since}, {limit} are allowed{step}"
    return f"{since}, its time of the schedule has passed{step}"


def _patience(node: BaseAssetNode) -> float:
    """As long as the asset's own limit: a time window, or the time between two runs of a schedule."""
    policy = node.freshness_policy
    if isinstance(policy, TimeWindowFreshnessPolicy):
        return policy.fail_window.to_timedelta().total_seconds()
    return policy.lower_bound_delta.total_seconds() if isinstance(policy, CronFreshnessPolicy) else 0.0


def _moved(instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey]) -> Mapping[dg.AssetKey, float]:
    """When each was last materialized."""
    entries = (record.asset_entry for record in instance.get_asset_records(keys))
    return {entry.asset_key: last.timestamp for entry in entries if (last := entry.last_materialization)}


def _above(graph: BaseAssetGraph[Any]) -> Mapping[str, frozenset[str]]:
    """Asset → all that are above it."""
    found: dict[dg.AssetKey, frozenset[dg.AssetKey]] = {}
    for key in graph.toposorted_asset_keys:
        parents = graph.get(key).parent_keys
        found[key] = frozenset(parents).union(*(found.get(parent, frozenset()) for parent in parents))
    return {key.to_user_string(): frozenset(one.to_user_string() for one in keys) for key, keys in found.items()}


def _muted(settings: Settings, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in settings.notices.mute)


def _page(settings: Settings) -> str | None:
    port = settings.dagster.port
    return f"http://{settings.dagster.host}:{port}" if port else None


def _looked_at(cursor: str | None) -> float:
    try:
        return float(cursor or 0)
    except ValueError:
        return 0.0
