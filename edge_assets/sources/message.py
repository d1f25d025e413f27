"""One MQTT publication, as a source means it; and JSON as Zigbee2MQTT writes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """`at_seconds` is simulated time since the network's start; the rest is what goes on the wire."""

    at_seconds: float
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


def encode(value: Any) -> bytes:
    """JSON as Zigbee2MQTT 2.x writes it: keys sorted, no spaces, other scripts left as they are, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def rounded(value: float, digits: int) -> int | float:
    """A number as JavaScript prints it: 231, never 231.0."""
    short = round(value, digits)
    return int(short) if short == int(short) else short
