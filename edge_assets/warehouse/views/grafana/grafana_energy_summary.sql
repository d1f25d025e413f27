-- Panel "Energy and cost": kWh of today, of 7 and of 30 UTC days with today, and what they cost, by device.
--   device: its latest name
--   today_kwh: energy of the UTC day so far, kWh
--   last_7_days_kwh: energy of 7 UTC days with today, kWh
--   last_30_days_kwh: energy of 30 UTC days with today, kWh
--   today_cost: cost of today_kwh, in the currency
--   last_7_days_cost: cost of last_7_days_kwh, in the currency
--   last_30_days_cost: cost of last_30_days_kwh, in the currency
--   currency: of the costs, from the settings
SELECT arg_max(device_name, day) AS device,
    sum(energy_kwh) FILTER (day = today) AS today_kwh,
    sum(energy_kwh) FILTER (day > today - 7) AS last_7_days_kwh,
    sum(energy_kwh) AS last_30_days_kwh,
    sum(cost) FILTER (day = today) AS today_cost,
    sum(cost) FILTER (day > today - 7) AS last_7_days_cost,
    sum(cost) AS last_30_days_cost,
    any_value(currency) AS currency, device_id
FROM energy_cost CROSS JOIN (SELECT CAST(timezone('UTC', now()) AS DATE) AS today)
WHERE day > today - 30
GROUP BY kind, device_id
