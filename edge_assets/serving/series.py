"""One measurement of one device, for a chart: `[ms, avg, min, max]` a bucket; none where nothing was said."""

from __future__ import annotations

import json
from functools import partial

from edge_assets.serving import tiers
from edge_assets.serving.answers import Rows, number
from edge_assets.serving.parameters import SeriesAsked
from edge_assets.serving.questions import Question, there
from edge_assets.serving.tiers import Buckets
from edge_assets.serving.times import Span
from edge_assets.settings import Settings


def question(settings: Settings, asked: SeriesAsked, span: Span) -> Question:
    """Rows of (unit, JSON of a point), in order. The unit is the one that the series has last in this range; points of
    another unit would be another chart, and are left out."""
    buckets = tiers.pick(there(settings, span), span.seconds, asked.points)
    span = buckets.aligned(span)
    own = {"kind": asked.kind, "device": asked.device, "measurement": asked.measurement}
    sql = _SQL.format(source=buckets.source, size=buckets.seconds * 1_000_000)
    made = partial(_body, own, buckets, span)
    return Question(sql, {**own, "begin": span.begin, "end": span.end}, made=made)


def _body(own: dict[str, str], buckets: Buckets, span: Span, rows: Rows) -> tuple[bytes, bool]:
    head = {
        **own,
        "unit": rows[-1][0] if rows else None,
        "bucket_seconds": buckets.seconds,
        "from": None if span.begin is None else span.begin.timestamp() * 1_000,
        "to": span.end.timestamp() * 1_000,
    }
    points = ",".join(point for _, point in rows)
    return f'{json.dumps(head, ensure_ascii=False)[:-1]}, "points": [{points}]}}'.encode(), False


_SQL = f"""
    WITH rows AS (
        SELECT bucket, unit, n, sum, min, max FROM {{source}}
        WHERE kind = $kind AND device_id = $device AND measurement = $measurement
            AND bucket >= CAST($begin AS TIMESTAMPTZ) AND bucket < CAST($end AS TIMESTAMPTZ)),
    last AS (SELECT first(unit ORDER BY bucket DESC) AS unit FROM rows)
    SELECT unit, CAST(json_array(start // 1000, {number("mean")}, {number("low")}, {number("high")}) AS VARCHAR)
    FROM (
        SELECT (epoch_us(bucket) // {{size}}) * {{size}} AS start, rows.unit,
            sum(sum) / nullif(sum(n), 0) AS mean, min(min) AS low, max(max) AS high
        FROM rows, last WHERE rows.unit IS NOT DISTINCT FROM last.unit GROUP BY ALL)
    ORDER BY start"""
