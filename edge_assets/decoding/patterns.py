"""Topics that say by their levels what a bare payload is: `pico/<measurement>/<sensor>`, `building/<room>/telemetry`.

A pattern stands for one level with each `<name>`, which must not be empty; all other levels stand for themselves.
`<measurement>` and `<room>` have a meaning of their own. A device is named by the fixed levels before the first name,
and by all names but the measurement: `pico/temperature/dht22` is the temperature of the device `pico/dht22`, and
`<node>/sensor/<measurement>/state` speaks of the device `<node>`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

MEASUREMENT, ROOM = "measurement", "room"

_NAME = re.compile(r"<([a-z][a-z0-9_]*)>")
_NOT_IN_KAFKA = re.compile(r"[^A-Za-z0-9_-]")
LONGEST_PART = 60
"""signs of a name within a Kafka topic's (which has 249 at most)"""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern. `levels` as they were written, `names` by the number of their level."""

    levels: tuple[str, ...]
    names: dict[int, str]

    @classmethod
    @cache
    def parse(cls, text: str) -> Pattern:
        """Raises `ValueError`, in words, where it is none."""
        levels = tuple(text.split("/"))
        names = {}
        for number, level in enumerate(levels):
            if match := _NAME.fullmatch(level):
                names[number] = match[1]
            elif not level or set(level) & set("<>+#"):
                raise ValueError(f"the level {level!r} is neither fixed nor a <name>")
        if not names:
            raise ValueError("no level of it is a <name>")
        if len(set(names.values())) < len(names):
            raise ValueError("it has a name twice")
        if {MEASUREMENT, ROOM} <= set(names.values()):
            raise ValueError("a topic is a measurement's or a room's, not both")
        return cls(levels, names)

    @property
    def filter(self) -> str:
        """The MQTT topic filter of its topics (and of some with an empty level)."""
        return "/".join("+" if number in self.names else level for number, level in enumerate(self.levels))

    @property
    def regex(self) -> str:
        """It matches its topics, as a whole; the same for Python and Java."""
        parts = ("[^/]+" if number in self.names else _escaped(level) for number, level in enumerate(self.levels))
        return "/".join(parts)

    def level_of(self, name: str) -> int | None:
        """The number of a name's level, from 0."""
        return next((number for number, known in self.names.items() if known == name), None)

    @property
    def device_levels(self) -> tuple[int, ...]:
        """The levels that name the device, joined by `/`; of a room, the room alone."""
        room = self.level_of(ROOM)
        if room is not None:
            return (room,)
        named = [number for number, name in self.names.items() if name != MEASUREMENT]
        return (*range(min(self.names)), *named)

    def matches(self, topic: str) -> bool:
        return re.fullmatch(self.regex, topic) is not None


def kafka_topic(template: str, pattern: Pattern, topic: str) -> str:
    """A Kafka topic's template with its names filled in: `telemetry.<room>` → `telemetry.kitchen`.

    What Kafka does not take in a name becomes `-`, the dot too: so a name never reaches into another topic's tree.
    """
    levels = topic.split("/")

    def filled(match: re.Match[str]) -> str:
        number = pattern.level_of(match[1])
        level = "" if number is None else levels[number]
        return _NOT_IN_KAFKA.sub("-", level)[:LONGEST_PART] or "-"

    return _NAME.sub(filled, template)


def is_template(topic: str) -> bool:
    return _NAME.search(topic) is not None


def names_in(template: str) -> set[str]:
    return set(_NAME.findall(template))


def template_regex(template: str) -> str:
    """It matches the Kafka topics that a template can give, as a whole."""
    fixed = _NAME.split(template)[::2]
    return "[A-Za-z0-9_-]+".join(map(_escaped, fixed))


def _escaped(text: str) -> str:
    return re.sub(r"([^A-Za-z0-9_])", r"\\\1", text) if text.isascii() else re.escape(text)
