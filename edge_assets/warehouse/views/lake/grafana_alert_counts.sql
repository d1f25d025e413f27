-- Panel "Alerts per day": how many fired, by UTC day, rule and severity; how many of them cleared, and their mean seconds.
--   time: where the UTC day begins
--   severity: info, warning or critical
--   alerts: how many fired
--   cleared: how many of them have cleared
--   seconds_to_clear: mean time until they cleared, seconds
SELECT date_trunc('day', fired_at) AS time, rule, severity, count(*) AS alerts, count(cleared_at) AS cleared,
    avg((epoch_us(cleared_at) - epoch_us(fired_at)) / 1e6) AS seconds_to_clear
FROM (
    SELECT alert_id, rule, any_value(severity) AS severity,
        min(event_time) FILTER (transition = 'firing') AS fired_at,
        min(event_time) FILTER (transition = 'cleared') AS cleared_at
    FROM silver.alerts
    GROUP BY alert_id, rule)
WHERE fired_at IS NOT NULL
GROUP BY ALL
