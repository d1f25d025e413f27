"""A message that the log refuses, kept with its bytes: in pieces, in the dead-letter topic.

Each piece is a record of the dead-letter topic: key = the MQTT topic, value = its part of the payload, and two
headers: `mqtt` as on any record (the same on all pieces, so that it names the message), and `dead-letter`,
`name=value` pairs with a space between them, names as in `Piece`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

HEADER = "dead-letter"
RECORD_OVERHEAD_BYTES = 512
"""room for what a record and its batch cost beside key, value and `mqtt` header: at most some 300 bytes"""


@dataclass(frozen=True, slots=True)
class Piece:
    """Which part of which message."""

    reason: str
    """a word that can be grouped by: `too_large`, or Kafka's name of the error"""
    topic: str
    """the Kafka topic it was meant for"""
    index: int
    count: int
    size: int
    """bytes of the whole payload"""
    sha256: str
    """of the whole payload, in hex"""

    def encode(self) -> bytes:
        return (
            f"reason={self.reason} topic={self.topic} index={self.index} count={self.count} "
            f"size={self.size} sha256={self.sha256}"
        ).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Piece:
        """Raises `ValueError` or `KeyError` where `raw` is not one of ours."""
        pairs = dict(pair.split("=", 1) for pair in raw.decode().split(" "))
        index, count, size = int(pairs["index"]), int(pairs["count"]), int(pairs["size"])
        return cls(pairs["reason"], pairs["topic"], index, count, size, pairs["sha256"])


def in_pieces(payload: bytes, reason: str, topic: str, room: int) -> Iterator[tuple[bytes, Piece]]:
    """The payload in parts of at most `room` bytes, each with its description. An empty payload is one part."""
    digest = hashlib.sha256(payload).hexdigest()
    starts = range(0, max(len(payload), 1), max(room, 1))
    for index, start in enumerate(starts):
        yield payload[start : start + room], Piece(reason, topic, index, len(starts), len(payload), digest)
