"""The tables of the lake: names, columns, types, units and what one row is. Plain data, read by all sides.

The stream writer creates tables from it, Dagster shows it as column schemas, docs are generated from it. Types
are Spark SQL's. All times are UTC. `date` is the partition column of every table that grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_assets.settings import Settings, Window


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    description: str


@dataclass(frozen=True, slots=True)
class Table:
    """`layer.name`; it lies in `<lake>/<layer>/<name>`."""

    layer: str
    name: str
    row: str
    columns: tuple[Column, ...]
    partitioned_by: tuple[str, ...] = ("date",)

    @property
    def full_name(self) -> str:
        return f"{self.layer}.{self.name}"


SITE = Column("site", "string", "the place, from the settings")

POSITION = (
    Column(
        "log_id",
        "string",
        "the Kafka topic's own identity: a new Kafka, or a topic made anew, is another log",
    ),
    Column("kafka_topic", "string", "Kafka topic"),
    Column("kafka_partition", "int", "Kafka partition"),
    Column("kafka_offset", "bigint", "Kafka offset; with the three before it, the position of the source record"),
)

RECEIVED = (
    Column("received_at", "timestamp", "when the bridge received the message"),
    Column("date", "date", "UTC day of received_at, as first known"),
)

MEASURED = (
    SITE,
    Column("device_id", "string", "IEEE address where known, else the device's name"),
    Column("device_name", "string", "the device's name when the reading was received"),
    Column("model", "string", "the device's model"),
    Column("measurement", "string", "what was measured; nested values have dots in their names"),
    Column("value", "double", "the number; 0/1 for two-valued measurements"),
    Column("text", "string", "the text, where the measurement has one"),
    Column("unit", "string", "unit of value, from the device's own description"),
)

BRONZE_EVENTS = Table(
    "bronze",
    "events",
    "one record of the log, as the wire carried it, with its outcome",
    (
        *POSITION,
        Column("kafka_time", "timestamp", "the record's timestamp in Kafka"),
        Column("key", "string", "the MQTT topic"),
        Column("payload", "binary", "the MQTT payload, byte for byte; null is a Kafka tombstone"),
        Column("header", "string", "what the bridge knew of the message; see edge_assets.log_record"),
        Column("outcome", "string", "exactly one of read, dead_letter, tombstone, ignored"),
        Column("reason", "string", "why it was ignored or could not be read"),
        Column(
            "readings",
            "int",
            "rows that it gave: of silver.readings; of a room's message silver.room_telemetry; of an alert's event "
            "silver.alerts",
        ),
        Column("refused", "int", "properties of a read record that are not readings (NaN, 1_000, wrong type)"),
        Column("batch", "bigint", "number of the stream writer's batch that wrote the row"),
        *RECEIVED,
    ),
)

DEAD_LETTERS = Table(
    "bronze",
    "dead_letters",
    "one record that could not be read",
    (
        *POSITION,
        Column("key", "string", "the MQTT topic"),
        Column("payload", "binary", "the MQTT payload, byte for byte"),
        Column("header", "string", "what the bridge knew of the message"),
        Column("reason", "string", "why, as a word that can be grouped by"),
        Column("detail", "string", "the same for a person, with the next step"),
        Column("decoder", "string", "the decoder that refused it, with its version"),
        Column("batch", "bigint", "number of the stream writer's batch that wrote the row"),
        *RECEIVED,
    ),
)

READINGS = Table(
    "silver",
    "readings",
    "one measurement of one device at one time",
    (
        *MEASURED,
        Column(
            "event_time",
            "timestamp",
            "when it was measured: the payload's time where plausible, else received_at",
        ),
        Column("event_time_source", "string", "payload or received"),
        Column(
            "quality",
            "string",
            "good, or words with a space between them: implausible (value), time_implausible (the payload's clock "
            "was not believed), clock_unsynchronised (ours was not set), maybe_repeat",
        ),
        Column("pending", "boolean", "its device was not known yet; resolved when bridge/devices names it"),
        *POSITION,
        *RECEIVED,
    ),
)

ROOM_TELEMETRY = Table(
    "silver",
    "room_telemetry",
    "one message of one room",
    (
        SITE,
        Column("room_id", "string", "the room, as its topic says"),
        Column("event_time", "timestamp", "when it was measured: the message's timestamp where plausible"),
        Column("event_time_source", "string", "payload or received"),
        Column("quality", "string", "as in silver.readings; implausible: one of the row's values is"),
        Column("temperature", "double", "temperature, °C"),
        Column("humidity", "double", "relative humidity, %"),
        Column("co2_ppm", "double", "carbon dioxide, ppm"),
        Column("light_lux", "double", "illuminance, lx"),
        Column("occupancy_count", "bigint", "people in the room"),
        Column("motion_detected", "boolean", "whether something moved"),
        Column("energy_kwh", "double", "energy since the counter's start, kWh"),
        Column("air_quality_index", "double", "air quality index; less is better"),
        *POSITION,
        *RECEIVED,
    ),
)

DEVICE_STATES = Table(
    "silver",
    "device_states",
    "one value that a device had said before the bridge subscribed: a retained message without a time of its own",
    (
        *MEASURED,
        Column("quality", "string", "as in silver.readings"),
        *POSITION,
        *RECEIVED,
    ),
)

ALERTS = Table(
    "silver",
    "alerts",
    "one event of one alert: it fired, was cleared, was handed to people, or was acknowledged by one",
    (
        SITE,
        Column("event_id", "string", "the event; after a crash one may be there twice, with the same event_id"),
        Column("alert_id", "string", "one firing of one rule for one device, until it has cleared"),
        Column("transition", "string", "firing, cleared, notified or acknowledged"),
        Column("rule", "string", "the rule's name"),
        Column("severity", "string", "info, warning or critical"),
        Column("kind", "string", "device, room or bridge"),
        Column("device_id", "string", "the device's address, the room's identifier, or the network's base topic"),
        Column("device_name", "string", "its name then"),
        Column("measurement", "string", "what the rule watches; null: whether the device is there at all"),
        Column("value", "double", "of the measurement at this event"),
        Column("unit", "string", "unit of value"),
        Column("message", "string", "the alert in words, as people were told"),
        Column("since", "timestamp", "when the rule's condition began to hold"),
        Column("event_time", "timestamp", "when this event happened"),
        *POSITION,
        *RECEIVED,
    ),
)

DEVICES = Table(
    "silver",
    "devices",
    "one state of one device's description, valid from/to by received time; the registry",
    (
        SITE,
        Column("base_topic", "string", "base topic of the network it belongs to"),
        Column("device_id", "string", "IEEE address; of a group, group:<id>"),
        Column("device_name", "string", "friendly name: the device's topic below the base topic"),
        Column("kind", "string", "device, group or coordinator"),
        Column("model", "string", "model"),
        Column("vendor", "string", "vendor"),
        Column("description", "string", "the model in the vendor's words"),
        Column(
            "exposes",
            "map<string,struct<type:string,unit:string,value_on:string,value_off:string,"
            "value_min:double,value_max:double>>",
            "its measurements by name: type (numeric, binary, enum, text, other), unit and range",
        ),
        Column("valid_from", "timestamp", "received time of the description; null: since ever"),
        Column("valid_to", "timestamp", "received time of the one that replaced it; null: current"),
        Column("told_at", "timestamp", "received time of the record that told it"),
        *POSITION,
    ),
    partitioned_by=(),
)

ROOM = (
    Column("room_id", "string", "the room, as its topic says"),
    Column("room_name", "string", "its name (`edge rooms`); null: nobody has said"),
    Column("floor", "string", "its floor (`edge rooms`)"),
    Column("room_type", "string", "what kind of room it is (`edge rooms`)"),
)

WINDOW_DATE = Column("date", "date", "UTC day of the begin")

WINDOW = (
    SITE,
    Column("window_start", "timestamp", "begin of the window, which belongs to it; event time"),
    Column("window_end", "timestamp", "end of the window, which does not"),
    *ROOM,
    Column("avg_temperature", "double", "mean temperature, °C"),
    Column("min_temperature", "double", "lowest temperature, °C"),
    Column("max_temperature", "double", "highest temperature, °C"),
    Column("avg_humidity", "double", "mean relative humidity, %"),
    Column("min_humidity", "double", "lowest relative humidity, %"),
    Column("max_humidity", "double", "highest relative humidity, %"),
    Column("avg_co2", "double", "mean carbon dioxide, ppm"),
    Column("max_co2", "double", "highest carbon dioxide, ppm"),
    Column("avg_light", "double", "mean illuminance, lx"),
    Column("max_occupancy", "bigint", "most people at once"),
    Column("motion_events", "bigint", "messages that saw something move"),
    Column("avg_energy", "double", "mean of the energy counter, kWh"),
    Column("avg_air_quality", "double", "mean air quality index; less is better"),
    Column("min_air_quality", "double", "lowest (best) air quality index"),
    WINDOW_DATE,
)


FIGURES = {
    "avg_temperature": "avg(temperature)",
    "min_temperature": "min(temperature)",
    "max_temperature": "max(temperature)",
    "avg_humidity": "avg(humidity)",
    "min_humidity": "min(humidity)",
    "max_humidity": "max(humidity)",
    "avg_co2": "avg(co2_ppm)",
    "max_co2": "max(co2_ppm)",
    "avg_light": "avg(light_lux)",
    "max_occupancy": "max(occupancy_count)",
    "motion_events": "count_if(motion_detected)",
    "avg_energy": "avg(energy_kwh)",
    "avg_air_quality": "avg(air_quality_index)",
    "min_air_quality": "min(air_quality_index)",
}
"""column of a window → what it is over the window's messages, in the SQL of Spark and of DuckDB"""


def window_table(window: Window) -> Table:
    """The table of one kind of window over rooms."""
    sliding = f" sliding by {window.step_seconds} s" if window.step_seconds < window.size_seconds else ""
    return Table("gold", window.name, f"one room in one window of {window.size_seconds} s{sliding}", WINDOW)


SESSIONS = Table(
    "gold",
    "sessions",
    "one stay of people in a room: messages that see somebody, no gap between them longer than the setting",
    (
        SITE,
        Column("session_start", "timestamp", "first message that saw somebody; event time"),
        Column("session_end", "timestamp", "last one"),
        *ROOM,
        Column("peak_occupancy", "bigint", "most people at once"),
        Column("avg_co2", "double", "mean carbon dioxide of its messages, ppm"),
        Column("messages", "bigint", "messages that saw somebody"),
        WINDOW_DATE,
    ),
)


def gold_tables(settings: Settings) -> tuple[Table, ...]:
    """The tables that the stream writer computes from silver: windows as the settings want them, and sessions."""
    return (*map(window_table, settings.windows.tables), SESSIONS)


ANOMALIES = Table(
    "gold",
    "anomalies",
    "one event in which one measurement of one device or room was unlike its own past",
    (
        SITE,
        Column("kind", "string", "device or room"),
        Column("device_id", "string", "the device's address or the room's identifier"),
        Column("device_name", "string", "its name then"),
        Column("measurement", "string", "what was measured"),
        Column("unit", "string", "unit of value, expected and tolerance"),
        Column(
            "type",
            "string",
            "spike (a minute unlike the minutes before), level_shift (an hour unlike this hour of other days) or "
            "drift (a day unlike the days before)",
        ),
        Column("window_start", "timestamp", "where the minute, hour or day begins that was first too far (UTC)"),
        Column("window_end", "timestamp", "where it ends"),
        Column("value", "double", "of a spike the minute's furthest value, else the mean of the hour or day"),
        Column("expected", "double", "what its own past let expect"),
        Column("tolerance", "double", "how far from expected it might have been"),
        Column("score", "double", "how many times as far it was; above 1"),
        Column("detected_at", "timestamp", "when it was found"),
        Column("date", "date", "UTC day of window_start"),
    ),
    partitioned_by=(),
)
"""The one table of the lake that the stream writer does not write: its committer is edge_assets.anomalies."""


def all_tables(settings: Settings) -> tuple[Table, ...]:
    """The tables of the lake."""
    return (*TABLES, *gold_tables(settings), ANOMALIES)


TABLES = (BRONZE_EVENTS, DEAD_LETTERS, READINGS, ROOM_TELEMETRY, DEVICE_STATES, ALERTS, DEVICES)

RECOMPUTED = (READINGS, ROOM_TELEMETRY, DEVICE_STATES, ALERTS)
"""the tables of silver that can be recomputed from `bronze.events`, each by its name"""

OUTCOMES = ("read", "dead_letter", "tombstone", "ignored")
