-- Panel "Device health": one row a device, with when it was last seen, its usual cadence (seconds), and whether it is silent.
SELECT device_name AS device, kind, last_seen, silent_seconds, silent, available, battery_percent, linkquality,
    cadence_seconds, cadence_p95_seconds, messages_last_day, device_id
FROM device_health
