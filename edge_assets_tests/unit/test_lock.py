"""The lock files hold what pyproject.toml asks for, with hashes, and name no machine's own places."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
TEST_LOCK = ROOT / "edge_assets_tests" / "requirements.lock"
PYTHONS = ("3.11.0", "3.12.0", "3.13.0")
MACHINES = ("x86_64", "aarch64")
AGAIN = "run .ci/lock"


def locked(path: Path) -> Iterator[tuple[Requirement, int]]:
    """Each pinned package of a lock file, with the number of its hashes."""
    for block in re.split(r"\n(?=\S)", path.read_text()):
        head, *rest = block.split("\n")
        if not head.startswith("#"):
            yield Requirement(head.removesuffix(" \\")), sum("--hash=sha256:" in line for line in rest)


def applies(requirement: Requirement, python: str, machine: str) -> bool:
    environment = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "platform_machine": machine,
        "platform_system": "Linux",
        "sys_platform": "linux",
        "os_name": "posix",
    }
    return requirement.marker is None or requirement.marker.evaluate(environment)


def versions(path: Path, python: str, machine: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for requirement, _ in locked(path):
        if applies(requirement, python, machine):
            pinned = str(requirement.specifier).removeprefix("==")
            found.setdefault(canonicalize_name(requirement.name), set()).add(pinned)
    return found


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_locks_satisfy_the_project(python: str, machine: str) -> None:
    asked = project()
    own, tests = versions(LOCK, python, machine), versions(TEST_LOCK, python, machine)
    wanted = [
        *((own, text) for text in asked["project"]["dependencies"]),
        *((own, text) for text in asked["build-system"]["requires"]),
        *((tests, text) for text in asked["project"]["optional-dependencies"]["test"]),
    ]
    for lock, text in wanted:
        requirement = Requirement(text)
        pinned = lock.get(canonicalize_name(requirement.name), set())
        assert len(pinned) == 1, f"{text} on Python {python}, {machine}: locked {pinned or 'nowhere'}; {AGAIN}"
        assert requirement.specifier.contains(pinned.pop(), prereleases=True), f"{text} is not what is locked; {AGAIN}"
        assert all(one == own[name] for name, one in tests.items() if name in own), f"the locks differ; {AGAIN}"


@pytest.mark.parametrize("path", [LOCK, TEST_LOCK], ids=["platform", "tests"])
def test_everything_is_pinned_with_hashes(path: Path) -> None:
    packages = list(locked(path))
    assert len(packages) > 10
    for requirement, hashes in packages:
        assert [one.operator for one in requirement.specifier] == ["=="], str(requirement)
        assert hashes > 0, f"{requirement.name} has no hash"


@pytest.mark.parametrize("path", [LOCK, TEST_LOCK], ids=["platform", "tests"])
def test_no_place_of_the_machine_that_locked_is_named(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"https?:|file:|--index|--find-links|(^|\s)/", text, re.MULTILINE)
