"""The socket that paho is given: it takes PUBLISH packets out of the stream, many at a time.

paho-mqtt reads a packet with four or more calls of `recv`, makes several objects of it, takes a dozen locks, and
sends each PUBACK by itself: about 20 µs a message. At thousands of messages a second that is all that the bridge
would do. So paho speaks through this object, which reads and writes in large pieces. PUBLISH packets of QoS 0 and 1
are taken apart here, in one pass over the bytes, and PUBACKs leave many in one piece. Everything else of the protocol
(CONNECT, SUBSCRIBE, pings, TLS, the session's states) is paho's as ever: it sees a stream without PUBLISH packets.

Only what a socket-like object needs is used of paho; see `mqtt_in` for the one place where it is put in.
"""

from __future__ import annotations

import socket
import ssl
from collections import deque
from contextlib import suppress
from typing import Any

READ_BYTES = 128 * 1024
PUBLISH = 0x30
DUP = 0x08
RETAIN = 0x01
PUBACK = 0x40020000
PINGREQ = b"\xc0\x00"
PINGRESP = b"\xd0"
WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Publish = tuple[int, bytes, bytes, int]
"""flags (DUP 8, QoS << 1, RETAIN 1), topic, payload, packet identifier (0 at QoS 0)"""


class PublishTap:
    """A non-blocking socket with a buffer each way, as paho wants it, and `take` for the messages."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._in = b""
        self._at = 0
        self._ended = False
        self._out = bytearray()
        self._pings: deque[int] = deque()
        self.acknowledged = 0
        """PUBACKs that were sent over this connection"""
        self.confirmed = 0
        """so many of them the broker is known to have: it answered a ping that was sent after them"""

    # What the bridge uses.

    def fill(self) -> None:
        """Read what is there. An end or an error of the stream is told to paho, by `recv`.

        Of a large message as much again as is there already, so that the bytes are copied a few times and not often.
        """
        rest = self._in[self._at :]
        try:
            data = self._sock.recv(max(READ_BYTES, len(rest)))
        except WOULD_BLOCK:
            return
        except OSError:
            data = b""
        self._ended = not data
        self._in, self._at = rest + data if rest else data, 0

    def take(self, limit: int) -> list[Publish]:
        """At most `limit` messages from the front, up to the first packet that is another or not whole."""
        taken: list[Publish] = []
        data, at, end = self._in, self._at, len(self._in)
        while end - at >= 2 and len(taken) < limit:
            first, length, start = data[at], data[at + 1], at + 2
            if first & 0xF4 != PUBLISH:
                break
            if length & 0x80:
                length, start = _long_length(data, at + 1)
            stop = start + length
            if stop > end or not start:
                if not start and end - at > 4:
                    return self._malformed(taken)
                break
            topic = start + 2
            body = topic + (data[start] << 8 | data[start + 1])
            mid = 0
            if first & 0x02:
                mid = data[body] << 8 | data[body + 1] if body + 2 <= stop else 0
                body += 2
            if body > stop:
                return self._malformed(taken)
            taken.append((first & 0x0F, data[topic : body - 2 if mid else body], data[body:stop], mid))
            at = stop
        self._at = at
        return taken

    def _malformed(self, taken: list[Publish]) -> list[Publish]:
        """Bytes that are no MQTT: for paho the stream ends here, so that it connects anew."""
        self._in, self._at, self._ended = b"", 0, True
        return taken

    def has_packet_for_paho(self) -> bool:
        """Whether paho has something to read: a whole packet that is no message, or the end of the stream.

        Never the beginning of a packet: what paho has begun to read, `take` could not tell from a packet's start.
        """
        data, at = self._in, self._at
        if len(data) - at < 2:
            return self._ended
        length, start = _long_length(data, at + 1)
        whole = start > 0 and start + length <= len(data)
        return self._ended or (whole and data[at] & 0xF4 != PUBLISH)

    def decrypted(self) -> bool:
        """Whether TLS has bytes ready that the kernel, and so `select`, knows nothing of."""
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def acknowledge(self, mids: list[int]) -> None:
        """Put PUBACKs into the outgoing stream; `flush` sends them."""
        self._out += b"".join([(PUBACK | mid).to_bytes(4, "big") for mid in mids])
        self.acknowledged += len(mids)

    def ping(self) -> None:
        """Ask the broker for a PINGRESP, which it sends when it has read all that was sent before."""
        self.send(PINGREQ)

    def asked(self) -> int:
        """So many PUBACKs will be confirmed when all pings are answered."""
        return self._pings[-1] if self._pings else self.confirmed

    def flush(self) -> None:
        """Send what the socket takes. An error is left to the reading side, which sees it too."""
        while self._out:
            try:
                sent = self._sock.send(self._out)
            except WOULD_BLOCK:
                return
            except OSError:
                self._out.clear()
                return
            del self._out[:sent]

    def wants_write(self) -> bool:
        return bool(self._out)

    # What paho uses.

    def recv(self, size: int) -> bytes:
        data = self._in[self._at : self._at + size]
        if not data and not self._ended:
            raise BlockingIOError
        self._at += len(data)
        return data

    def note_answer(self) -> None:
        """To be called before paho reads a packet: a PINGRESP confirms what was sent before its PINGREQ."""
        if self._pings and self._in[self._at : self._at + 1] == PINGRESP:
            self.confirmed = self._pings.popleft()

    def send(self, data: bytes | bytearray) -> int:
        if data[:1] == PINGREQ[:1]:  # paho's own keepalive, too: they are answered in turn
            self._pings.append(self.acknowledged)
        self._out += data
        return len(data)

    def pending(self) -> int:
        """Bytes that `recv` gives without a wait; the name is that of an SSL socket."""
        return len(self._in) - self._at

    def fileno(self) -> int:
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        self._sock.setblocking(flag)

    def close(self) -> None:
        """Send what is left (a DISCONNECT), as far as it goes without waiting."""
        self.flush()
        with suppress(OSError):  # it is closed already
            self._sock.shutdown(socket.SHUT_WR)
        self._sock.close()


def _long_length(data: bytes, at: int) -> tuple[int, int]:
    """The remaining length (2 to 4 bytes from `at`) and where it ends; (0, 0) where it is not all there."""
    length = 0
    for place in range(at, min(at + 4, len(data))):
        length |= (data[place] & 0x7F) << 7 * (place - at)
        if not data[place] & 0x80:
            return length, place + 1
    return 0, 0
