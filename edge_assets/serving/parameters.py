"""What may be asked of each endpoint. A parameter that is not named here is refused: misspelt, it would do nothing."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from edge_assets.serving import times
from edge_assets.serving.catalogue import FILTERS
from edge_assets.serving.questions import Wanted
from edge_assets.serving.refusals import Misasked
from edge_assets.serving.times import Span

ALL = {"", "all", "*", "$__all"}
"""how Grafana's variables say that nothing is chosen"""

MOST_CHOICES = 500

POINTS, MOST_POINTS = 800, 5_000
LIMIT, MOST_ROWS = 10_000, 50_000
LIMIT_ALERTS, MOST_ALERTS = 200, 5_000

_FROM = "ISO 8601, ms or s since 1970, or relative: `-24h`, `now-7d`. Without a zone it is UTC."

From = Annotated[str | None, Field(alias="from", description=_FROM, examples=["now-24h"], max_length=64)]
To = Annotated[str | None, Field(description="as `from`; without it: now", examples=["now"], max_length=64)]
Choices = Annotated[
    list[str], Field(description='one, `a,b`, `{a,b}`, `["a","b"]` or repeated; `All`, `*`: no filter', max_length=500)
]
TimeWord = Annotated[Literal["iso", "ms"], Field(description="times as ISO 8601, or as ms since 1970")]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class _Ranged(_Asked):
    from_: From = None
    to: To = None

    def span(self) -> Span:
        """Raises `Misasked`."""
        try:
            return times.span(self.from_, self.to, times.now())
        except ValueError as error:
            raise Misasked(str(error)) from None


class SeriesAsked(_Ranged):
    device: Annotated[
        str, Field(description="the device's or room's id", examples=["0x00124b0022ec93c1"], max_length=500)
    ]
    measurement: Annotated[str, Field(description="what was measured", examples=["temperature"], max_length=500)]
    kind: Annotated[Literal["device", "room", "bridge"], Field(description="what the id is one of")] = "device"
    from_: Annotated[str, Field(alias="from", description=_FROM, examples=["now-7d"], max_length=64)] = "now-24h"
    points: Annotated[int, Field(ge=1, le=MOST_POINTS, description="at most so many, about as many as pixels")] = POINTS


class ViewAsked(_Ranged):
    points: Annotated[
        int | None,
        Field(ge=1, le=MOST_POINTS, description="put rows into at most so many buckets a series; needs `from`"),
    ] = None
    limit: Annotated[
        int | None,
        Field(
            ge=1,
            le=MOST_ROWS,
            description=f"at most so many rows; the newest stay. Unless said {LIMIT}, or all that "
            f"can be ({MOST_ROWS}) with `points`",
        ),
    ] = None
    time: TimeWord = "iso"
    device: Choices = []
    room: Choices = []
    measurement: Choices = []
    kind: Choices = []
    rule: Choices = []
    severity: Choices = []


class AlertsAsked(_Ranged):
    open: Annotated[bool | None, Field(description="only those that are open, or only those that are not")] = None
    limit: Annotated[int, Field(ge=1, le=MOST_ALERTS, description="at most so many, the newest")] = LIMIT_ALERTS
    time: TimeWord = "iso"
    device: Choices = []
    rule: Choices = []
    severity: Choices = []


class SummaryAsked(_Ranged):
    pass


class DevicesAsked(_Asked):
    time: TimeWord = "iso"


class NothingAsked(_Asked):
    pass


def wanted(asked: ViewAsked) -> Wanted:
    """What is asked of a view. Raises `Misasked`."""
    chosen = {name: choices(getattr(asked, name), name) for name in FILTERS}
    filters = {name: values for name, values in chosen.items() if values is not None}
    limit = asked.limit or (LIMIT if asked.points is None else MOST_ROWS)
    return Wanted(asked.span(), asked.points, limit, asked.time, filters)


def choices(given: list[str], name: str) -> list[str] | None:
    """The values that were chosen; None: all. Raises `Misasked`."""
    found = [value for text in given for value in _split(text.strip(), name)]
    if len(found) > MOST_CHOICES:
        raise Misasked(f"{name}: {len(found)} values, at most {MOST_CHOICES} can be asked for at once")
    return None if not found or any(value.lower() in ALL for value in found) else sorted(set(found))


def _split(text: str, name: str) -> list[str]:
    if text.startswith("["):  # as Grafana's ${name:json} has it: values may hold commas
        try:
            values = json.loads(text)
        except ValueError:
            values = None
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise Misasked(f"{name}: {text[:60]!r} begins like a JSON list and is none of texts")
        return values
    inner = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    return [value for value in (part.strip() for part in inner.split(",")) if value]
