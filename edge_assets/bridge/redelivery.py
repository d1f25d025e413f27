"""Is a message that the broker sends again new, a repeat of a logged one, or maybe a repeat? Pure: no input or output.

What MQTT gives (3.1.1, sections 4.3, 4.4 and 4.6): after a reconnect to a session that persisted, the broker sends
what was not acknowledged once more, with DUP=1, with the same packet identifier, in the order of the first sending.
Two messages on their way at a time never have the same identifier. What we give: acknowledgements in order, and only
for logged messages. So a redelivery whose identifier, topic and bytes equal a logged record that the broker can still
be waiting for is that record's message, and its payload alone would prove nothing: sensors repeat themselves.

Which records can the broker still be waiting for?

- The receive maximum bounds nothing here: after a client died, Mosquitto 2.0 may take all that it has queued for sent,
  and send it with DUP=1 (measured: 1,520 messages at a maximum of 50). So the bridge sets the bound: it takes no more
  than `limit` messages ahead of those whose acknowledgement the broker is known to have (`MqttIn.confirmed`).
  What it took in a connection that was cut comes on top: it is carried over into the next.
- Twice as many records as that: those sent after a record are logged after it, and those sent before it may be (where
  they went to another partition, did not land, and were redelivered).
- Not one whose identifier a later record has: the broker had its acknowledgement before it gave it out again.
- None, once more redeliveries were new than a bridge has on their way to the log: one of them was never taken then,
  and neither was anything sent after it.
- Brokers give out identifiers in a circle, so that one comes back only after 65,535 others. Where the log shows
  otherwise (some brokers give out the lowest free one), an equal identifier may be a new message that was lost on its
  way: then the record could be the message or not, and the message is logged, marked `maybe_repeat`. Losing one that
  is new would be worse than keeping one twice and saying so.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import sha256

IDENTIFIERS = 65_535
WINDOW = 2
"""so many times the records that may be waited for are remembered, those marked `maybe_repeat` not counted"""

_RECENT = struct.Struct("<H?32s")
"""identifier, DUP, digest: behind a long queue there are 131,000 of them, and tuples took three times the memory"""


class Verdict(Enum):
    NEW = "new"
    REPEAT = "repeat"
    MAYBE = "maybe"


@dataclass(frozen=True, slots=True)
class Logged:
    """What is remembered of one logged QoS 1 message. `inc` and `order` sort messages as they were received."""

    mid: int
    digest: bytes
    dup: bool
    inc: int
    order: int
    certain: bool = True
    """whether an equal redelivery is this message for certain"""
    marked: bool = False
    """logged as `maybe_repeat`"""


def digest_of(topic: bytes, payload_sha256: bytes) -> bytes:
    """What stands for a message, 32 bytes: equal where the bytes of topic and payload are."""
    return sha256(payload_sha256 + topic).digest()


class Redeliveries:
    """The last logged messages of the session, and the verdict on what the broker sends again.

    `limit` is how many messages are taken at most ahead of those that the broker is known to have acknowledged;
    `carried` how many logged messages it may have been waiting for when the last connection ended. `tail` is what was
    read back from the log, at least the last `WINDOW * carried` records that are not marked; `whole`: it reaches back
    to the session's start. `complete`: nothing that matters is missing; where the log was cut off (retention), a
    redelivery that is not found may be missing from it.
    """

    def __init__(
        self,
        limit: int,
        tail: Iterable[Logged] = (),
        *,
        carried: int = 0,
        whole: bool = True,
        complete: bool = True,
    ) -> None:
        self._limit = self._holes = limit
        self._past = sorted(tail, key=lambda one: (one.inc, one.order))
        self._whole = whole
        self._complete = complete
        self._recent: deque[bytes] = deque()
        self._last_excused: dict[int, int] = {}
        self._waiting: dict[int, Logged] | None = None
        self._begin_connection(carried, unacknowledged=0)

    def reconnected(self, unacknowledged: int, unconfirmed: int) -> None:
        """A new connection to the same session.

        The last `unacknowledged` that were logged had no PUBACK from us; of `unconfirmed` taken messages it is not
        known that the broker has one.
        """
        self._begin_connection(min(self._carried + unconfirmed, IDENTIFIERS), unacknowledged)

    @property
    def waited_for(self) -> int:
        """How many logged messages the broker may be waiting for, at any time in this connection."""
        return min(self._carried + self._limit, IDENTIFIERS)

    @property
    def first_sending_seen(self) -> bool:
        """Whether a message was logged that came for the first time: all that was carried over came before it."""
        last = self._recent[-1] if self._recent else None
        return last is not None and last is not self._last_before and not _RECENT.unpack(last)[1]

    def take_further_ahead(self, limit: int) -> None:
        """From now on so many messages are taken ahead of those that the broker is known to have acknowledged."""
        self._limit = limit
        self._remember(WINDOW * self.waited_for)

    def carried_over(self) -> None:
        """The broker is known to have the acknowledgement of all that was carried over into this connection."""
        self._carried = 0

    def logged(self, mid: int, topic: bytes, payload: bytes, dup: bool, marked: bool = False) -> None:
        """Remember a QoS 1 message that goes to the log, in order of arrival; `marked`: as `maybe_repeat`."""
        if marked:
            self._remember((self._recent.maxlen or 0) + 1)
        self._recent.append(_RECENT.pack(mid, dup, digest_of(topic, sha256(payload).digest())))

    def judge(self, mid: int, topic: bytes, payload: bytes) -> Verdict:
        """The verdict on a message with DUP=1. A REPEAT excuses its record: the next equal one is not excused by it."""
        if self._waiting is None:
            self._waiting = self._records_waited_for()
        record = self._waiting.get(mid) if self._new <= self._holes else None
        if record is None or record.digest != digest_of(topic, sha256(payload).digest()):
            self._new += 1
            return Verdict.NEW if self._complete else Verdict.MAYBE
        del self._waiting[mid]
        in_order = record.order > self._last_excused.get(record.inc, -1)
        if not (in_order and record.certain):
            return Verdict.MAYBE
        self._last_excused[record.inc] = record.order
        return Verdict.REPEAT

    def _begin_connection(self, carried: int, unacknowledged: int) -> None:
        self._carried, self._unacknowledged = carried, unacknowledged
        self._limit, self._new = self._holes, 0
        self._last_before = self._recent[-1] if self._recent else None
        self._last_excused, self._waiting = {}, None
        self._remember(WINDOW * self.waited_for)

    def _remember(self, count: int) -> None:
        """Never less than before: what was carried over has to stay."""
        self._recent = deque(self._recent, maxlen=max(count, self._recent.maxlen or 0))

    def _records_waited_for(self) -> dict[int, Logged]:
        """By identifier, the records whose acknowledgement the broker may not have."""
        whole = self._whole and len(self._recent) != self._recent.maxlen
        room = min(self.waited_for, IDENTIFIERS // 2)
        records = with_certainty([*self._past, *self._recent_records()], room, whole)
        first_unsent = len(records) - self._unacknowledged
        known = [replace(one, certain=True) if at >= first_unsent else one for at, one in enumerate(records)]
        return {one.mid: one for one in known}  # of equal identifiers the last: the broker had the others acknowledged

    @property
    def _incarnation(self) -> int:
        return self._past[-1].inc + 1 if self._past else 0

    def _recent_records(self) -> list[Logged]:
        inc = self._incarnation
        return [
            Logged(mid, digest, dup, inc, order)
            for order, (mid, dup, digest) in enumerate(map(_RECENT.unpack, self._recent))
        ]


def with_certainty(records: Sequence[Logged], room: int, whole: bool) -> list[Logged]:
    """`records`, in order of arrival, with `certain` withdrawn where an identifier can have been given out again.

    Walking back from the last, the identifiers that the broker has given out since are added up: a record is certain
    while they are less than a circle, with `room` for those that were on their way unseen. That it goes in a circle is
    shown by an identifier above `room` (with the lowest free one of so many there is none), or else by a session whose
    records are there from its start (`whole`) without a step back. A step of more than half a circle is a step back:
    what lies before it is uncertain.
    """
    distance, since, highest = room, 0, 0
    last: int | None = None
    stepped_back = False
    for one in reversed(records):
        if not one.dup:
            step = 0 if last is None else (last - one.mid) % IDENTIFIERS or IDENTIFIERS
            stepped_back = step > IDENTIFIERS // 2
            distance += step
            last = one.mid
        if stepped_back or distance >= IDENTIFIERS:
            break
        highest = max(highest, one.mid)
        since += 1
    in_a_circle = highest > room or (whole and not stepped_back)
    first_certain = len(records) - since if in_a_circle else len(records)
    return [one if place >= first_certain else replace(one, certain=False) for place, one in enumerate(records)]
