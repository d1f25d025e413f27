"""What the documents name exists: files, symbols, commands and options, settings, links; and the README's SQL runs.

In the documents a place in the code is `path/to/file.py` or `path/to/file.py::Class.method`.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer

from edge_assets.cli import app
from edge_assets.platform.settings_page import every_setting
from edge_assets.settings import Settings
from edge_assets.warehouse.sql import run_sql
from edge_assets_tests.lake_tables import sound_lake

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "deploy").glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
TREES = ("edge_assets/", "edge_assets_tests/", "docs/", "deploy/", ".ci/")
PLATFORM = 'TMPDIR="$PWD/.venv" .venv/bin/pip install -r requirements.lock'
WORKERS = "-n auto --dist loadfile --no-loadscope-reorder"

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def spans(document: Path) -> Iterator[str]:
    """What stands in backticks in the running text. A command may be broken over two lines."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`([^`]+)`", text):
        yield " ".join(span.split())


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), flags=re.MULTILINE | re.DOTALL)


@cache
def symbols(path: Path) -> frozenset[str]:
    """Names that a module defines: functions, classes, constants, and `Class.name` of what a class holds."""
    return frozenset(_names(ast.parse(path.read_text()).body, ""))


def _names(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from _names(node.body, f"{prefix}{node.name}.")
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))


@each_document
def test_places_in_the_code_exist(document: Path) -> None:
    for span in spans(document):
        if not span.startswith(TREES) or " " in span:
            continue
        path, _, symbol = span.partition("::")
        assert (ROOT / path).exists(), f"{span}: there is no {path}"
        assert not symbol or symbol in symbols(ROOT / path), f"{span}: {path} has no {symbol}"


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (document.parent / target.partition("#")[0]).exists(), target


@each_document
def test_settings_exist(document: Path) -> None:
    known = {setting.variable for setting in every_setting()}
    tests_own = {"FAULT_SEED", "FAULT_ROUNDS", "SOAK_SECONDS", "SAMPLE_DATA"}
    named = set(re.findall(r"\bEDGE_[A-Z_]+[A-Z]\b", document.read_text()))
    assert named <= known | tests_own


@each_document
def test_commands_and_their_options_exist(document: Path) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    lines = [line for block in blocks(document, "sh") for line in block.splitlines()]
    said = [span for span in spans(document) if span.startswith("edge ")]
    said += [part for line in lines for part in re.findall(r"\.venv/bin/(edge .+?)(?=$|&&|\||>)", line)]
    for command in said:
        _, name, *words = shlex.split(command)
        if name == "NAME":
            continue
        assert name in commands, f"`{command}`: there is no such command"
        found = commands[name]
        if words and hasattr(found, "commands"):
            assert words[0] in found.commands, f"`{command}`: there is no such command"
            found = found.commands[words[0]]
        options = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options | {"--help"}, f"`{command}`"


def test_the_table_of_commands_is_whole() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    listed = re.findall(r"^\| `edge (\w+)` \|", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert sorted(listed) == sorted(commands)


def test_the_readmes_sql_is_understood(settings: Settings) -> None:
    sound_lake(settings)
    lines = [line for block in blocks(ROOT / "README.md", "sh") for line in block.splitlines()]
    queries = re.findall(r'\.venv/bin/edge sql.* "(.+?)"', "\n".join(lines))
    assert len(queries) >= 3
    for query in queries:
        run_sql(settings, query)


def test_two_commands_set_up_alike_and_ci_runs_the_readmes() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    (up,) = [line for line in lines if line.endswith("&& .venv/bin/edge up")]
    (tests,) = [line for line in lines if line.startswith("python3 ") and "/pytest" in line]
    project = ".venv/bin/pip install --no-deps --no-build-isolation -e ."
    assert up == f"python3 -m venv .venv && {PLATFORM} && {project} && .venv/bin/edge up"
    own = f"{PLATFORM} -r edge_assets_tests/requirements.lock"
    assert tests == f'python3 -m venv .venv && {own} && {project} && .venv/bin/pytest {WORKERS} -m "not slow"'
    assert "grep --max-count=1 '^python3 .*/pytest' README.md" in (ROOT / ".ci" / "run").read_text()


def test_decisions_are_numbered_once_and_say_so_in_their_title() -> None:
    numbers = []
    for path in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        number = re.match(r"(\d{4})-[a-z0-9-]+\.md$", path.name)
        title = re.match(r"# (\d+)\. \S", path.read_text())
        assert number and title and int(number[1]) == int(title[1]), path.name
        numbers.append(int(number[1]))
    assert len(set(numbers)) == len(numbers)
