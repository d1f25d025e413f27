"""The alerts that the page shows: heard from MQTT at once, and made complete from the alerter's own desk.

An event tells what happened; who acknowledged it and what is muted, the desk alone knows. Without the desk, what is
heard stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from typing import Any

from edge_assets.alert_record import AlertEvent
from edge_assets.live.protocol import milliseconds

MOST = 200
"""alerts on the page; the oldest that are not open go first"""

_TIMES = ("since", "fired_at", "cleared_at", "acknowledged_at")

Told = dict[str, Any]
"""an Alert of the protocol"""


class Alerts:
    def __init__(self) -> None:
        self._alerts: dict[str, Told] = {}

    def told(self) -> list[Told]:
        """Newest first."""
        return sorted(self._alerts.values(), key=lambda alert: alert["fired_at"] or 0, reverse=True)

    @property
    def open(self) -> int:
        return sum(alert["cleared_at"] is None for alert in self._alerts.values())

    def hear(self, event: AlertEvent) -> Told | None:
        """The alert after the event; None where it changes nothing that the page shows, or is none of the alerter's."""
        if not _is_sound(event):
            return None
        known = self._alerts.get(event.alert_id)
        at = milliseconds(event.event_time)
        if event.transition == "firing":
            return self._put(_fired(event, known, at))
        if known is None:
            known = {**_fired(event, None, at), "fired_at": milliseconds(event.since)}
        if event.transition == "cleared":
            return self._put({**known, "cleared_at": known["cleared_at"] or at})
        if event.transition == "acknowledged":
            return self._put({**known, "acknowledged_at": known["acknowledged_at"] or at})
        return None  # that somebody was told

    def know(self, alerts: Iterable[Any]) -> list[Told]:
        """Take over what the desk says. Returns those that are other than was known, oldest first.

        The desk may not have heard of a clearing yet that the page has: what has happened stays.
        """
        news = []
        for alert in alerts:
            told = as_told(alert)
            known = self._alerts.get(told["alert_id"], {})
            for time in ("cleared_at", "acknowledged_at"):
                told[time] = told[time] or known.get(time)
            if changed := self._put(told):
                news.append(changed)
        return sorted(news, key=lambda alert: alert["fired_at"] or 0)

    def _put(self, told: Told) -> Told | None:
        if self._alerts.get(told["alert_id"]) == told:
            return None
        self._alerts[told["alert_id"]] = told
        if len(self._alerts) > MOST:
            ranked = sorted(self._alerts.values(), key=lambda a: (a["cleared_at"] is None, a["fired_at"] or 0))
            del self._alerts[ranked[0]["alert_id"]]
        return told


def as_told(alert: Any) -> Told:
    """A `desk.Alert` with its times in milliseconds."""
    fields: Told = asdict(alert) if is_dataclass(alert) and not isinstance(alert, type) else dict(alert)
    times = {name: None if fields[name] is None else milliseconds(fields[name]) for name in _TIMES}
    return {**fields, **times}


def _is_sound(event: AlertEvent) -> bool:
    """Anyone can publish an event. Its fields are of their types, and the number is one."""
    words = (event.alert_id, event.rule, event.kind, event.device_id, event.device_name, event.message)
    may_lack = (event.measurement, event.unit)
    number = event.value is None or (isinstance(event.value, int | float) and math.isfinite(event.value))
    return number and all(isinstance(w, str) for w in words) and all(isinstance(w, str | None) for w in may_lack)


def _fired(event: AlertEvent, known: Told | None, at: float) -> Told:
    return {
        "alert_id": event.alert_id,
        "rule": event.rule,
        "severity": event.severity,
        "kind": event.kind,
        "device_id": event.device_id,
        "device_name": event.device_name,
        "measurement": event.measurement,
        "value": event.value,
        "unit": event.unit,
        "since": milliseconds(event.since),
        "fired_at": at,
        "cleared_at": known["cleared_at"] if known else None,
        "acknowledged_at": known["acknowledged_at"] if known else None,
        "acknowledged_by": known["acknowledged_by"] if known else None,
        "message": event.message,
        "muted": known["muted"] if known else False,
    }
