"""The heap of a JVM of ours, as the JVM itself writes it down: `/tmp/hsperfdata_<user>/<pid>`.

Every HotSpot JVM keeps its counters in that file (JDK's own `jstat` reads nothing else), so that a look costs the JVM
nothing and needs no agent and no port. What is in use is as of the last collection, which is the figure that tells
whether a heap is too small.

The file (version 2): a prologue of 32 bytes, of which byte 4 says the order of bytes, and two ints at 24 where the
entries begin and how many there are; each entry is its length, where its name begins, how long its vector is, four
bytes (type, flags, unit, variability) and where its data begins.
"""

from __future__ import annotations

import re
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"\xca\xfe\xc0\xc0"
LONG = ord("J")
_SPACE = re.compile(r"sun\.gc\.generation\.\d+\.space\.\d+\.used")
_GENERATION = re.compile(r"sun\.gc\.generation\.\d+\.(capacity|maxCapacity)")
_COLLECTOR = re.compile(r"sun\.gc\.collector\.\d+\.time")


@dataclass(frozen=True, slots=True)
class Heap:
    used_bytes: int
    committed_bytes: int
    max_bytes: int
    gc_seconds: float


def heap(pid: int) -> Heap | None:
    """None where there is no such file, or it is none that we understand."""
    for path in Path(tempfile.gettempdir()).glob(f"hsperfdata_*/{pid}"):
        try:
            counters = longs(path.read_bytes())
        except (OSError, ValueError, struct.error):
            continue
        if counters:
            return heap_of(counters)
    return None


def longs(data: bytes) -> dict[str, int]:
    """The counters that are one 64-bit number. Raises `ValueError` and `struct.error` where it is no such file."""
    if data[:4] != MAGIC or len(data) < 32:
        raise ValueError("no file of a JVM's counters")
    order = "<" if data[4] == 1 else ">"
    at, count = struct.unpack_from(f"{order}ii", data, 24)
    found = {}
    for _ in range(count):
        length, name_at, vector, kind, value_at = struct.unpack_from(f"{order}iiib3xi", data, at)
        if length <= 0:
            raise ValueError("an entry without a length")
        if kind == LONG and not vector:
            name = data[at + name_at : data.index(b"\0", at + name_at)].decode("ascii", "replace")
            (found[name],) = struct.unpack_from(f"{order}q", data, at + value_at)
        at += length
    return found


def heap_of(counters: dict[str, int]) -> Heap:
    """What the counters of any of HotSpot's collectors come to."""

    def total(pattern: re.Pattern[str], last: str = "") -> int:
        return sum(value for name, value in counters.items() if pattern.fullmatch(name) and name.endswith(last))

    return Heap(
        total(_SPACE),
        total(_GENERATION, ".capacity"),
        total(_GENERATION, ".maxCapacity"),
        total(_COLLECTOR) / (counters.get("sun.os.hrt.frequency") or 1_000_000_000),
    )
