"""The file of rules: read with the lines of what is wrong, written where there is none, and read again when it changes.

YAML as people write it: `22:00` and `ON` are texts here, not a number and a truth as in YAML 1.1, and a key that stands
twice is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from edge_assets.alerts.rules import Rules
from edge_assets.errors import AlertError
from edge_assets.settings import Settings

LARGEST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where."""

    place: str
    """file:line"""
    field: str
    said: str

    def __str__(self) -> str:
        return f"{self.place}: {self.field}: {self.said}" if self.field else f"{self.place}: {self.said}"


class BadRules(AlertError):
    """The file is not valid. The message is one line and names the first problem; `problems` are all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        more = f" (and {len(problems) - 1} more: `edge alerts check` lists them)" if len(problems) > 1 else ""
        super().__init__(f"{problems[0]}{more}")
        self.problems = tuple(problems)


def path(settings: Settings) -> Path:
    """Where the rules are."""
    return (settings.alerts.rules or settings.home / "alerts.yaml").expanduser().absolute()


def ready_made() -> str:
    """The text of the file that is written where there is none."""
    return resources.files("edge_assets.alerts").joinpath("ready_made.yaml").read_text(encoding="utf-8")


def ensure(settings: Settings) -> Path:
    """The file of rules, made of the ready-made one where there is none. Raises `AlertError`."""
    file = path(settings)
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(ready_made(), encoding="utf-8")
    except OSError as error:
        raise AlertError(f"writing the ready-made rules to {file}: {error.strerror}; set EDGE_ALERTS__RULES") from error
    return file


def read(file: Path) -> str:
    """The text of a file of rules. Raises `AlertError`."""
    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise AlertError(f"{file}: rules are {LARGEST_BYTES // 1024**2} MB at most; is this the right file?")
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise AlertError(f"{file}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise AlertError(f"{file}: {error.strerror}; `edge alerts check` says what is read") from error


def parse(text: str, name: str = "alerts.yaml") -> Rules:
    """The rules of a text. Raises `BadRules`."""
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            twice = list(_twice(root, name)) if root is not None else []
            said = {} if root is None or twice else loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"{name}:{mark.line + 1}" if mark else name
        raise BadRules([Problem(line, "", f"not YAML: {error.problem or error.context}")]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadRules([Problem(name, "", f"not YAML: {str(error).splitlines()[0]}")]) from error
    if twice:
        raise BadRules(twice)
    return _validated(said, root, name)


def load(file: Path) -> Rules:
    """The rules of a file. Raises `AlertError`."""
    return parse(read(file), str(file))


def missing_channels(rules: Rules, channels: Sequence[str]) -> list[str]:
    """What rules name as a channel and no setting does, in words."""
    known = f"there are: {', '.join(sorted(channels))}" if channels else "EDGE_ALERTS__NOTIFY names none yet"
    return [
        f"rule {rule.name}: notify: {name!r} is no channel; {known}"
        for rule in rules.in_force
        for name in rule.notify or ()
        if name not in channels
    ]


class Watched:
    """A file that is looked at now and then: `changed` says once whether it is another than last time."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._seen = self._look()

    def changed(self) -> bool:
        before, self._seen = self._seen, self._look()
        return self._seen != before

    def _look(self) -> tuple[int, int, int] | None:
        try:
            about = self.file.stat()
        except OSError:
            return None
        return about.st_mtime_ns, about.st_size, about.st_ino


# -- what is wrong, and where ----------------------------------------------------------------------------------------


def _validated(said: Any, root: yaml.Node | None, name: str) -> Rules:
    if not isinstance(said, dict):
        raise BadRules([Problem(f"{name}:1", "", "expected `rules:` with a list of rules below it")])
    try:
        rules = Rules.model_validate(said)
    except ValidationError as error:
        raise BadRules([_problem(one, root, name) for one in error.errors()]) from error
    problems = []
    seen: set[str] = set()
    for number, rule in enumerate(rules.rules):
        if rule.name in seen:
            line = f"{name}:{_line(root, ('rules', number, 'name'))}"
            problems.append(Problem(line, f"rules[{number}].name", f"there is a rule {rule.name!r} above already"))
        seen.add(rule.name)
    if problems:
        raise BadRules(problems)
    return rules


_WORDS = {
    "extra_forbidden": "no such field",
    "missing": "it is missing",
    "string_pattern_mismatch": "a name is 1 to 64 letters, digits, - and _",
}


def _problem(error: ErrorDetails, root: yaml.Node | None, name: str) -> Problem:
    loc = tuple(part for part in error["loc"] if not (isinstance(part, str) and part in _UNION_TAGS))
    said = _WORDS.get(error["type"], error["msg"].removeprefix("Value error, "))
    given = error.get("input")
    if error["type"] not in ("missing", "extra_forbidden") and not isinstance(given, dict | list | tuple | Rules):
        said = f"{said} (given: {given!r})"
    return Problem(f"{name}:{_line(root, loc)}", _field(loc), said)


_UNION_TAGS = ("Schedule", "literal['never']", "bool", "float", "str", "constrained-float", "constrained-str")
"""what pydantic puts into the place of an error where a field may be of several types"""


def _field(loc: Sequence[str | int]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".")


def _line(node: yaml.Node | None, loc: Sequence[str | int]) -> int:
    """The line of the deepest part of a place that the text has."""
    line = node.start_mark.line + 1 if node else 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == part), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def _twice(node: yaml.Node, name: str, path: tuple[str | int, ...] = ()) -> Iterator[Problem]:
    if isinstance(node, yaml.SequenceNode):
        for number, part in enumerate(node.value):
            yield from _twice(part, name, (*path, number))
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            word = str(key.value)
            if word in seen:
                line = f"{name}:{key.start_mark.line + 1}"
                yield Problem(line, _field((*path, word)), "it stands here twice; only one can be meant")
            seen.add(word)
            yield from _twice(value, name, (*path, word))


class _Loader(yaml.SafeLoader):
    """Plain words are texts, but for true, false, null and decimal numbers. Aliases are refused: see `compose_node`."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (yaml's own form)

    def compose_node(self, parent: Any, index: Any) -> Any:
        # A few lines of aliases to aliases can stand for more text than there is memory.
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not understood here", mark)
        return super().compose_node(parent, index)


for _tag, _form, _first in (
    ("bool", r"^(?:true|false)$", "tf"),
    ("null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    ("float", r"^[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$", "-+0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_form), list(_first))
