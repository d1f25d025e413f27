"""Whose a lake is. One platform writes a site's tables, and says so in a file beside them: its claim.

    <lake>/_claim.json           of a lake that has one site
    <lake>/<site>/_claim.json    of each site of a shared lake
    EDGE_HOME/platform.json      who this platform is: a random name, and a mark of where it was made

No lock reaches from one machine to another, so the file does: it is put where there is none, which one of two wins. It
is looked at when the platform starts, by each committer before its first commit, and once a minute while the stream
writer runs. A home that was copied, moved or restored is another platform, as both may run; it is told how to take
the claim over, and the one before then ends. A lake within the home is nobody else's and has no claim.
"""

from __future__ import annotations

import hashlib
import json
import platform
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge_assets import object_store
from edge_assets.errors import LakeError, LakeTaken
from edge_assets.service import write_json
from edge_assets.settings import Settings

NAME = "_claim.json"
LOOK_SECONDS = 60.0
"""so often a writer looks whether the lake is still its own"""
MACHINE = Path("/etc/machine-id")


@dataclass(frozen=True, slots=True)
class Claim:
    """Which platform writes the tables beside it; all but `platform` is for people."""

    site: str
    platform: str
    host: str
    home: str
    since: str
    """ISO 8601, UTC"""

    @property
    def who(self) -> str:
        return f"the one of {self.home} on {self.host}, since {self.since}"


def own(settings: Settings) -> Claim:
    """This platform's claim. Makes its name, where it has none or has come from elsewhere."""
    name = _known(settings)
    if name is None:
        name = uuid.uuid4().hex
        write_json(_identity(settings), {"platform": name, "place": _place(settings)})
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Claim(settings.site, name, platform.node(), str(settings.home), since)


def is_own(settings: Settings, claim: Claim) -> bool:
    """Whether a claim is this platform's. Writes nothing."""
    return claim.platform == _known(settings)


def read(settings: Settings) -> Claim | None:
    """Whose the lake is; None: nobody has said, or died while saying it. Raises `LakeError` where a bucket is away."""
    said = _decoded(object_store.get(settings, settings.lake_path / NAME))
    return Claim(**said) if said is not None and set(said) == set(Claim.__slots__) else None


def ensure(settings: Settings) -> None:
    """Make sure that the lake is this platform's; claim it where it is nobody's.

    Raises `LakeTaken` where it is another's, `LakeError` where a bucket is away.
    """
    if settings.lake.path is None:
        return
    mine, path = own(settings), settings.lake_path / NAME
    there = read(settings)
    if there is None and not object_store.put(settings, path, _encoded(mine), new=True):
        there = read(settings)
        if there is None:  # half a claim, of one who died or whose disk was full
            object_store.put(settings, path, _encoded(mine), new=False)
    if there is not None and not is_own(settings, there):
        raise LakeTaken(_refusal(settings, there))


def ensure_where_reached(settings: Settings, say: Callable[[str], None]) -> None:
    """The same, where a bucket that is away is said and no more: who commits to it looks again.

    Raises `LakeTaken`.
    """
    try:
        ensure(settings)
    except LakeTaken:
        raise
    except LakeError as error:
        say(str(error))


def take_over(settings: Settings) -> Claim | None:
    """Make the lake this platform's, whoever's it was. Returns the claim that was there."""
    before = read(settings)
    object_store.put(settings, settings.lake_path / NAME, _encoded(own(settings)), new=False)
    return before


def _encoded(claim: Claim) -> bytes:
    return json.dumps(asdict(claim), indent=1).encode()


def _refusal(settings: Settings, there: Claim) -> str:
    if settings.lake.shared:
        where, apart = f"the site {settings.site!r} of the lake {settings.lake_root}", "set another EDGE_SITE here"
    else:
        where, apart = f"the lake {settings.lake_path}", "set EDGE_LAKE__SHARED, and EDGE_SITE differently, for each"
    return (
        f"{where} is written by another platform ({there.who}): if both are to run, {apart}; "
        "if that one is gone for good, or this one is its restored copy, `edge sites take-over`"
    )


def _decoded(content: bytes | None) -> dict[str, str] | None:
    try:
        said = json.loads(content or b"")
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _identity(settings: Settings) -> Path:
    return settings.home / "platform.json"


def _known(settings: Settings) -> str | None:
    """The platform's name; None where it has none yet, or the home has come from elsewhere."""
    path = _identity(settings)
    said = _decoded(path.read_bytes() if path.exists() else None) or {}
    return said.get("platform") if said.get("place") == _place(settings) else None


def _place(settings: Settings) -> str:
    """A mark of machine and folder, which tells neither. In a container there may be no identifier of a machine."""
    machine = MACHINE.read_bytes().strip() if MACHINE.is_file() else b""
    return hashlib.sha256(b"edge_assets\n" + machine + b"\n" + str(settings.home).encode()).hexdigest()[:16]
