"""The compose file as a test reads it, and its services run as they are, outside of containers.

What a service is given (user, environment, command, health check) comes from `deploy/compose.yaml` and the image's
`ENV` alone, so that a test cannot drift from them. Only places are others: service names become 127.0.0.1, ports are
free ones, volumes are folders.

`python -m edge_assets_tests.compose_rig` builds ahead what Go has to build: the Compose Specification's own loader, and
the exporter of the store (half a minute).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from edge_assets.platform import endpoints
from edge_assets.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
OUR_USER = 10001
USERS = {"prometheus": 65534, "node-exporter": 65534, "s3-exporter": 65534, "kafka": 1000}
"""whom images of others run as by themselves"""
LOADER = ("github.com/compose-spec/compose-go/v2/cmd", "v2.16.2")
STATSD_EXPORTER = ("github.com/prometheus/statsd_exporter", "v0.31.0")

_VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?:(?P<how>:?[-?])(?P<word>[^}]*))?\}")


class _Loader(yaml.SafeLoader):
    """Compose's own tags (`!override`, `!reset`) say how files are merged; the values behind them are plain."""


def _plain(loader: _Loader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)  # type: ignore[arg-type]


_Loader.add_multi_constructor("!", _plain)


def raw(file: Path = COMPOSE) -> dict[str, Any]:
    """The file with its variables as they stand there."""
    return yaml.load(file.read_text(), _Loader)


def services(variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The services with every variable filled in, as `docker compose config` has them."""
    return _filled(raw()["services"], variables)


def variables_of(value: Any) -> Iterator[tuple[str, str]]:
    """Each variable's name, and its default (empty: none)."""
    if isinstance(value, str):
        for found in _VARIABLE.finditer(value):
            if found["name"]:
                yield found["name"], (found["word"] or "") if "-" in (found["how"] or "") else ""
    elif isinstance(value, Mapping):
        for below in value.values():
            yield from variables_of(below)
    elif isinstance(value, Sequence):
        for below in value:
            yield from variables_of(below)


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _value(found, variables), value)
    if isinstance(value, Mapping):
        return {name: _filled(below, variables) for name, below in value.items()}
    if isinstance(value, Sequence):
        return [_filled(below, variables) for below in value]
    return value


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found["name"] is None:
        return "$"
    value = variables.get(found["name"], "")
    if value or not found["how"] or (found["name"] in variables and not found["how"].startswith(":")):
        return value
    if "?" in found["how"]:
        raise LookupError(f"{found['name']} {found['word']}")
    return found["word"]


def env_file(path: Path) -> dict[str, str]:
    lines = [line.partition("=") for line in path.read_text().splitlines() if re.match(r"\w+=", line)]
    return {name: value for name, _, value in lines}


def prepared(folder: Path, serial: Path | None = None) -> dict[str, str]:
    """What `prepare.sh` makes of `.env.example`, in a copy of the folder; once more where there is one."""
    folder.mkdir(exist_ok=True)
    for name in (".env.example", "prepare.sh"):
        shutil.copy(DEPLOY / name, folder)
    environment = {"PATH": os.environ["PATH"], "SERIAL": str(serial or folder / "no-dongle")}
    done = subprocess.run(["sh", str(folder / "prepare.sh")], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return env_file(folder / ".env")


def image_environment() -> dict[str, str]:
    """`ENV` of the image's last stage."""
    stage = re.split(r"^FROM .*$", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)[-1]
    lines = re.findall(r"^ENV ((?:.*\\\n)*.*)$", stage, flags=re.MULTILINE)
    words = [word for line in lines for word in shlex.split(line.replace("\\\n", " "))]
    return dict(word.split("=", 1) for word in words)


class Machine:
    """Where the services of one test run: folders for volumes, free ports, and who may be who.

        <folder>/volumes/<name>          a named volume
        <folder>/containers/<service>    what a container has for itself, with links to its volumes

    As root each service is the user of its container. `python` is one that this user may run, with our packages; where
    there is none (ours is in a folder of root's, and the system has no other of its version), our services stay root's.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder
        self.services = services(variables)
        self.ports = {port: endpoints.free_port() for port in _ports(self.services)}
        self.programs: dict[str, str] = {}
        self.as_root = os.geteuid() == 0
        python = _python(folder / "python") if self.as_root else None
        self.python = python or Path(sys.executable)
        self.our_user = OUR_USER if python else 0
        for name, service in self.services.items():
            self._mount(name, service)

    def at(self, port: int) -> int:
        """The free port in the place of a container's."""
        return self.ports[port]

    def path(self, name: str, inside: str) -> Path:
        """The place of a container's folder."""
        return self.folder / "containers" / name / inside.lstrip("/")

    def environment(self, name: str) -> dict[str, str]:
        service = self.services[name]
        ours = "build" in service
        given = {key: str(value) for key, value in service.get("environment", {}).items()}
        environment = {
            key: self.outside(name, value, host=key.endswith("HOST"), port=key.endswith("PORT"))
            for key, value in {**(image_environment() if ours else {}), **given}.items()
        }
        path = f"{self.python.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        kept = {"JAVA_TOOL_OPTIONS": os.environ["JAVA_TOOL_OPTIONS"]} if ours else {}
        return {**environment, **kept, "PATH": path}

    def command(self, name: str) -> list[str]:
        service = self.services[name]
        return self._command(name, [*service.get("entrypoint", []), *service.get("command", [])])

    def health(self, name: str) -> subprocess.CompletedProcess[str]:
        """The service's health check, run as it stands."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        shell = ["sh", "-c", self.outside(name, words[0])]
        return self.run(name, shell if kind == "CMD-SHELL" else self._command(name, words))

    def run(self, name: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command as `docker compose exec NAME` would."""
        return subprocess.run(
            list(command),
            env=self.environment(name),
            cwd=self.path(name, "/"),
            capture_output=True,
            text=True,
            timeout=60,
            **self.user(name),
        )

    def give(self, name: str, folder: Path) -> None:
        """Let a folder with all in it be the container's user's."""
        for place in (folder, *folder.rglob("*")):
            if self.as_root:
                os.chown(place, self._number(name), self._number(name))

    def end(self) -> None:
        """End what is still there, as an engine does with all of a container: whatever has its folder as its own."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if Path(process.cwd()).is_relative_to(self.folder):
                    process.kill()
                    process.wait(10)

    def start(self, name: str, command: Sequence[str] | None = None) -> Running:
        return Running(self, name, command or self.command(name))

    def user(self, name: str) -> dict[str, Any]:
        """The user of its container, as `subprocess` takes it."""
        number = self._number(name)
        return {"user": number, "group": number, "extra_groups": []} if self.as_root and number else {}

    def outside(self, name: str, text: str, host: bool = False, port: bool = False) -> str:
        """A value of a service with the container's places replaced by this machine's. A name alone is one of a
        container only where a host is expected: a user may be called so too."""
        if port and text.isdigit():
            return str(self.ports[int(text)])
        if host and text in (*self.services, "0.0.0.0"):
            return "127.0.0.1"
        names = "|".join(sorted(map(re.escape, [*self.services, "platform"]), key=len, reverse=True))
        text = re.sub(rf"(?<![\w.-])(?<![\w.]/)({names}|0\.0\.0\.0)(?=:\d)", "127.0.0.1", text)
        text = re.sub(r"(?<![\w.]):(\d{4})\b", r"127.0.0.1:\1", text)
        text = re.sub(r"(127\.0\.0\.1[:/]|-p )(\d{4})\b", lambda found: found[1] + str(self.at(int(found[2]))), text)
        for inside, outside in {**self._folders(name), **self.programs}.items():
            text = re.sub(rf"(?<![\w./-]){re.escape(inside)}(?![\w-])", outside, text)
        return text

    def _command(self, name: str, words: Sequence[str]) -> list[str]:
        """A container's name alone stands behind an option."""
        return [
            self.outside(name, word, host=before.startswith("--"))
            for before, word in zip(["", *words], words, strict=False)
        ]

    def _number(self, name: str) -> int:
        service = self.services[name]
        of_image = self.our_user if "build" in service else USERS.get(name, 0)
        return int(str(service.get("user", of_image)).partition(":")[0])

    def _folders(self, name: str) -> dict[str, str]:
        """What is inside → where it is; the deepest first."""
        insides = {str(each).split(":")[1] for each in self.services[name].get("volumes", [])}
        insides |= {"/data", "/var/cache/edge"} if "build" in self.services[name] else set()
        return {inside: str(self.path(name, inside)) for inside in sorted(insides, key=len, reverse=True)}

    def _mount(self, name: str, service: Mapping[str, Any]) -> None:
        """Give a container its folders. A folder in memory (`tmpfs`) inside a volume is one of its own, beside links to
        what the volume has."""
        self.path(name, "/").mkdir(parents=True)
        mounts = [str(each).split(":")[:2] for each in service.get("volumes", [])]
        for source, inside in sorted(mounts, key=lambda mount: len(mount[1])):
            place = self.path(name, inside)
            if source == "edge" and service.get("tmpfs"):
                own = place / "edge"
                self._own(own, name)
                (own / "rooms.db").symlink_to(self.folder / "volumes" / "edge" / "edge" / "rooms.db")
                continue
            if place.parent.name == "edge":
                self._own(place.parent, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            if source == "./mosquitto":
                self._configure_mosquitto()
            elif source.startswith(("./", "/")):
                place.symlink_to(DEPLOY / source)
            else:
                self._own(self.folder / "volumes" / source, name)
                place.symlink_to(self.folder / "volumes" / source)

    def _configure_mosquitto(self) -> None:
        folder = self.path("mosquitto", "/mosquitto/config")
        folder.mkdir(parents=True)
        for file in (DEPLOY / "mosquitto").iterdir():
            text = file.read_text().replace("listener 1883", f"listener {self.at(1883)} 127.0.0.1")
            (folder / file.name).write_text(self.outside("mosquitto", text))

    def _own(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if self.as_root:
            os.chown(folder, self._number(name), self._number(name))


class Running:
    """One service's process; `log` has what it says."""

    def __init__(self, machine: Machine, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.log = machine.folder / f"{name}.log"
        self._log = self.log.open("ab")
        self.process = subprocess.Popen(
            list(command),
            env=machine.environment(name),
            cwd=machine.path(name, "/"),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            **machine.user(name),
        )

    def stop(self, seconds: float) -> int:
        """SIGTERM, as an engine does, and its exit code. Fails where it takes longer than its grace."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        """The whole group, as an engine ends a container."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self._log.close()

    def words(self) -> str:
        return self.log.read_text(errors="replace")[-4_000:]


@contextmanager
def all_ended(running: list[Running]) -> Iterator[list[Running]]:
    """Whatever a test has started is gone after it."""
    try:
        yield running
    finally:
        for one in reversed(running):
            one.kill()


def wait_healthy(machine: Machine, running: Running, seconds: float) -> float:
    """Ask its health check until it is well. Returns how long that took."""
    began = time.monotonic()
    while True:
        assert running.process.poll() is None, f"{running.name} ended: {running.words()}"
        asked = machine.health(running.name)
        if asked.returncode == 0:
            return time.monotonic() - began
        said = asked.stdout + asked.stderr
        assert time.monotonic() - began < seconds, f"{running.name}: {said}; it said: {running.words()}"
        time.sleep(0.1)


def _ports(services: Mapping[str, Any]) -> set[int]:
    """Every port that stands somewhere in the file, but those of this machine's side."""
    text = str([{key: value for key, value in each.items() if key != "ports"} for each in services.values()])
    return {int(port) for port in re.findall(r"(?<!\d)([1-9]\d{3})(?!\d)", text) if int(port) < 10_000}


@cache
def _can_run(python: str, user: int) -> bool:
    try:
        tried = subprocess.run([python, "-c", ""], user=user, group=user, extra_groups=[], capture_output=True)
    except OSError:
        return False
    return tried.returncode == 0


def _python(folder: Path) -> Path | None:
    """A Python that the container's user may run: ours, else the system's of the same version with our packages."""
    if _can_run(sys.executable, OUR_USER):
        return Path(sys.executable)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for place in ("/usr/bin", "/usr/local/bin"):
        if _can_run(f"{place}/{name}", OUR_USER):
            subprocess.run([f"{place}/{name}", "-m", "venv", "--without-pip", str(folder)], check=True)
            site = folder / "lib" / name / "site-packages" / "ours.pth"
            site.write_text(f"{sysconfig.get_paths()['purelib']}\n{ROOT}\n")
            return folder / "bin" / "python"
    return None


def built(settings: Settings, module: str, version: str) -> str:
    """A program that Go builds once, into the cache. Skips where it cannot."""
    name = module.rpartition("/")[2]
    program = settings.cache_dir / "tests" / f"{module.replace('/', '-')}-{version}" / name
    if not program.exists():
        go = shutil.which("go")
        if go is None:
            pytest.skip(f"there is no Go to build {module} with")
        aside = program.parent / f"building-{os.getpid()}"
        environment = {**os.environ, "GOBIN": str(aside)}
        done = subprocess.run([go, "install", f"{module}@{version}"], env=environment, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"building {module}: {done.stderr.strip().splitlines()[-1]}")
        (aside / name).replace(program)
        aside.rmdir()
    return str(program)


if __name__ == "__main__":
    for each in (LOADER, STATSD_EXPORTER):
        print(built(load_settings(_env_file=None), *each))
