-- Temperature, humidity, CO2 and light by the hour, of rooms and devices alike: mean, lowest, highest, with the unit.
SELECT bucket, kind, device_id, device_name, measurement, unit, avg, min, max
FROM readings_1h
WHERE measurement IN (
    'temperature', 'humidity', 'co2', 'co2_ppm', 'illuminance', 'light_lux', 'pressure', 'voc', 'pm25',
    'air_quality_index')
