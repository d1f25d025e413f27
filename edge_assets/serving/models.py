"""The shapes of the answers: for OpenAPI, and for the tests, which hold each answer against them.

Answers are not built from these: DuckDB writes them. Times are ISO 8601, or milliseconds where `time=ms` was asked for.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Time = str | float
Row = dict[str, str | float | bool | None]
"""column → value"""
Point = Annotated[list[float | None], Field(min_length=4, max_length=4)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Problem(_Shape):
    detail: str = Field(description="one line: what was wrong or missing, and what to do")


class Measured(_Shape):
    measurement: str
    unit: str | None
    value: float | None
    at: Time = Field(description="the minute of the latest reading")


class Device(_Shape):
    key: str = Field(description="`<kind>:<id>`, as the live page names it", examples=["device:0x00124b0022ec93c1"])
    kind: str = Field(description="device or room")
    id: str
    name: str
    last_seen: Time | None
    available: bool | None = Field(description="what the network last said; null where it says nothing")
    silent: bool | None = Field(description="nothing came for much longer than is usual for it")
    silent_seconds: float | None
    battery_percent: float | None
    linkquality: float | None
    cadence_seconds: float | None = Field(description="usual time between two messages")
    messages_last_day: int
    measurements: list[Measured]


class Series(_Shape):
    kind: str
    device: str
    measurement: str
    unit: str | None
    bucket_seconds: int = Field(description="what one point stands for; buckets count from 1970")
    from_: float = Field(alias="from", description="begin of the first bucket, ms")
    to: float = Field(description="end of the last bucket, ms")
    points: list[Point] = Field(
        description="[ms, avg, min, max] by time; a bucket in which nothing was said is not there",
        examples=[[[1763802000000, 21.4, 21.1, 21.9]]],
    )


class ColumnShown(_Shape):
    name: str
    type: str = Field(description="as DuckDB names it", examples=["DOUBLE"])


class ViewShown(_Shape):
    name: str
    group: str = Field(description="people, grafana or lake (Grafana's too, from tables of the lake)")
    description: str
    time: str | None = Field(description="the column that from and to cut by; null: the view is of now")
    step_seconds: int | None = Field(description="from one row of a series to the next; null: rows are events")
    filters: list[str] = Field(description="the parameters by which rows are chosen")
    columns: list[ColumnShown]


class Alert(_Shape):
    alert_id: str
    rule: str
    severity: str
    kind: str
    device_id: str
    device_name: str
    measurement: str | None
    value: float | None
    unit: str | None
    since: Time
    fired_at: Time
    cleared_at: Time | None
    acknowledged_at: Time | None
    acknowledged_by: str | None
    message: str
    muted: bool


class _Counts(_Shape):
    alerts: int
    open: int
    acknowledged: int
    muted: int
    seconds_to_clear_median: float | None
    seconds_to_clear_longest: float | None
    seconds_to_acknowledge_median: float | None


class OfRule(_Counts):
    rule: str
    severity: str


class AlertSummary(_Counts):
    by_severity: dict[str, int]
    by_rule: list[OfRule]


class Service(_Shape):
    state: str | None = Field(description="waiting, starting, up, down, running or stopped")
    since: str | None
    updated_at: str | None
    restarts: int | None
    has_problem: bool


class Space(_Shape):
    free_mb: int | float | None


class Published(_Shape):
    published_at: str | None
    age_seconds: int | None
    bytes: int | None


class Status(_Shape):
    site: str
    running: bool
    state: str
    services: dict[str, Service]
    disk: dict[str, Space]
    rollups: Published
