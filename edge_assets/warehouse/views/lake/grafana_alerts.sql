-- Panel "Alerts": one row an alert, by the time it fired; seconds until it was handed to people, and until it cleared.
--   time: when it fired
--   severity: info, warning or critical
--   device: the device's name then
--   message: the alert in words, as people were told when it fired
--   value: of the measurement when it fired
--   unit: unit of value
--   cleared_at: when it cleared; null: it has not
--   acknowledged_at: when a person acknowledged it; null: nobody has
--   seconds_to_clear: from firing to clearing, seconds
--   seconds_to_notify: from firing to the first channel that took it, seconds
--   open: whether it has not cleared
--   measurement: what the rule watches; null: whether the device is there at all
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
