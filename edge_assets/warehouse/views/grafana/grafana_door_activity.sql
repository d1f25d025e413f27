-- Panel "Doors": openings, and minutes open, by contact and UTC day.
SELECT make_timestamptz(epoch_us(day)) AS time, device_name AS door, openings, closings, open_seconds / 60 AS open_minutes,
    longest_open_seconds / 60 AS longest_open_minutes, device_id
FROM door_activity
