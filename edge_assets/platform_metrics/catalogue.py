"""Every metric of the platform, declared once: name, type, labels, unit (in the name) and meaning.

Names keep to Prometheus' conventions: the prefix `edge_`, base units (seconds, bytes), `_total` for what only grows.
Times are `…_timestamp_seconds`, so that an age is `time() - …` and goes on growing when nobody writes any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter"]
Sample = tuple[str, tuple[str, ...], float]
"""a metric's name, the values of its labels in their order, its value"""


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: Kind
    words: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Metrics that belong together, as the page lists them."""

    title: str
    metrics: tuple[Metric, ...]


def gauge(name: str, words: str, *labels: str) -> Metric:
    return Metric(f"edge_{name}", "gauge", words, labels)


def counter(name: str, words: str, *labels: str) -> Metric:
    return Metric(f"edge_{name}_total", "counter", words, labels)


SERVICES = Group(
    "Parts and services",
    (
        gauge("platform_up", "1 while `edge up` holds this home and has started all parts; absent in containers"),
        gauge("part_up", "1 while `edge up` says that this part (broker, kafka, dagster_…) is up", "part"),
        gauge("part_start_timestamp_seconds", "when the part took its present state", "part"),
        counter("part_restarts", "how often `edge up` had to start the part again since its own start", "part"),
        gauge("service_up", "1 while the service holds its lock; only services that the settings want", "service"),
        gauge("service_start_timestamp_seconds", "when the service began; changes with each restart", "service"),
        gauge("service_status_timestamp_seconds", "when the service last said how it is", "service"),
        gauge("service_problem", "1 while the service's status names a problem: `edge status` shows it", "service"),
        gauge("process_resident_memory_bytes", "memory of the part's or service's process (RSS)", "process"),
        gauge("process_threads", "threads of the process", "process"),
        counter("process_cpu_seconds", "CPU time of the process, user and system", "process"),
        gauge("jvm_heap_used_bytes", "heap of Spark or Kafka in use after the last collection", "process"),
        gauge("jvm_heap_committed_bytes", "heap that the JVM holds now", "process"),
        gauge("jvm_heap_max_bytes", "heap that the JVM may have", "process"),
        counter("jvm_gc_seconds", "time in which the JVM stood still to collect", "process"),
    ),
)

BRIDGE = Group(
    "Bridge and broker",
    (
        gauge("bridge_connected", "1 while the bridge is connected to this side (mqtt, kafka)", "to"),
        counter("bridge_received", "messages taken from the broker since the bridge's start"),
        counter("bridge_logged", "messages that Kafka has acknowledged, each then acknowledged to the broker"),
        counter("bridge_routed", "messages by the route that they took", "filter"),
        counter("bridge_unrouted", "messages that no route wants, acknowledged and left out", "reason"),
        counter("bridge_suppressed", "redeliveries that the log had already"),
        counter("bridge_maybe_repeats", "redeliveries of which nobody can say whether the log has them"),
        counter("bridge_dead_letters", "messages over the log's limit"),
        gauge("bridge_in_flight", "messages that wait for Kafka's acknowledgement"),
        gauge("bridge_last_received_timestamp_seconds", "when the bridge last took a message"),
        gauge("bridge_clock_synchronised", "1 while the machine's clock is known to be set"),
        counter("broker_dropped_messages", "messages that the MQTT broker threw away, by its own counter"),
        counter("simulators_published", "messages that the simulators have published"),
    ),
)

ALERTS = Group(
    "Alerter",
    (
        gauge("alerter_connected", "1 while the alerter is connected to the MQTT broker"),
        gauge("alerter_rules", "rules in force"),
        gauge("alerter_rules_problem", "1 while the file of rules is not valid, and the last valid one is in force"),
        gauge("alerts_open", "alerts that have fired and not cleared"),
        gauge("alerts_outbox", "notifications that wait to be handed over"),
        gauge("alerts_outbox_oldest_timestamp_seconds", "since when the oldest of them waits; absent where none does"),
        counter("alerts_fired", "alerts fired since the alerter's start"),
        counter("alerts_notified", "notifications handed over since the alerter's start"),
        counter("alerts_notify_failures", "attempts to hand a notification over that failed"),
    ),
)

STREAM = Group(
    "Stream writer",
    (
        gauge("stream_lag_records", "records of the log that the tables do not hold yet, after the last batch"),
        gauge("stream_partition_lag_records", "the same by Kafka topic and partition", "topic", "partition"),
        gauge("stream_next_offset", "the offset that the tables want next", "topic", "partition"),
        gauge(
            "log_end_offset", "the offset that the embedded Kafka gives next, a few seconds ago", "topic", "partition"
        ),
        gauge("stream_batch_duration_seconds", "how long the last batch took"),
        gauge("stream_batch_input_records", "records of the last batch"),
        gauge("stream_input_records_per_second", "how fast the records of the last batch came"),
        gauge("stream_processed_records_per_second", "how fast the last batch was written"),
        counter("stream_batches", "number of the newest batch, counted since the lake began"),
        gauge("stream_progress_timestamp_seconds", "when Spark last looked at the log"),
        counter("stream_records", "records by outcome: read, dead_letter, tombstone, ignored", "outcome"),
        counter("stream_readings", "readings written"),
        counter("stream_implausible_readings", "readings beyond what their unit allows"),
        counter("stream_refused_properties", "properties that are no readings (NaN, wrong type)"),
        counter("stream_late_messages", "rooms' messages behind the watermark; their windows are corrected"),
        counter("stream_lost_records", "records that expired in the log before they were read, since the lake began"),
        counter("stream_published_windows", "windows handed back to Kafka"),
        gauge(
            "stream_state_rows",
            "what is kept in mind from batch to batch: devices (with what they were before), pending_devices (readings "
            "came, and no description), open_sessions (of rooms), barriers (of bridges, in the log)",
            "state",
        ),
        gauge("stream_watermark_timestamp_seconds", "event time up to which windows are closed"),
        gauge("stream_longest_chore_seconds", "longest time that maintenance has kept a batch waiting"),
        counter("table_written_rows", "rows written since the stream writer's start", "table"),
        gauge("table_last_event_timestamp_seconds", "event time of the newest row", "table"),
    ),
)

LAKE = Group(
    "Lake",
    (
        gauge("table_rows", "rows, as far as the table's log counts them", "table"),
        gauge("table_files", "active files", "table"),
        gauge("table_size_bytes", "bytes of the active files", "table"),
        gauge("table_version", "newest version", "table"),
        gauge("table_log_commits", "commits since the log's last checkpoint", "table"),
    ),
)

DISK = Group(
    "Disk, rollups, backups",
    (
        gauge("disk_free_bytes", "free on the disk that this is on (home, lake, or both)", "place"),
        gauge("disk_size_bytes", "size of that disk", "place"),
        gauge("disk_reserve_bytes", "with less free the stream writer stops (EDGE_STREAM__MIN_FREE_MB)"),
        gauge("folder_size_bytes", "what a folder of the home holds, looked at every ten minutes", "folder"),
        gauge("rollups_updated_timestamp_seconds", "when rollups and views were last brought up to date"),
        gauge("rollups_database_bytes", "size of `edge.duckdb`"),
        gauge("backup_timestamp_seconds", "when the last backup ended well"),
        gauge("backup_size_bytes", "its size"),
    ),
)

DAGSTER = Group(
    "Dagster",
    (
        gauge("asset_materialization_timestamp_seconds", "when the asset was last reported or made", "asset"),
        gauge("asset_freshness", "Dagster's word on it: 0 fresh, 1 late (warning), 2 failed; absent: unknown", "asset"),
        gauge(
            "asset_fail_window_seconds", "an asset that is older is not fresh, whether Dagster looks or not", "asset"
        ),
        gauge("asset_check_passed", "1: the check's latest verdict is a pass", "asset", "check", "severity"),
        gauge("asset_check_timestamp_seconds", "when that verdict was given", "asset", "check"),
        gauge(
            "dagster_heartbeat_timestamp_seconds", "when this daemon of Dagster's last gave a sign of life", "daemon"
        ),
        gauge("dagster_tick_timestamp_seconds", "when the code server last answered a sensor or a schedule", "tick"),
        gauge("dagster_queued_runs", "runs that were asked for and have not begun: the run queue"),
        gauge("dagster_queued_runs_oldest_timestamp_seconds", "since when the oldest of them waits; absent: none does"),
        gauge("dagster_runs", "runs that Dagster remembers", "job", "status"),
        gauge("dagster_storage_bytes", "size of Dagster's databases, without those of single runs"),
    ),
)

ITSELF = Group(
    "The metrics themselves",
    (
        gauge("build_info", "always 1; the labels say what runs", "version", "site"),
        gauge("metrics_source_up", "1: this source of metrics could be read", "source"),
        gauge("metrics_source_timestamp_seconds", "when this source was last read well", "source"),
        gauge("metrics_source_duration_seconds", "how long that took", "source"),
    ),
)

GROUPS = (SERVICES, BRIDGE, ALERTS, STREAM, LAKE, DISK, DAGSTER, ITSELF)
METRICS = {metric.name: metric for group in GROUPS for metric in group.metrics}


def told(name: str, value: float | None, *labels: str) -> Iterable[Sample]:
    """One sample, or none where there is no value."""
    return () if value is None else ((name, labels, float(value)),)
