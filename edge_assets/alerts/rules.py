"""What a rule can say, as typed data; docs/alerts.md explains it for people.

A rule watches each device that it means for itself: it has one state for each of them. What a file may hold is exactly
this; reading it, with the lines of what is wrong, is `edge_assets.alerts.rule_file`.
"""

from __future__ import annotations

import hashlib
import json
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    field_validator,
    model_validator,
)

from edge_assets.alert_record import Severity
from edge_assets.alerts import templates
from edge_assets.alerts.durations import SECOND, Duration
from edge_assets.alerts.schedule import Schedule, TimeZone, machine_zone
from edge_assets.listening.heard import Kind

CONTACT, BATTERY, BATTERY_LOW = "contact", "battery", "battery_low"

SHAPES: dict[str, tuple[set[str], set[str]]] = {
    "all": (set(), set()),
    "any": (set(), set()),
    "above": ({"measurement"}, {"clear"}),
    "below": ({"measurement"}, {"clear"}),
    "equals": ({"measurement"}, set()),
    "rises_by": ({"measurement", "within"}, set()),
    "falls_by": ({"measurement", "within"}, set()),
    "changes_by": ({"measurement", "within"}, set()),
    "unchanged_for": ({"measurement"}, set()),
    "offline": (set(), {"silence_times", "silence_at_least"}),
    "door": (set(), set()),
    "battery_below": (set(), {"clear"}),
}
"""The word that makes a condition what it is → what it needs beside it, and what it may have."""


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Above0 = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]


class Condition(Strict):
    """One condition on one device, or several joined. Exactly one of the words of `SHAPES` says which."""

    all: tuple[Condition, ...] | None = Field(default=None, min_length=1)
    any: tuple[Condition, ...] | None = Field(default=None, min_length=1)
    measurement: str | None = None
    above: Number | None = None
    below: Number | None = None
    clear: Number | None = None
    """the level at which it no longer holds; unset: the same"""
    equals: StrictBool | Number | StrictStr | None = Field(default=None, union_mode="left_to_right")
    rises_by: Above0 | None = None
    falls_by: Above0 | None = None
    changes_by: Above0 | None = None
    within: Duration | None = None
    unchanged_for: Duration | None = None
    offline: Literal[True] | None = None
    silence_times: Annotated[float, Field(strict=True, ge=0)] = 6
    """so many times the longest silence that is usual for it; 0: silence says nothing"""
    silence_at_least: Duration = 1800 * SECOND
    door: Literal["open", "closed"] | None = None
    battery_below: Number | None = None

    @model_validator(mode="after")
    def _one_shape(self) -> Condition:
        given = self.model_fields_set - {name for name in self.model_fields_set if getattr(self, name) is None}
        words = sorted(given & SHAPES.keys())
        if len(words) != 1:
            raise ValueError(f"a condition has one of {', '.join(SHAPES)}, not {' and '.join(words) or 'none of them'}")
        needed, allowed = SHAPES[words[0]]
        if missing := needed - given:
            raise ValueError(f"with `{words[0]}` goes `{min(missing)}`, which is missing")
        if surplus := given - needed - allowed - {words[0]}:
            raise ValueError(f"`{min(surplus)}` means nothing beside `{words[0]}`")
        self._check_levels()
        return self

    def _check_levels(self) -> None:
        if self.clear is None:
            return
        if self.above is not None and self.clear > self.above:
            raise ValueError(f"clear ({self.clear:g}) has to be at or below the level of `above` ({self.above:g})")
        low = self.below if self.below is not None else self.battery_below
        if low is not None and self.clear < low:
            raise ValueError(f"clear ({self.clear:g}) has to be at or above the level of `below` ({low:g})")

    @field_validator("within", "unchanged_for")
    @classmethod
    def _some_time(cls, value: int | None) -> int | None:
        if value is not None and value < SECOND:
            raise ValueError("it has to be a second at least")
        return value


def _listed(said: Any) -> Any:
    return (said,) if isinstance(said, str) else said


Patterns = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Kinds = Annotated[tuple[Kind, ...], BeforeValidator(_listed), Field(min_length=1)]


class Rule(Strict):
    """One rule: whom it means, what has to hold and for how long, and who is told what."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    enabled: bool = True
    devices: Patterns = Field(default=("*",), min_length=1, description="patterns of names or identifiers")
    but: Patterns = Field(default=(), alias="except")
    kind: Kinds = ("device", "room")
    having: str | None = Field(default=None, description="only devices that have this measurement")
    condition: Condition
    for_: Duration = Field(default=0, alias="for")
    clear_after: Duration = 0
    when: Schedule | None = Field(default=None, description="outside these hours the condition does not count")
    quiet: Schedule | Literal["never"] | None = Field(default=None, description="in these hours nobody is told")
    severity: Severity = "warning"
    message: str | None = None
    cleared_message: str | None = None
    notify: Patterns | None = Field(default=None, description="names of channels; unset: all of them")
    remind: Duration | None = None

    @field_validator("message", "cleared_message")
    @classmethod
    def _template(cls, value: str | None) -> str | None:
        if value is not None:
            templates.check(value)
        return value

    @field_validator("remind")
    @classmethod
    def _not_at_once(cls, value: int | None) -> int | None:
        if value is not None and value < 60 * SECOND:
            raise ValueError("reminders are a minute apart at least")
        return value

    def means(self, kind: str, device_id: str, device_name: str) -> bool:
        """Whether the rule is about a device, as far as name and kind say."""
        if kind not in self.kind:
            return False
        names = (device_id, device_name)
        return _fits(self.devices, names) and not _fits(self.but, names)

    @property
    def fingerprint(self) -> str:
        """Of all that the state of a device under this rule was computed with."""
        said = self.condition.model_dump(exclude_defaults=True, mode="json")
        return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=8).hexdigest()


def _fits(patterns: tuple[str, ...], names: tuple[str, ...]) -> bool:
    return any(pattern == "*" or fnmatchcase(name, pattern) for pattern in patterns for name in names)


class Rules(Strict):
    """A whole file of rules."""

    time_zone: TimeZone = Field(
        default_factory=machine_zone, description="of all hours and times; unset: the machine's"
    )
    quiet: Schedule | None = Field(default=None, description="in these hours only critical alerts are told")
    rules: tuple[Rule, ...] = ()

    @property
    def in_force(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.enabled)

    def quiet_until(self, rule: Rule, at: int) -> int | None:
        """When the rule's quiet hours end, None where it may be told at `at`."""
        schedule = rule.quiet
        if schedule is None:
            schedule = None if rule.severity == "critical" else self.quiet
        if schedule is None or schedule == "never" or not schedule.covers(at, self.time_zone):
            return None
        return schedule.next_change(at, self.time_zone)
