"""Whether gold.anomalies is sound: what its two checks say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_assets.anomalies.detector import QUIET_SECONDS
from edge_assets.anomalies.memory import Series
from edge_assets.anomalies.table import NAME
from edge_assets.settings import Settings
from edge_assets.warehouse import lake

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from edge_assets.anomalies.run import Outcome

SHARE, COUNT = 0.1, 5
"""of the series that are known for long enough may alarm in a day, and so many in any case"""

SERIES = ", ".join(Series._fields)


@dataclass(frozen=True, slots=True)
class Judgement:
    passed: bool
    words: str
    figures: Mapping[str, int]


def judgements(settings: Settings, outcome: Outcome) -> dict[str, Judgement]:
    """By name of the check. Sets `outcome.rows`. Raises `LakeError` where the table cannot be read."""
    with lake.connection(settings) as opened:
        lake.show(opened, settings, NAME)
        outcome.rows = _number(opened, "SELECT count(*) FROM gold.anomalies")
        return {"few_alarm": _few_alarm(opened, outcome), "told_once": _told_once(opened)}


def _few_alarm(opened: DuckDBPyConnection, outcome: Outcome) -> Judgement:
    since = (outcome.until or 0) - QUIET_SECONDS
    alarm = _number(
        opened,
        f"SELECT count(*) FROM (SELECT DISTINCT {SERIES} FROM gold.anomalies "
        f"WHERE epoch_us(window_end) > {since * 1_000_000})",
    )
    passed = alarm <= max(COUNT, SHARE * outcome.judged)
    words = f"{alarm:,} of {outcome.judged:,} series alarmed within a day"
    if not passed:
        words += (
            ": a power cut, a clock, another season? Else the detector is wrong; gold.anomalies says which they are"
        )
    return Judgement(passed, words, {"alarmed": alarm, "series": outcome.judged})


def _told_once(opened: DuckDBPyConnection) -> Judgement:
    repeats = _number(
        opened,
        "SELECT count(*) FROM (SELECT epoch_us(window_start) - lag(epoch_us(window_end)) OVER ("
        f"PARTITION BY {SERIES} ORDER BY window_end, window_start) AS quiet FROM gold.anomalies) "
        f"WHERE quiet <= {QUIET_SECONDS * 1_000_000}",
    )
    words = f"{repeats:,} anomalies came within a day of the one before"
    if repeats:
        words += "; has another process written to the table, or two homes to one lake?"
    return Judgement(not repeats, words, {"repeats": repeats})


def _number(opened: DuckDBPyConnection, query: str) -> int:
    row = opened.execute(query).fetchone()
    return int(row[0]) if row else 0
