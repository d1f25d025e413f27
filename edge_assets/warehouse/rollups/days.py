"""The SQL of a day: energy, doors, messages; and of a device's health. Each is of one UTC day as a whole.

A day's figures need a little of the days before and after: what the counter or the contact last said, whether another
report came. That is looked up in readings_1d and messages_daily, at most `REACH` back or ahead, and never in silver.
"""

from __future__ import annotations

from datetime import date, timedelta

from edge_assets.warehouse.rollups import times
from edge_assets.warehouse.rollups.measurements import COUNTS

REACH = timedelta(days=366)
"""a device that was silent for longer starts anew"""

DOOR_STATE_SECONDS = times.DAY
"""a contact's state is believed for so long without another report"""

THOUSANDFOLD, THOUSANDFOLD_KWH = 1_000, 1
"""a counter that is suddenly a thousand times what it was has changed its unit"""

IS_ENERGY = "((kind = 'device' AND measurement = 'energy') OR (kind = 'room' AND measurement = 'energy_kwh'))"
IS_CONTACT = "(kind = 'device' AND measurement = 'contact')"
KEPT_FOR_HEALTH = ("battery", "linkquality", "availability")
CADENCE_DAYS = 7


def _kwh(value: str) -> str:
    return f"({value} * CASE unit WHEN 'Wh' THEN 0.001 WHEN 'MWh' THEN 1000 ELSE 1 END)"


def energy(day: date, source: str, days_before: str, max_kw: float) -> str:
    """energy_daily of one day. `source`: the day's measurements; `days_before`: readings_1d of the days before it.

    A step counts where the counter rose by no more than `max_kw` gives in the time, nor by a thousandfold at once.
    Of the reading before the day only its day is known, so that the time is counted from where that day begins.
    """
    impossible = (
        f"kwh - before > {max_kw} * greatest({times.since('seen_at', 'before_at')}, 60) / 3600 "
        f"OR (before > 0 AND kwh >= before * {THOUSANDFOLD} AND kwh - before > {THOUSANDFOLD_KWH})"
    )
    return f"""
        WITH before_day AS (
            SELECT kind, site, device_id, arg_max({_kwh("last")}, bucket) AS kwh, max(bucket) AS seen_at
            FROM ({days_before}) WHERE {IS_ENERGY} GROUP BY ALL
        ), readings AS (
            SELECT kind, site, device_id, device_name, event_time AS seen_at, position, {_kwh("value")} AS kwh
            FROM ({source}) WHERE {IS_ENERGY} AND {COUNTS}
        ), steps AS (
            SELECT *, lag(kwh) OVER step AS before, lag(seen_at) OVER step AS before_at
            FROM (FROM readings UNION ALL SELECT kind, site, device_id, NULL, seen_at, -1, kwh FROM before_day)
            WINDOW step AS (PARTITION BY kind, site, device_id ORDER BY position)
        ), judged AS (
            SELECT *, coalesce(kwh < before, false) AS fell, coalesce({impossible}, false) AS jumped
            FROM steps WHERE position >= 0
        )
        SELECT {times.date_literal(day)} AS day, kind, site, device_id,
            arg_max(device_name, position) AS device_name,
            coalesce(fsum(kwh - before) FILTER (NOT fell AND NOT jumped), 0) AS energy_kwh,
            count(*) AS readings, count(*) FILTER (fell) AS resets, count(*) FILTER (jumped) AS jumps,
            arg_max(kwh, position) AS counter_kwh
        FROM judged GROUP BY kind, site, device_id"""


def doors(day: date, source: str, days_before: str, days_after: str) -> str:
    """door_activity of one day. `source`: measurements of the day and of the one before it; `days_before` and
    `days_after`: readings_1d before these two days, and after this one.

    An opening lasts until the next report, whatever it says; the last report of all opens nothing, as it is not known
    yet how long. So each report settles the stretch before it, and a day once told changes only by late rows.
    """
    start, end = times.day_start(day), times.day_start(day + timedelta(days=1))
    cut = f"greatest(epoch_us(seen_at), epoch_us({times.literal(start)}))"
    believed = f"epoch_us(seen_at) + {DOOR_STATE_SECONDS * 1_000_000}"
    until = f"least(epoch_us(next_at), {believed}, epoch_us({times.literal(end)}))"
    return f"""
        WITH before_days AS (
            SELECT site, device_id, arg_max(last, bucket) AS value, max(bucket) AS seen_at
            FROM ({days_before}) WHERE {IS_CONTACT} GROUP BY ALL
        ), after_day AS (
            SELECT site, device_id, min(bucket) AS seen_at FROM ({days_after}) WHERE {IS_CONTACT} GROUP BY ALL
        ), reports AS (
            SELECT site, device_id, device_name, event_time AS seen_at, position, value
            FROM ({source}) WHERE {IS_CONTACT} AND {COUNTS}
            UNION ALL SELECT site, device_id, NULL, seen_at, -1, value FROM before_days
        ), stretches AS (
            SELECT r.*, lag(value) OVER step AS before,
                coalesce(lead(r.seen_at) OVER step, after_day.seen_at) AS next_at
            FROM reports r LEFT JOIN after_day USING (site, device_id)
            WINDOW step AS (PARTITION BY r.site, r.device_id ORDER BY position)
        ), told AS (
            SELECT *, seen_at >= {times.literal(start)} AS today,
                CASE WHEN value = 0 AND position >= 0 AND next_at IS NOT NULL
                    THEN greatest({until} - {cut}, 0) / 1e6 ELSE 0 END AS open
            FROM stretches
        ), runs AS (
            SELECT *, sum(CASE WHEN value = 0 AND before = 0 THEN 0 ELSE 1 END) OVER (
                PARTITION BY site, device_id ORDER BY position) AS run FROM told
        ), longest AS (
            SELECT site, device_id, max(open) AS open FROM (
                SELECT site, device_id, run, fsum(open) AS open FROM runs GROUP BY ALL) GROUP BY ALL
        )
        SELECT {times.date_literal(day)} AS day, site, device_id, arg_max(device_name, position) AS device_name,
            count(*) FILTER (today AND value = 0 AND before <> 0) AS openings,
            count(*) FILTER (today AND value <> 0 AND before = 0) AS closings,
            coalesce(fsum(runs.open), 0) AS open_seconds, coalesce(max(longest.open), 0) AS longest_open_seconds,
            count(*) FILTER (today) AS readings
        FROM runs JOIN longest USING (site, device_id)
        GROUP BY site, device_id HAVING count(*) FILTER (today) > 0 OR fsum(runs.open) > 0"""


def messages(day: date, source: str, days_before: str) -> str:
    """messages_daily of one day. `source`: the day's measurements; `days_before`: messages_daily before it."""
    return f"""
        WITH before_day AS (
            SELECT kind, site, device_id, max(last_at) AS seen_at FROM ({days_before}) GROUP BY ALL
        ), heard AS (
            SELECT kind, site, device_id, event_time AS seen_at, arg_max(device_name, position) AS device_name
            FROM ({source}) GROUP BY ALL
        ), gaps AS (
            SELECT h.*, {times.since("h.seen_at", "coalesce(lag(h.seen_at) OVER step, before_day.seen_at)")} AS gap
            FROM heard h LEFT JOIN before_day USING (kind, site, device_id)
            WINDOW step AS (PARTITION BY h.kind, h.site, h.device_id ORDER BY h.seen_at)
        )
        SELECT {times.date_literal(day)} AS day, kind, site, device_id, arg_max(device_name, seen_at) AS device_name,
            count(*) AS messages, median(gap) AS gap_median_seconds, quantile_cont(gap, 0.95) AS gap_p95_seconds,
            min(seen_at) AS first_at, max(seen_at) AS last_at
        FROM gaps GROUP BY kind, site, device_id"""


def health(devices: str, messages_daily: str, readings_1d: str) -> str:
    """device_health of some devices (kind, site, device_id), from the days of the last year."""
    same = "USING (kind, site, device_id)"

    def latest(measurement: str) -> str:
        return f"arg_max(last, bucket) FILTER (measurement = '{measurement}')"

    return f"""
        WITH devices AS ({devices}), heard AS (
            SELECT *, row_number() OVER (PARTITION BY kind, site, device_id ORDER BY day DESC) AS age
            FROM ({messages_daily}) SEMI JOIN devices {same}
        ), cadence AS (
            SELECT kind, site, device_id, arg_max(device_name, day) AS device_name, max(last_at) AS last_seen,
                median(gap_median_seconds) FILTER (age <= {CADENCE_DAYS}) AS cadence_seconds,
                max(gap_p95_seconds) FILTER (age <= {CADENCE_DAYS}) AS cadence_p95_seconds
            FROM heard GROUP BY kind, site, device_id
        ), said AS (
            SELECT kind, site, device_id, {latest("battery")} AS battery, {latest("linkquality")} AS linkquality,
                {latest("availability")} AS availability
            FROM ({readings_1d}) SEMI JOIN devices {same}
            WHERE measurement IN ({", ".join(f"'{name}'" for name in KEPT_FOR_HEALTH)})
            GROUP BY kind, site, device_id
        )
        SELECT kind, site, device_id, device_name, last_seen, battery AS battery_percent, linkquality,
            availability <> 0 AS available, cadence_seconds, cadence_p95_seconds
        FROM cadence LEFT JOIN said {same}"""
