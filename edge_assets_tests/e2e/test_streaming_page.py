"""docs/streaming.md, run from top to bottom as a reader would, each command in one shell, each answer compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_assets.settings import Settings

pytestmark = [pytest.mark.java, pytest.mark.broker, pytest.mark.timeout(900)]

PAGE = Path(__file__).parents[2] / "docs" / "streaming.md"
PATIENCE_SECONDS = 120.0
ASKS = ("edge sql", "edge verify", "edge status")
"""commands that change nothing, and whose answer may not be there yet"""


@dataclass(frozen=True, slots=True)
class Step:
    command: str
    expected: str

    @property
    def pattern(self) -> str:
        return ".*".join(map(re.escape, self.expected.split("…")))


def steps(page: str) -> Iterator[Step]:
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            yield Step(command, expected.strip())


class Shell:
    """One bash for all commands, as variables and functions are to last."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> str:
        assert self._bash.stdin and self._bash.stdout
        self._bash.stdin.write(f"{command}\necho; echo '= end ='\n")
        self._bash.stdin.flush()
        lines: list[str] = []
        for line in self._bash.stdout:
            if line.strip() == "= end =":
                break
            lines.append(line)
        return "".join(lines).strip()

    def close(self) -> None:
        assert self._bash.stdin
        self._bash.stdin.close()
        self._bash.wait(10)


@pytest.fixture
def shell(settings: Settings, tmp_path: Path) -> Iterator[Shell]:
    """Our ports, so that nothing collides; the rest is the page's."""
    ports = {"MQTT__PORT": settings.mqtt.port, "KAFKA__PORT": settings.kafka.port}
    ports |= {"KAFKA__CONTROLLER_PORT": settings.kafka.controller_port, "DAGSTER__PORT": settings.dagster.port}
    ports |= {"DAGSTER__GRPC_PORT": settings.dagster.grpc_port}
    own = {f"EDGE_{name}": str(port) for name, port in ports.items()}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    opened = Shell(tmp_path, {**os.environ, **own, "PATH": path})
    yield opened
    opened.run("edge down")
    opened.close()


def test_the_page_holds_what_it_says(shell: Shell) -> None:
    there = list(steps(PAGE.read_text()))
    assert len(there) > 20
    for step in there:
        deadline = time.monotonic() + PATIENCE_SECONDS
        said = shell.run(step.command)
        while not re.fullmatch(step.pattern, said, re.DOTALL) and step.command.startswith(ASKS):
            assert time.monotonic() < deadline, f"$ {step.command}\n{said}\n--- expected\n{step.expected}"
            time.sleep(2)
            said = shell.run(step.command)
        assert re.fullmatch(step.pattern, said, re.DOTALL), f"$ {step.command}\n{said}\n--- expected\n{step.expected}"
