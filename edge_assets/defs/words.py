"""An asset's description: the same four answers on each page. What it is, what one row is, who writes it and how often,
what to do when it is stale."""

from __future__ import annotations

from edge_assets.settings import Settings

BEFORE = "Where all of it runs, look at the asset before this one in the lineage: nothing comes from there."


def told(what: str, *, row: str = "", by: str, stale: str = "") -> str:
    """The description, in Markdown. `by`: who writes it, and how often; `stale`: what to do, where it can be stale."""
    parts = [
        what,
        f"One row is {row}." if row else "",
        f"**Written by** {by}.",
        f"**When it is stale:** {stale}" if stale else "",
    ]
    return "\n\n".join(filter(None, parts))


def service_stale(service: str, first: bool = False) -> str:
    """What to do about an asset that a service writes; `first`: nothing is before it."""
    return (
        f"is `{service}` running? Its latest run (*Jobs*) says what it does; its sensor `keep_{service}_alive` "
        "(*Automation*) starts it again, unless a person has stopped it." + ("" if first else f" {BEFORE}")
    )


def rollups_stale(settings: Settings) -> str:
    """What to do about an asset that the job `rollups` makes."""
    return (
        "what does the latest run of the job `rollups` say, and the latest ticks of its schedule `rollups_regularly` "
        f"(*Automation*), which launches one every {settings.rollups.update_minutes} minutes?"
    )


def stream_writer(settings: Settings) -> str:
    """Who writes the tables of the lake, and how often."""
    return f"the service `stream_writer`, in a batch every {settings.stream.trigger_seconds:g} s while something comes"


def rollups_job(settings: Settings) -> str:
    """Who makes rollups, and how often."""
    return f"the job `rollups`, every {settings.rollups.update_minutes} minutes: only what has changed since"
