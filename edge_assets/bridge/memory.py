"""What a bridge remembers across its starts besides the log: a small file, EDGE_HOME/bridge/<id>.json.

The log is the authority on incarnations and epochs; without the file all goes on, with one more subscription (so that
retained messages come once more) and without knowing for how long nobody was there.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edge_assets.bridge.redelivery import IDENTIFIERS
from edge_assets.settings import Settings

AWAY_KEPT = 20


@dataclass(slots=True)
class Memory:
    """Fields are saved as they are named; unknown ones in the file are passed over."""

    incarnation: int = 0
    epoch: str = ""
    broker: str = ""
    """address of the broker whose session it is"""
    filters: list[str] = field(default_factory=list)
    """what the session is subscribed to"""
    settled: bool = False
    """false from before a CONNECT until the session is known and subscribed: then a kill leaves it open which it is"""
    waited_for: int = IDENTIFIERS
    """how many logged messages the broker may be waiting to hear of (see `redelivery`); unknown: all there can be"""
    seen_us: int = 0
    """when a bridge was last connected, to about ten seconds"""
    away: list[list[int]] = field(default_factory=list)
    """[from, to] in µs UTC: when no bridge was connected; the last AWAY_KEPT"""
    dropped_total: int = -1
    """the broker's own counter as last read; -1: never"""
    dropped_by_broker: int = 0

    def was_away(self, since_us: int, until_us: int) -> None:
        if 0 < since_us < until_us:
            self.away = [*self.away, [since_us, until_us]][-AWAY_KEPT:]

    def save(self, settings: Settings) -> None:
        """Replace the file, forced to the disk: the next bridge must not read an older one."""
        path = memory_path(settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        with aside.open("w") as file:
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)


def memory_path(settings: Settings) -> Path:
    return settings.home / "bridge" / f"{settings.bridge.id}.json"


def load_memory(settings: Settings) -> Memory:
    """The file's content; an empty memory where it is missing or not readable."""
    try:
        known = json.loads(memory_path(settings).read_text())
        return Memory(**{name: value for name, value in known.items() if name in Memory.__dataclass_fields__})
    except (OSError, ValueError, TypeError, AttributeError):
        return Memory()
