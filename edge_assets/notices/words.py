"""News of one look in words: one message, whatever happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_assets.alerts import durations
from edge_assets.notices.engine import Level, News

NAMED = 5
"""so many of what follows from a root are named; the others are counted"""


@dataclass(frozen=True, slots=True)
class Message:
    title: str
    body: str
    kind: str
    """Apprise's type: failure, warning or success"""


def message(news: Sequence[News], site: str, page: str | None = None) -> Message:
    """One message about all of it; `page`: the address of Dagster's web page, where there is one to be linked."""
    failed, warned, over = (
        [one for one in news if one.level is level] for level in (Level.FAILED, Level.WARNING, Level.OK)
    )
    parts = [*map(_failed, failed), *map(_warned, warned), *map(_over, over)]
    if page and (first := [*failed, *warned, *over][:1]):
        parts.append(f"{page}/assets/{first[0].thing.asset}")
    kind = "failure" if failed else "warning" if warned else "success"
    return Message(f"{site}: {_headline(failed, warned, over)}", "\n".join(parts), kind)


def _headline(failed: Sequence[News], warned: Sequence[News], over: Sequence[News]) -> str:
    counted = [
        f"{verb} {group[0].thing.name if len(group) == 1 else f'{len(group)} things'}"
        for verb, group in (("failed:", failed), ("warning:", warned), ("recovered:", over))
        if group
    ]
    return ", ".join(counted)


def _failed(news: News) -> str:
    return f"failed: {news.thing.name}: {news.thing.words}{_below(news.below, 'below it follow')}"


def _warned(news: News) -> str:
    return f"warning: {news.thing.name}: {news.thing.words}{_below(news.below, 'below it follow')}"


def _over(news: News) -> str:
    lasted = durations.words(int(news.lasted_seconds * 1e6))
    return f"recovered: {news.thing.name}, after {lasted}{_below(news.below, 'below it had followed')}"


def _below(names: Sequence[str], verb: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"; {verb} {len(names)}: {', '.join(names[:NAMED])}{more}"
