"""A cell → a value that JSON has, or `MISSING`, or an error: never a number that it is not.

What looks like a number and is none (`1.234,5`, `0045`, `inf`) would be refused behind the log, one by one and
unseen; here its line is bad, and says why.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import Any, Final, Literal

from edge_assets.decoding import contract

MISSING: Final = None
MISSING_MARKS = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "?"})
"""In any case, with or without spaces around."""

DecimalMark = Literal[".", ","]

_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_DECIMALS = {".": re.compile(r"[+-]?[0-9]*\.[0-9]+"), ",": re.compile(r"[+-]?[0-9]*,[0-9]+")}
_LOOKS_LIKE_ONE = re.compile(contract.LOOKS_LIKE_A_NUMBER.replace(r"\p{Nd}", r"\d").removesuffix("$"))

_SWAPPED = str.maketrans(".,", ",.")


def has_decimals(cell: str, mark: DecimalMark) -> bool:
    """Whether it can only be a number with this decimal mark (or with thousands apart, which nothing tells)."""
    return _DECIMALS[mark].fullmatch(cell.strip()) is not None


def value_of(cell: str, mark: DecimalMark = ".") -> float | int | bool | str | None:
    """A cell of a CSV file. Raises `ValueError`."""
    text = cell.strip()
    folded = text.lower()
    if folded in MISSING_MARKS:
        return MISSING
    written = text if mark == "." else text.replace(".", " ").replace(",", ".")
    if _NUMBER.fullmatch(written):
        return _number(written)
    if folded in ("true", "false"):
        return folded == "true"
    return _text(text)


def json_value_of(value: Any) -> Any:
    """A value of a JSON line: texts may hold numbers and marks of missing, objects and lists stay as they are."""
    if isinstance(value, str):
        return value_of(value)
    if isinstance(value, float) and not isfinite(value):
        return MISSING if value != value else _refuse(str(value))
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
        return _number(str(value))
    return value


def _number(text: str) -> float | int:
    plain = text.lstrip("+-")
    if plain.isdigit() and len(plain) <= 18:
        return int(text)
    value = float(text)
    return value if isfinite(value) else _refuse(text)


def _text(text: str) -> str:
    if _LOOKS_LIKE_ONE.fullmatch(text):
        _refuse(text)
    if "." in text and "," in text and _LOOKS_LIKE_ONE.fullmatch(text.translate(_SWAPPED)):  # 1.234,5
        _refuse(text)
    return text


def _refuse(text: str) -> Any:
    raise ValueError(f"{text!r} looks like a number and is none")
