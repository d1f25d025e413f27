"""The socket that paho is given: messages come out as they went in, however the stream is cut."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_assets.bridge.publish_tap import PublishTap

PINGRESP = b"\xd0\x00"


def packet(flags: int, topic: bytes, payload: bytes, mid: int) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + (mid.to_bytes(2, "big") if flags & 6 else b"") + payload
    length, rest = b"", len(body)
    while True:
        rest, digit = rest >> 7, rest & 0x7F
        length += bytes([digit | 0x80 if rest else digit])
        if not rest:
            return bytes([0x30 | flags]) + length + body


MESSAGES = st.builds(
    lambda dup, qos, retain, topic, payload, mid: (
        dup * 8 * qos | qos << 1 | retain,
        topic,
        payload,
        mid if qos else 0,
    ),
    st.integers(0, 1),
    st.integers(0, 1),
    st.integers(0, 1),
    st.binary(max_size=12),
    st.binary(max_size=6) | st.integers(120, 130).map(bytes) | st.integers(16_370, 16_390).map(bytes),
    st.integers(1, 65_535),
)


class Pair:
    """A tap with the other end of its socket."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.tap = PublishTap(ours)
        self.tap.setblocking(False)

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        self.tap.close()
        self.theirs.close()


@given(st.lists(MESSAGES | st.none(), max_size=8), st.data())
def test_messages_come_out_as_they_went_in(messages, data):
    stream = b"".join(packet(*one) if one else PINGRESP for one in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    seen: list = []
    with Pair() as pair:
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            pair.theirs.sendall(stream[start:end])
            pair.tap.fill()
            while True:
                taken = pair.tap.take(data.draw(st.integers(1, 3)))
                seen += taken
                if not taken and not pair.tap.has_packet_for_paho():
                    break
                if not taken:
                    assert pair.tap.recv(1) + pair.tap.recv(1) == PINGRESP
                    seen.append(None)
        assert pair.tap.pending() == 0
    assert seen == messages


def test_a_large_message_is_read_whole():
    big = bytes(range(256)) * 8_000
    sent = packet(2, b"t", big, 7)
    with Pair() as pair:
        while not (taken := pair.tap.take(10)):
            sent = sent[pair.theirs.send(sent[:50_000]) :]
            pair.tap.fill()
    assert taken == [(2, b"t", big, 7)]


def test_the_end_of_the_stream_is_told_to_paho_after_the_messages():
    with Pair() as pair:
        pair.theirs.sendall(packet(2, b"t", b"p", 1))
        pair.theirs.close()
        pair.tap.fill()
        assert pair.tap.take(10) == [(2, b"t", b"p", 1)]
        pair.tap.fill()
        assert pair.tap.has_packet_for_paho()
        assert pair.tap.recv(1) == b""


def test_nothing_there_is_no_end():
    with Pair() as pair:
        pair.tap.fill()
        assert not pair.tap.has_packet_for_paho()
        with pytest.raises(BlockingIOError):
            pair.tap.recv(1)


@pytest.mark.parametrize("broken", [b"\x32\x03\x00\x05a", b"\x32\x03\x00\x01a", b"\x30\xff\xff\xff\xff\x7f"])
def test_bytes_that_are_no_mqtt_end_the_stream(broken):
    with Pair() as pair:
        pair.theirs.sendall(packet(2, b"t", b"p", 1) + broken)
        pair.tap.fill()
        assert pair.tap.take(10) == [(2, b"t", b"p", 1)]
        assert pair.tap.has_packet_for_paho()
        assert pair.tap.recv(1) == b""


def test_acknowledgements_leave_in_order_in_one_piece_between_whole_packets():
    with Pair() as pair:
        pair.tap.send(b"\xc0\x00")
        pair.tap.acknowledge([1, 65_535, 300])
        pair.tap.flush()
        assert not pair.tap.wants_write()
        assert pair.theirs.recv(100) == b"\xc0\x00\x40\x02\x00\x01\x40\x02\xff\xff\x40\x02\x01\x2c"


def test_what_the_socket_does_not_take_is_kept():
    with Pair() as pair:
        total = 0
        while not pair.tap.wants_write():
            pair.tap.acknowledge([1] * 50_000)
            pair.tap.flush()
            total += 200_000
        received = 0
        while received < total:
            received += len(pair.theirs.recv(1 << 20))
            pair.tap.flush()
    assert received == total
