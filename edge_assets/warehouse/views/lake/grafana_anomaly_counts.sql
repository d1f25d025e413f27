-- Panel "Anomalies per day": how many began, by UTC day and type.
--   time: where the UTC day begins
--   anomalies: how many began
SELECT date_trunc('day', window_start) AS time, type, count(*) AS anomalies
FROM gold.anomalies
GROUP BY ALL
