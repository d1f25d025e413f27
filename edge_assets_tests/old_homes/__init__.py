"""Homes as earlier versions wrote them, to be upgraded by the tests.

| archive | commit | what it has, and lacks |
|---|---|---|
| first_slice | aa563e5 | the first that ran whole: bronze, silver.readings, silver.devices; no rooms, gold, rollups |
| before_formats | b74644d | the last without a format of the home: rooms, windows without the column `site`, rollups |

Each was made by `make`, from that version's own definitions of tables, notes and storage.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

ARCHIVES = Path(__file__).parent
NAMES = ("first_slice", "before_formats")


def unpack(name: str, home: Path) -> Path:
    """Let `home` be an old home. Returns it."""
    home.mkdir(parents=True)
    with tarfile.open(ARCHIVES / f"{name}.tar.xz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Debian 12's Python has none
        archive.extractall(home)
    return home
