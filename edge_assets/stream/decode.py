"""Records of the log → one outcome each, and the readings of those that were read. Spark's own functions only.

`decode` keeps one row per record; `readings_of` unfolds it. The rules are those of `edge_assets.decoding.contract`;
here they become Spark expressions, in the order in which they apply:

    header → received time;  topic → what it speaks of;  payload → properties;  registry → device;
    property → value, text, quality, or refused;  all of it → outcome
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import Column
from pyspark.sql import functions as F

from edge_assets import log_record
from edge_assets.decoding import contract
from edge_assets.decoding.knowledge import Fence, Knowledge
from edge_assets.settings import Settings
from edge_assets.tables import POSITION

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["Fence", "Knowledge", "Lookup", "counts_of", "decode", "properties_of", "readings_of", "topics_of"]

POSITION_COLUMNS = [column.name for column in POSITION]
RECORD_COLUMNS = [*POSITION_COLUMNS, "kafka_time", "key", "payload", "header"]

JSON = {"allowSingleQuotes": "false", "maxNestingDepth": str(contract.MAX_DEPTH + 1)}
"""Spark's JSON parser, made as strict as it can be; one more level, for the list that is put around a payload."""
NOT_NUMBERS = [f'"{word}"' for word in contract.NOT_NUMBERS]
"""How its parser gives the words that stand in a number's place, and numbers beyond a double."""

# Marks within names and texts while they are taken apart; neither comes out.
_TEXT, _LEVEL = contract.TEXT_MARK, contract.LEVEL_MARK


@dataclass(frozen=True, slots=True)
class Lookup:
    """The registry as two small frames that are broadcast; made by `registry.lookup`."""

    devices: DataFrame
    """entry (int), base_topic, name, device_id, model, device_kind, valid_from, valid_to"""
    properties: DataFrame
    """entry, measurement, type, unit, value_on, value_off, value_min/max, plausible_min/max"""

    def forget(self) -> None:
        """Let go of what is held in memory."""
        self.devices.unpersist()
        self.properties.unpersist()


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
    rows = decoded.where("properties is not null").select("*", F.explode("properties").alias("p0", "v0"))
    measured = F.col("v0").isNotNull() & ~F.col("p0").isin(*contract.NOT_MEASUREMENTS)
    for name in contract.NOT_MEASUREMENTS:
        measured = measured & ~F.startswith("p0", F.lit(name + _LEVEL))
    rows = rows.where(measured).drop("properties")
    rows = rows.withColumn("p0", _own_name(F.col("p0")))
    for depth in range(contract.NESTING):
        rows = _unfold(rows, depth)
    rows = _with_name_and_text(rows)
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

    at = _within_times(number("at", "bigint"))
    unsynchronised = F.coalesce(F.col("h")["sync"] == "0", F.lit(False))
    if knowledge.clocks:
        offsets = F.create_map(*(F.lit(part) for pair in knowledge.clocks.items() for part in pair))
        offset = F.try_element_at(offsets, F.col("h")["boot"])
        true_time = _within_times(F.try_add(number("mono", "bigint"), offset))
        at = F.when(unsynchronised, F.coalesce(true_time, at)).otherwise(at)
        unsynchronised = unsynchronised & true_time.isNull()
    return frame.select(
        *RECORD_COLUMNS,
        F.coalesce(F.timestamp_micros(at), F.col("kafka_time")).alias("received_at"),
        unsynchronised.alias("unsynchronised"),
        F.coalesce(F.col("h")["retain"] == "1", F.lit(False)).alias("retain"),
        F.coalesce(F.col("h")["rep"] == "1", F.lit(False)).alias("maybe_repeat"),
        F.coalesce(F.col("h")["by"], F.lit("")).alias("by"),
        number("inc", "bigint").alias("inc"),
    ).withColumn("date", F.to_date("received_at"))


def _within_times(micros: Column) -> Column:
    return F.when(micros.between(*contract.RECEIVED_MICROS), micros)


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
    command = F.lit(False)
    for word in contract.COMMANDS:
        command = command | F.endswith(rest, F.lit(word)) | F.contains(rest, F.lit(word + "/"))
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
    kind, rest = F.col("kind"), F.col("rest")
    readable = F.is_valid_utf8("payload") & F.is_valid_utf8("key") & ~F.contains("key", F.lit(contract.NOT_TEXT))
    frame = frame.withColumns(
        {
            "empty": F.coalesce(F.length("payload"), F.lit(0)) == 0,
            "body": F.when(readable, F.col("payload").cast("string")),
            "speaks": kind.isin("state", "availability"),
        }
    )
    body = F.col("body")
    frame = frame.withColumn("jsonish", F.coalesce(F.col("speaks") & body.rlike(r"^\s*[{\[]"), F.lit(False)))
    jsonish = F.col("jsonish")
    frame = frame.withColumn(
        "parsed", F.when(jsonish, F.from_json(_in_a_list(body), "array<map<string,string>>", JSON))
    )
    whole = (F.size("parsed") == 2) & F.get("parsed", F.lit(1)).isNull()
    frame = frame.withColumn("object", F.when(whole, F.get("parsed", F.lit(0))))

    last = F.substring_index("rest", "/", -1)
    before_last = F.expr("left(rest, length(rest) - length(substring_index(rest, '/', -1)) - 1)")
    attribute = (kind == "state") & ~jsonish & F.contains(rest, F.lit("/"))
    availability = F.when(jsonish, F.try_element_at("object", F.lit("state"))).otherwise(F.trim(body))
    frame = frame.withColumns(
        {
            "attribute": attribute,
            "availability": F.when(kind == "availability", availability),
            "device_name": F.when((kind == "availability") | attribute, before_last).otherwise(rest),
        }
    )
    attribute, availability = F.col("attribute"), F.col("availability")
    properties = (
        F.when(kind == "availability", F.create_map(F.lit(contract.AVAILABILITY), availability))
        .when(attribute, F.create_map(_attribute_name(last), body))
        .otherwise(F.col("object"))
    )
    known = F.coalesce(availability.isin(*contract.AVAILABILITY_VALUES), F.lit(False))
    problem = (
        F.when(F.col("empty") | ~kind.isin("state", "availability", "registry"), None)
        .when(body.isNull(), "not_utf8")
        .when(~F.col("speaks"), None)
        .when(F.col("device_name") == "", "no_device")
        .when(jsonish & F.col("object").isNull(), "bad_json")
        .when(_names_twice(F.col("object")), "duplicate_keys")
        .when((kind == "availability") & ~known, "bad_availability")
        .when((kind == "state") & ~jsonish & ~attribute, "not_an_object")
    )
    return frame.withColumns({"properties": properties, "problem": problem})


def _in_a_list(body: Column) -> Column:
    """A payload as the first of two members of a list, so that whatever follows its object is an error, which
    Spark's parser otherwise passes over. Texts that begin like an object or a list are marked: once they are
    parsed, nothing else tells them from one. (A valid payload has `"{` and `"[` nowhere but within its texts.)"""
    for sign in "{[":
        body = F.replace(body, F.lit(f'"{sign}'), F.lit(f'"{_TEXT}{sign}'))
    return F.concat(F.lit("["), body, F.lit(",null]"))


def _names_twice(properties: Column) -> Column:
    names = F.map_keys(properties)
    return F.size(names) != F.size(F.array_distinct(names))


def _attribute_name(last: Column) -> Column:
    """In attribute mode Zigbee2MQTT joins nested names with a dash; where one of them is empty, it is none."""
    empty = F.contains(F.concat(F.lit("-"), last, F.lit("-")), F.lit("--"))
    return F.when(empty, ".").otherwise(F.replace(last, F.lit("-"), F.lit(_LEVEL)))


def _own_name(name: Column) -> Column:
    """A name that cannot be told from a nested one gets a dot, by which it is known at the end."""
    return F.when(name == "", ".").otherwise(name)


def _unfold(rows: DataFrame, depth: int) -> DataFrame:
    """A property whose value is an object becomes its own properties, names joined with `_LEVEL`."""
    name, value = f"p{depth}", f"v{depth}"
    rows = rows.withColumn(
        "inner", F.when(F.startswith(value, F.lit("{")), F.from_json(value, "map<string,string>", JSON))
    )
    spoilt = F.create_map(F.lit(""), F.lit("an object that names a property twice"))
    inner = F.when(_names_twice(F.col("inner")), spoilt).otherwise(F.col("inner"))
    rows = rows.select("*", F.explode_outer(inner).alias("inner_name", "inner_value"))
    nested = F.col("inner_name").isNotNull()
    joined = F.concat(name, F.lit(_LEVEL), _own_name(F.col("inner_name")))
    return rows.select(
        *(column for column in rows.columns if column not in (name, value, "inner", "inner_name", "inner_value")),
        F.when(nested, joined).otherwise(F.col(name)).alias(f"p{depth + 1}"),
        F.when(nested, F.col("inner_value")).otherwise(F.col(value)).alias(f"v{depth + 1}"),
    )


def _with_name_and_text(rows: DataFrame) -> DataFrame:
    """`measurement`, `said`, and `unnamed` (its name is none); without what says nothing."""
    name, value = f"p{contract.NESTING}", f"v{contract.NESTING}"
    rows = rows.where(F.col(value).isNotNull() & ~F.col(value).isin("{}", "[]"))
    members = F.array_join(F.from_json(value, "array<string>", JSON), ",", "null")
    clean = F.replace(F.replace(name, F.lit(_TEXT), F.lit("")), F.lit(_LEVEL), F.lit("."))
    return rows.select(
        *(column for column in rows.columns if column not in (name, value)),
        clean.alias("measurement"),
        F.when(F.startswith(value, F.lit("[")), members).otherwise(F.col(value)).alias("said"),
        F.contains(name, F.lit(".")).alias("unnamed"),
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
    frame = frame.withColumn("said", said)
    said = F.col("said")
    told = F.when(_is(said, contract.ISO_TIME), said.try_cast("timestamp")).when(
        _is(said, contract.EPOCH_MILLISECONDS), F.timestamp_millis(said.try_cast("bigint"))
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
    rows = rows.withColumn("number", F.when(_is(said, contract.NUMBER), said.try_cast("double")))
    too_large = F.coalesce(F.abs("number") == float("inf"), F.lit(False))
    rows = rows.withColumns(
        {
            "type": F.coalesce("type", F.lit("unknown")),
            "flag": F.when(said == "true", 1.0).when(said == "false", 0.0),
            "switched": F.when(said == F.col("value_on"), 1.0).when(said == F.col("value_off"), 0.0),
            "never": F.col("unnamed") | too_large | said.isin(*NOT_NUMBERS),
        }
    )
    kind, number, flag, switched = (F.col(name) for name in ("type", "number", "flag", "switched"))
    available = F.when(F.col("measurement") == contract.AVAILABILITY, _chosen(said, contract.AVAILABILITY_VALUES))
    value = (
        F.when(F.col("never") | kind.isin("enum", "text"), None)
        .when(kind == "numeric", number)
        .when(kind == "binary", F.coalesce(flag, switched))
        .otherwise(F.coalesce(number, flag, available))
    )
    text = (
        F.when(F.col("never") | (kind == "numeric"), None)
        .when(kind.isin("enum", "text"), said)
        .when(kind == "binary", F.when(flag.isNull() & switched.isNotNull(), said))
        .when(number.isNull() & flag.isNull() & ~_is(said, contract.LOOKS_LIKE_A_NUMBER), said)
    )
    rows = rows.withColumns({"value": value, "text": F.replace(text, F.lit(_TEXT), F.lit(""))})

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


def _is(text: Column, pattern: str) -> Column:
    """Whether a pattern of the contract fits the whole text: Java's `$` would let a line break follow."""
    return text.rlike(pattern.removesuffix("$") + r"\z")


def _chosen(said: Column, values: Mapping[str, float]) -> Column:
    chosen = F.lit(None).cast("double")
    for word, value in values.items():
        chosen = F.when(said == word, value).otherwise(chosen)
    return chosen


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
            *POSITION_COLUMNS,
            "kafka_time",
            F.make_valid_utf8("key").alias("key"),  # no reader of the tables takes anything else
            "payload",
            "header",
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
