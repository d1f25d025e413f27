-- Panel "Energy per day": kWh by device and UTC day.
--   time: where the UTC day begins
SELECT make_timestamptz(epoch_us(day)) AS time, device_name AS device, energy_kwh, resets, device_id
FROM energy_daily
