-- Panel "Stays": each stay of people in a room, from its first to its last message: minutes, most people at once, mean CO2.
--   room: the room's name; where nobody has said, its identifier
--   minutes: from its first to its last message, minutes
SELECT session_start AS time, coalesce(room_name, room_id) AS room, session_end,
    (epoch_us(session_end) - epoch_us(session_start)) / 60e6 AS minutes, peak_occupancy, avg_co2, room_id
FROM gold.sessions
