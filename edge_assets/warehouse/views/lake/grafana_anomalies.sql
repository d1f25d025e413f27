-- Panel "Anomalies": a measurement that was unlike its own past, one row an event; score: how many times too far it was.
SELECT window_start AS time, device_name AS device, measurement, type, value, expected, tolerance, score, unit,
    detected_at, kind, device_id
FROM gold.anomalies
