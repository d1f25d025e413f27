-- Panel "Latest": the latest value of each measurement within seven days, and its minute.
SELECT device_name AS device, measurement, value, unit, minute AS last_at, kind, device_id
FROM latest_readings
