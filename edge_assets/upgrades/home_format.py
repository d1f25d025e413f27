"""`EDGE_HOME/format.json`: the format of a home, and the Dagster whose storage it holds.

| format | since |
|---|---|
| 1 | the first: without this file |
| 2 | the file; the site in `gold` |

A format grows when an older version could no longer work with what a newer one wrote, or a newer one has to change what
is there first. A step for each is in `edge_assets.upgrades.__main__`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from edge_assets.errors import PlatformError
from edge_assets.service import write_json
from edge_assets.settings import Settings

FORMAT = 2
NAME = "format.json"


@dataclass(frozen=True, slots=True)
class HomeFormat:
    format: int = 1
    dagster: str = ""
    """the version of Dagster that its databases are of; empty: it was not noted yet"""
    edge_assets: str = ""
    """the version that wrote this, for people"""


def path(settings: Settings) -> Path:
    return settings.home / NAME


def read(settings: Settings) -> HomeFormat:
    """What the home says. Raises `PlatformError` where that cannot be understood."""
    try:
        said = json.loads(path(settings).read_text())
        return HomeFormat(int(said["format"]), str(said.get("dagster", "")), str(said.get("edge_assets", "")))
    except FileNotFoundError:
        return HomeFormat()
    except (ValueError, TypeError, KeyError) as error:
        raise PlatformError(
            f"{path(settings)} does not say the home's format ({error}); put it back from a backup, or delete it: the "
            "home is then looked through as one of the first version"
        ) from error


def current() -> HomeFormat:
    return HomeFormat(FORMAT, version("dagster"), version("edge_assets"))


def is_current(settings: Settings) -> bool:
    there, now = read(settings), current()
    return (there.format, there.dagster) == (now.format, now.dagster)


def is_blank(settings: Settings) -> bool:
    """Whether no platform was ever started in this home. A lake elsewhere may be old all the same."""
    return not any((settings.home / name).exists() for name in (NAME, "dagster", "lake"))


def refuse_newer(settings: Settings) -> None:
    """Raises `PlatformError` where the home is of a later format than this version knows. Writes nothing."""
    there = read(settings)
    if there.format > FORMAT:
        raise PlatformError(
            f"{settings.home} was written by a newer version ({there.edge_assets or 'unknown'}, format "
            f"{there.format}); this one ({version('edge_assets')}) knows formats up to {FORMAT} and has changed "
            "nothing: install that version again, or set EDGE_HOME to another folder"
        )


def write_current(settings: Settings) -> None:
    write_json(path(settings), asdict(current()))
