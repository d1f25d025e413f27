"""The jars that pip cannot bring: Kafka's broker, and what Spark needs for Delta and Kafka.

`jars.toml` beside this file pins each by coordinates, size and SHA-256. They are fetched once, by the Ivy that
pyspark ships, into the cache:

    <cache_dir>/jars/<set>-<digest of its pins>/*.jar    whole and verified, or not there
    <cache_dir>/jars/.fetching-<set>-<digest>/           what a fetch that was killed had so far

After that nothing here touches the network. `python -m edge_assets.platform.jars` prints the pins of new versions.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from edge_assets import object_store
from edge_assets.errors import DownloadError
from edge_assets.platform.java import find_java, trust_options
from edge_assets.settings import Settings

Set = Literal["kafka", "spark", "s3"]
PINS = Path(__file__).with_name("jars.toml")
VERIFIED = "verified.json"
PROGRESS_SECONDS = 0.5

_IVY_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <caches defaultCacheDir="${edge.work}/ivy"/>
  <resolvers><ibiblio name="central" m2compatible="true" usepoms="false"/></resolvers>
</ivysettings>
"""
_IVY_MODULE = """<ivy-module version="2.0">
  <info organisation="edge" module="jars"/>
  <configurations><conf name="default"/></configurations>
  <dependencies>
%s
  </dependencies>
</ivy-module>
"""
_IVY_DEPENDENCY = (
    '    <dependency org="{0}" name="{1}" rev="{2}" transitive="false" conf="default-&gt;default">'
    '<artifact name="{1}" type="jar" ext="jar"/></dependency>'
)


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar: `group:artifact:version`, its size in bytes and its SHA-256."""

    coordinates: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}.jar"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fetch is: jars and bytes, of how many."""

    name: str
    jars: int
    of_jars: int
    bytes: int
    of_bytes: int

    def __str__(self) -> str:
        return (
            f"fetching {self.name} jars: {self.jars} of {self.of_jars}, "
            f"{self.bytes / 1e6:.1f} of {self.of_bytes / 1e6:.1f} MB"
        )


def ensure_jars(settings: Settings, name: Set, progress: Callable[[Progress], None] | None = None) -> list[Path]:
    """The jars of a set, fetched where the cache does not have them, in the order of the pins.

    Several processes may ask at once; one fetches. A file in the cache that is no longer what its checksum says is
    fetched anew. Raises `DownloadError` naming what is missing and the next step.
    """
    jars = pinned(name)
    folder = jar_folder(settings, name)
    if not _verified(folder, jars):
        with _lock(folder.with_name(f".{folder.name}.lock")) as lock:
            if not _verified(folder, jars):
                _fetch(settings, _Fetch(name, jars, folder, progress or (lambda _: None), lock))
    return [folder / jar.file_name for jar in jars]


def needed(settings: Settings) -> list[Set]:
    """The sets that a platform with these settings runs on."""
    of_spark = _of_spark(settings)
    return of_spark if settings.kafka.bootstrap else ["kafka", *of_spark]


def ensure_spark(settings: Settings) -> list[Path]:
    """The jars of the stream writer's class path. Raises `DownloadError`."""
    return [path for name in _of_spark(settings) for path in ensure_jars(settings, name)]


def _of_spark(settings: Settings) -> list[Set]:
    return ["spark", "s3"] if object_store.is_bucket(settings.lake_path) else ["spark"]


def jar_folder(settings: Settings, name: Set) -> Path:
    """Where a set lies: the name changes with the pins, so an upgrade never mixes versions."""
    digest = hashlib.sha256("".join(jar.sha256 for jar in pinned(name)).encode()).hexdigest()[:12]
    return settings.cache_dir / "jars" / f"{name}-{digest}"


@cache
def pinned(name: Set) -> tuple[Jar, ...]:
    entries = tomllib.loads(PINS.read_text())[name]
    return tuple(Jar(entry["jar"], entry["bytes"], entry["sha256"]) for entry in entries)


def missing(settings: Settings, name: Set) -> list[Jar]:
    """Jars of a set that the cache lacks or that are not what their checksum says. Reads every byte."""
    folder = jar_folder(settings, name)
    return [jar for jar in pinned(name) if not _is(folder / jar.file_name, jar)]


def class_path(jars: Sequence[Path]) -> str:
    return ":".join(map(str, jars))


def _verified(folder: Path, jars: Sequence[Jar]) -> bool:
    """Whether the set is there, verified, and untouched since: by size and time, so that a start is instant."""
    try:
        stamps = json.loads((folder / VERIFIED).read_text())
        return all(stamps[jar.file_name] == _stamp(folder / jar.file_name) for jar in jars)
    except (OSError, ValueError, KeyError):
        return False


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _is(path: Path, jar: Jar) -> bool:
    if not path.is_file() or path.stat().st_size != jar.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256


@contextmanager
def _lock(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


@dataclass(frozen=True, slots=True)
class _Fetch:
    """What to fetch, whereto. `lock` is the descriptor that Ivy inherits, so that it outlives a killed parent."""

    name: str
    jars: Sequence[Jar]
    folder: Path
    progress: Callable[[Progress], None]
    lock: int


def _fetch(settings: Settings, fetch: _Fetch) -> None:
    """Bring a set into its folder. Steps, so that a kill at any point leaves nothing half-done:

    1. what is in the folder and right is kept, the rest goes,
    2. Ivy fetches the others into a folder of its own, where a killed fetch goes on,
    3. each is verified and only then moved (a rename) to its place,
    4. the stamps are written last: without them the set is not taken for whole.
    """
    folder = fetch.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / VERIFIED).unlink(missing_ok=True)
    wanted = [jar for jar in fetch.jars if not _is(folder / jar.file_name, jar)]
    if wanted:
        work = folder.with_name(f".fetching-{folder.name}")
        said = _run_ivy(settings, replace(fetch, jars=wanted), work)
        for jar in wanted:
            _take(jar, work, folder, said)
        shutil.rmtree(work)
    os.sync()  # a power cut must not leave stamps for content that was never written
    stamps = {jar.file_name: _stamp(folder / jar.file_name) for jar in fetch.jars}
    aside = folder / f".{VERIFIED}"
    aside.write_text(json.dumps(stamps))
    aside.replace(folder / VERIFIED)


def _take(jar: Jar, work: Path, folder: Path, said: str) -> None:
    fetched = work / "jars" / jar.file_name
    if not fetched.exists():
        raise DownloadError(
            f"fetching {jar.coordinates} ({jar.size / 1e6:.1f} MB) into {folder}: {_why(said, jar)}; "
            "connect to the network and start again (what was fetched is kept), or copy the folder from a machine that "
            "has it"
        )
    if not _is(fetched, jar):
        with fetched.open("rb") as file:
            got = hashlib.file_digest(file, "sha256").hexdigest()
        size = fetched.stat().st_size
        shutil.rmtree(work)
        raise DownloadError(
            f"verifying {jar.coordinates}: expected {jar.size} bytes with SHA-256 {jar.sha256}, got {size} bytes with "
            f"{got}; it was thrown away: start again, and if it stays so, a proxy or mirror changes files"
        )
    fetched.replace(folder / jar.file_name)


def _why(said: str, jar: Jar) -> str:
    """The one line of Ivy's that tells a person most."""
    artifact = jar.coordinates.split(":")[1]
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    reasons = [line for line in lines if artifact in line and ("error" in line.lower() or "not found" in line)]
    reason = (reasons or lines or ["Ivy said nothing"])[0]
    return reason if len(reason) < 200 else reason[:200] + "…"


def _run_ivy(settings: Settings, fetch: _Fetch, work: Path) -> str:
    """Fetch with Ivy, telling the progress from the files it writes. Returns what Ivy said."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "settings.xml").write_text(_IVY_SETTINGS)
    dependencies = "\n".join(_IVY_DEPENDENCY.format(*jar.coordinates.split(":")) for jar in fetch.jars)
    (work / "ivy.xml").write_text(_IVY_MODULE % dependencies)
    log = work / "ivy.log"
    with log.open("w") as out:
        command = _ivy_command(settings, work)
        ivy = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=work, pass_fds=[fetch.lock])
        try:
            while ivy.poll() is None:
                fetch.progress(_progress(fetch, work))
                with suppress(subprocess.TimeoutExpired):
                    ivy.wait(PROGRESS_SECONDS)
        finally:
            ivy.kill()
            ivy.wait()
    fetch.progress(_progress(fetch, work))
    return log.read_text()


def _ivy_command(settings: Settings, work: Path) -> list[str]:
    java = find_java()
    return [
        str(java.executable),
        "-Xmx128m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        *trust_options(java, settings.cache_dir),
        f"-Dedge.work={work}",
        "-jar",
        str(_ivy_jar()),
        *("-settings", "settings.xml", "-ivy", "ivy.xml"),
        *("-retrieve", f"{work}/jars/[artifact]-[revision].[ext]"),
    ]


def _ivy_jar() -> Path:
    # Found without importing pyspark, which costs a second on a Pi.
    from importlib.util import find_spec

    spec = find_spec("pyspark")
    jars = Path(spec.origin).parent / "jars" if spec and spec.origin else Path()
    for jar in sorted(jars.glob("ivy-*.jar")):
        return jar
    raise DownloadError("fetching jars: pyspark, which brings the program for it, is not installed; `pip install -e .`")


def _progress(fetch: _Fetch, work: Path) -> Progress:
    size = 0
    for path in work.glob("ivy/**/*.jar*"):
        with suppress(FileNotFoundError):  # Ivy has just renamed it
            size += path.stat().st_size
    done = {path.name for path in work.glob("ivy/**/*.jar")}
    count = sum(jar.file_name in done for jar in fetch.jars)
    return Progress(fetch.name, count, len(fetch.jars), min(size, _bytes(fetch.jars)), _bytes(fetch.jars))


def _bytes(jars: Sequence[Jar]) -> int:
    return sum(jar.size for jar in jars)


def _pin(coordinates: Sequence[str]) -> str:
    """TOML entries for new versions: fetched now, with the checksums that they have now."""
    from edge_assets.settings import load_settings

    settings = load_settings()
    jars = [Jar(each, 0, "") for each in coordinates]
    with tempfile.TemporaryDirectory() as folder:
        lock = os.open(folder, os.O_RDONLY)
        said = _run_ivy(settings, _Fetch("new", jars, Path(folder), lambda _: None, lock), Path(folder))
        os.close(lock)
        entries = []
        for jar in jars:
            path = Path(folder) / "jars" / jar.file_name
            if not path.exists():
                raise DownloadError(f"fetching {jar.coordinates}: {_why(said, jar)}; are the coordinates right?")
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            entries.append(f'jar = "{jar.coordinates}"\nbytes = {path.stat().st_size}\nsha256 = "{digest}"\n')
    return "\n".join(entries)


if __name__ == "__main__":
    print(_pin(sys.argv[1:]))
