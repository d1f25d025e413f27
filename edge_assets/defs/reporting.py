"""What the services have added, told to Dagster: materializations without runs.

A service's loop counts; its run looks at the counters every few seconds and reports an asset only when it has
advanced, and not more often than `REPORT_SECONDS`: each report writes 54 KB (measured: two databases and their
logs), and 1.5 KB of it stay until `edge_assets.defs.housekeeping` takes them away.

Assets that rightly stay as they are (dead letters, the registry of devices, their states) are reported once per
`QUIET_SECONDS` while the service that would write them moves: their freshness says that somebody has looked.

The counters, by service (each may be missing):

| service | counter | what |
|---|---|---|
| simulators | `published`, `published_below` | messages; the same by base topic |
| bridge | `received`, `logged` | messages taken from the broker, acknowledged by Kafka |
| bridge | `last_received_at` | ISO time |
| bridge | `dead_letters` | messages over the log's limit, which went to the dead-letter topic |
| stream_writer | `tables` | by table: `version`, `last_event_at`, `rows` written since the start (of devices: all) |
| stream_writer | `tables` → rooms → `more_columns` | those that messages brought: `type`, `description`, `since` |
| stream_writer | `batch`, `positions` | its number; by topic and partition the next offset |
| stream_writer | `progress` | `lag`: records that the log holds and the tables do not yet |
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from edge_assets.defs.assets import (
    ALERT_EVENTS,
    BROKER,
    alert_topics,
    kept_routes,
    network_key,
    table_key,
    topic_key,
    topics,
)
from edge_assets.defs.checks import carry_forward
from edge_assets.defs.columns import SCHEMA, column_schema
from edge_assets.defs.gold import PUBLISHED
from edge_assets.defs.judges import new_columns
from edge_assets.defs.samples import more_columns
from edge_assets.defs.sparkline import sparkline
from edge_assets.settings import Settings
from edge_assets.tables import (
    ALERTS,
    DEAD_LETTERS,
    DEVICE_STATES,
    DEVICES,
    ROOM_TELEMETRY,
    SESSIONS,
    TABLES,
    Table,
    gold_tables,
)

REPORT_SECONDS = 300.0
FIRST_REPORT_SECONDS = 60.0
FIRST_SECONDS = 600.0
"""for this long after its start a service reports each minute: somebody may be watching"""
QUIET_SECONDS = 3600.0
PLOTTED = 24
"""reports whose rates are drawn: two hours"""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an asset has come since its service started."""

    asset: dg.AssetKey
    count: int
    """what grows when the asset does: messages, rows"""
    unit: str
    looked: int = 0
    """what grows when its service has worked, whether the asset changed or not; 0: it is no quiet asset"""
    from_zero: bool = True
    """the count began at 0 with the service; otherwise it is what is there, and only its growth is news"""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Reported:
    count: int = 0
    looked: int = 0
    at: float = float("-inf")
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=PLOTTED))
    """a minute, in each interval between two of the last reports"""


class Reporter:
    """Reports a service's assets from its counters; one for each run.

    `clock` is monotonic, in seconds.
    """

    def __init__(self, settings: Settings, service: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._service = service
        self._clock = clock
        self._started = clock()
        self._reported: dict[dg.AssetKey, _Reported] = {}

    def report(
        self, instance: dg.DagsterInstance, counters: Mapping[str, Any], last: bool = False
    ) -> list[dg.AssetKey]:
        """Report what has advanced since its last report; `last` ones do not wait for their minute."""
        told = []
        for progress in progress_of(self._service, counters, self._settings):
            first = _Reported(0 if progress.from_zero else progress.count)
            before = self._reported.setdefault(progress.asset, first)
            if not self._is_due(progress, before, last):
                continue
            now = self._clock()
            since = max(before.at, self._started)
            before.rates.append((progress.count - before.count) * 60 / max(now - since, 1.0))
            instance.report_runless_asset_event(_materialization(progress, before, self._service))
            carry_forward(instance, progress.asset)
            self._reported[progress.asset] = _Reported(progress.count, progress.looked, now, before.rates)
            told.append(progress.asset)
        return told

    def _is_due(self, progress: Progress, before: _Reported, last: bool) -> bool:
        waited = self._clock() - before.at
        if progress.count > before.count:
            young = self._clock() - self._started < FIRST_SECONDS
            return last or waited >= (FIRST_REPORT_SECONDS if young else REPORT_SECONDS)
        return progress.looked > before.looked and waited >= QUIET_SECONDS


def _materialization(progress: Progress, before: _Reported, service: str) -> dg.AssetMaterialization:
    new = progress.count - before.count
    return dg.AssetMaterialization(
        progress.asset,
        description=f"{new:,} {progress.unit}" if new else f"unchanged: {service} has looked",
        metadata={f"new {progress.unit}": new, "reported by": service, **_plot(before.rates), **progress.metadata},
    )


def _plot(rates: Sequence[float]) -> dict[str, str]:
    if len(rates) < 2:
        return {}
    return {"a minute, lately": f"{sparkline(rates)}  now {rates[-1]:,.0f}, at most {max(rates):,.0f}"}


def progress_of(service: str, counters: Mapping[str, Any], settings: Settings) -> Iterator[Progress]:
    """The assets that a service writes, as far as its counters tell of them."""
    by_service = {"simulators": _simulators, "alerter": _alerter, "bridge": _bridge, "stream_writer": _stream_writer}
    if service in by_service:
        yield from by_service[service](counters, settings)


def _simulators(counters: Mapping[str, Any], settings: Settings) -> Iterator[Progress]:
    published = counters.get("published_below") or {}
    for route in kept_routes(settings):
        if base := settings.simulators.base_of(route.filter):
            yield Progress(network_key(route), _count(published, base), "messages")


def _alerter(counters: Mapping[str, Any], settings: Settings) -> Iterator[Progress]:
    if any(network_key(route) == ALERT_EVENTS for route in kept_routes(settings)):
        told = _plain({name: counters.get(name) for name in ("open", "rules")})
        yield Progress(ALERT_EVENTS, _count(counters, "events"), "events", _count(counters, "messages"), metadata=told)


def _bridge(counters: Mapping[str, Any], settings: Settings) -> Iterator[Progress]:
    received, logged = _count(counters, "received"), _count(counters, "logged")
    by_filter = counters.get("routes") or {}
    last = _time(counters, "last_received_at", "last message")
    dropped = {"dropped by the broker": counters["dropped_by_broker"]} if "dropped_by_broker" in counters else {}
    for route in kept_routes(settings):
        if not settings.simulators.base_of(route.filter) and network_key(route) != ALERT_EVENTS:
            yield Progress(network_key(route), _count(by_filter, route.filter), "messages", metadata=last)
    yield Progress(BROKER, received, "messages", metadata={**last, **_plain(dropped)})
    for topic in topics(settings):
        routed = (route.filter for route in settings.bridge.routes if route.topic == topic)
        records = sum(_count(by_filter, name) for name in routed)
        looked = logged if topic in alert_topics(settings) else 0
        yield Progress(topic_key(topic), records, "records", looked, metadata=last)
    dead = topic_key(settings.bridge.dead_letter_topic)
    yield Progress(dead, _count(counters, "dead_letters"), "records", looked=logged)


def _stream_writer(counters: Mapping[str, Any], settings: Settings) -> Iterator[Progress]:
    tables, batch = counters.get("tables") or {}, _count(counters, "batch")
    for table in TABLES:
        news = tables.get(table.full_name)
        if news is None:
            continue
        quiet = table in (DEAD_LETTERS, DEVICES, DEVICE_STATES, ALERTS)
        metadata = {
            **_plain({"table version": news.get("version")}),
            **_time(news, "last_event_at", "last event"),
            **_plain({"lag (records)": (counters.get("progress") or {}).get("lag")}),
            **_plain({"positions": counters.get("positions")}),
        }
        if table is ROOM_TELEMETRY:
            metadata |= _columns(table, more_columns(tables))
        rows, looked = _count(news, "rows"), batch if quiet else 0
        yield Progress(table_key(table.full_name), rows, "rows", looked, table is not DEVICES, metadata)
    yield from _gold(counters, settings)


def _gold(counters: Mapping[str, Any], settings: Settings) -> Iterator[Progress]:
    tables, batch = counters.get("tables") or {}, _count(counters, "batch")
    for table in gold_tables(settings):
        news = tables.get(table.full_name)
        if news is None:
            continue
        metadata = {
            **_plain({"table version": news.get("version"), "corrected rows": news.get("corrected")}),
            **_time(news, "last_event_at", "written up to"),
            **_time(counters, "watermark", "watermark"),
            **_plain({"late messages": (counters.get("written") or {}).get("late")}),
        }
        looked = batch if table is SESSIONS else 0
        yield Progress(table_key(table.full_name), _count(news, "rows"), "rows", looked, metadata=metadata)
    if "published" in counters:
        yield Progress(PUBLISHED, _count(counters, "published"), "windows")


def _columns(table: Table, more: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The schema as it is by now, where the table has more columns than its asset tells of, and which are new."""
    if not more:
        return {}
    columns = column_schema(table.columns).columns
    added = [dg.TableColumn(name, about["type"], about["description"]) for name, about in more.items()]
    new = new_columns({name: about["since"] for name, about in more.items()}, time.time())
    changed = {"schema changed": f"new in the last day: {', '.join(new)}"} if new else {}
    return {SCHEMA: dg.TableSchema([*columns, *added]), **changed}


def _count(counters: Mapping[str, Any], name: str) -> int:
    value = counters.get(name)
    return int(value) if isinstance(value, int | float) else 0


def _time(values: Mapping[str, Any], name: str, label: str) -> dict[str, Any]:
    value = values.get(name)
    if not isinstance(value, str):
        return {}
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return {label: value}
    return {label: dg.MetadataValue.timestamp(at if at.tzinfo else at.replace(tzinfo=UTC))}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that Dagster's metadata takes; what is missing is left out."""
    return {name: value for name, value in values.items() if value is not None}
