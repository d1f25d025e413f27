"""What is told to one who cannot be answered: a status of HTTP, and one line that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class Refusal(Exception):
    """`str(refusal)` is the line."""

    status: ClassVar[int] = 500
    headers: ClassVar[Mapping[str, str]] = {}


class Misasked(Refusal):
    """The question is wrong: asked again, it stays so."""

    status = 422


class Unknown(Refusal):
    """There is no such thing."""

    status = 404


class Away(Refusal):
    """Not now: the data is not there yet, or the answer took too long."""

    status = 503
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "10"}


class Crowded(Away):
    """Too many ask at once."""

    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}
