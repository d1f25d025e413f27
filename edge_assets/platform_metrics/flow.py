"""What the services count, from their status files (`edge_assets.service`): bridge, alerter, stream writer, simulators.

A file outlives its service, so counters stay what they were; whether the service lives is `edge_service_up`. A counter
that a service does not know yet is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edge_assets.platform_metrics.catalogue import Sample, told
from edge_assets.platform_metrics.processes import seconds
from edge_assets.service import read_status
from edge_assets.settings import Settings
from edge_assets.tables import OUTCOMES

BRIDGE = {
    "edge_bridge_received_total": "received",
    "edge_bridge_logged_total": "logged",
    "edge_bridge_suppressed_total": "suppressed",
    "edge_bridge_maybe_repeats_total": "maybe_repeat",
    "edge_bridge_dead_letters_total": "dead_letters",
    "edge_bridge_in_flight": "in_flight",
    "edge_bridge_clock_synchronised": "clock_synchronised",
    "edge_broker_dropped_messages_total": "dropped_by_broker",
}
WRITTEN = {
    "edge_stream_readings_total": "readings",
    "edge_stream_implausible_readings_total": "implausible",
    "edge_stream_refused_properties_total": "refused",
    "edge_stream_late_messages_total": "late",
}
ALERTER = {
    "edge_alerter_connected": "connected",
    "edge_alerter_rules": "rules",
    "edge_alerts_open": "open",
    "edge_alerts_outbox": "outbox",
    "edge_alerts_fired_total": "fired",
    "edge_alerts_notified_total": "notified",
    "edge_alerts_notify_failures_total": "notify_failures",
}


def _of(service: str, read: Callable[[Mapping[str, Any]], Iterator[Sample]]) -> Callable[[Settings], Iterator[Sample]]:
    """A source of its own for each service: a status file that nobody understands silences that service alone."""
    return lambda settings: read(read_status(settings, service))


def _bridge(known: Mapping[str, Any]) -> Iterator[Sample]:
    yield from told("edge_bridge_connected", known.get("connected"), "mqtt")
    yield from told("edge_bridge_connected", known.get("kafka_connected"), "kafka")
    for name, key in BRIDGE.items():
        yield from told(name, known.get(key))
    for route, count in (known.get("routes") or {}).items():
        yield "edge_bridge_routed_total", (route,), float(count)
    for reason, count in (known.get("unrouted") or {}).items():
        yield "edge_bridge_unrouted_total", (reason,), float(count)
    at = seconds(known.get("last_received_at"))
    yield from told("edge_bridge_last_received_timestamp_seconds", at)


def _alerter(known: Mapping[str, Any]) -> Iterator[Sample]:
    for name, key in ALERTER.items():
        yield from told(name, known.get(key))
    if known:
        yield "edge_alerter_rules_problem", (), float(bool(known.get("rules_problem")))
    yield from told("edge_alerts_outbox_oldest_timestamp_seconds", seconds(known.get("outbox_since")))


def _stream(known: Mapping[str, Any]) -> Iterator[Sample]:
    progress, written = known.get("progress") or {}, known.get("written") or {}
    yield from told("edge_stream_batches_total", known.get("batch"))
    yield from _progress(progress)
    for place, offset in (known.get("positions") or {}).items():
        yield "edge_stream_next_offset", _place(place), float(offset)
    for outcome in OUTCOMES:
        yield from told("edge_stream_records_total", written.get(outcome), outcome)
    for name, key in WRITTEN.items():
        yield from told(name, written.get(key))
    yield from told("edge_stream_lost_records_total", (known.get("lost") or {}).get("records"))
    yield from told("edge_stream_published_windows_total", known.get("published"))
    for state, rows in (known.get("state_rows") or {}).items():
        yield "edge_stream_state_rows", (state,), float(rows)
    yield from told("edge_stream_watermark_timestamp_seconds", seconds(known.get("watermark")))
    turns = (known.get("maintenance") or {}).get("turns") or {}
    yield from told("edge_stream_longest_chore_seconds", turns.get("longest_seconds"))
    for table, news in (known.get("tables") or {}).items():
        yield from told("edge_table_written_rows_total", news.get("rows"), table)
        at = seconds(news.get("last_event_at"))
        yield from told("edge_table_last_event_timestamp_seconds", at, table)


def _progress(progress: Mapping[str, Any]) -> Iterator[Sample]:
    took = progress.get("batch_duration_ms")
    yield from told("edge_stream_batch_duration_seconds", None if took is None else took / 1_000)
    yield from told("edge_stream_batch_input_records", progress.get("input_rows"))
    yield from told("edge_stream_input_records_per_second", progress.get("input_rows_per_second"))
    yield from told("edge_stream_processed_records_per_second", progress.get("processed_rows_per_second"))
    yield from told("edge_stream_lag_records", progress.get("lag"))
    for place, records in (progress.get("unread") or {}).items():
        yield "edge_stream_partition_lag_records", _place(place), float(records)
    yield from told("edge_stream_progress_timestamp_seconds", seconds(progress.get("at")))


def _simulators(known: Mapping[str, Any]) -> Iterator[Sample]:
    yield from told("edge_simulators_published_total", known.get("published"))


def _place(text: str) -> tuple[str, str]:
    topic, _, partition = text.rpartition("/")
    return topic, partition


FLOW = {
    "bridge": _of("bridge", _bridge),
    "alerter": _of("alerter", _alerter),
    "stream_writer": _of("stream_writer", _stream),
    "simulators": _of("simulators", _simulators),
}
"""the sources, by service"""
