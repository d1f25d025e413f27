"""The decoding contract as data: what is a number, what a unit may hold, what a topic means.

Nothing here knows Spark or Python's parsers; each decoder builds its own expressions from these constants, and all
decoders run the same corpus (`edge_assets_tests/corpus`). Facts about the wire: Zigbee2MQTT's documentation and
recordings of real devices. `edge_assets.decoding.reference` is the contract as a program to read.

Outcome of a record, exactly one:

| outcome | when |
|---|---|
| `read` | its payload was understood: readings, or a description of devices |
| `tombstone` | an empty payload: the topic was given up (rename, removal) |
| `ignored` | understood and not a reading; `reason` says what it is |
| `dead_letter` | not understood; `reason` says why, its bytes are kept |

A property of a record that was read is a reading, or is refused, or is passed over. By its value:

| value | becomes |
|---|---|
| `null`, an empty object, an empty list | nothing: there is nothing to say |
| a number, or a text that is written like one | `value`; where the type is `enum` or `text`, `text` |
| `true`, `false` | `value` 1, 0, whatever `exposes` calls on and off: `contact: true` is closed and is 1 |
| one of the two values of a `binary` | `value` 1, 0 and `text` as it was said |
| another text | `text`; refused where the type is `numeric` or `binary`, or where it looks like a number |
| an object | its own properties, names joined by dots, `NESTING` levels deep; below that its JSON text |
| a list | its members joined by commas, as Zigbee2MQTT's attribute mode has it, and then as any text |
| `NaN`, `Infinity`, a number beyond a double | refused |

A text stays a text, also where it looks like an object or a list. A property is refused where its own name is empty
or holds a dot, since it could not be told from a nested one, and where an object within names a property twice. So
a record has no measurement twice. A number that is kept as a text is some decimal notation of the same number.

A bare topic's pattern (`edge_assets.decoding.patterns`) says what its payload is: one value of the measurement that
its level names, without the blanks and line ends around it. A payload that begins with `{` or `[` names its
measurements itself, there too.

A room's message (`ROOM_FIELDS`) becomes one row of `silver.room_telemetry` instead of readings. A number may be
written as a text; a field that is missing, null, or one of `NOT_NUMBERS` (which is counted as refused) is null; one
of another type makes the message a dead letter, so that no column ever changes its type. A field that is named nowhere
yet becomes a column, by the rules of `edge_assets.decoding.fields`.

An event of an alert (`edge_assets.alert_record`) becomes one row of `silver.alerts`: its texts (`ALERT_TEXTS`, and
those that may be missing, `ALERT_NOTES`), a number, and two times. A field that is not what it should be makes it a
dead letter; fields beside these are passed over.

Elsewhere, a payload that begins with `{` or `[` is the state of the device that the whole topic names. Any other is
attribute mode: the topic's last level is the property, nested names joined by dashes, and the payload its value as a
bare text. Texts and numbers cannot be told apart there, so that no decision above stands on the difference.
"""

from __future__ import annotations

from typing import get_args

from edge_assets.alert_record import Severity, Transition

DECODER = "zigbee2mqtt/3"
"""Name and version of the decoder, kept with each dead letter: raise it when a decision below changes."""

NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
"""A number, as JSON's grammar has it (RFC 8259, section 6). Everything else that a lenient parser takes for one
(`NaN`, `1_000`, `+5`, `021`, digits of other scripts) is not a reading. In all patterns here `$` is the very end:
no line break may follow. A number that no double can hold (`1e999`) is refused, whatever the type."""

LOOKS_LIKE_A_NUMBER = (
    r"^[ \t\r\n]*[+-]?([nN][aA][nN]|[iI][nN][fF]([iI][nN][iI][tT][yY])?"
    r"|(\p{Nd}+(_\p{Nd}+){0,9}|\p{Nd}{1,3}([,']\p{Nd}{3}){1,9})([.,]\p{Nd}*)?([eE][+-]?\p{Nd}+)?"
    r"|[.,]\p{Nd}+([eE][+-]?\p{Nd}+)?)[ \t\r\n]*$"
)
"""What somebody meant as a number: where the type is not known, it is refused and not kept as a text, so that
`21,5` becomes neither 215 nor the name of something. A version (`1.0.2`) and a list (`255,0,12`) are texts.

Groups repeat a bounded number of times: Java's regular expressions take stack for each repetition, and a payload of
`1_1_1_…` must not be able to overflow it."""

NESTING = 3
"""So many levels of objects within a property are flattened; what lies deeper stays JSON text."""

MAX_DEPTH = 100
"""Levels of objects and lists in a payload; deeper is `bad_json`. Real devices send four."""
MAX_NUMBER_DIGITS = 1_000
"""Digits of a number in JSON, its exponent's included; more is `bad_json`."""
MAX_NAME_LENGTH = 50_000
"""Length of a property's name in UTF-16 units; longer is `bad_json`."""

NOT_NUMBERS = ("NaN", "Infinity", "-Infinity")
"""Words that some writers put in a number's place in JSON. They spoil their property, which is refused, and not the
whole record. (So does a text that holds one of them with quotes of its own: Spark gives both alike.)"""

ISO_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:?[0-9]{2})$"
EPOCH_MILLISECONDS = r"^[0-9]{12,14}$"
"""The forms of `last_seen`: ISO 8601 with a zone, or milliseconds since 1970 (2001 to 5138)."""

TIME_PROPERTY = "last_seen"
NOT_MEASUREMENTS = (TIME_PROPERTY, "device")
"""Properties that describe the message: its time, and the device itself (`include_device_information`)."""

RECEIVED_MICROS = (0, 7_258_118_400_000_000)
"""1970 to 2200: what a header may give as the received time. Anyone can write to a log, and a day in the year 294247
as a partition would make the tables unreadable; beyond it Kafka's own timestamp stands in."""

ROOM_TIME = "timestamp"
ROOM_FIELDS: dict[str, tuple[str, str | None]] = {
    "temperature": ("double", "°C"),
    "humidity": ("double", "%"),
    "co2_ppm": ("double", "ppm"),
    "light_lux": ("double", "lx"),
    "occupancy_count": ("bigint", None),
    "motion_detected": ("boolean", None),
    "energy_kwh": ("double", "kWh"),
    "air_quality_index": ("double", None),
}
"""Field of a room's message → type and unit. Beside them it has `room_id` (the topic says which room it is) and
`ROOM_TIME`, in the forms of `TIME_PROPERTY`."""

ROOM_ABOUT = ("room_id", ROOM_TIME, *NOT_MEASUREMENTS)
"""Fields of a room's message that describe it: they are no columns, and are not counted."""

FLAGS = {"true": True, "false": False, "1": True, "0": False}
"""What a field of the type boolean may say."""

ALERT_TEXTS: dict[str, tuple[str, ...]] = {
    "event_id": (),
    "alert_id": (),
    "transition": get_args(Transition),
    "rule": (),
    "severity": get_args(Severity),
    "kind": ("device", "room", "bridge"),
    "device_id": (),
}
"""Text of an alert's event that must be there and not be empty → the words that it may be; none: any"""
ALERT_NOTES = ("device_name", "measurement", "unit", "message")
ALERT_VALUE, ALERT_SINCE, ALERT_TIME = "value", "since", "event_time"
"""A number or null; a time, in the forms of `TIME_PROPERTY`; the event's own, which is believed as a reading's is."""

BLANKS = " \t\r\n\0"
"""Around a bare payload: what small devices leave there."""

AVAILABILITY = "availability"
AVAILABILITY_VALUES = {"online": 1.0, "offline": 0.0}

RANGE_BY_UNIT: dict[str, tuple[float, float]] = {
    "°C": (-60, 150),
    "°F": (-76, 302),
    "%": (0, 100),
    "hPa": (300, 1_200),
    "kPa": (30, 120),
    "V": (0, 1_000),
    "mV": (0, 1_000_000),
    "A": (-1_000, 1_000),
    "mA": (-1_000_000, 1_000_000),
    "W": (-100_000, 100_000),
    "kW": (-1_000, 1_000),
    "VA": (-100_000, 100_000),
    "kWh": (0, 10_000_000),
    "Wh": (0, 10_000_000_000),
    "Hz": (0, 1_000),
    "ppm": (0, 100_000),
    "ppb": (0, 1_000_000),
    "lx": (0, 200_000),
    "lqi": (0, 255),
    "dBm": (-150, 50),
    "µg/m³": (0, 100_000),
    "m³": (0, 100_000_000),
    "L": (0, 100_000_000_000),
}
"""What a sound sensor can say in a unit; outside it a value is kept, with the quality `implausible`."""

SENTINELS = (-8_388_608, 8_388_607, 16_777_215, -32_768, 32_767, 65_535, -2_147_483_648, 2_147_483_647, 4_294_967_295)
"""Integers that devices send for "no value" (the ends of int16, int24, int32 and the unsigned ones). Real: a plug's
`power: -8388608`. They count as implausible where the property has a unit and does not declare them as in range."""

COMMANDS = ("/set", "/get")
"""Topics of commands, which others send to the device: they end so, or a property follows (`lamp/set/brightness`)."""

NOT_TEXT = "\ufffd"
"""In a topic it stands for bytes that were no UTF-8 (a reader before us has replaced them)."""
TEXT_MARK, LEVEL_MARK = "\ufdd0", "\ufdd1"
"""Noncharacters (Unicode, section 23.7), which decoders may use within. A payload that holds them loses the first, and
gets a dot for the second in its names."""

DISCOVERY_PREFIX = "homeassistant/"

IMPORTED = "import"
"""Base topic of imported history (`edge import`): states with a time of their own, however long ago."""

REASONS = {
    # dead letters
    "no_decoder": "no decoder is set for this topic: add its base topic to stream.base_topics, or a route with a "
    "pattern to bridge.routes, then `edge redrive`",
    "not_utf8": "the payload or the topic is not UTF-8 text",
    "bad_json": "the payload begins like JSON and is not one JSON object",
    "duplicate_keys": "the JSON object names a property twice, so that its value is anyone's guess",
    "no_device": "the topic names no device: its name is empty",
    "not_an_object": "a bare value on a device's own topic names no property",
    "wrong_type": "a field of a room's message is not of its column's type: number, whole number, true/false or text",
    "bad_availability": 'an availability is online or offline, bare or as {"state": …}',
    "bad_alert": "an alert's event lacks a field, or one is not what it should be: see edge_assets.alert_record",
    "bad_registry": "bridge/devices or bridge/groups is not a list of devices as Zigbee2MQTT writes it",
    "oversize": "the message was over the log's limit: its pieces lie side by side in the dead letters",
    # ignored
    "control": "the platform's own record",
    "fenced": "the last words of a dead bridge; its successor has logged the message itself",
    "bridge": "what Zigbee2MQTT says of itself: state, info, logging, requests",
    "command": "a command to a device",
    "group": "the state of a group: its members report for themselves",
    "discovery": "announcements to Home Assistant",
    "retained": "a retained state without a time of its own: old news, kept for the device's state",
}
"""Every reason, in words for a person."""
