"""What the live server and the page say to each other over `/ws`: JSON texts, one object each, told apart by `type`.

Times are milliseconds since 1970 UTC and may have a fraction. `key` names a device: `"<kind>:<device_id>"`, where kind
is `device`, `room` or `bridge` (a Zigbee2MQTT's word on itself). The page sends nothing; pongs are the browser's
business.

    hello     the first frame, and again after the server had to leave frames out for a slow viewer: what was known
              before is to be forgotten
              {"type": "hello", "site": "home", "now": ms, "broker": true,
               "devices": [Device, …],                             in the order of groups and names
               "history": {key: {measurement: [[ms, value], …]}},  oldest first; numeric series only
               "alerts": [Alert, …]}                               newest first: open ones, and the latest others
    points    the live tail; several messages of a moment are one frame
              {"type": "points", "points": [[key, measurement, ms, value, text, unit, quality], …]}
              value, text and unit may be null; a long text is cut. Of one series they come in the order of arrival,
              which is that of time but for a device that catches up. A key that is not known yet has its `device`
              frame before it
    device    a device is new, renamed, described anew, (un)available, heard again after it was stale, or said a
              measurement that it had not said before; or what the broker had kept of it came in. Replaces what was
              known of it, but for its history
              {"type": "device", "device": Device}
    gone      a device was removed, or was known by its name and turns out to be one that is known by its address
              {"type": "gone", "key": key}
    alert     fires, clears, is acknowledged or muted: replaces the alert of the same alert_id
              {"type": "alert", "alert": Alert}
    broker    the server's own connection to the MQTT broker was lost, or is there again
              {"type": "broker", "up": false}
    tick      the server is alive; which devices are stale now, all of them
              {"type": "tick", "now": ms, "stale": [key, …]}

Device: {"key", "kind", "id", "name", "model": str | null, "vendor": str | null, "group", "last_seen": ms | null,
    "available": true | false | null, "cadence_seconds": number | null, "stale": bool,
    "measurements": {name: {"value": number|null, "text": str|null, "unit": str|null, "at": ms|null, "quality": str}}}
group is one of GROUPS. available: null where nothing tells. at: null where the broker had kept the value, so that
nobody knows when it was said. quality: "good", or words, "implausible" among them.

Alert: the fields of `edge_assets.alerts.desk.Alert`, its times (since, fired_at, cleared_at, acknowledged_at) in
milliseconds.

A viewer that takes nothing for too long is cut off; it may come again at once. When the server stops, the close code is
1012 (come again). A page of another site is refused with 403 (its `Origin` is not our `Host`).
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from edge_assets.listening.heard import Device

Group = Literal["rooms", "doors", "plugs", "climate", "other", "bridges"]
GROUPS: tuple[Group, ...] = ("rooms", "doors", "plugs", "climate", "other", "bridges")

Point = tuple[str, str, float, float | None, str | None, str | None, str]
"""key, measurement, ms, value, text, unit, quality"""


def key_of(device: Device) -> str:
    return f"{device.kind}:{device.device_id}"


def milliseconds(micros: int) -> float | int:
    """As short in JSON as it can be: most times have no fraction."""
    whole, rest = divmod(micros, 1_000)
    return micros / 1_000 if rest else whole


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)

SeriesOf: TypeAlias = "tuple[str, list[tuple[str, tuple[array[int], array[float]]]]]"
"""a device's key, and of each measurement times and values"""


def encode(frame: Any) -> str:
    """NaN and Infinity, which JSON does not have, never come in: no reading is one."""
    return _ENCODER.encode(frame)


def hello(
    site: str,
    now: float,
    up: bool,
    devices: Sequence[Mapping[str, Any]],
    history: Iterable[SeriesOf],
    alerts: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    """In pieces of one series each, as it can be megabytes."""
    about = {"type": "hello", "site": site, "now": now, "broker": up, "devices": devices, "alerts": alerts}
    yield encode(about)[:-1] + ',"history":{'
    comma = ""
    for key, series in history:
        yield f"{comma}{encode(key)}:{{"
        comma = ""
        for name, (times, values) in series:
            yield f"{comma}{encode(name)}:{encode(list(zip(times, values, strict=True)))}"
            comma = ","
        yield "}"
        comma = ","
    yield "}}"


def points(some: Iterable[Point]) -> str:
    return encode({"type": "points", "points": list(some)})


def device(told: Mapping[str, Any]) -> str:
    return encode({"type": "device", "device": told})


def gone(key: str) -> str:
    return encode({"type": "gone", "key": key})


def alert(told: Mapping[str, Any]) -> str:
    return encode({"type": "alert", "alert": told})


def broker(up: bool) -> str:
    return encode({"type": "broker", "up": up})


def tick(now: float, stale: Iterable[str]) -> str:
    return encode({"type": "tick", "now": now, "stale": sorted(stale)})
