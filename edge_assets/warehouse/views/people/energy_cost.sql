-- Energy and what it costs, by device and UTC day: kWh, and money by the setting EDGE_ROLLUPS__ENERGY_PRICE_PER_KWH.
--   cost: what that costs, in the currency
--   currency: of the cost, from the settings
SELECT day, kind, device_id, device_name, energy_kwh, energy_kwh * s.energy_price_per_kwh AS cost, s.currency
FROM energy_daily CROSS JOIN settings s
