"""Alerts as the alerter itself knows them, to the second. A longer history is `views/grafana_alerts`, from the lake."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from edge_assets.alert_record import iso
from edge_assets.serving.answers import TimeFormat
from edge_assets.serving.parameters import MOST_ALERTS, AlertsAsked, choices
from edge_assets.serving.times import Span
from edge_assets.settings import Settings

if TYPE_CHECKING:
    from edge_assets.alerts.desk import Alert

_TIMES = ("since", "fired_at", "cleared_at", "acknowledged_at")


def listed(settings: Settings, asked: AlertsAsked) -> tuple[list[dict[str, Any]], bool]:
    """(the alerts that were open at some time in the span, newest first; whether some were left out).

    Raises `Misasked` for a span or a list that is none.
    """
    wanted = {name: choices(getattr(asked, name), name) for name in ("device", "rule", "severity")}
    found = [alert for alert in within(settings, asked.span(), asked.open) if _is_wanted(alert, wanted)]
    return [_shown(alert, asked.time) for alert in found[: asked.limit]], len(found) > asked.limit


def within(settings: Settings, span: Span, open: bool | None = None) -> list[Alert]:
    from edge_assets.alerts.desk import alerts

    begin, end = _micros(span.begin), _micros(span.end) or 0
    found = alerts(settings, open_only=bool(open), limit=MOST_ALERTS)
    return [
        alert
        for alert in found
        if alert.fired_at < end
        and (begin is None or alert.cleared_at is None or alert.cleared_at >= begin)
        and (open is not False or alert.cleared_at is not None)
    ]


def summary(alerts: Iterable[Alert]) -> dict[str, Any]:
    """What these come to: how many, of which rules, and how long it took until they were cleared and seen."""
    found = list(alerts)
    by_rule: dict[tuple[str, str], list[Alert]] = defaultdict(list)
    for alert in found:
        by_rule[alert.rule, alert.severity].append(alert)
    rules = [{"rule": rule, "severity": severity, **_counts(its)} for (rule, severity), its in sorted(by_rule.items())]
    severities = Counter(alert.severity for alert in found)
    return {**_counts(found), "by_severity": dict(sorted(severities.items())), "by_rule": rules}


def _counts(alerts: list[Alert]) -> dict[str, Any]:
    cleared = [(alert.cleared_at - alert.fired_at) / 1e6 for alert in alerts if alert.cleared_at is not None]
    seen = [(alert.acknowledged_at - alert.fired_at) / 1e6 for alert in alerts if alert.acknowledged_at is not None]
    return {
        "alerts": len(alerts),
        "open": sum(alert.cleared_at is None for alert in alerts),
        "acknowledged": len(seen),
        "muted": sum(alert.muted for alert in alerts),
        "seconds_to_clear_median": statistics.median(cleared) if cleared else None,
        "seconds_to_clear_longest": max(cleared, default=None),
        "seconds_to_acknowledge_median": statistics.median(seen) if seen else None,
    }


def _is_wanted(alert: Alert, wanted: dict[str, list[str] | None]) -> bool:
    has = {"device": {alert.device_id, alert.device_name}, "rule": {alert.rule}, "severity": {alert.severity}}
    return all(values is None or has[name] & set(values) for name, values in wanted.items())


def _shown(alert: Alert, time: TimeFormat) -> dict[str, Any]:
    shown = asdict(alert)
    for name in _TIMES:
        if shown[name] is not None:
            shown[name] = shown[name] / 1_000 if time == "ms" else iso(shown[name])
    return shown


def _micros(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1_000_000)
