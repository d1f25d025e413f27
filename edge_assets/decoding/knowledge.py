"""What decoding needs to know besides the record itself and the devices. It changes rarely; each change is a record.

The records that teach it are described in `edge_assets.log_record`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


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
    """Barriers, clocks that were set late, descriptions of devices that are none, columns that rooms have brought."""

    fences: tuple[Fence, ...] = ()
    clocks: Mapping[str, int] = field(default_factory=dict)
    """boot → microseconds from its monotonic clock to the true time"""
    bad_registry: frozenset[tuple[str, int, int]] = frozenset()
    """positions (log_id, partition, offset) of registry records that are not what they should be"""
    room_fields: Mapping[str, str] = field(default_factory=dict)
    """columns of `silver.room_telemetry` that fields of messages have brought (`edge_assets.decoding.fields`) → type"""

    def from_here(self, positions: Mapping[tuple[str, int], int]) -> Knowledge:
        """What of it concerns records at or behind `positions`: (log_id, partition) → offset.

        Of the barriers before it only the newest counts, for it fences all that the others do. What decoding is told
        becomes part of a plan that is made for each batch, and ten rooms have ten topics with barriers of their own.
        """
        newest: dict[tuple[str, int, str], Fence] = {}
        behind = []
        for fence in sorted(self.fences, key=lambda fence: fence.kafka_offset):
            place = (fence.log_id, fence.kafka_partition)
            if fence.kafka_offset < positions.get(place, 0):
                newest[(*place, fence.bridge)] = fence
            else:
                behind.append(fence)
        bad = frozenset(at for at in self.bad_registry if at[2] >= positions.get(at[:2], 0))
        return replace(self, fences=(*newest.values(), *behind), bad_registry=bad)
