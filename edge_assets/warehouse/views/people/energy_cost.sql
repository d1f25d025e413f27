-- Energy and what it costs, by device and UTC day: kWh, and money by the setting EDGE_ROLLUPS__ENERGY_PRICE_PER_KWH.
SELECT day, kind, device_id, device_name, energy_kwh, energy_kwh * s.energy_price_per_kwh AS cost, s.currency
FROM energy_daily CROSS JOIN settings s
