"""Each device and room with its health and the latest value of each measurement, as of the newest rollups."""

from __future__ import annotations

from edge_assets.serving import answers
from edge_assets.serving.answers import TimeFormat, number
from edge_assets.serving.questions import Question

_HEALTH = {
    "key": "kind || ':' || device_id",
    "kind": "kind",
    "id": "device_id",
    "name": "coalesce(device_name, device_id)",
    "last_seen": "last_seen",
    "available": "available",
    "silent": "silent",
    "silent_seconds": number("silent_seconds"),
    "battery_percent": number("battery_percent"),
    "linkquality": number("linkquality"),
    "cadence_seconds": number("cadence_seconds"),
    "messages_last_day": "messages_last_day",
}


def question(time: TimeFormat) -> Question:
    """Rows of one JSON object a device, by kind and name."""
    at = answers.value("minute", "TIMESTAMPTZ", time)
    seen = answers.value("last_seen", "TIMESTAMPTZ", time)
    latest = f"json_object('measurement', measurement, 'unit', unit, 'value', {number('value')}, 'at', {at})"
    columns = {name: seen if name == "last_seen" else sql for name, sql in _HEALTH.items()}
    pairs = ", ".join(f"'{name}', {sql}" for name, sql in columns.items())
    sql = f"""
        WITH latest AS (
            SELECT kind, device_id, list({latest} ORDER BY measurement, unit) AS measurements
            FROM latest_readings GROUP BY ALL)
        SELECT CAST(json_object({pairs}, 'measurements', to_json(coalesce(measurements, []))) AS VARCHAR)
        FROM device_health LEFT JOIN latest USING (kind, device_id) ORDER BY kind, device_name, device_id"""
    return Question(sql, {}, of_now=True)
