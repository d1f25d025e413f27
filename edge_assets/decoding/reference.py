"""The contract as a program to read: one record of the log → its outcome and its readings.

Plain Python, for whoever wants to know what the contract means, and for the parts that look at one message at a
time. `edge_assets.stream.decode` does the same for many at once; both run the same corpus, and tests compare them
on what nobody thought of. Words and numbers are those of `edge_assets.decoding.contract`.

    header → received time;  topic → what it speaks of;  payload → properties;  registry → device;
    property → value, text, quality, or refused;  all of it → outcome
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

from edge_assets import log_record
from edge_assets.alert_record import ALERTS
from edge_assets.decoding import contract, fields
from edge_assets.decoding.knowledge import Knowledge
from edge_assets.decoding.patterns import MEASUREMENT, ROOM
from edge_assets.decoding.registry import Property, Registry, bare_properties
from edge_assets.settings import Settings

READ, TOMBSTONE, IGNORED, DEAD_LETTER = "read", "tombstone", "ignored", "dead_letter"


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the log, as in `bronze.events`; times are microseconds since 1970 UTC."""

    topic: bytes
    payload: bytes | None
    kafka_time: int
    header: str | None = None
    log_id: str = ""
    kafka_topic: str = ""
    kafka_partition: int = 0
    kafka_offset: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """One row of `silver.readings`, without what it has from its record."""

    measurement: str
    value: float | None
    text: str | None
    unit: str | None
    quality: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """A record's one outcome, with `reason` where it was not read. The rest is None where the record speaks of no
    device; times are microseconds since 1970 UTC."""

    outcome: str
    reason: str | None
    received_at: int
    readings: tuple[Reading, ...] = ()
    refused: int = 0
    device_id: str | None = None
    device_name: str | None = None
    model: str | None = None
    pending: bool | None = None
    event_time: int | None = None
    event_time_source: str | None = None
    states: tuple[Reading, ...] = ()
    """of a retained message without a time of its own: what the device had said at some time before"""
    room: Mapping[str, float | bool | str | None] | None = None
    """the fields of a room's message, which has no readings: its row of `silver.room_telemetry`, by column"""
    quality: str | None = None
    """of the room's row"""
    alert: Mapping[str, float | str | None] | None = None
    """the fields of an alert's event, which has no readings: its row of `silver.alerts`, by column; `since` in
    microseconds since 1970 UTC"""
    teaches: bool = False
    """a field of the room's message could become a column"""


def decode(record: Record, registry: Registry, knowledge: Knowledge, settings: Settings) -> Decoded:
    """What becomes of a record. The order of the questions is the rule: the first that fits decides."""
    header = _Header(record, knowledge)
    topic = _Topic(record, settings)
    try:
        _pass_over(record, header, topic, knowledge)
        if topic.kind == "registry":
            _check_description(record, knowledge)
            return Decoded(READ, None, header.received_at)
        said = _properties(record, topic)
        if topic.kind == "room":
            return _room(said, header, knowledge, settings)
        if topic.kind == "alert":
            return _alert(said, header, settings)
    except _Verdict as verdict:
        return Decoded(verdict.outcome, verdict.reason, header.received_at)
    return _read(said, topic, header, registry, settings)


class _Verdict(Exception):
    """The record is not read."""

    def __init__(self, outcome: str, reason: str | None = None) -> None:
        self.outcome, self.reason = outcome, reason


def _pass_over(record: Record, header: _Header, topic: _Topic, knowledge: Knowledge) -> None:
    """Raises the verdict on all records that are not Zigbee2MQTT's word on a device or on its devices."""
    if _is_fenced(record, header, knowledge):
        raise _Verdict(IGNORED, "fenced")
    if topic.kind in ("control", "discovery", "bridge", "command"):
        raise _Verdict(IGNORED, topic.kind)
    if topic.kind == "oversize":
        raise _Verdict(DEAD_LETTER, "oversize")
    if topic.kind == "foreign":
        raise _Verdict(DEAD_LETTER, "no_decoder")
    if not record.payload:
        raise _Verdict(TOMBSTONE)


def _is_fenced(record: Record, header: _Header, knowledge: Knowledge) -> bool:
    """Whether the record is older than a barrier that lies before it in its partition."""
    return any(
        (fence.log_id, fence.kafka_partition, fence.bridge) == (record.log_id, record.kafka_partition, header.by)
        and record.kafka_offset > fence.kafka_offset
        and header.incarnation is not None
        and header.incarnation < fence.incarnation
        for fence in knowledge.fences
    )


# -- header --------------------------------------------------------------------------------------------------------


class _Header:
    """What the bridge knew of the message. Anyone can write a record: what is not as it should be is not there."""

    def __init__(self, record: Record, knowledge: Knowledge) -> None:
        pairs = (record.header or "").split(" ")
        said = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
        self.by = said.get("by", "")
        self.incarnation = _integer(said.get("inc"))
        self.retained = said.get("retain") == "1"
        self.maybe_repeat = said.get("rep") == "1"
        at = _within_times(_integer(said.get("at")))
        self.unsynchronised = said.get("sync") == "0"
        if self.unsynchronised:
            since_boot, boot_at = _integer(said.get("mono")), knowledge.clocks.get(said.get("boot", ""))
            if since_boot is not None and boot_at is not None:
                true_time = _within_times(since_boot + boot_at)
                self.unsynchronised = true_time is None
                at = at if true_time is None else true_time
        self.received_at = record.kafka_time if at is None else at


def _integer(text: str | None) -> int | None:
    if text is None or not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def _within_times(micros: int | None) -> int | None:
    first, last = contract.RECEIVED_MICROS
    return micros if micros is not None and first <= micros <= last else None


# -- topic ---------------------------------------------------------------------------------------------------------


class _Topic:
    """`base` and `rest` of the topic, or its `pattern` with its number, and its `kind`:
    control, oversize, alert, room, bare, discovery, foreign, bridge, registry, command, availability or state."""

    def __init__(self, record: Record, settings: Settings) -> None:
        topic = record.topic.decode("utf-8", "surrogateescape")
        known = (contract.IMPORTED, *settings.stream.base_topics)
        self.base = max((base for base in known if topic.startswith(base + "/")), key=len, default=None)
        patterns = settings.bridge.patterns if self.base is None else []
        self.number = next((n for n, pattern in enumerate(patterns) if pattern.matches(topic)), None)
        self.pattern = None if self.number is None else patterns[self.number]
        self.levels = topic.split("/")
        self.rest = "" if self.base is None else topic[len(self.base) + 1 :]
        self.is_text = _is_utf8(record.topic) and contract.NOT_TEXT not in topic
        self.kind = self._kind(topic, record.kafka_topic == settings.bridge.dead_letter_topic)

    def _kind(self, topic: str, is_dead_letter: bool) -> str:
        if topic.startswith(log_record.CONTROL_PREFIX):
            return "control"
        if is_dead_letter:
            return "oversize"
        if topic.startswith(ALERTS):
            return "alert"
        if self.pattern:
            return "bare" if self.pattern.level_of(ROOM) is None else "room"
        if self.base is None:
            return "discovery" if topic.startswith(contract.DISCOVERY_PREFIX) else "foreign"
        if self.rest in ("bridge/devices", "bridge/groups"):
            return "registry"
        if self.rest.startswith("bridge/"):
            return "bridge"
        if any(self.rest.endswith(word) or f"{word}/" in self.rest for word in contract.COMMANDS):
            return "command"
        return "availability" if self.rest.endswith("/" + contract.AVAILABILITY) else "state"


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _check_description(record: Record, knowledge: Knowledge) -> None:
    if not _is_utf8(record.payload or b""):
        raise _Verdict(DEAD_LETTER, "not_utf8")
    if (record.log_id, record.kafka_partition, record.kafka_offset) in knowledge.bad_registry:
        raise _Verdict(DEAD_LETTER, "bad_registry")


# -- payload → properties ------------------------------------------------------------------------------------------


class _Said(NamedTuple):
    """What a record says: its device's name, properties (nested as they came), and the payload's time."""

    device_name: str
    properties: dict[tuple[str, ...], Any]
    last_seen: Any


def _properties(record: Record, topic: _Topic) -> _Said:
    """Raises `_Verdict` where the payload cannot be understood."""
    if not topic.is_text or not _is_utf8(record.payload or b""):
        raise _Verdict(DEAD_LETTER, "not_utf8")
    body = (record.payload or b"").decode()
    above, slash, last = topic.rest.rpartition("/")
    is_json = re.match(r"[ \t\n\x0b\f\r]*[{\[]", body) is not None
    is_attribute = topic.kind == "state" and not is_json and bool(slash)
    name = above if topic.kind == "availability" or is_attribute else topic.rest
    if topic.pattern:
        name = "/".join(topic.levels[level] for level in topic.pattern.device_levels)
    if not name and topic.kind != "alert":
        raise _Verdict(DEAD_LETTER, "no_device")
    state = _parse_object(body) if is_json else {}
    last_seen = state.get(_TIME_OF.get(topic.kind, contract.TIME_PROPERTY))
    if topic.kind == "availability":
        word = state.get("state") if is_json else body.strip(" ")
        if not isinstance(word, str) or word not in contract.AVAILABILITY_VALUES:
            raise _Verdict(DEAD_LETTER, "bad_availability")
        return _Said(name, {(contract.AVAILABILITY,): word}, last_seen)
    measures = topic.pattern.level_of(MEASUREMENT) if topic.pattern else None
    if measures is not None and not is_json:
        return _Said(name, {(topic.levels[measures],): body.strip(contract.BLANKS)}, None)
    if is_attribute:
        return _Said(name, {_attribute_path(last): body}, None)
    if not is_json:
        raise _Verdict(DEAD_LETTER, "not_an_object")
    return _Said(name, {(key,): value for key, value in state.items()}, last_seen)


_TIME_OF = {"room": contract.ROOM_TIME, "alert": contract.ALERT_TIME}


def _attribute_path(name: str) -> tuple[str, ...]:
    """Attribute mode joins nested names with a dash."""
    return tuple(name.split("-"))


class _Number(str):
    """A number as it stands in the payload."""


class _Object(dict[str, Any]):
    """An object; `twice` where it names a property twice."""

    twice = False


class _Word(str):
    """A word in a number's place, see `contract.NOT_NUMBERS`."""


_QUOTED_WORDS = frozenset(f'"{word}"' for word in contract.NOT_NUMBERS)


def _parse_object(body: str) -> _Object:
    """JSON by the letter (RFC 8259), with the contract's bounds. Numbers stay texts, so that none is spoilt."""
    try:
        found = json.loads(
            body, parse_int=_number, parse_float=_number, parse_constant=_Word, object_pairs_hook=_object
        )
        if not isinstance(found, _Object) or _depth(found) > contract.MAX_DEPTH:
            raise _Verdict(DEAD_LETTER, "bad_json")
    except (ValueError, RecursionError):
        raise _Verdict(DEAD_LETTER, "bad_json") from None
    if found.twice:
        raise _Verdict(DEAD_LETTER, "duplicate_keys")
    return found


def _number(text: str) -> _Number:
    if len(text) > contract.MAX_NUMBER_DIGITS and sum(map(str.isdigit, text)) > contract.MAX_NUMBER_DIGITS:
        raise ValueError("a number of too many digits")
    return _Number(text)


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    if any(_is_too_long(name) for name, _ in pairs):
        raise ValueError("a name of too many letters")
    whole = [(_whole_letters(name), value) for name, value in pairs]
    found = _Object(whole)
    found.twice = len(found) < len(pairs)
    return found


def _is_too_long(name: str) -> bool:
    """Counted in the units of UTF-16, of which a letter has two at most."""
    most = contract.MAX_NAME_LENGTH
    return 2 * len(name) > most and len(name.encode("utf-16-le", "surrogatepass")) // 2 > most


def _whole_letters(text: str) -> str:
    """JSON can spell one half of a surrogate pair, which is no letter: `?` in its place."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


# -- properties → readings -----------------------------------------------------------------------------------------


def _read(said: _Said, topic: _Topic, header: _Header, registry: Registry, settings: Settings) -> Decoded:
    base = topic.base or ""
    owner = None if topic.pattern else registry.owner(base, said.device_name, header.received_at)
    units = {} if topic.number is None else _units(-1 - topic.number, settings)
    if owner and owner[1].kind == "group":
        return Decoded(IGNORED, "group", header.received_at)
    event_time = _believed(said.last_seen, header.received_at, settings, ever=base == contract.IMPORTED)
    marks = _marks(said, header, event_time)
    readings, refused = [], 0
    for path, value in _flat(said.properties):
        measurement = _clean(".".join(path)).replace(contract.LEVEL_MARK, ".")
        if topic.number is not None:
            about = units.get(measurement)
        else:
            about = registry.property(owner[0], measurement) if owner else None
        reading = None if _is_unnamed(path) else _reading(measurement, value, about, marks)
        readings += [reading] if reading else []
        refused += reading is None
    read = Decoded(
        READ,
        None,
        header.received_at,
        tuple(readings),
        refused,
        owner[1].device_id if owner else said.device_name,
        said.device_name,
        owner[1].model if owner else None,
        owner is None and base not in ("", contract.IMPORTED),
        header.received_at if event_time is None else event_time,
        "received" if event_time is None else "payload",
    )
    if header.retained and event_time is None:
        return replace(read, outcome=IGNORED, reason="retained", readings=(), refused=0, states=read.readings)
    return read


def _units(pattern: int, settings: Settings) -> dict[str, Property]:
    """What the routes tell of the measurements of a pattern."""
    return {name: about for number, name, about in bare_properties(settings.bridge.routes) if number == pattern}


def taught(record: Record, knowledge: Knowledge, settings: Settings) -> dict[str, str]:
    """The columns that a room's record brings beyond those that are known: name → type; none where it is not read."""
    if not decode(record, Registry(), knowledge, settings).teaches:
        return {}
    found: dict[str, str] = {}
    for path, value in _beyond(_properties(record, _Topic(record, settings)), knowledge):
        known = {**knowledge.room_fields, **found}
        if (kind := _new_type(value)) and _is_free(path, known, settings):
            found[fields.column_of(path)] = kind
    return found


def _room(said: _Said, header: _Header, knowledge: Knowledge, settings: Settings) -> Decoded:
    """Raises `_Verdict` where a field is of another type, or the message is old news."""
    event_time = _believed(said.last_seen, header.received_at, settings)
    row: dict[str, float | bool | str | None] = dict.fromkeys((*contract.ROOM_FIELDS, *knowledge.room_fields))
    known = fields.known(knowledge.room_fields)
    refused = 0
    for path in fields.prefixes(known):
        _expect_object(_at(said, path))
    for path, kind in known.items():
        value = _at(said, path)
        if _is_word(value):
            refused += 1
        elif value is not None:
            row[fields.column_of(path)] = _typed(value, kind)
    if header.retained and event_time is None:
        raise _Verdict(IGNORED, "retained")
    implausible = any(
        value is not None and not low <= value <= high  # type: ignore[operator]
        for name, (_, unit) in contract.ROOM_FIELDS.items()
        if unit
        for value, (low, high) in [(row[name], contract.RANGE_BY_UNIT[unit])]
    )
    marks = [*(["implausible"] if implausible else []), *_marks(said, header, event_time)]
    beyond = list(_beyond(said, knowledge))
    return Decoded(
        READ,
        None,
        header.received_at,
        (),
        refused + len(beyond),
        said.device_name,
        said.device_name,
        None,
        False,
        header.received_at if event_time is None else event_time,
        "received" if event_time is None else "payload",
        room=row,
        quality=" ".join(marks) or "good",
        teaches=any(_new_type(value) and _is_free(path, knowledge.room_fields, settings) for path, value in beyond),
    )


def _alert(said: _Said, header: _Header, settings: Settings) -> Decoded:
    """Raises `_Verdict` where it is no event of an alert, or old news."""
    row: dict[str, float | str | None] = {}
    for name, words in contract.ALERT_TEXTS.items():
        row[name] = text = _plain_text(said, name)
        if not text or (words and text not in words):
            raise _Verdict(DEAD_LETTER, "bad_alert")
    row |= {name: _plain_text(said, name) for name in contract.ALERT_NOTES}
    row[contract.ALERT_VALUE] = _plain_number(said, contract.ALERT_VALUE)
    since = said.properties.get((contract.ALERT_SINCE,))
    row[contract.ALERT_SINCE] = since_us = _told_time(since) if isinstance(since, str) else None
    if since_us is None:
        raise _Verdict(DEAD_LETTER, "bad_alert")
    event_time = _believed(said.last_seen, header.received_at, settings)
    if header.retained and event_time is None:
        raise _Verdict(IGNORED, "retained")
    at, source = (header.received_at, "received") if event_time is None else (event_time, "payload")
    return Decoded(READ, None, header.received_at, event_time=at, event_time_source=source, pending=False, alert=row)


def _plain_text(said: _Said, name: str) -> str | None:
    value = said.properties.get((name,))
    if value is None:
        return None
    if isinstance(value, dict | list) or _is_spoilt(text := _as_text(value)):
        raise _Verdict(DEAD_LETTER, "bad_alert")
    return _clean(text)


def _plain_number(said: _Said, name: str) -> float | None:
    text = _plain_text(said, name)
    if text is None:
        return None
    if not re.fullmatch(contract.NUMBER, text):
        raise _Verdict(DEAD_LETTER, "bad_alert")
    return float(text)


def _at(said: _Said, path: fields.Path) -> Any:
    value = said.properties.get(path[:1])
    for name in path[1:]:
        value = value.get(name) if isinstance(value, _Object) and not value.twice else None
    return value


def _expect_object(value: Any) -> None:
    if not (value is None or value == [] or isinstance(value, _Object) or _is_word(value)):
        raise _Verdict(DEAD_LETTER, "wrong_type")


def _is_word(value: Any) -> bool:
    """Whether a value says that it is no number."""
    return value is not None and not isinstance(value, dict | list) and _is_spoilt(_as_text(value))


def _beyond(said: _Said, knowledge: Knowledge) -> Iterator[tuple[fields.Path, Any]]:
    """(path, value) of the fields of a message that is read for which there is no column."""
    known = fields.known(knowledge.room_fields)
    told = {path: value for path, value in said.properties.items() if path[0] not in contract.ROOM_ABOUT}
    return ((path, value) for path, value in _flat(told) if path not in known)


def _is_free(path: fields.Path, room_fields: Mapping[str, str], settings: Settings) -> bool:
    free = fields.column_of(path).lower() not in fields.taken(room_fields)
    return free and fields.may_be_named(path) and len(room_fields) < settings.stream.max_room_fields


def _new_type(value: Any) -> str | None:
    """The type of the column that a value gives rise to; None: it gives none."""
    if isinstance(value, dict) or _is_word(value):
        return None
    if isinstance(value, bool):
        return "boolean"
    return "double" if isinstance(value, _Number) else "string"


def _is_spoilt(said: str) -> bool:
    words = {*contract.NOT_NUMBERS, *_QUOTED_WORDS}
    return said in words or (re.fullmatch(contract.NUMBER, said) is not None and abs(float(said)) == float("inf"))


def _typed(value: Any, kind: str) -> float | bool | str | None:
    """A field's value in its column. Raises `_Verdict` where it is of another type."""
    said = _as_text(value)
    if kind == "string":
        if isinstance(value, dict | bool | _Number):
            raise _Verdict(DEAD_LETTER, "wrong_type")
        return None if value == [] else _clean(said)
    if isinstance(value, dict | list):
        raise _Verdict(DEAD_LETTER, "wrong_type")
    if kind == "boolean":
        if said not in contract.FLAGS:
            raise _Verdict(DEAD_LETTER, "wrong_type")
        return contract.FLAGS[said]
    number = float(said) if re.fullmatch(contract.NUMBER, said) else None
    if number is None or (kind == "bigint" and (number != int(number) or abs(number) > 2**53)):
        raise _Verdict(DEAD_LETTER, "wrong_type")
    return int(number) if kind == "bigint" else number


def _marks(said: _Said, header: _Header, event_time: int | None) -> list[str]:
    return [
        *(["time_implausible"] if said.last_seen is not None and event_time is None else []),
        *(["clock_unsynchronised"] if header.unsynchronised else []),
        *(["maybe_repeat"] if header.maybe_repeat else []),
    ]


def _flat(properties: dict[tuple[str, ...], Any], level: int = 0) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, value) of all that says something, objects taken apart."""
    for path, value in properties.items():
        if level == 0 and path[0] in contract.NOT_MEASUREMENTS:
            continue
        if value is None or value in ({}, []):
            continue
        if isinstance(value, _Object) and level < contract.NESTING:
            yield from (
                [((*path, ""), value)]
                if value.twice
                else _flat({(*path, name): inner for name, inner in value.items()}, level + 1)
            )
        else:
            yield path, value


def _is_unnamed(path: Sequence[str]) -> bool:
    return any(not part or "." in part for part in path)


def _reading(measurement: str, value: Any, about: Property | None, marks: Sequence[str]) -> Reading | None:
    """None: the property is refused."""
    said = _as_text(value)
    number = float(said) if re.fullmatch(contract.NUMBER, said) else None
    if isinstance(value, _Word) or said in _QUOTED_WORDS or (number is not None and abs(number) == float("inf")):
        return None
    flag = {"true": 1.0, "false": 0.0}.get(said)
    kind = about.type if about else "unknown"
    text: str | None = None
    if kind == "numeric":
        result = number
    elif kind == "binary" and about:
        switched = {about.value_off: 0.0, about.value_on: 1.0}.get(said)
        result = switched if flag is None else flag
        text = said if flag is None and switched is not None else None
    elif kind in ("enum", "text"):
        result, text = None, said
    else:
        result = number if flag is None else flag
        text = said if result is None and not _looks_like_a_number(said) else None
        if measurement == contract.AVAILABILITY:
            result = contract.AVAILABILITY_VALUES.get(said, result)
    if result is None and text is None:
        return None
    implausible = result is not None and about is not None and kind == "numeric" and _is_implausible(result, about)
    quality = " ".join([*(["implausible"] if implausible else []), *marks]) or "good"
    return Reading(measurement, result, None if text is None else _clean(text), about.unit if about else None, quality)


def _is_implausible(value: float, about: Property) -> bool:
    if about.plausible_min is not None and value < about.plausible_min:
        return True
    if about.plausible_max is not None and value > about.plausible_max:
        return True
    declared = about.value_min is not None and about.value_max is not None
    return (
        about.unit is not None
        and value in contract.SENTINELS
        and not (declared and about.value_min <= value <= about.value_max)  # type: ignore[operator]
    )


def _looks_like_a_number(said: str) -> bool:
    # \d is Unicode's decimal digits in Python; the contract writes it as Java and others do.
    return re.fullmatch(contract.LOOKS_LIKE_A_NUMBER.replace(r"\p{Nd}", r"\d"), said) is not None


def _as_text(value: Any) -> str:
    """A value as attribute mode writes it."""
    if isinstance(value, list):
        return ",".join(_as_json(member) if isinstance(member, list) else _as_text(member) for member in value)
    return _whole_letters(value) if isinstance(value, str) else _as_json(value)


def _as_json(value: Any) -> str:
    if isinstance(value, _Number):
        return value
    if isinstance(value, dict):
        return "{" + ",".join(f"{_as_json(name)}:{_as_json(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_as_json, value)) + "]"
    return json.dumps(_whole_letters(value) if isinstance(value, str) else value, ensure_ascii=False)


def _clean(text: str) -> str:
    return text.replace(contract.TEXT_MARK, "")


# -- event time ----------------------------------------------------------------------------------------------------


def _believed(last_seen: Any, received_at: int, settings: Settings, *, ever: bool = False) -> int | None:
    """The payload's time, where it has one within the window around the received time."""
    told = _told_time(last_seen) if isinstance(last_seen, str) else None
    past = received_at if ever else round(settings.stream.event_time_past_hours * 3600, 3) * 1e6
    future = round(settings.stream.event_time_future_seconds, 3) * 1e6
    return told if told is not None and received_at - past <= told <= received_at + future else None


def _told_time(text: str) -> int | None:
    if re.fullmatch(contract.EPOCH_MILLISECONDS, text):
        return int(text) * 1_000
    if not re.fullmatch(contract.ISO_TIME, text):
        return None
    try:
        moment = datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=_zone(text))
    except ValueError:
        return None
    fraction = re.match(r"\.([0-9]+)", text[19:])
    micros = int(fraction[1][:6].ljust(6, "0")) if fraction else 0
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) + micros


def _zone(text: str) -> timezone:
    if text.endswith("Z"):
        return UTC
    sign, hours, minutes = re.findall(r"([+-])([0-9]{2}):?([0-9]{2})$", text)[0]
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    if int(minutes) > 59 or offset > timedelta(hours=18):  # ISO 8601; no zone is further away
        raise ValueError(f"{text}: no such zone")
    return timezone(-offset if sign == "-" else offset)
