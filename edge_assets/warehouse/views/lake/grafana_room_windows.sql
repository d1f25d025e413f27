-- Panel "Rooms, live": a room's windows (5 seconds apart where the range is short, else of minutes), one row a window.
--   room: the room's name; where nobody has said, its identifier
--   window_seconds: how long the window is, seconds
SELECT window_start AS time, coalesce(room_name, room_id) AS room, floor, room_type,
    avg_temperature, min_temperature, max_temperature, avg_humidity, min_humidity, max_humidity, avg_co2, max_co2,
    avg_light, max_occupancy, motion_events, avg_energy, avg_air_quality, min_air_quality,
    (epoch_us(window_end) - epoch_us(window_start)) / 1e6 AS window_seconds, room_id
FROM gold.telemetry_5s_agg
