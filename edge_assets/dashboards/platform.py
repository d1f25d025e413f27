"""How the platform is, for the one who looks after it: from the machine to the backups, in order of a reading's way."""

from __future__ import annotations

from edge_assets.dashboards.model import (
    GREEN,
    ORANGE,
    RED,
    UP,
    YELLOW,
    Dashboard,
    Panel,
    Prometheus,
    Row,
)
from edge_assets.dashboards.platform_flow import BROKER, KAFKA, LAKE, SPARK

DAY = 86_400
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
    return Panel(title, [query], words, "stat", unit, width=3, height=4, steps=steps, below=below, decimals=decimals)


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
        stat(
            "Disk full in",
            "min(edge:disk_left_seconds)",
            "At the growth of the last day, until the stream writer's reserve is reached. Empty: it does not fill.",
            "s",
            ((2 * DAY, YELLOW), (14 * DAY, GREEN)),
            RED,
        ),
        stat(
            "Last backup",
            "time() - max(edge_backup_timestamp_seconds)",
            "How long ago it ended well. Empty: there was none, `edge backup` makes one.",
            "s",
            ((2 * DAY, RED),),
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
            "How full the disk is",
            [
                Prometheus("1 - edge_disk_free_bytes / edge_disk_size_bytes", "{{place}}: in use"),
                Prometheus("edge:disk_left_seconds", "{{place}}: full in"),
            ],
            "Share in use, and the time until the reserve is reached at the growth of the last day.",
            unit="percentunit",
            low=0,
            right={".*full in": "s"},
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
            [
                Prometheus("edge_service_up", "{{service}}"),
                Prometheus("edge_part_up", "{{part}}"),
                Prometheus("edge_platform_up", "edge up"),
            ],
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
            "Parts of edge up",
            [
                Prometheus("1000 * edge_part_start_timestamp_seconds", instant=True),
                Prometheus("edge_part_restarts_total", instant=True),
            ],
            "Broker, log and Dagster's processes: in their present state since, and how often `edge up` had to start "
            "them again.",
            "table",
            columns={
                "part": {"title": "Part"},
                "Value #A": {"title": "Since", "unit": "dateTimeFromNow"},
                "Value #B": {"title": "Restarts", "steps": [(1, YELLOW), (4, RED)]},
            },
        ),
        Panel(
            "Said last",
            [Prometheus("time() - edge_service_status_timestamp_seconds", "{{service}}")],
            "How long ago each service has said how it is. One that lives says so each few seconds.",
            unit="s",
            low=0,
            steps=[(300, RED)],
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
        Panel(
            "Threads by process",
            [Prometheus("edge_process_threads", "{{process}}")],
            "A line that only rises is a leak.",
            low=0,
        ),
        Panel(
            "What runs",
            [Prometheus("edge_build_info", instant=True)],
            "The platform's version, and the site whose readings these are.",
            "table",
            columns={"version": {"title": "Version"}, "site": {"title": "Site"}},
            hidden=("Value",),
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
            [
                Prometheus("edge_asset_check_passed", instant=True),
                Prometheus(
                    "(time() - edge_asset_check_timestamp_seconds) "
                    "+ on (instance, asset, check) group_right () 0 * edge_asset_check_passed",
                    instant=True,
                ),
            ],
            "The latest verdict of each check. Its page in Dagster says what it found.",
            "table",
            height=12,
            columns={
                "asset": {"title": "Asset", "link": ("Dagster", "${dagster_url}/assets/${__value.raw}?view=checks")},
                "check": {"title": "Check"},
                "severity": {"title": "If it fails"},
                "Value #A": {"title": "Verdict", "shows": PASSED},
                "Value #B": {"title": "Given before", "unit": "s"},
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
            "Run queue",
            [
                Prometheus("edge_dagster_queued_runs", "runs that wait"),
                Prometheus(
                    "time() - edge_dagster_queued_runs_oldest_timestamp_seconds or 0 * edge_dagster_queued_runs",
                    "the oldest waits for",
                ),
            ],
            "Runs that were asked for and have not begun. One that waits for minutes: Dagster's daemon or code server "
            "does not start it.",
            low=0,
            right={"the oldest waits for": "s"},
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
                Prometheus("increase(edge_alerts_notified_total[1h])", "told in an hour"),
                Prometheus("increase(edge_alerts_notify_failures_total[1h])", "attempts that failed in an hour"),
                Prometheus("edge_alerter_rules", "rules in force"),
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
        Panel(
            "What reading the sources takes",
            [Prometheus("edge_metrics_source_duration_seconds", "{{source}}")],
            "Dagster's storage, the lake and folders are read beside a scrape; the others within it, and should take "
            "milliseconds.",
            width=12,
            unit="s",
            low=0,
        ),
        Panel(
            "How old the sources' figures are",
            [Prometheus("time() - edge_metrics_source_timestamp_seconds", "{{source}}")],
            "Dagster's are up to 15 s old, the lake's a minute, folders' ten minutes.",
            width=12,
            unit="s",
            low=0,
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
