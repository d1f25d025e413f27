-- Panel "Alerts": one row an alert, by the time it fired; seconds until it was handed to people, and until it cleared.
SELECT min(event_time) FILTER (transition = 'firing') AS time, rule, any_value(severity) AS severity,
    any_value(device_name) AS device, arg_min(message, event_time) FILTER (transition = 'firing') AS message,
    arg_min(value, event_time) FILTER (transition = 'firing') AS value, any_value(unit) AS unit,
    min(event_time) FILTER (transition = 'cleared') AS cleared_at,
    min(event_time) FILTER (transition = 'acknowledged') AS acknowledged_at,
    (epoch_us(min(event_time) FILTER (transition = 'cleared'))
        - epoch_us(min(event_time) FILTER (transition = 'firing'))) / 1e6 AS seconds_to_clear,
    (epoch_us(min(event_time) FILTER (transition = 'notified'))
        - epoch_us(min(event_time) FILTER (transition = 'firing'))) / 1e6 AS seconds_to_notify,
    count(*) FILTER (transition = 'cleared') = 0 AS open,
    any_value(measurement) AS measurement, kind, device_id, alert_id
FROM silver.alerts
GROUP BY alert_id, rule, kind, device_id
HAVING count(*) FILTER (transition = 'firing') > 0
