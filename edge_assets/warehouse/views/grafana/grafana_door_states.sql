-- Panel "Doors by the minute": 1 where the door was open at any time in it; minutes in which it said nothing are not there.
--   open: 1 where it was open at any time in the minute, else 0
SELECT bucket AS time, device_name AS door, 1 - min AS open, device_id
FROM readings_1m
WHERE measurement = 'contact'
