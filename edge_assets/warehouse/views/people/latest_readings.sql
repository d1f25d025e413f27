-- The latest value of each measurement of each device and room within the last seven days, and its minute (UTC).
SELECT kind, device_id, arg_max(device_name, bucket) AS device_name, measurement, unit,
    arg_max(last, bucket) AS value, max(bucket) AS minute
FROM readings_1m
WHERE bucket >= now() - INTERVAL 7 DAY
GROUP BY kind, device_id, measurement, unit
