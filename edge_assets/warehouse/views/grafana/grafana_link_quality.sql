-- Panel "Link quality": mean and lowest lqi by device and hour.
SELECT bucket AS time, device_name AS device, avg AS linkquality, min AS linkquality_min, device_id
FROM readings_1h
WHERE measurement = 'linkquality'
