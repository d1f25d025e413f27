"""An MQTT topic filter, parsed and validated once (MQTT 3.1.1, section 4.7)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

MAX_BYTES = 65_535


@dataclass(frozen=True, slots=True)
class TopicFilter:
    """`+` stands for one level, a final `#` for the level above it and everything below."""

    levels: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> TopicFilter:
        """Raises `ValueError` saying which rule the text breaks."""
        if not 0 < len(text.encode("utf-8", "surrogatepass")) <= MAX_BYTES:
            raise ValueError(f"a topic filter has 1 to {MAX_BYTES} bytes")
        if "\0" in text:
            raise ValueError("a topic filter holds no NUL")
        levels = tuple(text.split("/"))
        if levels[0] in ("$share", "$queue"):
            raise ValueError("a shared subscription breaks order and redelivery; share work by disjoint filters")
        for place, level in enumerate(levels):
            _check_level(level, last=place == len(levels) - 1)
        return cls(levels)

    def __str__(self) -> str:
        return "/".join(self.levels)

    def matches(self, topic: str) -> bool:
        """Whether a message on `topic` (no wildcards) belongs to this filter."""
        return self.covers(TopicFilter(tuple(topic.split("/"))))

    def covers(self, other: TopicFilter) -> bool:
        """Whether each topic that `other` matches is matched by this one."""
        if self._hides_from(other):
            return False
        for mine, theirs in zip_longest(self.levels, other.levels):
            if mine == "#":
                return True
            if mine is None or theirs is None or theirs == "#":
                return False
            if mine not in ("+", theirs):
                return False
        return True

    def overlaps(self, other: TopicFilter) -> bool:
        """Whether there is a topic that both match."""
        if self._hides_from(other) or other._hides_from(self):
            return False
        for mine, theirs in zip_longest(self.levels, other.levels):
            if mine == "#" or theirs == "#":
                return True
            if mine is None or theirs is None:
                return False
            if mine != theirs and "+" not in (mine, theirs):
                return False
        return True

    def joined(self, other: TopicFilter) -> TopicFilter:
        """The narrowest filter that covers both; it may cover more."""
        levels: list[str] = []
        for mine, theirs in zip_longest(self.levels, other.levels):
            if mine is None or theirs is None or "#" in (mine, theirs):
                levels.append("#")
                break
            levels.append(mine if mine == theirs else "+")
        return TopicFilter(tuple(levels))

    def _hides_from(self, other: TopicFilter) -> bool:
        """A wildcard in the first level never matches a topic that begins with `$` (section 4.7.2)."""
        return self.levels[0] in ("+", "#") and other.levels[0].startswith("$")


def _check_level(level: str, *, last: bool) -> None:
    if "#" in level and not (level == "#" and last):
        raise ValueError("`#` stands alone in the last level")
    if "+" in level and level != "+":
        raise ValueError("`+` stands alone in its level")


def disjoint_cover(filters: Iterable[TopicFilter]) -> tuple[TopicFilter, ...]:
    """Filters that cover all of `filters`, no two of which match the same topic, in a stable order.

    A broker may deliver a message once for each subscription that matches it, so those that overlap are joined,
    at the price of messages that no route wants.
    """
    cover: list[TopicFilter] = []
    for added in filters:
        while met := next((one for one in cover if one.overlaps(added)), None):
            cover.remove(met)
            added = met if met.covers(added) else added if added.covers(met) else met.joined(added)
        cover.append(added)
    return tuple(sorted(cover, key=str))
