-- Every device and room by name: what a dashboard's variable offers.
SELECT device_name AS device, kind, device_id
FROM device_health
