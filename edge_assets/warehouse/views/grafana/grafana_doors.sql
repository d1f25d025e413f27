-- Panel "Doors now": whether each door is open, by the last that it said within seven days, and its battery.
--   open: whether it is open, by the last that it said
SELECT l.device_name AS door, l.value = 0 AS open, l.minute AS last_at, h.available, h.battery_percent, l.device_id
FROM latest_readings l LEFT JOIN device_health h ON h.kind = l.kind AND h.device_id = l.device_id
WHERE l.measurement = 'contact'
