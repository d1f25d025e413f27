-- Panel "Rooms": temperature (°C), humidity (%), CO2 (ppm), share of occupied time and comfort, by room and hour.
SELECT bucket AS time, room_name AS room, temperature_avg, humidity_avg, co2_avg, occupied_share, comfort, room_id
FROM room_comfort
