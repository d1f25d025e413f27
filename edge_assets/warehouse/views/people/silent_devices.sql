-- Devices and rooms of which nothing came for much longer than is usual for them: seconds of silence, and their cadence.
SELECT kind, device_id, device_name, last_seen, silent_seconds, cadence_seconds, cadence_p95_seconds, battery_percent
FROM device_health
WHERE silent
