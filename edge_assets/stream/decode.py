"""Records of the log → one outcome each, and the readings of those that were read. Spark's own functions only.

`decode` keeps one row per record; `readings_of` unfolds it. The rules are those of `edge_assets.decoding.contract`;
here they become Spark expressions, in the order in which they apply:

    header → received time;  topic → what it speaks of;  payload → properties;  registry → device;
    property → value, text, quality, or refused;  all of it → outcome
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyspark.sql import Column
from pyspark.sql import functions as F

from edge_assets import log_record
from edge_assets.decoding import contract
from edge_assets.settings import Settings
from edge_assets.tables import POSITION

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

POSITION_COLUMNS = [column.name for column in POSITION]
NESTING = 3
"""So many levels of objects within a property are flattened; what lies deeper stays JSON text."""
RECORD_COLUMNS = [*POSITION_COLUMNS, "kafka_time", "key", "payload", "header"]


@dataclass(frozen=True, slots=True)
class Fence:
    """A barrier of a bridge in a partition: older incarnations' records behind it do not count."""

    log_id: str
    kafka_partition: int
    bridge: str
    incarnation: int
    kafka_offset: int


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What decoding needs to know besides the record itself. It changes rarely; each change is a record."""

    fences: tuple[Fence, ...] = ()
    clocks: Mapping[str, int] = field(default_factory=dict)
    """boot → microseconds from its monotonic clock to the true time"""
    bad_registry: frozenset[tuple[str, int, int]] = frozenset()
    """positions (log_id, partition, offset) of registry records that are not what they should be"""


@dataclass(frozen=True, slots=True)
class Lookup:
    """The registry as two small frames that are broadcast; made by `registry.lookup`."""

    devices: DataFrame
    """entry (int), base_topic, name, device_id, model, device_kind, valid_from, valid_to"""
    properties: DataFrame
    """entry, measurement, type, unit, value_on, value_off, value_min/max, plausible_min/max"""


def decode(records: DataFrame, registry: Lookup, knowledge: Knowledge, settings: Settings) -> DataFrame:
    """One row per record: `RECORD_COLUMNS` and

    received_at, date, kind, outcome, reason, device_id, device_name, model, entry (of the registry),
    pending, event_time, event_time_source, the marks time_implausible, unsynchronised, maybe_repeat, and
    properties (map of texts; null unless the record was read).
    """
    frame = topics_of(records, knowledge, settings)
    frame = _with_properties(frame)
    frame = _with_device(frame, registry.devices)
    frame = _with_event_time(frame, settings)
    return _with_outcome(frame, knowledge)


def topics_of(records: DataFrame, knowledge: Knowledge, settings: Settings) -> DataFrame:
    """One row per record: `RECORD_COLUMNS`, what the header says, and the topic's `kind`, `base` and `rest`."""
    return _with_topic(_with_header(records, knowledge), settings)


def properties_of(decoded: DataFrame, registry: Lookup) -> DataFrame:
    """One row per property of a record that was read, nested ones flattened: the record's columns and

    measurement, value, text, unit, implausible, refused (it is no reading).
    """
    rows = (
        decoded.where("properties is not null")
        .select("*", F.explode("properties").alias("p0", "v0"))
        .drop("properties")
    )
    rows = rows.where(F.col("v0").isNotNull() & ~F.col("p0").isin(*contract.NOT_MEASUREMENTS, "")).drop("properties")
    for depth in range(NESTING):
        rows = _unfold(rows, depth)
    rows = rows.where(F.col(f"v{NESTING}").isNotNull())
    rows = rows.withColumnsRenamed({f"p{NESTING}": "measurement", f"v{NESTING}": "said"})
    return _with_values(rows.join(F.broadcast(registry.properties), ["entry", "measurement"], "left"))


def readings_of(decoded: DataFrame, registry: Lookup, settings: Settings) -> DataFrame:
    """One row per reading, in the columns of `silver.readings`."""
    return (
        properties_of(decoded, registry)
        .where("not refused")
        .select(
            F.lit(settings.site).alias("site"),
            "device_id",
            "device_name",
            "model",
            "measurement",
            "value",
            "text",
            "unit",
            "event_time",
            "event_time_source",
            _quality().alias("quality"),
            "pending",
            *POSITION_COLUMNS,
            "received_at",
            "date",
        )
    )


def counts_of(decoded: DataFrame, registry: Lookup) -> DataFrame:
    """One row per record that was read and has properties: its position, readings (int), refused (int)."""
    refused = F.col("refused").cast("int")
    return (
        properties_of(decoded, registry)
        .groupBy(*POSITION_COLUMNS)
        .agg(F.sum(1 - refused).cast("int").alias("readings"), F.sum(refused).cast("int").alias("refused"))
    )


def _with_header(records: DataFrame, knowledge: Knowledge) -> DataFrame:
    # A foreign producer may write anything: what is not a header of ours leaves nulls, never an exception.
    header = F.str_to_map(F.coalesce("header", F.lit("")), F.lit(" "), F.lit("="))
    frame = records.withColumn("h", header)

    def number(name: str, kind: str) -> Column:
        return F.col("h")[name].try_cast(kind)

    at = F.timestamp_micros(number("at", "bigint"))
    unsynchronised = F.coalesce(F.col("h")["sync"] == "0", F.lit(False))
    if knowledge.clocks:
        offsets = F.create_map(*(F.lit(part) for pair in knowledge.clocks.items() for part in pair))
        true_time = F.timestamp_micros(number("mono", "bigint") + F.try_element_at(offsets, F.col("h")["boot"]))
        at = F.coalesce(F.when(unsynchronised, true_time), at)
        unsynchronised = unsynchronised & F.coalesce(
            F.try_element_at(offsets, F.col("h")["boot"]).isNull(), F.lit(True)
        )
    return frame.select(
        *RECORD_COLUMNS,
        F.coalesce(at, F.col("kafka_time")).alias("received_at"),
        unsynchronised.alias("unsynchronised"),
        F.coalesce(F.col("h")["retain"] == "1", F.lit(False)).alias("retain"),
        F.coalesce(F.col("h")["rep"] == "1", F.lit(False)).alias("maybe_repeat"),
        F.coalesce(F.col("h")["by"], F.lit("")).alias("by"),
        number("inc", "bigint").alias("inc"),
    ).withColumn("date", F.to_date("received_at"))


def _with_topic(frame: DataFrame, settings: Settings) -> DataFrame:
    """`base` and `rest` of the topic, and its `kind`:
    control, oversize, discovery, foreign, bridge, registry, command, availability or state."""
    key = F.coalesce("key", F.lit(""))
    base = F.lit(None).cast("string")
    for topic in sorted(settings.stream.base_topics, key=len):  # the longest that fits wins
        base = F.when(F.startswith(key, F.lit(topic + "/")), F.lit(topic)).otherwise(base)
    frame = frame.withColumn("base", base)
    rest = F.substr(key, F.length("base") + 2)
    frame = frame.withColumn("rest", rest)
    rest = F.col("rest")
    command = F.endswith(rest, F.lit("/set")) | F.endswith(rest, F.lit("/get")) | F.contains(rest, F.lit("/set/"))
    kind = (
        F.when(F.startswith(key, F.lit(log_record.CONTROL_PREFIX)), "control")
        .when(F.col("kafka_topic") == settings.bridge.dead_letter_topic, "oversize")
        .when(F.col("base").isNull() & F.startswith(key, F.lit(contract.DISCOVERY_PREFIX)), "discovery")
        .when(F.col("base").isNull(), "foreign")
        .when(rest.isin("bridge/devices", "bridge/groups"), "registry")
        .when(F.startswith(rest, F.lit("bridge/")), "bridge")
        .when(command, "command")
        .when(F.endswith(rest, F.lit("/" + contract.AVAILABILITY)), "availability")
        .otherwise("state")
    )
    return frame.withColumn("kind", kind)


def _with_properties(frame: DataFrame) -> DataFrame:
    """`properties` (map of texts, objects within still as JSON), `device_name`, `problem`."""
    text = F.when(F.is_valid_utf8("payload") & F.is_valid_utf8("key"), F.col("payload").cast("string"))
    frame = frame.withColumn("empty", F.coalesce(F.length("payload"), F.lit(0)) == 0).withColumn("body", text)
    # In an array, whatever stands behind the object is an error, which Spark's parser otherwise passes over.
    speaks = F.col("kind").isin("state", "availability", "registry")
    jsonish = speaks & F.col("body").rlike(r"^\s*[{\[]")
    objects = F.from_json(F.concat(F.lit("["), "body", F.lit("]")), "array<map<string,string>>")
    frame = frame.withColumn("jsonish", F.coalesce(jsonish, F.lit(False)))
    parsed = F.when(F.col("jsonish") & (F.col("kind") != "registry"), objects)
    frame = frame.withColumn("object", F.when(F.size(parsed) == 1, parsed[0]))

    last = F.substring_index("rest", "/", -1)
    before_last = F.expr("left(rest, length(rest) - length(substring_index(rest, '/', -1)) - 1)")
    attribute = (F.col("kind") == "state") & ~F.col("jsonish") & F.contains("rest", F.lit("/"))
    frame = frame.withColumn("attribute", attribute)
    attribute = F.col("attribute")
    availability = F.when(F.col("jsonish"), F.try_element_at("object", F.lit("state"))).otherwise(F.trim("body"))
    name = F.when((F.col("kind") == "availability") | attribute, before_last).otherwise(F.col("rest"))
    properties = (
        F.when(F.col("kind") == "availability", F.create_map(F.lit(contract.AVAILABILITY), availability))
        # In attribute mode Zigbee2MQTT joins nested names with a dash.
        .when(attribute, F.create_map(F.replace(last, F.lit("-"), F.lit(".")), F.col("body")))
        .otherwise(F.col("object"))
    )
    problem = (
        F.when(~speaks | F.col("empty"), None)
        .when(F.col("body").isNull(), "not_utf8")
        .when(F.col("kind") == "registry", None)
        .when(F.col("jsonish") & F.col("object").isNull(), "bad_json")
        .when(
            (F.col("kind") == "availability")
            & ~F.coalesce(availability.isin(*contract.AVAILABILITY_VALUES), F.lit(False)),
            "bad_availability",
        )
        .when((F.col("kind") == "state") & ~F.col("jsonish") & ~attribute, "not_an_object")
        .when(_names_twice(F.col("object")), "duplicate_keys")
    )
    return frame.withColumn("device_name", name).withColumn("properties", properties).withColumn("problem", problem)


def _names_twice(properties: Column) -> Column:
    names = F.map_keys(properties)
    return F.size(names) != F.size(F.array_distinct(names))


def _unfold(rows: DataFrame, depth: int) -> DataFrame:
    """A property whose value is an object becomes its own properties, names joined with a dot."""
    name, value = f"p{depth}", f"v{depth}"
    inner = F.when(F.startswith(value, F.lit("{")), F.from_json(value, "map<string,string>"))
    rows = rows.select("*", F.explode_outer(inner).alias("inner_name", "inner_value"))
    nested = F.col("inner_name").isNotNull()
    return rows.select(
        *(column for column in rows.columns if column not in (name, value, "inner_name", "inner_value")),
        F.when(nested, F.concat(name, F.lit("."), "inner_name")).otherwise(F.col(name)).alias(f"p{depth + 1}"),
        F.when(nested, F.col("inner_value")).otherwise(F.col(value)).alias(f"v{depth + 1}"),
    )


def _with_device(frame: DataFrame, devices: DataFrame) -> DataFrame:
    """The registry's entry that was valid when the record was received."""
    d = F.broadcast(devices).alias("d")
    r = frame.alias("r")
    same = (
        (F.col("d.base_topic") == F.col("r.base"))
        & (F.col("d.name") == F.col("r.device_name"))
        & (F.col("d.valid_from").isNull() | (F.col("d.valid_from") <= F.col("r.received_at")))
        & (F.col("d.valid_to").isNull() | (F.col("r.received_at") < F.col("d.valid_to")))
    )
    joined = r.join(d, same, "left").select("r.*", "d.device_id", "d.model", "d.device_kind", "d.entry")
    return joined.withColumn("pending", F.col("device_id").isNull()).withColumn(
        "device_id", F.coalesce("device_id", "device_name")
    )


def _with_event_time(frame: DataFrame, settings: Settings) -> DataFrame:
    said = F.try_element_at("object", F.lit(contract.TIME_PROPERTY))
    told = F.when(said.rlike(contract.ISO_TIME), said.try_cast("timestamp")).when(
        said.rlike(contract.EPOCH_MILLISECONDS), F.timestamp_millis(said.try_cast("bigint"))
    )
    frame = frame.withColumn("told", told)
    past = F.expr(f"interval '{settings.stream.event_time_past_hours * 3600:.3f}' second")
    future = F.expr(f"interval '{settings.stream.event_time_future_seconds:.3f}' second")
    plausible = F.col("told").between(F.col("received_at") - past, F.col("received_at") + future)
    believed = F.coalesce(plausible, F.lit(False))
    return (
        frame.withColumn("event_time", F.when(believed, F.col("told")).otherwise(F.col("received_at")))
        .withColumn("event_time_source", F.when(believed, "payload").otherwise("received"))
        .withColumn("time_implausible", said.isNotNull() & ~believed)
    )


def _with_values(rows: DataFrame) -> DataFrame:
    """(measurement, said) → value, text, unit, implausible, refused: the rules of a single property."""
    said = F.col("said")
    number = F.when(said.rlike(contract.NUMBER), said.try_cast("double"))
    rows = rows.withColumn("number", number)
    kind, number = F.coalesce("type", F.lit("unknown")), F.when(F.abs("number") < float("inf"), F.col("number"))

    flag = F.when(said == "true", 1.0).when(said == "false", 0.0)
    switched = F.when(said == F.col("value_on"), 1.0).when(said == F.col("value_off"), 0.0)
    available = F.when(
        F.col("measurement") == contract.AVAILABILITY, F.when(said == "online", 1.0).when(said == "offline", 0.0)
    )
    value = (
        F.when(kind == "numeric", number)
        .when(kind == "binary", F.coalesce(switched, flag))
        .when(kind.isin("enum", "text"), None)
        .otherwise(F.coalesce(number, flag, available))
    )
    text = (
        F.when(kind.isin("enum", "text"), said)
        .when((kind == "binary") & flag.isNull() & switched.isNotNull(), said)
        .when(kind.isin("numeric", "binary"), None)
        .when(number.isNull() & flag.isNull() & ~said.rlike(contract.LOOKS_LIKE_A_NUMBER), said)
    )
    rows = rows.withColumns({"value": value, "text": text})

    value = F.col("value")
    outside = (value < F.col("plausible_min")) | (value > F.col("plausible_max"))
    sentinel = F.col("unit").isNotNull() & value.isin(*map(float, contract.SENTINELS))
    undeclared = ~F.coalesce(value.between(F.col("value_min"), F.col("value_max")), F.lit(False))
    implausible = (kind == "numeric") & (outside | (sentinel & undeclared))
    return rows.withColumns(
        {
            "implausible": F.coalesce(implausible, F.lit(False)),
            "refused": value.isNull() & F.col("text").isNull(),
        }
    )


def _quality() -> Column:
    words = F.concat_ws(
        " ",
        F.when(F.col("implausible"), "implausible"),
        F.when(F.col("time_implausible"), "time_implausible"),
        F.when(F.col("unsynchronised"), "clock_unsynchronised"),
        F.when(F.col("maybe_repeat"), "maybe_repeat"),
    )
    return F.when(words == "", "good").otherwise(words)


def _with_outcome(frame: DataFrame, knowledge: Knowledge) -> DataFrame:
    """`outcome` and `reason`; readings only of what was read."""
    kind = F.col("kind")
    retained = F.col("retain") & (F.col("event_time_source") != "payload")
    # The order is the rule: the first that fits is the record's one outcome.
    verdict = (
        F.when(_is_fenced(knowledge.fences), "ignored/fenced")
        .when(kind == "control", "ignored/control")
        .when(kind == "oversize", "dead_letter/oversize")
        .when(kind == "discovery", "ignored/discovery")
        .when(kind == "foreign", "dead_letter/no_decoder")
        .when(kind == "bridge", "ignored/bridge")
        .when(kind == "command", "ignored/command")
        .when(F.col("empty"), "tombstone")
        .when(F.col("problem").isNotNull(), F.concat(F.lit("dead_letter/"), "problem"))
        .when((kind == "registry") & _is_one_of(knowledge.bad_registry), "dead_letter/bad_registry")
        .when(kind == "registry", "read")
        .when(F.col("device_kind") == "group", "ignored/group")
        .when(retained, "ignored/retained")
        .otherwise("read")
    )
    frame = frame.withColumn("verdict", verdict)
    outcome = F.substring_index("verdict", "/", 1)
    reason = F.when(F.contains("verdict", F.lit("/")), F.substring_index("verdict", "/", -1))
    read = (F.col("outcome") == "read") & (F.col("kind") != "registry")
    return (
        frame.withColumn("outcome", outcome)
        .withColumn("reason", reason)
        .select(
            *RECORD_COLUMNS,
            "received_at",
            "date",
            "kind",
            "outcome",
            "reason",
            "device_id",
            "device_name",
            "model",
            "entry",
            "pending",
            "event_time",
            "event_time_source",
            "time_implausible",
            "unsynchronised",
            "maybe_repeat",
            F.when(read, F.col("properties")).alias("properties"),
        )
    )


def _is_fenced(fences: Sequence[Fence]) -> Column:
    """Whether a record is older than a barrier that lies before it in its partition."""
    fenced = F.lit(False)
    for fence in fences:
        fenced = fenced | (
            (F.col("log_id") == fence.log_id)
            & (F.col("kafka_partition") == fence.kafka_partition)
            & (F.col("kafka_offset") > fence.kafka_offset)
            & (F.col("by") == fence.bridge)
            & (F.coalesce("inc", F.lit(fence.incarnation)) < fence.incarnation)
        )
    return fenced


def _is_one_of(positions: frozenset[tuple[str, int, int]]) -> Column:
    found = F.lit(False)
    for log_id, partition, offset in sorted(positions):
        found = found | (
            (F.col("log_id") == log_id) & (F.col("kafka_partition") == partition) & (F.col("kafka_offset") == offset)
        )
    return found
