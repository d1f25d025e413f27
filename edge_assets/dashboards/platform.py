"""How the platform is, for the one who looks after it: from the machine to the backups, in order of a reading's way."""

from __future__ import annotations

from edge_assets.dashboards.model import (
    GREEN,
    ORANGE,
    RED,
    YELLOW,
    Dashboard,
    Panel,
    Prometheus,
    Row,
)

UP = {"0": ("down", RED), "1": ("up", GREEN)}
FRESH = {"0": ("fresh", GREEN), "1": ("late", YELLOW), "2": ("stale", RED)}
PASSED = {"0": ("fails", RED), "1": ("passes", GREEN)}


def stat(
    title: str,
    expr: str,
    words: str,
    unit: str = "short",
    steps: tuple[tuple[float, str], ...] = (),
    below: str = GREEN,
    decimals: int | None = None,
) -> Panel:
    """A small panel with one figure."""
    query = Prometheus(expr, instant=True)
    return Panel(title, [query], words, "stat", unit, width=4, height=4, steps=steps, below=below, decimals=decimals)


NOW = Row(
    "Now",
    [
        stat(
            "Services up",
            "sum(edge_service_up) / count(edge_service_up)",
            "Of the services that should run, the share that does. Which does not: the row Services.",
            "percentunit",
            ((0.99, GREEN),),
            RED,
            0,
        ),
        stat(
            "Alerts firing",
            'count(ALERTS{alertstate="firing"}) or vector(0)',
            "Rules of Prometheus that fire now: the table below says which and what to do.",
            steps=((1, ORANGE), (3, RED)),
        ),
        stat(
            "Not scraped",
            "count(up == 0) or vector(0)",
            "Exporters that do not answer. What they would tell is unknown.",
            steps=((1, RED),),
        ),
        stat(
            "Records behind",
            "edge_stream_lag_records",
            "Records that Kafka holds and the tables do not, after the last batch.",
            steps=((10_000, YELLOW), (100_000, RED)),
        ),
        stat(
            "Not fresh",
            "count(edge_asset_freshness > 0) or vector(0)",
            "Assets that are late or stale by their own policy: the row Freshness and checks says which.",
            steps=((1, YELLOW), (3, RED)),
        ),
        stat(
            "Checks failing",
            "count(edge_asset_check_passed == 0) or vector(0)",
            "Asset checks whose latest verdict is a failure.",
            steps=((1, ORANGE), (3, RED)),
        ),
        Panel(
            "What fires",
            [Prometheus('ALERTS{alertstate="firing"}', instant=True)],
            "Alerts of Prometheus. What to do next stands in the rule's description, on Prometheus' own page and in "
            "deploy/prometheus/rules/alerts.yml. Empty is good.",
            "table",
            width=24,
            height=6,
            columns={"severity": {"title": "Severity"}, "alertname": {"title": "Alert"}},
            hidden=("Value", "alertstate"),
        ),
    ],
)

MACHINE = Row(
    "The machine",
    [
        Panel(
            "CPU",
            [
                Prometheus("edge:cpu_busy:ratio", "busy"),
                Prometheus('avg(rate(node_cpu_seconds_total{mode="iowait"}[5m]))', "waits for the disk"),
                Prometheus(
                    "node_load5 / count without (cpu, mode) (node_cpu_seconds_total{mode='idle'})", "load by core"
                ),
            ],
            "Share of all cores that works. Waiting for the disk for long: the card is slow, or at its end.",
            unit="percentunit",
            low=0,
            steps=[(0.9, RED)],
        ),
        Panel(
            "Memory",
            [
                Prometheus("node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes", "in use"),
                Prometheus("node_memory_MemTotal_bytes", "there is"),
                Prometheus("node_memory_SwapTotal_bytes - node_memory_SwapFree_bytes", "swapped out"),
            ],
            "Much in swap that grows: something is too large for this machine.",
            unit="bytes",
            low=0,
        ),
        Panel(
            "Temperature",
            [Prometheus("edge:temperature_celsius", "{{instance}}")],
            "A Pi slows down at 80 °C.",
            unit="celsius",
            steps=[(75, RED)],
        ),
        Panel(
            "Disk traffic",
            [
                Prometheus("sum(rate(node_disk_written_bytes_total[5m]))", "written"),
                Prometheus("sum(rate(node_disk_read_bytes_total[5m]))", "read"),
            ],
            "What an SD card is worn by: 1 MB/s is 86 GB a day.",
            unit="Bps",
        ),
        Panel(
            "Free on disk",
            [
                Prometheus("edge_disk_free_bytes", "{{place}}"),
                Prometheus("edge_disk_reserve_bytes", "reserve"),
            ],
            "Below the reserve (EDGE_STREAM__MIN_FREE_MB) the stream writer stops, and goes on when there is room.",
            unit="bytes",
            low=0,
        ),
        Panel(
            "What fills it",
            [Prometheus("edge_folder_size_bytes", "{{folder}}")],
            "Folders of the home, looked at every ten minutes.",
            unit="bytes",
            stacked=True,
            low=0,
        ),
    ],
)

SERVICES = Row(
    "Services and parts",
    [
        Panel(
            "Services",
            [Prometheus("edge_service_up", "{{service}}"), Prometheus("edge_part_up", "{{part}}")],
            "By their locks, the kernel's own proof of life. Dagster starts a service that died again within seconds.",
            "state-timeline",
            shows=UP,
            link=("Dagster", "${dagster_url}"),
        ),
        Panel(
            "Since when, and how often restarted",
            [
                Prometheus("1000 * edge_service_start_timestamp_seconds", instant=True),
                Prometheus("edge:service_restarts:changes1d", instant=True),
                Prometheus("edge_service_problem", instant=True),
            ],
            "Restarts of the last day. One that names a problem says it in `edge status`.",
            "table",
            columns={
                "service": {"title": "Service"},
                "Value #A": {"title": "Since", "unit": "dateTimeFromNow"},
                "Value #B": {"title": "Restarts", "steps": [(1, YELLOW), (4, RED)]},
                "Value #C": {"title": "Problem", "shows": {"0": ("none", GREEN), "1": ("yes", RED)}},
            },
        ),
        Panel(
            "Memory by process",
            [Prometheus("edge_process_resident_memory_bytes", "{{process}}")],
            "Resident memory. Pages that processes share are counted in each, so that the sum is more than is used.",
            unit="bytes",
            stacked=True,
            low=0,
        ),
        Panel(
            "CPU by process",
            [Prometheus("rate(edge_process_cpu_seconds_total[5m])", "{{process}}")],
            "1 is a whole core.",
            unit="none",
            stacked=True,
            low=0,
        ),
    ],
)

BROKER = Row(
    "Broker and bridge",
    [
        Panel(
            "Through the bridge",
            [
                Prometheus("rate(edge_bridge_received_total[5m])", "taken from the broker"),
                Prometheus("rate(edge_bridge_logged_total[5m])", "acknowledged by Kafka"),
                Prometheus("edge_bridge_in_flight", "on their way"),
            ],
            "Messages a second. Both lines are one where all is well.",
            unit="none",
            right={"on their way": "none"},
            low=0,
        ),
        Panel(
            "By route",
            [Prometheus("rate(edge_bridge_routed_total[5m])", "{{filter}}")],
            "Messages a second by the topic filter that took them: what speaks so often.",
            unit="none",
            stacked=True,
            low=0,
        ),
        Panel(
            "Broker",
            [
                Prometheus("rate(broker_publish_messages_received[5m])", "published"),
                Prometheus("rate(broker_publish_messages_sent[5m])", "delivered"),
            ],
            "All of the broker's messages a second, by its own count.",
            unit="none",
            width=8,
            low=0,
        ),
        Panel(
            "Clients and queue",
            [
                Prometheus("broker_clients_connected", "clients"),
                Prometheus("broker_messages_stored", "stored messages"),
            ],
            "Stored: queued for clients that are away, and retained. A hill that grows is a reader that is gone.",
            unit="none",
            width=8,
            right={"stored messages": "short"},
            low=0,
        ),
        Panel(
            "Lost and refused",
            [
                Prometheus("increase(edge_broker_dropped_messages_total[1h])", "dropped by the broker"),
                Prometheus("increase(edge_bridge_dead_letters_total[1h])", "too large for the log"),
                Prometheus("increase(edge_live_dropped_messages_total[1h])", "missed by the live page"),
            ],
            "In an hour. What the broker dropped is lost: its queue was full.",
            unit="none",
            width=8,
            low=0,
            steps=[(1, RED)],
        ),
    ],
)

KAFKA = Row(
    "Kafka and lag",
    [
        Panel(
            "Into Kafka",
            [Prometheus("sum by (topic) (rate(kafka_topic_partition_current_offset[5m]))", "{{topic}}")],
            "Records a second by topic, by Kafka's own offsets (kafka_exporter).",
            unit="none",
            stacked=True,
            low=0,
        ),
        Panel(
            "Behind the log",
            [Prometheus("edge:stream_lag_records or on () edge_stream_lag_records", "{{topic}}/{{partition}}")],
            "Records that the tables do not hold yet, by partition. Peaks of seconds are batches; a slope is not.",
            low=0,
            steps=[(100_000, RED)],
        ),
        Panel(
            "Records that Kafka keeps",
            [
                Prometheus(
                    "sum by (topic) (kafka_topic_partition_current_offset - kafka_topic_partition_oldest_offset)",
                    "{{topic}}",
                )
            ],
            "What could be read again: EDGE_KAFKA__RETENTION_HOURS. What expires unread is lost.",
            width=24,
            stacked=True,
            low=0,
        ),
    ],
)

SPARK = Row(
    "Stream writer (Spark)",
    [
        Panel(
            "Duration of batches",
            [Prometheus("edge_stream_batch_duration_seconds", "the last batch")],
            "From reading to the last commit. Longer than EDGE_STREAM__TRIGGER_SECONDS for long: it cannot keep up.",
            unit="s",
            low=0,
        ),
        Panel(
            "Records by outcome",
            [Prometheus("rate(edge_stream_records_total[5m])", "{{outcome}}")],
            "Records a second. Each has exactly one outcome; dead letters are kept with their reason.",
            unit="none",
            stacked=True,
            low=0,
        ),
        Panel(
            "Speed",
            [
                Prometheus("edge_stream_batch_input_records", "records of the last batch"),
                Prometheus("edge_stream_processed_records_per_second", "records a second"),
            ],
            "How large batches are, and how fast they are written.",
            low=0,
        ),
        Panel(
            "Dead letters and others that are odd",
            [
                Prometheus('increase(edge_stream_records_total{outcome="dead_letter"}[1h])', "dead letters"),
                Prometheus("increase(edge_stream_implausible_readings_total[1h])", "implausible readings"),
                Prometheus("increase(edge_stream_refused_properties_total[1h])", "refused properties"),
                Prometheus("increase(edge_stream_late_messages_total[1h])", "late messages of rooms"),
                Prometheus("increase(edge_stream_lost_records_total[1h])", "lost records"),
            ],
            "In an hour. `edge redrive` puts dead letters through again once what made them unreadable is mended.",
            low=0,
        ),
        Panel(
            "Heaps",
            [
                Prometheus("edge_jvm_heap_used_bytes", "{{process}}: in use"),
                Prometheus("edge_jvm_heap_committed_bytes", "{{process}}: held"),
                Prometheus("edge_jvm_heap_max_bytes", "{{process}}: at most"),
            ],
            "Spark's, and that of an embedded Kafka, after their last collection. In use near the limit: raise "
            "EDGE_STREAM__HEAP_MB or EDGE_KAFKA__HEAP_MB.",
            unit="bytes",
            low=0,
        ),
        Panel(
            "Time lost to collections",
            [Prometheus("rate(edge_jvm_gc_seconds_total[5m])", "{{process}}")],
            "Share of the time in which a JVM stands still. Above a tenth its heap is too small.",
            unit="percentunit",
            low=0,
            steps=[(0.1, RED)],
        ),
    ],
)

LAKE = Row(
    "Lake and store",
    [
        Panel(
            "Size of tables",
            [Prometheus("edge_table_size_bytes", "{{table}}")],
            "Bytes of the files that count. What was replaced is deleted a day later, and not in it.",
            unit="bytes",
            stacked=True,
            low=0,
        ),
        Panel(
            "Files of tables",
            [Prometheus("edge_table_files", "{{table}}")],
            "Small files are joined each hour (lake/maintenance): teeth are right, a slope is not.",
            low=0,
        ),
        Panel(
            "Tables",
            [
                Prometheus("edge_table_rows", instant=True),
                Prometheus("edge_table_size_bytes", instant=True),
                Prometheus("edge_table_files", instant=True),
                Prometheus("edge_table_version", instant=True),
                Prometheus("edge_table_log_commits", instant=True),
            ],
            "By their logs. Many commits since a checkpoint make each reader slow.",
            "table",
            columns={
                "table": {"title": "Table"},
                "Value #A": {"title": "Rows"},
                "Value #B": {"title": "Size", "unit": "bytes"},
                "Value #C": {"title": "Files"},
                "Value #D": {"title": "Version", "unit": "none"},
                "Value #E": {"title": "Commits since checkpoint", "steps": [(200, YELLOW), (500, RED)]},
            },
            sort="-Size",
        ),
        Panel(
            "Rows written",
            [Prometheus("rate(edge_table_written_rows_total[5m])", "{{table}}")],
            "Rows a second by table.",
            unit="none",
            low=0,
        ),
        Panel(
            "Requests to the store",
            [
                Prometheus("sum by (action) (rate(versitygw_success_count[5m]))", "{{action}}"),
                Prometheus("sum by (action) (rate(versitygw_failed_count[5m]))", "{{action}} failed"),
                Prometheus("sum by (api) (rate(minio_s3_requests_total[5m]))", "{{api}}"),
            ],
            "Requests a second to the S3 store, where the lake lies in one. PutObject that fails now and then is two "
            "writers that meet, and right.",
            unit="none",
            low=0,
        ),
        Panel(
            "Traffic of the store",
            [
                Prometheus(
                    "sum(rate(versitygw_bytes_written[5m])) or sum(rate(minio_s3_traffic_received_bytes[5m]))",
                    "written",
                ),
                Prometheus("sum(rate(versitygw_bytes_read[5m])) or sum(rate(minio_s3_traffic_sent_bytes[5m]))", "read"),
            ],
            "Bytes a second to and from the S3 store, where the lake lies in one.",
            unit="Bps",
            low=0,
        ),
    ],
)

DAGSTER = Row(
    "Freshness and checks",
    [
        Panel(
            "Assets",
            [
                Prometheus("edge_asset_freshness", instant=True),
                Prometheus("edge:asset_age_seconds", instant=True),
                Prometheus("edge_asset_fail_window_seconds", instant=True),
            ],
            "When each was last reported or made, and what Dagster makes of that.",
            "table",
            height=12,
            columns={
                "asset": {"title": "Asset", "link": ("Dagster", "${dagster_url}/assets/${__value.raw}")},
                "Value #A": {"title": "Freshness", "shows": FRESH},
                "Value #B": {"title": "Age", "unit": "s"},
                "Value #C": {"title": "Stale after", "unit": "s"},
            },
            sort="-Freshness",
        ),
        Panel(
            "Checks",
            [Prometheus("edge_asset_check_passed", instant=True)],
            "The latest verdict of each check. Its page in Dagster says what it found.",
            "table",
            height=12,
            columns={
                "asset": {"title": "Asset", "link": ("Dagster", "${dagster_url}/assets/${__value.raw}?view=checks")},
                "check": {"title": "Check"},
                "severity": {"title": "If it fails"},
                "Value": {"title": "Verdict", "shows": PASSED},
            },
            sort="Verdict",
        ),
        Panel(
            "Signs of life of Dagster",
            [
                Prometheus("time() - edge_dagster_heartbeat_timestamp_seconds", "{{daemon}}"),
                Prometheus("time() - edge_dagster_tick_timestamp_seconds", "code server: {{tick}}"),
            ],
            "How long ago. Dagster's own page calls a dead daemon healthy for half an hour.",
            unit="s",
            low=0,
            steps=[(300, RED)],
        ),
        Panel(
            "Rollups and anomalies",
            [
                Prometheus("time() - edge_rollups_updated_timestamp_seconds", "age of the rollups"),
                Prometheus('edge_table_rows{table="gold.anomalies"} or vector(0)', "anomalies in all"),
            ],
            "Rollups are brought up to date every EDGE_ROLLUPS__UPDATE_MINUTES, and anomalies looked for.",
            unit="s",
            right={"anomalies.*": "short"},
            low=0,
        ),
        Panel(
            "Runs",
            [Prometheus("edge_dagster_runs", "{{job}} {{status}}")],
            "Runs that Dagster remembers, by job and status. Services have one for weeks; failures tell of trouble.",
            low=0,
        ),
        Panel(
            "Dagster's storage",
            [Prometheus("edge_dagster_storage_bytes", "databases")],
            "Housekeeping takes old runs and events away each day.",
            unit="bytes",
            low=0,
        ),
    ],
)

OUTLETS = Row(
    "Alerts, live page, backups, metrics",
    [
        Panel(
            "Alerter",
            [
                Prometheus("edge_alerts_open", "open alerts"),
                Prometheus("edge_alerts_outbox", "notifications that wait"),
                Prometheus("increase(edge_alerts_fired_total[1h])", "fired in an hour"),
            ],
            "Notifications that wait for long: a channel does not answer, and nobody is told.",
            width=8,
            low=0,
        ),
        Panel(
            "Live page",
            [
                Prometheus("edge_live_viewers", "viewers"),
                Prometheus("rate(edge_live_frames_sent_total[5m])", "frames a second"),
            ],
            "Open pages, and what is sent to them.",
            width=8,
            unit="none",
            low=0,
        ),
        Panel(
            "Backups",
            [
                Prometheus("time() - edge_backup_timestamp_seconds", "age"),
                Prometheus("edge_backup_size_bytes", "size"),
            ],
            "Age and size of the last backup that ended well.",
            width=8,
            unit="s",
            right={"size": "bytes"},
            low=0,
        ),
        Panel(
            "Scrapes",
            [Prometheus("scrape_duration_seconds", "{{job}}")],
            "How long each exporter takes to answer.",
            width=12,
            unit="s",
            low=0,
        ),
        Panel(
            "Sources of the platform's metrics",
            [Prometheus("edge_metrics_source_up", "{{source}}")],
            "What the platform's exporter could read: status files, the lake's logs, Dagster's storage.",
            "state-timeline",
            width=12,
            shows=UP,
        ),
    ],
)

PLATFORM = Dashboard(
    "edge-platform",
    "Platform",
    "How the platform is: the machine, services, broker, Kafka, Spark, the lake, Dagster, backups.",
    [NOW, MACHINE, SERVICES, BROKER, KAFKA, SPARK, LAKE, DAGSTER, OUTLETS],
    [],
    since="now-3h",
    refresh="30s",
    other=("Sensors", "edge-sensors"),
    tags=("edge_assets", "platform"),
)
