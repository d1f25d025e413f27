-- Panel "Power": what a device draws (W), mean and highest, by device and hour.
SELECT bucket AS time, device_name AS device, avg AS power_w, max AS power_w_max, device_id
FROM readings_1h
WHERE measurement = 'power'
