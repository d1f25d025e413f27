"""What decoding needs to know besides the record itself and the devices. It changes rarely; each change is a record.

The records that teach it are described in `edge_assets.log_record`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Fence:
    """A barrier of a bridge in a partition: older incarnations' records behind it do not count."""

    log_id: str
    kafka_partition: int
    bridge: str
    incarnation: int
    kafka_offset: int


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Barriers, clocks that were set late, and descriptions of devices that are none."""

    fences: tuple[Fence, ...] = ()
    clocks: Mapping[str, int] = field(default_factory=dict)
    """boot → microseconds from its monotonic clock to the true time"""
    bad_registry: frozenset[tuple[str, int, int]] = frozenset()
    """positions (log_id, partition, offset) of registry records that are not what they should be"""
