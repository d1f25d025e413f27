"""What the sensors say, for the people who live or work with them."""

from __future__ import annotations

from edge_assets.dashboards.model import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    YELLOW,
    Api,
    ColumnType,
    Dashboard,
    Panel,
    Prometheus,
    Row,
    Variable,
    view,
)

DEVICE = "${device:percentencode}"
ROOM = "${room:percentencode}"
BOTH = (DEVICE, ROOM)
TIME: ColumnType = "timestamp_epoch"
LABEL = "${__field.labels.%s}"
CHOSEN = 'device_id=~"(.?)${device:regex}"'
"""all is `(.?)*`; a choice `(.?)(this|that)`, before which no device's id has one more letter"""

YES_NO = {"true": ("yes", RED), "false": ("no", GREEN)}
SEVERITIES = {"critical": ("critical", RED), "warning": ("warning", ORANGE), "info": ("info", BLUE)}
COMFORT = {"good": ("good", GREEN), "fair": ("fair", YELLOW), "poor": ("poor", RED)}

NOW = Row(
    "Now",
    [
        Panel(
            "Devices heard",
            [Prometheus('count(edge_device_last_seen_timestamp_seconds{kind!="bridge"})', instant=True)],
            "Devices and rooms that the live server knows. From Prometheus.",
            "stat",
            width=4,
            height=4,
        ),
        Panel(
            "Silent",
            [Prometheus("sum(edge_device_stale)", instant=True)],
            "Of these, how many have been silent for longer than is their way. Which: the table Device health.",
            "stat",
            width=4,
            height=4,
            steps=[(1, ORANGE), (3, RED)],
        ),
        Panel(
            "Not reachable",
            [Prometheus("count(edge_device_available == 0) or vector(0)", instant=True)],
            "Devices that their own network calls offline.",
            "stat",
            width=4,
            height=4,
            steps=[(1, RED)],
        ),
        Panel(
            "Alerts now",
            [Prometheus("edge_live_open_alerts", instant=True)],
            "Alerts that have fired and not cleared; acknowledge them on the live page.",
            "stat",
            width=4,
            height=4,
            steps=[(1, RED)],
            link=("Live page", "${live_url}"),
        ),
        Panel(
            "Power now",
            [Prometheus('sum(edge_device_measurement{measurement="power"})', instant=True)],
            "What all plugs and meters draw at this moment.",
            "stat",
            unit="watt",
            width=4,
            height=4,
            decimals=0,
        ),
        Panel(
            "Messages a minute",
            [Prometheus("60 * sum(rate(edge_device_messages_total[5m]))", instant=True)],
            "Messages with readings, of all devices, in the last five minutes.",
            "stat",
            width=4,
            height=4,
            decimals=0,
        ),
    ],
)


def climate(
    title: str, measurement: str, unit: str, words: str, *, steps: list[tuple[float, str]] | None = None
) -> Panel:
    columns: dict[str, ColumnType] = {"time": TIME, "device": "string", "value": "number"}
    query = view("grafana_climate", columns, measurement=measurement, device=BOTH)
    return Panel(title, [query], words, unit=unit, name=LABEL % "device", steps=steps or ())


CLIMATE = Row(
    "Climate",
    [
        climate("Temperature", "temperature", "celsius", "Mean temperature of each sensor and room."),
        climate("Humidity", "humidity", "humidity", "Mean relative humidity; 40 to 60 % is comfortable."),
        climate(
            "Carbon dioxide",
            "co2,co2_ppm",
            "ppm",
            "Mean CO2. Above 1,000 ppm people get tired: open a window; above 1,400 soon.",
            steps=[(1000, YELLOW), (1400, RED)],
        ),
        climate("Light", "illuminance,light_lux", "lux", "Mean illuminance."),
    ],
)

DOORS = Row(
    "Doors",
    [
        Panel(
            "Doors now",
            [
                view(
                    "grafana_doors",
                    {
                        "door": "string",
                        "open": "boolean",
                        "last_at": TIME,
                        "available": "boolean",
                        "battery_percent": "number",
                    },
                    series=False,
                    device=DEVICE,
                )
            ],
            "Each contact, as of the last update of the rollups (every ten minutes). This moment is on the live page.",
            "table",
            width=10,
            columns={
                "door": {"title": "Door"},
                "open": {"title": "Open", "shows": YES_NO},
                "last_at": {"title": "Last said", "unit": "dateTimeFromNow"},
                "available": {"title": "Reachable", "shows": {"true": ("yes", GREEN), "false": ("no", RED)}},
                "battery_percent": {"title": "Battery", "unit": "percent"},
            },
            sort="Door",
            link=("Live page", "${live_url}"),
        ),
        Panel(
            "Open and closed",
            [view("grafana_door_states", {"time": TIME, "door": "string", "open": "number"}, device=DEVICE)],
            "When each door stood open.",
            "state-timeline",
            width=14,
            name=LABEL % "door",
            shows={"0": ("closed", GREEN), "1": ("open", ORANGE)},
        ),
        Panel(
            "Openings a day",
            [view("grafana_door_activity", {"time": TIME, "door": "string", "openings": "number"}, device=DEVICE)],
            "How often each door was opened, by UTC day. Choose a longer time above to see more days.",
            name=LABEL % "door",
            bars=True,
            stacked=True,
            decimals=0,
        ),
        Panel(
            "Minutes open a day",
            [view("grafana_door_activity", {"time": TIME, "door": "string", "open_minutes": "number"}, device=DEVICE)],
            "For how long each door stood open, by UTC day.",
            unit="m",
            name=LABEL % "door",
            bars=True,
            stacked=True,
        ),
    ],
)

MONEY = {"unit": "none", "decimals": 2}
ENERGY = Row(
    "Energy and cost",
    [
        Panel(
            "Power",
            [view("grafana_power", {"time": TIME, "device": "string", "power_w": "number"}, device=DEVICE)],
            "Mean power of each plug and meter.",
            unit="watt",
            width=14,
            name=LABEL % "device",
            stacked=True,
        ),
        Panel(
            "Energy and what it costs",
            [
                view(
                    "grafana_energy_summary",
                    {
                        "device": "string",
                        "today_kwh": "number",
                        "last_7_days_kwh": "number",
                        "last_30_days_kwh": "number",
                        "today_cost": "number",
                        "last_7_days_cost": "number",
                        "last_30_days_cost": "number",
                        "currency": "string",
                    },
                    series=False,
                    device=DEVICE,
                )
            ],
            "By UTC days, whatever the counters did (resets add nothing). Price: EDGE_ROLLUPS__ENERGY_PRICE_PER_KWH.",
            "table",
            width=10,
            columns={
                "device": {"title": "Device"},
                "today_kwh": {"title": "Today", "unit": "kwatth", "decimals": 2},
                "last_7_days_kwh": {"title": "7 days", "unit": "kwatth", "decimals": 1},
                "last_30_days_kwh": {"title": "30 days", "unit": "kwatth", "decimals": 1},
                "today_cost": {"title": "costs today", **MONEY},
                "last_7_days_cost": {"title": "7 days ", **MONEY},
                "last_30_days_cost": {"title": "30 days ", **MONEY},
                "currency": {"title": " "},
            },
            sort="-30 days",
        ),
        Panel(
            "Energy a day",
            [view("grafana_energy_daily", {"time": TIME, "device": "string", "energy_kwh": "number"}, device=DEVICE)],
            "kWh by device and UTC day. Choose a longer time above to see more days.",
            unit="kwatth",
            name=LABEL % "device",
            bars=True,
            stacked=True,
        ),
        Panel(
            "Cost a day",
            [view("grafana_energy_cost", {"time": TIME, "device": "string", "cost": "number"}, device=DEVICE)],
            "What the energy of each UTC day costs, in the currency of the settings.",
            unit="none",
            name=LABEL % "device",
            bars=True,
            stacked=True,
            decimals=2,
        ),
    ],
)


def rooms(title: str, column: str, unit: str, words: str, steps: list[tuple[float, str]] | None = None) -> Panel:
    query = view("grafana_room_windows", {"time": TIME, "room": "string", column: "number"}, room=ROOM)
    return Panel(title, [query], words, unit=unit, name=LABEL % "room", steps=steps or ())


ROOMS = Row(
    "Rooms",
    [
        rooms(
            "Temperature of rooms",
            "avg_temperature",
            "celsius",
            "Windows of ten seconds each five seconds where the chosen time is short, of minutes where it is long. "
            "From the lake itself, seconds old.",
        ),
        rooms(
            "CO2 of rooms",
            "max_co2",
            "ppm",
            "Highest CO2 of each window.",
            [(1000, YELLOW), (1400, RED)],
        ),
        rooms("People", "max_occupancy", "none", "Most people at once in each window."),
        rooms("Air quality", "avg_air_quality", "none", "Air quality index of each window; less is better."),
        Panel(
            "Comfort by the hour",
            [view("grafana_room_comfort", {"time": TIME, "room": "string", "co2_avg": "number"}, room=ROOM)],
            "Mean CO2 of each room by the hour: the colours are how it was to be there.",
            "state-timeline",
            unit="ppm",
            name=LABEL % "room",
            steps=[(1000, YELLOW), (1400, RED)],
        ),
        Panel(
            "Stays",
            [
                view(
                    "grafana_sessions",
                    {
                        "time": TIME,
                        "room": "string",
                        "minutes": "number",
                        "peak_occupancy": "number",
                        "avg_co2": "number",
                    },
                    series=False,
                    room=ROOM,
                )
            ],
            "From when somebody was in a room until nobody had been for ten minutes. One that goes on is not here.",
            "table",
            columns={
                "time": {"title": "From"},
                "room": {"title": "Room"},
                "minutes": {"title": "For", "unit": "m", "decimals": 0},
                "peak_occupancy": {"title": "People at most"},
                "avg_co2": {"title": "CO2", "unit": "ppm", "decimals": 0, "steps": [(1000, YELLOW), (1400, RED)]},
            },
            sort="-From",
        ),
    ],
)

HEALTH = Row(
    "Batteries and links",
    [
        Panel(
            "Battery now",
            [Prometheus(f"sort(edge_device_battery_percent{{{CHOSEN}}})", "{{device}}", instant=True)],
            "The last level that each device told. Below 20 % buy one, below 10 % change it.",
            "bargauge",
            unit="percent",
            low=0,
            high=100,
            steps=[(10, ORANGE), (20, YELLOW), (40, GREEN)],
            below=RED,
        ),
        Panel(
            "Link quality now",
            [Prometheus(f"sort(edge_device_link_quality{{{CHOSEN}}})", "{{device}}", instant=True)],
            "0 to 255. A plug between the device and the coordinator carries the messages of others on.",
            "bargauge",
            low=0,
            high=255,
            steps=[(30, ORANGE), (60, YELLOW), (90, GREEN)],
            below=RED,
        ),
        Panel(
            "Batteries",
            [view("grafana_batteries", {"time": TIME, "device": "string", "battery_percent": "number"}, device=DEVICE)],
            "How fast they empty; choose a month or a year above.",
            unit="percent",
            name=LABEL % "device",
            low=0,
            high=100,
        ),
        Panel(
            "Link quality",
            [view("grafana_link_quality", {"time": TIME, "device": "string", "linkquality": "number"}, device=DEVICE)],
            "Mean of each device. One that sinks was moved, or something stands in the way.",
            name=LABEL % "device",
            low=0,
        ),
        Panel(
            "Device health",
            [
                view(
                    "grafana_device_health",
                    {
                        "device": "string",
                        "kind": "string",
                        "last_seen": TIME,
                        "silent": "boolean",
                        "available": "boolean",
                        "battery_percent": "number",
                        "linkquality": "number",
                        "cadence_seconds": "number",
                        "messages_last_day": "number",
                    },
                    series=False,
                    device=BOTH,
                )
            ],
            "One row a device and room. Silent: nothing came for much longer than its usual (learned) cadence.",
            "table",
            width=24,
            columns={
                "device": {"title": "Device"},
                "kind": {"title": "Kind"},
                "last_seen": {"title": "Last seen", "unit": "dateTimeFromNow"},
                "silent": {"title": "Silent", "shows": YES_NO},
                "available": {"title": "Reachable", "shows": {"true": ("yes", GREEN), "false": ("no", RED)}},
                "battery_percent": {"title": "Battery", "unit": "percent"},
                "linkquality": {"title": "Link quality"},
                "cadence_seconds": {"title": "Usual cadence", "unit": "s"},
                "messages_last_day": {"title": "Messages in a day"},
            },
            sort="-Silent",
        ),
        Panel(
            "Reachable",
            [Prometheus(f"edge_device_available{{{CHOSEN}}}", "{{device}}")],
            "What the devices' own network says of them.",
            "state-timeline",
            width=24,
            shows={"0": ("offline", RED), "1": ("online", GREEN)},
        ),
    ],
)

ANOMALIES = Row(
    "Anomalies",
    [
        Panel(
            "Anomalies a day",
            [view("grafana_anomaly_counts", {"time": TIME, "type": "string", "anomalies": "number"})],
            "What was unlike its own past: a minute (spike), an hour (level shift), a day (drift). Mostly none.",
            width=8,
            name=LABEL % "type",
            bars=True,
            stacked=True,
            decimals=0,
        ),
        Panel(
            "Anomalies",
            [
                view(
                    "grafana_anomalies",
                    {
                        "time": TIME,
                        "device": "string",
                        "measurement": "string",
                        "type": "string",
                        "value": "number",
                        "expected": "number",
                        "tolerance": "number",
                        "unit": "string",
                        "score": "number",
                    },
                    series=False,
                    device=BOTH,
                )
            ],
            "Which, and how far from what its past let expect (score 2: twice as far as tolerated). Empty is good.",
            "table",
            width=16,
            columns={
                "time": {"title": "When"},
                "device": {"title": "Device"},
                "measurement": {"title": "Measurement"},
                "type": {"title": "What"},
                "value": {"title": "Value", "decimals": 2},
                "expected": {"title": "Expected", "decimals": 2},
                "tolerance": {"title": "Tolerance", "decimals": 2},
                "unit": {"title": "Unit"},
                "score": {"title": "Score", "decimals": 1, "steps": [(1, YELLOW), (2, ORANGE), (4, RED)]},
            },
            sort="-When",
        ),
    ],
)

ALERTS = Row(
    "Alerts",
    [
        Panel(
            "Open alerts",
            [
                Api(
                    "/api/v1/alerts",
                    {
                        "fired_at": TIME,
                        "severity": "string",
                        "rule": "string",
                        "device_name": "string",
                        "message": "string",
                        "acknowledged_at": TIME,
                    },
                    {"open": "true"},
                    series=False,
                )
            ],
            "What has fired within the chosen time and not cleared, to the second. Acknowledge on the live page.",
            "table",
            width=24,
            height=6,
            columns={
                "fired_at": {"title": "Since", "unit": "dateTimeFromNow"},
                "severity": {"title": "Severity", "shows": SEVERITIES},
                "rule": {"title": "Rule"},
                "device_name": {"title": "Device"},
                "message": {"title": "Message"},
                "acknowledged_at": {"title": "Acknowledged", "unit": "dateTimeFromNow"},
            },
            sort="-Since",
            link=("Live page", "${live_url}"),
        ),
        Panel(
            "Alerts a day",
            [view("grafana_alert_counts", {"time": TIME, "rule": "string", "alerts": "number"})],
            "How often each rule fired, by UTC day. One that fires daily wants another threshold, or a repair.",
            width=8,
            name=LABEL % "rule",
            bars=True,
            stacked=True,
            decimals=0,
        ),
        Panel(
            "Alerts",
            [
                view(
                    "grafana_alerts",
                    {
                        "time": TIME,
                        "severity": "string",
                        "rule": "string",
                        "device": "string",
                        "message": "string",
                        "seconds_to_clear": "number",
                        "seconds_to_notify": "number",
                    },
                    series=False,
                    device=BOTH,
                )
            ],
            "What fired, from the lake: for how long it lasted, and how soon people were told.",
            "table",
            width=16,
            columns={
                "time": {"title": "When"},
                "severity": {"title": "Severity", "shows": SEVERITIES},
                "rule": {"title": "Rule"},
                "device": {"title": "Device"},
                "message": {"title": "Message"},
                "seconds_to_clear": {"title": "Lasted", "unit": "s"},
                "seconds_to_notify": {"title": "Told after", "unit": "s"},
            },
            sort="-When",
        ),
    ],
)


def _choice(name: str, label: str, kind: str, words: str) -> Variable:
    columns: dict[str, ColumnType] = {"__text=device": "string", "__value=device_id": "string"}
    query = Api("/api/v1/views/grafana_devices", columns, {"kind": kind}, series=False)
    return Variable(name, label, query, words)


SENSORS = Dashboard(
    "edge-sensors",
    "Sensors",
    "What the sensors say: climate, doors, energy, rooms, batteries, what is unusual, and alerts.",
    [NOW, CLIMATE, DOORS, ENERGY, ROOMS, HEALTH, ANOMALIES, ALERTS],
    [
        _choice("device", "Device", "device", "Panels of devices show these; all by default."),
        _choice("room", "Room", "room", "Panels of rooms show these; all by default."),
    ],
    since="now-24h",
    refresh="1m",
    other=("Platform", "edge-platform"),
    tags=("edge_assets", "sensors"),
)
