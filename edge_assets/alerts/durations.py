"""Spans of time as people write them (`90s`, `5m`, `1h30m`, `2d`) and as programs count them: microseconds."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

SECOND = 1_000_000
_UNITS = {"d": 86_400 * SECOND, "h": 3_600 * SECOND, "m": 60 * SECOND, "s": SECOND}
_FORM = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
LONGEST = 3_650 * _UNITS["d"]


def parse(said: Any) -> int:
    """Microseconds. Raises `ValueError` that says how a duration is written."""
    match = _FORM.fullmatch(said.strip()) if isinstance(said, str) else None
    if said == 0 and not isinstance(said, bool):
        return 0
    if not match or not any(match.groups()):
        raise ValueError("a duration is a number with a unit: 30s, 5m, 1h30m, 2d")
    micros = sum(int(number or 0) * size for number, size in zip(match.groups(), _UNITS.values(), strict=True))
    if micros > LONGEST:
        raise ValueError("a duration is ten years at most")
    return micros


def words(micros: int) -> str:
    """For people, in the two largest units: `2 h 5 min`, `40 s`."""
    left = max(micros, 0) // SECOND
    parts: list[str] = []
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (name == "s" and not parts):
            parts.append(f"{count} {name}")
    return " ".join(parts[:2])


Duration = Annotated[int, BeforeValidator(parse)]
"""a field of a rule: written as a text, kept as microseconds"""
