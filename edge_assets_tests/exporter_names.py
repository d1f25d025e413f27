"""Names of other people's exporters that rules and dashboards use, where no test can have the exporter itself.

What a test can have (node_exporter, Prometheus, the broker's `$SYS` topics that mosquitto-exporter renders) is asked by
`edge_assets_tests/e2e/test_dashboards.py` and stands here only for the rules' own test.
"""

from __future__ import annotations

KAFKA_EXPORTER = frozenset(
    {
        "kafka_brokers",
        "kafka_topic_partitions",
        "kafka_topic_partition_current_offset",
        "kafka_topic_partition_oldest_offset",
        "kafka_consumergroup_lag",
        "kafka_consumergroup_lag_sum",
    }
)
"""danielqsj/kafka_exporter, its README's table of metrics (v1.9)"""

VERSITYGW = frozenset(
    {
        "versitygw_success_count",
        "versitygw_failed_count",
        "versitygw_bytes_written",
        "versitygw_bytes_read",
        "versitygw_object_created_count",
        "versitygw_object_removed_count",
    }
)
"""versitygw's StatsD names as prom/statsd-exporter shows them; seen on the two programs (v1.8.0, v0.28)"""

MINIO = frozenset({"minio_s3_requests_total", "minio_s3_traffic_received_bytes", "minio_s3_traffic_sent_bytes"})
"""MinIO's own `/minio/v2/metrics/cluster`, its documentation's list (last release, October 2025)"""

NODE_EXPORTER = frozenset(
    {
        "node_thermal_zone_temp",
        "node_hwmon_temp_celsius",
        "node_cpu_seconds_total",
        "node_memory_MemAvailable_bytes",
        "node_memory_MemTotal_bytes",
    }
)
"""prometheus/node_exporter 1.5 and newer"""

PROMETHEUS = frozenset({"up"})


def mosquitto_exporter_name(topic: str) -> str:
    """A `$SYS` topic as sapcc/mosquitto-exporter (and its forks) names it: no labels, no `_total`."""
    name = topic.removeprefix("$SYS/")
    for sign in "/ -.":
        name = name.replace(sign, "_")
    return name
