"""An alert in words: by its rule's template, or what is said where a rule has none."""

from __future__ import annotations

from edge_assets.alert_record import AlertEvent
from edge_assets.alerts import durations, schedule
from edge_assets.alerts.rules import Condition, Rule


def message(
    rule: Rule,
    transition: str,
    *,
    device: str,
    measurement: str | None,
    value: float | str | None,
    unit: str | None,
    since: int,
    at: int,
    time_zone: str,
) -> str:
    """The message of an event, by the rule's template or the ready-made one."""
    own = rule.message if transition == "firing" else rule.cleared_message
    template = own if own is not None else _ready_made(rule, transition)
    said = {
        "device": device,
        "measurement": measurement or "availability",
        "value": "?" if value is None else value if isinstance(value, str) else f"{value:.10g}",
        "unit": unit or "",
        "since": f"{schedule.local(since, time_zone):%Y-%m-%d %H:%M}",
        "duration": durations.words(at - since),
        "rule": rule.name,
        "severity": rule.severity,
    }
    return " ".join(template.format_map(said).split())


def _ready_made(rule: Rule, transition: str) -> str:
    if transition != "firing":
        return "{device}: {rule} is over after {duration}"
    told = _condition(rule.condition)
    return "{device}: " + told + (", since {since}" if rule.for_ else "")


def _condition(said: Condition) -> str:
    """A condition as a template: only numbers and texts of ours, with braces doubled where a rule brought them."""
    if said.offline:
        return "offline"
    if said.door:
        return said.door
    if said.battery_below is not None:
        return "battery low ({value} {unit})"
    for word, words in _LEVELS.items():
        if (level := getattr(said, word)) is not None:
            return "{measurement} is {value} {unit}, " + words.format(f"{level:g}")
    for word, words in _CHANGES.items():
        if (by := getattr(said, word)) is not None:
            return f"{{measurement}} {words} {by:g} within {durations.words(said.within or 0)}, to {{value}} {{unit}}"
    if said.unchanged_for is not None:
        return f"{{measurement}} has said {{value}} {{unit}} for {durations.words(said.unchanged_for)}"
    return "{rule}: {measurement} is {value} {unit}"


_LEVELS = {"above": "above {}", "below": "below {}"}
_CHANGES = {"rises_by": "rose by more than", "falls_by": "fell by more than", "changes_by": "changed by more than"}


def title(event: AlertEvent) -> str:
    """The first line that people see."""
    head = "cleared" if event.transition == "cleared" else event.severity
    return f"{head}: {event.rule}: {event.device_name}"
