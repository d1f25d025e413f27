-- The latest value of each measurement of each device and room within the last seven days, and its minute (UTC); of what
-- a device had said before the bridge subscribed (device_state), the minute in which that became known.
--   kind: device or room
--   device_id: the device's address or the room's identifier
--   device_name: its latest name
--   measurement: what was measured
--   unit: unit of value; null where it has none
--   value: the latest value
--   minute: when that was, to the minute (UTC)
SELECT kind, device_id, arg_max(device_name, minute) AS device_name, measurement, unit,
    arg_max(value, minute) AS value, max(minute) AS minute
FROM (
    SELECT kind, device_id, device_name, measurement, unit, last AS value, bucket AS minute
    FROM readings_1m WHERE bucket >= now() - INTERVAL 7 DAY
    UNION ALL
    SELECT kind, device_id, device_name, measurement, unit, value, date_trunc('minute', known_at)
    FROM device_state WHERE value IS NOT NULL)
GROUP BY kind, device_id, measurement, unit
