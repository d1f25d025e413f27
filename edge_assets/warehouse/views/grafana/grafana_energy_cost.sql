-- Panel "Cost": what the energy of a UTC day costs by device, in the currency of the settings.
--   time: where the UTC day begins
SELECT make_timestamptz(epoch_us(day)) AS time, device_name AS device, cost, currency, device_id
FROM energy_cost
