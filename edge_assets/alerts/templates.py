"""The templates of messages that rules may bring: words, and names in braces."""

from __future__ import annotations

import string

NAMES = ("device", "measurement", "value", "unit", "since", "duration", "rule", "severity")


def check(template: str) -> None:
    """Raises `ValueError` where a template holds anything but words and `NAMES` in braces."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{error}; a brace that is meant as such is written twice") from error
    for _, name, form, conversion in parts:
        if name is not None and (name not in NAMES or form or conversion):
            asked = "{" + name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "") + "}"
            raise ValueError(f"{asked} is not known; there are {', '.join('{' + each + '}' for each in NAMES)}")
