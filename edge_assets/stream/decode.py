"""Records of the log → one outcome each, and the readings of those that were read. Spark's own functions only.

`decode` keeps one row per record; `readings_of` unfolds it, `rooms_of` types the messages of rooms. The rules are those
of `edge_assets.decoding.contract`; here they become SQL expressions, in the order in which they apply:

    header → received time;  topic → what it speaks of;  payload → properties;  registry → device;
    property → value, text, quality, or refused;  all of it → outcome

A rule is a line `name: expression` in one of the tables below; a later line may use the names of earlier ones. They are
texts, not column objects, because a plan is made anew for each batch: a text reaches the JVM in one call, a tree of
column objects in hundreds, and for a small batch that was two thirds of its time (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from edge_assets import log_record
from edge_assets.alert_record import ALERTS as ALERT_TOPICS
from edge_assets.decoding import contract, fields
from edge_assets.decoding.knowledge import Fence, Knowledge
from edge_assets.decoding.patterns import MEASUREMENT, ROOM
from edge_assets.settings import Settings
from edge_assets.tables import ALERTS, DEVICE_STATES, POSITION, READINGS, ROOM_TELEMETRY, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = [
    "Fence",
    "Knowledge",
    "Lookup",
    "alerts_of",
    "beyond_of",
    "counts_of",
    "decode",
    "properties_of",
    "readings_of",
    "room_counts",
    "rooms_of",
    "states_of",
    "text",
    "topics_of",
]

POSITION_COLUMNS = [column.name for column in POSITION]
RECORD_COLUMNS = [*POSITION_COLUMNS, "kafka_time", "key", "payload", "header"]

STATE = "reason IS NOT DISTINCT FROM 'retained'"
"""SQL: whether a record is old news, a state of a device rather than a reading"""

ROW_EACH = "(kind NOT IN ('room', 'alert'))"
"""SQL: whether a record's properties are a row each; those of a room and of an alert are one row"""

JSONISH = r"^\s*[{\[]"
_BLANKS = r"' \t\r\n\0'"

# Marks within names and texts while they are taken apart; neither comes out.
_TEXT, _LEVEL = contract.TEXT_MARK, contract.LEVEL_MARK

Rules = dict[str, str]
"""column → SQL expression, which may use the columns before it"""


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


# -- records -------------------------------------------------------------------------------------------------------


def decode(records: DataFrame, registry: Lookup, knowledge: Knowledge, settings: Settings) -> DataFrame:
    """One row per record: `RECORD_COLUMNS` and

    received_at, date, kind, outcome, reason, device_id, device_name, model, entry (of the registry),
    pending, event_time, event_time_source, the marks time_implausible, unsynchronised, maybe_repeat,
    nested (some property's value may be an object or a list), properties (map of texts; null unless the record was
    read, or is retained and tells a device's state), wrong (of a room's message: which field is not of its type, in
    words), odd (a room's message has fields for which there is no column), and row (a number within this frame; persist
    the frame where it is used twice).
    """
    rules = {**_header(knowledge), **_topic(settings), **_payload(knowledge), **_event_time(settings)}
    spoken = _with(records, rules).alias("r")
    # The registry's entry that was valid when the record was received.
    owner = F.expr(
        "d.base_topic = r.base AND d.name = r.device_name"
        " AND (d.valid_from IS NULL OR d.valid_from <= r.received_at)"
        " AND (d.valid_to IS NULL OR r.received_at < d.valid_to)"
    )
    joined = spoken.join(F.broadcast(registry.devices).alias("d"), owner, "left")
    return joined.selectExpr(
        *POSITION_COLUMNS,
        "kafka_time",
        "make_valid_utf8(key) AS key",  # no reader of the tables takes anything else
        "payload",
        "header",
        "received_at",
        "date",
        "kind",
        f"{_verdict(knowledge)} AS verdict",
        "substring_index(verdict, '/', 1) AS outcome",
        "CASE WHEN contains(verdict, '/') THEN substring_index(verdict, '/', -1) END AS reason",
        "coalesce(d.device_id, r.device_name) AS device_id",
        "device_name",
        "model",
        "coalesce(entry, -1 - pattern) AS entry",
        f"d.device_id IS NULL AND base IS NOT NULL AND base <> {text(contract.IMPORTED)} AS pending",
        "event_time",
        "event_time_source",
        "time_implausible",
        "unsynchronised",
        "maybe_repeat",
        "nested",
        f"CASE WHEN (outcome = 'read' AND kind <> 'registry') OR ({STATE} AND {ROW_EACH}) THEN told END AS properties",
        "wrong",
        "odd",
        "monotonically_increasing_id() AS row",
    ).drop("verdict")


def topics_of(records: DataFrame, knowledge: Knowledge, settings: Settings) -> DataFrame:
    """One row per record: `RECORD_COLUMNS`, what the header says, and the topic's `kind`, `base` and `rest`."""
    return _with(records, {**_header(knowledge), **_topic(settings)})


def _with(frame: DataFrame, rules: Rules) -> DataFrame:
    return frame.selectExpr("*", *_columns(rules))


def _columns(rules: Rules) -> list[str]:
    return [f"{expression} AS {name}" for name, expression in rules.items()]


def _header(knowledge: Knowledge) -> Rules:
    """What the bridge knew: received_at, date, unsynchronised, retain, maybe_repeat, by, inc.

    A foreign producer may write anything: what is not a header of ours leaves nulls, never an exception.
    """
    doubted = "coalesce(h['sync'] = '0', false)"
    rules = {
        "h": "str_to_map(coalesce(header, ''), ' ', '=')",
        "at": "try_cast(h['at'] AS bigint)",
    }
    if knowledge.clocks:
        offsets = ", ".join(f"{text(boot)}, {offset}L" for boot, offset in knowledge.clocks.items())
        rules |= {
            "mended": f"try_add(try_cast(h['mono'] AS bigint), try_element_at(map({offsets}), h['boot']))",
            "true_at": _within_times("mended"),
            "unsynchronised": f"{doubted} AND true_at IS NULL",
            "received_us": f"CASE WHEN {doubted} THEN coalesce(true_at, {_within_times('at')}) "
            f"ELSE {_within_times('at')} END",
        }
    else:
        rules |= {"unsynchronised": doubted, "received_us": _within_times("at")}
    return {
        **rules,
        "received_at": "coalesce(timestamp_micros(received_us), kafka_time)",
        "date": "to_date(received_at)",
        "retain": "coalesce(h['retain'] = '1', false)",
        "maybe_repeat": "coalesce(h['rep'] = '1', false)",
        "by": "coalesce(h['by'], '')",
        "inc": "try_cast(h['inc'] AS bigint)",
    }


def _within_times(micros: str) -> str:
    first, last = contract.RECEIVED_MICROS
    return f"CASE WHEN {micros} BETWEEN {first}L AND {last}L THEN {micros} END"


def _topic(settings: Settings) -> Rules:
    """`base` and `rest` of the topic, or the number of its `pattern` with `named` (the device) and `measures` (the
    measurement), and its `kind`:
    control, oversize, alert, room, bare, discovery, foreign, bridge, registry, command, availability or state."""
    longest_first = sorted((contract.IMPORTED, *settings.stream.base_topics), key=len, reverse=True)
    patterns = list(enumerate(settings.bridge.patterns))
    rooms = [f"{number}" for number, pattern in patterns if pattern.level_of(ROOM) is not None]
    measures = {number: pattern.level_of(MEASUREMENT) for number, pattern in patterns}
    bases = " ".join(f"WHEN startswith(key, {text(base + '/')}) THEN {text(base)}" for base in longest_first)
    command = " OR ".join(
        f"endswith(rest, {text(word)}) OR contains(rest, {text(word + '/')})" for word in contract.COMMANDS
    )
    return {
        "base": f"CASE {bases} END",
        "rest": "substr(key, length(base) + 2)",
        "pattern": _by_number({n: _is("key", f"^{pattern.regex}$") for n, pattern in patterns}),
        "levels": "CASE WHEN pattern IS NOT NULL THEN split(key, '/') END",
        "named": _of_pattern({n: _joined_levels(pattern.device_levels) for n, pattern in patterns}),
        "measures": _of_pattern({n: f"get(levels, {level})" for n, level in measures.items() if level is not None}),
        "kind": f"""CASE
            WHEN startswith(key, {text(log_record.CONTROL_PREFIX)}) THEN 'control'
            WHEN kafka_topic = {text(settings.bridge.dead_letter_topic)} THEN 'oversize'
            WHEN startswith(key, {text(ALERT_TOPICS)}) THEN 'alert'
            WHEN pattern IN ({", ".join(rooms) or "NULL"}) THEN 'room'
            WHEN pattern IS NOT NULL THEN 'bare'
            WHEN base IS NULL AND startswith(key, {text(contract.DISCOVERY_PREFIX)}) THEN 'discovery'
            WHEN base IS NULL THEN 'foreign'
            WHEN rest IN ('bridge/devices', 'bridge/groups') THEN 'registry'
            WHEN startswith(rest, 'bridge/') THEN 'bridge'
            WHEN {command} THEN 'command'
            WHEN endswith(rest, '/{contract.AVAILABILITY}') THEN 'availability'
            ELSE 'state' END""",
    }


def _by_number(conditions: dict[int, str]) -> str:
    """The number of the first condition that holds; Zigbee2MQTT's topics are spared the search."""
    cases = " ".join(f"WHEN {condition} THEN {number}" for number, condition in conditions.items())
    return f"CASE WHEN base IS NOT NULL THEN NULL {cases} END" if cases else "CAST(NULL AS int)"


def _of_pattern(values: dict[int, str]) -> str:
    cases = " ".join(f"WHEN {number} THEN {value}" for number, value in values.items())
    return f"CASE pattern {cases} END" if cases else "CAST(NULL AS string)"


def _joined_levels(levels: Sequence[int]) -> str:
    return f"concat_ws('/', {', '.join(f'get(levels, {level})' for level in levels)})"


def _payload(knowledge: Knowledge) -> Rules:
    """`told` (properties as a map of texts, objects within still as JSON), `object` (the payload's own), `device_name`,
    `empty`, `nested`, `wrong`, `odd`, and `problem`: why it was not understood."""
    rooms = _Rooms(knowledge.room_fields)
    readable = f"is_valid_utf8(payload) AND is_valid_utf8(key) AND NOT contains(key, {text(contract.NOT_TEXT)})"
    words = _list(contract.AVAILABILITY_VALUES)
    return {
        "empty": "coalesce(length(payload), 0) = 0",
        "body": f"CASE WHEN {readable} THEN CAST(payload AS string) END",
        "speaks": "kind IN ('state', 'availability', 'bare', 'room', 'alert')",
        "jsonish": f"coalesce(speaks AND body RLIKE {text(JSONISH)}, false)",
        "nested": "coalesce(contains(substr(body, 2), '{') OR contains(substr(body, 2), '['), false)",
        # The payload is the first of two members of a list: whatever follows its object is an error then, which
        # Spark's parser otherwise passes over.
        "members": f"CASE WHEN jsonish THEN {_parsed(_in_a_list('body'), 'array<map<string,string>>')} END",
        "object": "CASE WHEN size(members) = 2 AND get(members, 1) IS NULL THEN get(members, 0) END",
        "attribute": "kind = 'state' AND NOT jsonish AND contains(rest, '/')",
        "availability": "CASE WHEN kind = 'availability' THEN "
        "CASE WHEN jsonish THEN try_element_at(object, 'state') ELSE trim(body) END END",
        "last_level": "substring_index(rest, '/', -1)",
        "device_name": "CASE WHEN pattern IS NOT NULL THEN named WHEN kind = 'availability' OR attribute "
        "THEN left(rest, length(rest) - length(last_level) - 1) ELSE rest END",
        **rooms.objects,
        "valued": "kind = 'bare' AND NOT jsonish AND measures IS NOT NULL",
        "told": f"""CASE
            WHEN kind = 'availability' THEN map('{contract.AVAILABILITY}', availability)
            WHEN valued THEN map(measures, trim(BOTH {_BLANKS} FROM body))
            WHEN attribute THEN map({_attribute_name("last_level")}, body)
            {rooms.told}
            ELSE object END""",
        "wrong": rooms.wrong,
        "odd": rooms.odd,
        # The order is the rule: the first that fits.
        "problem": f"""CASE
            WHEN empty OR NOT (speaks OR kind = 'registry') THEN NULL
            WHEN body IS NULL THEN 'not_utf8'
            WHEN NOT speaks THEN NULL
            WHEN device_name = '' THEN 'no_device'
            WHEN jsonish AND object IS NULL THEN 'bad_json'
            WHEN {_names_twice("object")} THEN 'duplicate_keys'
            WHEN kind = 'availability' AND NOT coalesce(availability IN ({words}), false) THEN 'bad_availability'
            WHEN kind IN ('state', 'bare', 'room', 'alert') AND NOT (jsonish OR attribute OR valued)
                THEN 'not_an_object'
            WHEN wrong IS NOT NULL THEN 'wrong_type'
            WHEN kind = 'alert' AND NOT ({_is_alert()}) THEN 'bad_alert' END""",
    }


def _parsed(json: str, schema: str) -> str:
    """Spark's JSON parser, made as strict as it can be; one more level, for the list that is put around a payload."""
    options = f"map('allowSingleQuotes', 'false', 'maxNestingDepth', '{contract.MAX_DEPTH + 1}')"
    return f"from_json({json}, '{schema}', {options})"


def _in_a_list(body: str) -> str:
    """Texts that begin like an object or a list are marked: once they are parsed, nothing else tells them from one.
    (A valid payload has `"{` and `"[` nowhere but within its texts.)"""
    for sign in "{[":
        marked = f'"{_TEXT}{sign}'
        body = f"replace({body}, '\"{sign}', '{marked}')"
    return f"concat('[', {body}, ',null]')"


def _names_twice(properties: str) -> str:
    return f"size(map_keys({properties})) <> size(array_distinct(map_keys({properties})))"


def _attribute_name(last: str) -> str:
    """In attribute mode Zigbee2MQTT joins nested names with a dash; where one of them is empty, it is none."""
    return f"CASE WHEN contains(concat('-', {last}, '-'), '--') THEN '.' ELSE replace({last}, '-', '{_LEVEL}') END"


def _event_time(settings: Settings) -> Rules:
    past, future = settings.stream.event_time_past_hours * 3600, settings.stream.event_time_future_seconds
    return {
        "said": f"try_element_at(object, CASE kind WHEN 'room' THEN '{contract.ROOM_TIME}' "
        f"WHEN 'alert' THEN '{contract.ALERT_TIME}' ELSE '{contract.TIME_PROPERTY}' END)",
        "said_time": _told_time("said"),
        "earliest": f"CASE WHEN base = {text(contract.IMPORTED)} THEN timestamp_micros(0L) "
        f"ELSE received_at - INTERVAL '{past:.3f}' SECOND END",
        "believed": f"coalesce(said_time BETWEEN earliest AND received_at + INTERVAL '{future:.3f}' SECOND, false)",
        "event_time": "CASE WHEN believed THEN said_time ELSE received_at END",
        "event_time_source": "CASE WHEN believed THEN 'payload' ELSE 'received' END",
        "time_implausible": "said IS NOT NULL AND NOT believed",
    }


def _told_time(said: str) -> str:
    return f"""CASE
        WHEN {_is(said, contract.ISO_TIME)} THEN try_cast({said} AS timestamp)
        WHEN {_is(said, contract.EPOCH_MILLISECONDS)} THEN timestamp_millis(try_cast({said} AS bigint)) END"""


def _verdict(knowledge: Knowledge) -> str:
    """`outcome` or `outcome/reason`. The order is the rule: the first that fits is the record's one outcome."""
    return f"""CASE
        WHEN {_is_fenced(knowledge.fences)} THEN 'ignored/fenced'
        WHEN kind = 'control' THEN 'ignored/control'
        WHEN kind = 'oversize' THEN 'dead_letter/oversize'
        WHEN kind = 'discovery' THEN 'ignored/discovery'
        WHEN kind = 'foreign' THEN 'dead_letter/no_decoder'
        WHEN kind = 'bridge' THEN 'ignored/bridge'
        WHEN kind = 'command' THEN 'ignored/command'
        WHEN empty THEN 'tombstone'
        WHEN problem IS NOT NULL THEN concat('dead_letter/', problem)
        WHEN kind = 'registry' AND {_is_one_of(knowledge.bad_registry)} THEN 'dead_letter/bad_registry'
        WHEN kind = 'registry' THEN 'read'
        WHEN device_kind = 'group' THEN 'ignored/group'
        WHEN retain AND event_time_source <> 'payload' THEN 'ignored/retained'
        ELSE 'read' END"""


def _is_fenced(fences: Sequence[Fence]) -> str:
    """Whether a record is older than a barrier that lies before it in its partition."""
    each = (
        f"(log_id = {text(fence.log_id)} AND kafka_partition = {fence.kafka_partition}"
        f" AND kafka_offset > {fence.kafka_offset}L AND by = {text(fence.bridge)}"
        f" AND coalesce(inc, {fence.incarnation}L) < {fence.incarnation}L)"
        for fence in fences
    )
    return " OR ".join(each) or "false"


def _is_one_of(positions: frozenset[tuple[str, int, int]]) -> str:
    """One comparison however many there are: a plan must not grow with what somebody sends."""
    if not positions:
        return "false"
    place = "concat_ws(' ', log_id, CAST(kafka_partition AS string), CAST(kafka_offset AS string))"
    return f"{place} IN ({_list(' '.join(map(str, position)) for position in sorted(positions))})"


# -- rooms ---------------------------------------------------------------------------------------------------------


class _Rooms:
    """The rules of a room's message, by the columns that there are (`edge_assets.decoding.fields`)."""

    def __init__(self, room_fields: Mapping[str, str]) -> None:
        self._known = fields.known(room_fields)
        self._prefixes = fields.prefixes(self._known)

    @property
    def objects(self) -> Rules:
        """`in_0`, `in_1`, …: the objects within a message that hold fields which have a column."""
        rules = {}
        for number, path in enumerate(self._prefixes):
            said = self._said(path)
            rules[f"all_{number}"] = (
                f"CASE WHEN kind = 'room' AND startswith({said}, '{{') THEN {_parsed(said, 'map<string,string>')} END"
            )
            rules[f"in_{number}"] = f"CASE WHEN NOT ({_names_twice(f'all_{number}')}) THEN all_{number} END"
        return rules

    @property
    def told(self) -> str:
        """A branch: the message's fields, and those within objects by `fields.key_of` their path."""
        inner = [path for path in self._known if len(path) > 1]
        pairs = ", ".join(f"'{fields.key_of(path)}', {self._said(path)}" for path in inner)
        return f"WHEN kind = 'room' THEN map_concat(object, map({pairs}))" if inner else ""

    @property
    def wrong(self) -> str:
        """Which field is not of its type; null: none."""
        cases = []
        for path in self._prefixes:
            said = self._said(path)
            value = f"{said} <> '[]' AND NOT startswith({said}, '{{') AND NOT {_is_spoilt(said)}"
            cases.append(f"WHEN coalesce({value}, false) THEN {_wrong(path, 'object')}")
        for path, kind in self._known.items():
            cases.append(f"WHEN {self._is_wrong(path, kind)} THEN {_wrong(path, kind)}")
        return f"CASE WHEN kind = 'room' THEN CASE {' '.join(cases)} END END"

    @property
    def odd(self) -> str:
        """Whether there is a field without a column."""
        beyond = [_has_others("object", {*contract.ROOM_ABOUT, *(path[0] for path in self._known)})]
        for number, prefix in enumerate(self._prefixes):
            below = [path for path in self._known if path[: len(prefix)] == prefix]
            beyond.append(_has_others(f"in_{number}", {path[len(prefix)] for path in below}))
            beyond.append(f"(all_{number} IS NOT NULL AND in_{number} IS NULL)")  # a field twice
        return f"kind = 'room' AND coalesce({' OR '.join(beyond)}, false)"

    def _said(self, path: fields.Path) -> str:
        above = f"in_{self._prefixes.index(path[:-1])}" if len(path) > 1 else "object"
        return _field(path[-1], above)

    def _is_wrong(self, path: fields.Path, kind: str) -> str:
        said = self._said(path)
        if kind != "string":
            return _is_wrong(said, kind)
        # A text that looks like a number, or a number? The map of texts no longer tells; so the payload is asked again,
        # which happens to few.
        doubted = f"{_is(said, contract.NUMBER)} OR {said} IN ('true', 'false')"
        token = f"get({_parsed(_in_a_list('body'), 'array<variant>')}, 0)"
        kind_of = f"schema_of_variant(try_variant_get({token}, '$.{'.'.join(path)}', 'variant'))"
        is_text = f"coalesce({kind_of} = 'STRING', false)"
        return (
            f"CASE WHEN startswith({said}, '{{') THEN true "
            f"WHEN {doubted} THEN NOT {is_text} AND NOT {_is_spoilt(said)} ELSE false END"
        )


def _has_others(properties: str, names: Iterable[str]) -> str:
    return f"size(array_except(map_keys({properties}), array({_list(sorted(names))}))) > 0"


def _wrong(path: fields.Path, kind: str) -> str:
    return text(f"{fields.measurement_of(fields.column_of(path))} is not of the type {kind}")


def rooms_of(decoded: DataFrame, settings: Settings, room_fields: Mapping[str, str]) -> DataFrame:
    """One row per message of a room that was read, in the columns of `silver.room_telemetry`: those that it began
    with, and `room_fields` (`Knowledge.room_fields`)."""
    typed = {name: _typed(name, kind) for name, (kind, _) in contract.ROOM_FIELDS.items()}
    # Not beside the columns of the record: a field may have the name of one of those.
    more = (
        f"{_typed(fields.key_of(fields.path_of(name)), room_fields[name])} AS `{name}`"
        for name in fields.written(room_fields)
    )
    ranges = ((name, *contract.RANGE_BY_UNIT[unit]) for name, (_, unit) in contract.ROOM_FIELDS.items() if unit)
    beyond = " OR ".join(f"NOT {name} BETWEEN {low}D AND {high}D" for name, low, high in ranges)
    computed = {"site": text(settings.site), "room_id": "device_id", "quality": _quality()}
    return (
        decoded.where("outcome = 'read' AND kind = 'room'")
        .selectExpr("*", *_columns(typed))
        .selectExpr("*", f"coalesce({beyond}, false) AS implausible")
        .selectExpr(
            *(f"{computed.get(column.name, column.name)} AS {column.name}" for column in ROOM_TELEMETRY.columns),
            *more,
        )
    )


# -- alerts --------------------------------------------------------------------------------------------------------


def _is_alert() -> str:
    """Whether `object` is an event of an alert."""
    needed = [f"coalesce({_is_plain_text(_field(name, 'object'))}, false)" for name in contract.ALERT_TEXTS]
    words = [
        f"{_field(name, 'object')} IN ({_list(words)})" if words else f"{_field(name, 'object')} <> ''"
        for name, words in contract.ALERT_TEXTS.items()
    ]
    notes = [f"coalesce({_is_plain_text(_field(name, 'object'))}, true)" for name in contract.ALERT_NOTES]
    value, since = _field(contract.ALERT_VALUE, "object"), _field(contract.ALERT_SINCE, "object")
    number = f"coalesce({_is(value, contract.NUMBER)} AND NOT {_is_spoilt(value)}, true)"
    return " AND ".join([*needed, *words, *notes, number, f"{_told_time(since)} IS NOT NULL"])


def _is_plain_text(said: str) -> str:
    return f"NOT startswith({said}, '{{') AND NOT startswith({said}, '[') AND NOT {_is_spoilt(said)}"


def alerts_of(decoded: DataFrame, settings: Settings) -> DataFrame:
    """One row per event of an alert that was read, in the columns of `silver.alerts`."""
    texts = {name: f"replace({_field(name)}, '{_TEXT}', '')" for name in (*contract.ALERT_TEXTS, *contract.ALERT_NOTES)}
    computed = {
        "site": text(settings.site),
        **texts,
        "value": f"try_cast({_field(contract.ALERT_VALUE)} AS double)",
        "since": _told_time(_field(contract.ALERT_SINCE)),
    }
    columns = (f"{computed.get(column.name, column.name)} AS {column.name}" for column in ALERTS.columns)
    return decoded.where("outcome = 'read' AND kind = 'alert'").selectExpr(*columns)


# -- counting ------------------------------------------------------------------------------------------------------


def room_counts(room_fields: Mapping[str, str]) -> Rules:
    """What a record that is one row gave: `readings` (that row), and `refused`: fields of a room that say a number is
    none.

    Fields without a column are refused as well, and counted by `beyond_of`. `implausible` is not counted: the row's own
    quality says so.
    """
    known = map(fields.key_of, fields.known(room_fields))
    spoilt = " + ".join(f"CAST({_is_spoilt(_field(name))} AS int)" for name in known)
    return {
        "readings": f"CASE WHEN NOT {ROW_EACH} AND outcome = 'read' THEN 1 ELSE 0 END",
        "refused": f"CASE WHEN kind = 'room' AND outcome = 'read' THEN {spoilt} ELSE 0 END",
        "implausible": "0",
    }


def beyond_of(decoded: DataFrame, knowledge: Knowledge, settings: Settings) -> DataFrame:
    """One row per room's record that was read and has fields without a column: its row, how many they are (`beyond`,
    int), and whether one of them could become a column (`teaches`)."""
    known = [fields.key_of(path) for path in fields.known(knowledge.room_fields)]
    rows = (
        decoded.where("odd AND outcome = 'read'")
        .selectExpr("row", "explode(properties) AS (own_name, v0)")
        .where(f"v0 IS NOT NULL AND own_name NOT IN ({_list(contract.ROOM_ABOUT)})")
        .selectExpr("row", f"{_own_name('own_name')} AS p0", "v0")
    )
    for depth in range(contract.NESTING):
        rows = _unfold(rows, ["row"], depth)
    name, said = f"p{contract.NESTING}", f"v{contract.NESTING}"
    column = f"replace({name}, '{_LEVEL}', '{fields.LEVEL}')"
    named = f"CASE WHEN length({column}) <= {fields.LENGTH} THEN {_is(name, fields.NAME)} ELSE false END"
    free = "true" if len(knowledge.room_fields) < settings.stream.max_room_fields else "false"
    taken = _list(sorted(fields.taken(knowledge.room_fields)))
    teaches = (
        f"{free} AND {named} AND lower({column}) NOT IN ({taken}) "
        f"AND NOT startswith({said}, '{{') AND NOT {_is_spoilt(said)}"
    )
    return (
        rows.where(f"{said} IS NOT NULL AND {said} NOT IN ('{{}}', '[]') AND {name} NOT IN ({_list(known)})")
        .groupBy("row")
        .agg(F.expr("CAST(count(1) AS int) AS beyond"), F.expr(f"bool_or({teaches}) AS teaches"))
    )


def _field(name: str, properties: str = "properties") -> str:
    return f"try_element_at({properties}, '{name}')"


def _is_spoilt(said: str) -> str:
    words = _list(quoted for word in contract.NOT_NUMBERS for quoted in (word, f'"{word}"'))
    infinite = f"abs(try_cast({said} AS double)) = double('Infinity')"
    return f"coalesce({said} IN ({words}) OR ({_is(said, contract.NUMBER)} AND {infinite}), false)"


def _is_wrong(said: str, kind: str) -> str:
    number = f"try_cast({said} AS double)"
    fits = {
        "double": _is(said, contract.NUMBER),
        "bigint": f"{_is(said, contract.NUMBER)} AND {number} = floor({number}) AND abs({number}) <= {2**53}D",
        "boolean": f"{said} IN ({_list(contract.FLAGS)})",
    }
    return f"NOT coalesce({fits[kind]}, true) AND NOT {_is_spoilt(said)}"


def _typed(key: str, kind: str) -> str:
    said = _field(key)
    if kind == "boolean":
        true = _list(word for word, flag in contract.FLAGS.items() if flag)
        value = f"{said} IN ({true})"
    elif kind == "string":
        members = f"CASE WHEN {said} <> '[]' THEN {_joined(said)} END"
        value = f"replace(CASE WHEN startswith({said}, '[') THEN {members} ELSE {said} END, '{_TEXT}', '')"
    else:
        value = f"CAST(try_cast({said} AS double) AS {kind})"
    return f"CASE WHEN NOT {_is_spoilt(said)} THEN {value} END"


def _joined(members: str) -> str:
    """The members of a list in JSON as Zigbee2MQTT's attribute mode has them."""
    return f"array_join({_parsed(members, 'array<string>')}, ',', 'null')"


# -- properties ----------------------------------------------------------------------------------------------------


def properties_of(
    decoded: DataFrame, registry: Lookup, columns: Sequence[str], *, nested: bool = True, of: str = "outcome = 'read'"
) -> DataFrame:
    """One row per property of the records `of` that condition, nested ones flattened: `columns` of the record and

    measurement, value, text, unit, implausible, refused (it is no reading).

    `nested`: whether there may be any; without, their part of the plan is left out, which a small batch feels.
    """
    carried = [*columns, "entry"]
    unfolded = decoded.where(f"properties IS NOT NULL AND {ROW_EACH} AND {of}").selectExpr(
        *carried, "nested", "explode(properties) AS (own_name, v0)"
    )
    about = " AND ".join(f"NOT startswith(own_name, '{name}{_LEVEL}')" for name in contract.NOT_MEASUREMENTS)
    rows = unfolded.where(
        f"v0 IS NOT NULL AND own_name NOT IN ({_list(contract.NOT_MEASUREMENTS)}) AND {about}"
    ).selectExpr(*carried, "nested", f"{_own_name('own_name')} AS p0", "v0")
    # Most properties are plain, and those have a way of their own: on the way of the others Spark parses JSON, and
    # there it can't compile the steps into one, so that each row would be copied a dozen times.
    structured = "nested AND (startswith(v0, '{') OR startswith(v0, '['))"
    plain = rows.where(f"NOT ({structured})").selectExpr(*carried, *_named("p0"), "v0 AS said")
    found = _with_values(plain, carried, registry)
    if nested:
        flattened = _flattened(rows.where(structured), carried)
        found = found.union(_with_values(flattened, carried, registry))
    return found.drop("entry")


def readings_of(decoded: DataFrame, registry: Lookup, settings: Settings, *, nested: bool = True) -> DataFrame:
    """One row per reading, in the columns of `silver.readings`."""
    return _in_columns(READINGS, properties_of(decoded, registry, _OF_RECORD, nested=nested), settings)


def states_of(decoded: DataFrame, registry: Lookup, settings: Settings, *, nested: bool = True) -> DataFrame:
    """One row per property of a retained message, in the columns of `silver.device_states`."""
    return _in_columns(DEVICE_STATES, properties_of(decoded, registry, _OF_RECORD, nested=nested, of=STATE), settings)


_OF_RECORD = (
    *("device_id", "device_name", "model", "event_time", "event_time_source", "pending"),
    *(*POSITION_COLUMNS, "received_at", "date", "time_implausible", "unsynchronised", "maybe_repeat"),
)


def _in_columns(table: Table, properties: DataFrame, settings: Settings) -> DataFrame:
    computed = {"site": text(settings.site), "quality": _quality()}
    columns = (f"{computed.get(column.name, column.name)} AS {column.name}" for column in table.columns)
    return properties.where("NOT refused").selectExpr(*columns)


def counts_of(decoded: DataFrame, registry: Lookup, *, nested: bool = True) -> DataFrame:
    """One row per record that was read and has properties: its row, and how many readings (int), refused (int) and

    implausible (int, of the readings) it gave.
    """
    return (
        properties_of(decoded, registry, ["row"], nested=nested)
        .groupBy("row")
        .agg(
            F.expr("CAST(count_if(NOT refused) AS int) AS readings"),
            F.expr("CAST(count_if(refused) AS int) AS refused"),
            F.expr("CAST(count_if(implausible AND NOT refused) AS int) AS implausible"),
        )
    )


def _own_name(name: str) -> str:
    """A name that cannot be told from a nested one gets a dot, by which it is known at the end."""
    return f"CASE WHEN {name} = '' THEN '.' ELSE {name} END"


def _named(name: str) -> list[str]:
    """`measurement`, and `unnamed`: it is none."""
    clean = f"replace(replace({name}, '{_TEXT}', ''), '{_LEVEL}', '.')"
    return _columns({"measurement": clean, "unnamed": f"contains({name}, '.')"})


def _flattened(rows: DataFrame, carried: Sequence[str]) -> DataFrame:
    """Properties that are objects or lists, as plain ones; without what says nothing."""
    for depth in range(contract.NESTING):
        rows = _unfold(rows, carried, depth)
    name, value = f"p{contract.NESTING}", f"v{contract.NESTING}"
    said = f"CASE WHEN startswith({value}, '[') THEN {_joined(value)} ELSE {value} END AS said"
    return rows.where(f"{value} IS NOT NULL AND {value} NOT IN ('{{}}', '[]')").selectExpr(
        *carried, *_named(name), said
    )


def _unfold(rows: DataFrame, carried: Sequence[str], depth: int) -> DataFrame:
    """A property whose value is an object becomes its own properties, names joined with `_LEVEL`."""
    name, value = f"p{depth}", f"v{depth}"
    inner = f"CASE WHEN startswith({value}, '{{') THEN {_parsed(value, 'map<string,string>')} END AS inner"
    spoilt = "map('', 'an object that names a property twice')"
    unfolded = rows.selectExpr(*carried, name, value, inner).selectExpr(
        *carried,
        name,
        value,
        f"explode_outer(CASE WHEN {_names_twice('inner')} THEN {spoilt} ELSE inner END) AS (inner_name, inner_value)",
    )
    joined = f"concat({name}, '{_LEVEL}', {_own_name('inner_name')})"
    return unfolded.selectExpr(
        *carried,
        f"CASE WHEN inner_name IS NOT NULL THEN {joined} ELSE {name} END AS p{depth + 1}",
        f"CASE WHEN inner_name IS NOT NULL THEN inner_value ELSE {value} END AS v{depth + 1}",
    )


def _with_values(rows: DataFrame, carried: Sequence[str], registry: Lookup) -> DataFrame:
    """(entry, measurement, said) → value, text, unit, implausible, refused: the rules of a single property."""
    known = rows.join(F.broadcast(registry.properties), ["entry", "measurement"], "left")
    return known.selectExpr("*", *_columns(_value())).selectExpr(
        *carried,
        "measurement",
        "value",
        "text",
        "unit",
        f"coalesce({_is_implausible()}, false) AS implausible",
        "value IS NULL AND text IS NULL AS refused",
    )


def _value() -> Rules:
    numeral, meant = _is("said", contract.NUMBER), _is("said", contract.LOOKS_LIKE_A_NUMBER)
    available = " ".join(f"WHEN said = '{word}' THEN {value}D" for word, value in contract.AVAILABILITY_VALUES.items())
    # How Spark's parser gives the words that stand in a number's place, and numbers beyond a double.
    not_numbers = _list(f'"{word}"' for word in contract.NOT_NUMBERS)
    return {
        "is_a": "coalesce(type, 'unknown')",
        "number": f"CASE WHEN {numeral} THEN try_cast(said AS double) END",
        "flag": "CASE WHEN said = 'true' THEN 1D WHEN said = 'false' THEN 0D END",
        "switched": "CASE WHEN said = value_on THEN 1D WHEN said = value_off THEN 0D END",
        "never": f"unnamed OR coalesce(abs(number) = double('Infinity'), false) OR said IN ({not_numbers})",
        "value": f"""CASE
            WHEN never OR is_a IN ('enum', 'text') THEN NULL
            WHEN is_a = 'numeric' THEN number
            WHEN is_a = 'binary' THEN coalesce(flag, switched)
            WHEN measurement = '{contract.AVAILABILITY}' THEN coalesce(number, flag, CASE {available} END)
            ELSE coalesce(number, flag) END""",
        "as_said": f"""CASE
            WHEN never OR is_a = 'numeric' THEN NULL
            WHEN is_a IN ('enum', 'text') THEN said
            WHEN is_a = 'binary' THEN CASE WHEN flag IS NULL AND switched IS NOT NULL THEN said END
            WHEN number IS NULL AND flag IS NULL AND NOT ({meant}) THEN said END""",
        "text": f"replace(as_said, '{_TEXT}', '')",
    }


def _is_implausible() -> str:
    sentinels = ", ".join(f"{number}D" for number in contract.SENTINELS)
    undeclared = "NOT coalesce(value BETWEEN value_min AND value_max, false)"
    return (
        f"is_a = 'numeric' AND (value < plausible_min OR value > plausible_max"
        f" OR (unit IS NOT NULL AND value IN ({sentinels}) AND {undeclared}))"
    )


def _quality() -> str:
    words = """concat_ws(' ',
        CASE WHEN implausible THEN 'implausible' END,
        CASE WHEN time_implausible THEN 'time_implausible' END,
        CASE WHEN unsynchronised THEN 'clock_unsynchronised' END,
        CASE WHEN maybe_repeat THEN 'maybe_repeat' END)"""
    marked = "implausible OR time_implausible OR unsynchronised OR maybe_repeat"
    return f"CASE WHEN {marked} THEN {words} ELSE 'good' END"


# -- SQL -----------------------------------------------------------------------------------------------------------


def text(value: str) -> str:
    """A text as a literal of Spark's SQL."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _list(values: Iterable[str]) -> str:
    return ", ".join(map(text, values))


def _is(said: str, pattern: str) -> str:
    """Whether a pattern of the contract fits the whole text: Java's `$` would let a line break follow."""
    whole = pattern.removesuffix("$") + r"\z"
    return f"{said} RLIKE {text(whole)}"
