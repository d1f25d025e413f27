"""The contract between the alerter and whoever hears of alerts: the lake, the live page, other programs.

Each event in an alert's life is one MQTT message, QoS 1 and not retained, on `edge/alerts/<rule>`; its payload is a
JSON object with the fields of `AlertEvent`, times in ISO 8601 with microseconds and `Z`. The bridge carries it to
Kafka as any other message, and it becomes a row of `silver.alerts`.

The alerter publishes an event until the broker has acknowledged it: after a crash it may come again, with the same
`event_id`. Who counts takes one row for each.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

ALERTS = "edge/alerts/"
"""what topics of alerts begin with"""

Transition = Literal["firing", "cleared", "notified", "acknowledged"]
"""firing: the rule's condition has held for long enough; cleared: it no longer does; notified: the message about one of
these was handed to all channels; acknowledged: a person has seen it. One alert fires and clears once; `notified` comes
after each of the two, where anybody is to be told."""

Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """One event of one alert. Times are microseconds since 1970 UTC, and ISO 8601 in the message."""

    event_id: str
    """the same in each copy of the event: alert_id, a dash, and its number within the alert"""
    alert_id: str
    """one firing of one rule for one device, until it has cleared"""
    transition: Transition
    rule: str
    """the rule's name: letters, digits, `-` and `_`"""
    severity: Severity
    kind: str
    """device, room or bridge"""
    device_id: str
    device_name: str
    measurement: str | None
    """what the rule watches, the first of several; null: the device's presence"""
    value: float | None
    """of the measurement, when this event happened"""
    unit: str | None
    since: int
    """when the condition began to hold; event time"""
    event_time: int
    """when this event happened: of firing and cleared by the devices' own times"""
    message: str
    """the alert in words, as it is sent to people"""

    @property
    def topic(self) -> str:
        return ALERTS + self.rule

    def encode(self) -> bytes:
        said = {**asdict(self), "since": iso(self.since), "event_time": iso(self.event_time)}
        return json.dumps(said, ensure_ascii=False).encode()

    @classmethod
    def decode(cls, payload: bytes) -> AlertEvent:
        """Raises `ValueError`, in words, where the payload is no event of ours."""
        try:
            said: dict[str, Any] = json.loads(payload)
            event = cls(**{**said, "since": micros(said["since"]), "event_time": micros(said["event_time"])})
        except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"an alert's event is JSON with the fields of AlertEvent: {error}") from error
        if event.transition not in get_args(Transition) or event.severity not in get_args(Severity):
            raise ValueError(f"an alert is not {event.severity}, nor can it be {event.transition}")
        return event


def iso(at: int) -> str:
    """Microseconds since 1970 as a text."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1_000_000:06d}Z"


def micros(text: str) -> int:
    """The same backwards. Raises `ValueError`."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{6})Z", text)
    if not match:
        raise ValueError(f"{text!r} is no time: it has microseconds and Z")
    return int(datetime.fromisoformat(match[1]).replace(tzinfo=UTC).timestamp()) * 1_000_000 + int(match[2])
