"""The groups of assets, in the order of the data's way. Dagster lists groups by name: the number keeps that order."""

from __future__ import annotations

SOURCES, BROKER, LOG = "1_sources", "2_broker", "3_log"
BRONZE, SILVER, ROLLUPS, GOLD = "4_bronze", "5_silver", "6_rollups", "7_gold"
VIEWS, SCREENS, CARE = "8_views", "9_screens", "care"

GROUPS = {
    SOURCES: "where it begins: devices, the alerter that speaks like one, and what people know of rooms",
    BROKER: "the MQTT broker, which hands each message to who listens",
    LOG: "Kafka: each message byte for byte, once, for a week",
    BRONZE: "each record of the log as a row, with what became of it",
    SILVER: "what the records say: readings, rooms' messages, the registry of devices",
    ROLLUPS: "readings by minute, hour and day, and what follows from them for people",
    GOLD: "rooms in windows as they come, stays of people, what is unusual",
    VIEWS: "what can be asked by name; one for each panel of a dashboard",
    SCREENS: "what people look at",
    CARE: "what keeps the tables small, and makes days anew",
}
"""group → what is in it"""

LAYERS = {"bronze": BRONZE, "silver": SILVER, "gold": GOLD}
"""layer of the lake → its group"""
