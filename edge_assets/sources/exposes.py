"""How `bridge/devices` describes a device's model and its measurements: the pieces of `definition.exposes`.

The form is Zigbee2MQTT's (its documentation, "Exposes"): a type, a property, a unit, a range, the two values of
what is binary, and `access`, a set of bits: 1 published in the state, 2 can be set, 4 can be asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Expose = dict[str, Any]

PUBLISHED = 1
SETTABLE = 2
READABLE = 5
ALL = 7


@dataclass(frozen=True, slots=True)
class Model:
    """What all devices of a model share in `bridge/devices`."""

    name: str
    vendor: str
    description: str
    exposes: tuple[Expose, ...]
    zigbee_type: str
    """EndDevice (sleeps, on a battery) or Router (always on)"""
    power_source: str
    clusters: tuple[str, ...]
    firmware: str
    firmware_date: str


def numeric(name: str, unit: str | None, access: int, description: str, **more: Any) -> Expose:
    """A number with its unit; `value_min`, `value_max`, `value_step` where the device declares them."""
    return _expose("numeric", name, access, description, **({"unit": unit} if unit else {}), **more)


def binary(name: str, on: Any, off: Any, access: int, description: str, **more: Any) -> Expose:
    """Two values, whatever they are: true and false, "ON" and "OFF", "ENABLE" and "DISABLE"."""
    return _expose("binary", name, access, description, value_on=on, value_off=off, **more)


def enum(name: str, values: tuple[str, ...], access: int, description: str, **more: Any) -> Expose:
    return _expose("enum", name, access, description, values=list(values), **more)


def composite(name: str, access: int, description: str, features: list[Expose]) -> Expose:
    """An object of several values, nested in the state under its name."""
    return _expose("composite", name, access, description, features=features)


def switch() -> Expose:
    """What can be switched: a group of features without a name of its own."""
    state = binary("state", "ON", "OFF", ALL, "Whether the relay is closed", value_toggle="TOGGLE")
    return {"type": "switch", "features": [state]}


def linkquality() -> Expose:
    """Zigbee2MQTT adds it to every device."""
    return numeric(
        "linkquality", "lqi", PUBLISHED, "Strength of the radio link", value_min=0, value_max=255, category="diagnostic"
    )


def _expose(kind: str, name: str, access: int, description: str, **more: Any) -> Expose:
    label = name.replace("_", " ").capitalize()
    return {
        "type": kind,
        "name": name,
        "property": name,
        "label": label,
        "access": access,
        "description": description,
        **more,
    }
