"""Rows of the platform's dashboard that follow a reading: broker and bridge, Kafka, the stream writer, the lake."""

from __future__ import annotations

from edge_assets.dashboards.model import RED, UP, YELLOW, Panel, Prometheus, Row

BROKER = Row(
    "Broker and bridge",
    [
        Panel(
            "Through the bridge",
            [
                Prometheus("rate(edge_bridge_received_total[5m])", "taken from the broker"),
                Prometheus("rate(edge_bridge_logged_total[5m])", "acknowledged by Kafka"),
                Prometheus("rate(edge_simulators_published_total[5m])", "published by the simulators"),
                Prometheus("edge_bridge_in_flight", "on their way"),
            ],
            "Messages a second. The first two lines are one where all is well.",
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
        Panel(
            "Connections",
            [
                Prometheus("edge_bridge_connected", "bridge to {{to}}"),
                Prometheus("edge_alerter_connected", "alerter to mqtt"),
                Prometheus("edge_live_broker_up", "live page to mqtt"),
                Prometheus("edge_bridge_clock_synchronised", "clock is set"),
            ],
            "Who reaches broker and log. While the clock is not set, received times are marked so.",
            "state-timeline",
            shows=UP,
        ),
        Panel(
            "Redeliveries, and what is left out",
            [
                Prometheus("increase(edge_bridge_suppressed_total[1h])", "repeats that were recognised"),
                Prometheus("increase(edge_bridge_maybe_repeats_total[1h])", "perhaps repeats"),
                Prometheus("increase(edge_bridge_unrouted_total[1h])", "left out: {{reason}}"),
            ],
            "In an hour. Redeliveries come after a restart of bridge or broker; what is left out, no route wants: "
            "EDGE_BRIDGE__ROUTES.",
            unit="none",
            low=0,
        ),
    ],
)

KAFKA = Row(
    "Kafka and lag",
    [
        Panel(
            "Into Kafka",
            [
                Prometheus(
                    "sum by (topic) (rate(kafka_topic_partition_current_offset[5m])) "
                    "or sum by (topic) (rate(edge_log_end_offset[5m]))",
                    "{{topic}}",
                )
            ],
            "Records a second by topic, by Kafka's own offsets (of kafka_exporter, or of the embedded Kafka's file).",
            unit="none",
            stacked=True,
            low=0,
        ),
        Panel(
            "Behind the log",
            [Prometheus("edge:stream_lag_records", "{{topic}}/{{partition}}")],
            "Records that the tables do not hold yet, by partition, also while the stream writer is dead. Peaks of "
            "seconds are batches; a slope is not.",
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
            [
                Prometheus("edge_stream_batch_duration_seconds", "the last batch"),
                Prometheus("edge_stream_longest_chore_seconds", "longest wait for maintenance"),
            ],
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
                Prometheus("edge_stream_input_records_per_second", "came, a second"),
                Prometheus("edge_stream_processed_records_per_second", "could be written, a second"),
                Prometheus("edge_stream_batch_input_records", "records of the last batch"),
            ],
            "Of the last batch. Where records come faster than they can be written, the writer falls back.",
            low=0,
            right={"records of the last batch": "short"},
        ),
        Panel(
            "Batches, and what they make",
            [
                Prometheus("rate(edge_stream_readings_total[5m])", "readings a second"),
                Prometheus("rate(edge_stream_published_windows_total[5m])", "windows handed back a second"),
                Prometheus("60 * rate(edge_stream_batches_total[5m])", "batches a minute"),
            ],
            "Each batch costs the disk some commits: EDGE_STREAM__TRIGGER_SECONDS.",
            unit="none",
            low=0,
            right={"batches a minute": "none"},
        ),
        Panel(
            "How old the newest is",
            [
                Prometheus("time() - edge_table_last_event_timestamp_seconds", "{{table}}"),
                Prometheus("time() - edge_stream_watermark_timestamp_seconds", "watermark of rooms"),
                Prometheus("time() - edge_stream_progress_timestamp_seconds", "Spark's look at the log"),
                Prometheus("time() - edge_bridge_last_received_timestamp_seconds", "the bridge's last message"),
            ],
            "Ages, by event time for tables. All that grow with the clock: nothing comes; some: look at the first of "
            "them on a reading's way.",
            unit="s",
            low=0,
        ),
        Panel(
            "What is kept in mind",
            [Prometheus("edge_stream_state_rows", "{{state}}")],
            "State between batches, in rows. Pending devices that stay are names whose Zigbee2MQTT does not describe "
            "them; barriers grow with each restart of a bridge, and go with the log.",
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
            "Size of edge.duckdb",
            [Prometheus("edge_rollups_database_bytes", "edge.duckdb")],
            "What dashboards and API read: views over the rollups' files, and the open day.",
            unit="bytes",
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
