"""What a line of a recording may be, and what is said of one that is none."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from edge_assets.errors import EdgeError
from edge_assets.settings import Settings
from edge_assets.sources.replay import BadLine, Line, parse_line, read_lines, replay_file

GOOD = {"topic": "zigbee2mqtt/door", "payload": "{}", "qos": 1, "retain": True, "ts": "2026-03-28T22:00:00.000Z"}


def line(**changes: Any) -> bytes:
    return json.dumps({key: value for key, value in (GOOD | changes).items() if value is not ...}).encode()


def test_a_whole_line() -> None:
    parsed = parse_line(line(src="somewhere", payload="grün"))
    assert parsed.message.topic == "zigbee2mqtt/door"
    assert parsed.message.payload == "grün".encode()
    assert (parsed.message.qos, parsed.message.retain) == (1, True)
    assert parsed.at_seconds == 1_774_735_200.0


def test_what_may_be_missing() -> None:
    parsed = parse_line(line(qos=..., retain=..., ts=...))
    assert (parsed.message.qos, parsed.message.retain, parsed.at_seconds) == (0, False, None)


def test_bytes_that_are_no_text() -> None:
    assert parse_line(line(payload=..., payload_base64="AP8=")).message.payload == b"\x00\xff"


def test_qos_can_be_overridden() -> None:
    assert parse_line(line(qos=0), qos=1).message.qos == 1


@pytest.mark.parametrize(
    ("ts", "seconds"),
    [
        ("2026-03-28T22:00:00.000Z", 1_774_735_200.0),
        ("2026-03-28T23:00:00+01:00", 1_774_735_200.0),
        ("2026-03-28T22:00:00", 1_774_735_200.0),
        (1_774_735_200, 1_774_735_200.0),
        (1_774_735_200_500, 1_774_735_200.5),
        ("2026-03-28T23:00:00.250000Z+0100", 1_774_735_200.25),
    ],
)
def test_times(ts: Any, seconds: float) -> None:
    assert parse_line(line(ts=ts)).at_seconds == seconds


def test_what_mosquitto_sub_writes_is_a_recording() -> None:
    said = {
        "tst": "2026-03-28T23:00:00.250000Z+0100",
        "topic": "zigbee2mqtt/door",
        "qos": 1,
        "retain": 1,
        "payloadlen": 2,
        "payload": "{}",
    }
    parsed = parse_line(json.dumps(said).encode())
    assert (parsed.message.qos, parsed.message.retain) == (1, True)
    assert parsed.at_seconds == 1_774_735_200.25


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"{", "not JSON"),
        (b"[1]", "expected a JSON object, got an array"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b"[" * 100_000, "recursion"),
        (line(topic=...), "no `topic`"),
        (line(topic=""), "`topic`"),
        (line(topic="a/#"), "only filters"),
        (line(topic="$SYS/x"), "the broker's own"),
        (line(topic="x" * 65_536), "longer"),
        (line(payload=...), "one of `payload` and `payload_base64`"),
        (line(payload_base64="AA=="), "one of `payload` and `payload_base64`"),
        (line(payload={"state": "ON"}), "must be a text (JSON written as a string), not an object"),
        (line(payload=None), "not null"),
        (line(payload=..., payload_base64="*"), "not base64"),
        (line(payload=..., payload_base64=7), "not base64"),
        (line(qos=3), "`qos` must be 0, 1 or 2, not 3"),
        (line(qos=True), "`qos`"),
        (line(qos=1.0), "`qos`"),
        (line(retain="yes"), "`retain`"),
        (line(retain=2), "`retain`"),
        (line(ts=..., tst="yesterday"), "`tst` 'yesterday'"),
        (line(ts="yesterday"), "`ts` 'yesterday'"),
        (line(ts=1e300), "`ts`"),
        (line(payload="\ud800"), "surrogates"),
    ],
)
def test_bad_lines_say_their_number_and_what_is_wrong(raw: bytes, says: str) -> None:
    first, second = read_lines(io.BytesIO(line() + b"\n" + raw + b"\n"))
    assert isinstance(first, Line)
    assert isinstance(second, BadLine)
    assert str(second).startswith("line 2: ")
    assert says in str(second)


def test_blank_lines_are_nothing() -> None:
    assert len(list(read_lines(io.BytesIO(b"\n" + line() + b"\n  \n")))) == 1


def test_a_packed_file_that_was_cut_off_is_reported() -> None:
    packed = gzip.compress(b"".join(line(payload=str(n)) + b"\n" for n in range(5_000)))
    entries = list(read_lines(gzip.GzipFile(fileobj=io.BytesIO(packed[: len(packed) // 2]))))  # type: ignore[arg-type]
    assert isinstance(entries[-1], BadLine)
    assert "cannot be read further" in str(entries[-1])
    assert all(isinstance(entry, Line) for entry in entries[:-2])


def test_a_file_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="No such file"):
        replay_file(settings, tmp_path / "none.jsonl")


def test_speed_must_be_above_zero(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="above 0"):
        replay_file(settings, tmp_path / "none.jsonl", speed=0)


def test_a_qos_that_there_is_not(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="QoS must be 0, 1 or 2"):
        replay_file(settings, tmp_path / "none.jsonl", qos=3)
