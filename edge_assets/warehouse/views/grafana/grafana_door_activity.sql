-- Panel "Doors": openings, and minutes open, by contact and UTC day.
--   time: where the UTC day begins
--   open_minutes: time that it was open on this day, minutes
--   longest_open_minutes: the longest stretch of it on this day, minutes
SELECT make_timestamptz(epoch_us(day)) AS time, device_name AS door, openings, closings, open_seconds / 60 AS open_minutes,
    longest_open_seconds / 60 AS longest_open_minutes, device_id
FROM door_activity
