-- Panel "Climate": temperature, humidity, CO2 and light by the hour, one series a device and measurement.
--   series: device and measurement: the series' name in a chart
SELECT bucket AS time, device_name || ' ' || measurement AS series, avg AS value, min, max, unit, device_id, measurement,
    device_name AS device, kind
FROM climate
