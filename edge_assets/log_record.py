"""The contract between the bridge and whoever reads the log: what one Kafka record looks like.

| part | what |
|---|---|
| value | the MQTT payload, byte for byte |
| key | the MQTT topic, UTF-8 |
| header `mqtt` | ASCII, `name=value` pairs with a space between them, names as in `Header` |

One header and not ten: it is readable in any Kafka tool, costs the producer one allocation, and Spark takes it
apart with its own `str_to_map`. Records without it (written by someone else's producer) are read all the same,
with Kafka's timestamp as their received time.

Keys that begin with `$edge/` are the platform's own: an MQTT wildcard never matches a topic that begins with
`$`, so no device can write one.

- `BARRIER_KEY`: a bridge that starts writes one to *every partition* before it reads the log's tail. A record
  with a lower incarnation of the same bridge that lies *behind* a barrier in its partition is *fenced*: the last
  words of a dead bridge which landed too late for its successor to see them. The successor logs the redelivery
  itself, so readers must pass a fenced record over. Value: JSON `{"bridge", "incarnation", "epoch",
  "away_since_us"}`.
- `CLOCK_KEY`: written once when the machine's clock is set after a start without one. Value: JSON `{"boot",
  "offset_us"}`: the true time of a record with `sync=0` and this boot is `mono + offset_us`.
- `LOST_KEY`: stands at an offset whose record the log has lost in a power cut, and the tables have not.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote

Place = tuple[str, str, int]
"""(log id, Kafka topic, partition): where offsets count."""

HEADER = "mqtt"
VERSION = 1
CONTROL_PREFIX = "$edge/"
BARRIER_KEY = "$edge/bridge"
CLOCK_KEY = "$edge/clock"
LOST_KEY = "$edge/lost"


@dataclass(frozen=True, slots=True)
class Header:
    """What the bridge knows of one message. Times are integers, microseconds; `at` since 1970 UTC."""

    by: str
    """the bridge's identifier"""
    inc: int
    """the bridge's incarnation: grows with each of its starts"""
    epoch: str
    """the MQTT session: a new one whenever the broker said that it has none"""
    at: int
    """received time"""
    sync: bool
    """whether the machine's clock was to be trusted at that time"""
    mono: int
    """the machine's monotonic clock (since its boot) at that time"""
    boot: str
    """the machine's boot identifier: monotonic times compare only within one"""
    qos: int
    retain: bool
    dup: bool
    mid: int
    """packet identifier; 0 at QoS 0"""
    rep: bool = False
    """a redelivery that may be a repeat of a logged record, and may not: `maybe_repeat`"""
    site: str = ""
    """the place, from the settings; percent-encoded in the header. Tables have theirs from the settings"""

    def encode(self) -> bytes:
        return (
            f"v={VERSION} by={self.by} inc={self.inc}{said_site(self.site)} epoch={self.epoch} at={self.at} "
            f"sync={self.sync:d} "
            f"mono={self.mono} boot={self.boot} qos={self.qos} retain={self.retain:d} dup={self.dup:d} "
            f"mid={self.mid} rep={self.rep:d}"
        ).encode("ascii")

    @classmethod
    def decode(cls, raw: bytes) -> Header:
        """Raises `ValueError` or `KeyError` where `raw` is not a header of ours."""
        pairs = dict(pair.split("=", 1) for pair in raw.decode("ascii").split(" "))
        return cls(
            by=pairs["by"],
            inc=int(pairs["inc"]),
            epoch=pairs["epoch"],
            at=int(pairs["at"]),
            sync=pairs["sync"] == "1",
            mono=int(pairs["mono"]),
            boot=pairs["boot"],
            qos=int(pairs["qos"]),
            retain=pairs["retain"] == "1",
            dup=pairs["dup"] == "1",
            mid=int(pairs["mid"]),
            rep=pairs["rep"] == "1",
            site=unquote(pairs.get("site", "")),
        )


def said_site(site: str) -> str:
    """What a header says of the place; nothing where it has no name."""
    return f" site={quote(site, safe='')}" if site else ""


def headers_of(header: Header) -> list[tuple[str, str | bytes | None]]:
    """The record's headers as confluent-kafka takes them."""
    return [(HEADER, header.encode())]
