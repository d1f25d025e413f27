-- Panel "Batteries": the level (%) by device and UTC day, its lowest of the day.
SELECT bucket AS time, device_name AS device, min AS battery_percent, device_id
FROM readings_1d
WHERE measurement = 'battery'
