"""Jars: fetched once, verified, whole or not there; and the Java that fetches them.

Those that fetch use three small jars and skip where the network is away.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_assets.errors import DownloadError
from edge_assets.platform import jars, java, process
from edge_assets.settings import Settings, load_settings

pytestmark = pytest.mark.java

SMALL = ("org.jspecify:jspecify:1.0.0", "org.slf4j:slf4j-api:2.0.17", "net.sf.jopt-simple:jopt-simple:5.0.4")
OFFLINE = " ".join(f"-D{scheme}.proxyHost=127.0.0.1 -D{scheme}.proxyPort=9" for scheme in ("http", "https"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt of Java's to reach another machine fails."""
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", OFFLINE)


@pytest.fixture
def without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without a Java of its own, but with the rest of what is on PATH."""
    (tmp_path / "bin").mkdir()
    for name in ("sh", "env", "uname", "dirname", "basename", "tr"):
        if found := shutil.which(name):
            (tmp_path / "bin" / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JAVA_HOME", raising=False)


@pytest.fixture
def empty(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with an empty cache."""
    return load_settings(_env_file=None, home=settings.home, cache_dir=tmp_path / "cache")


@pytest.fixture
def copied(settings: Settings, empty: Settings) -> Settings:
    """Settings with a cache of this test's own, filled with Kafka's jars."""
    jars.ensure_jars(settings, "kafka")
    shutil.copytree(jars.jar_folder(settings, "kafka"), jars.jar_folder(empty, "kafka"))
    return empty


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The set `kafka` is three small jars for the time of a test. Yields the file of pins."""
    chosen = [jar for jar in jars.pinned("kafka") if jar.coordinates in SMALL]
    pins = tmp_path / "pins.toml"
    pins.write_text("".join(entry(jar) for jar in chosen))
    monkeypatch.setattr(jars, "PINS", pins)
    jars.pinned.cache_clear()
    yield pins
    jars.pinned.cache_clear()


def entry(jar: jars.Jar) -> str:
    return f'[[kafka]]\njar = "{jar.coordinates}"\nbytes = {jar.size}\nsha256 = "{jar.sha256}"\n'


def test_a_filled_cache_needs_no_network(settings: Settings, offline: None) -> None:
    for name in jars.needed(settings):
        assert [path.name for path in jars.ensure_jars(settings, name)] == [jar.file_name for jar in jars.pinned(name)]
        assert jars.missing(settings, name) == []


def test_a_changed_jar_is_refused(copied: Settings, offline: None) -> None:
    path = jars.ensure_jars(copied, "kafka")[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert [jar.file_name for jar in jars.missing(copied, "kafka")] == [path.name]
    with pytest.raises(DownloadError, match=rf"{jars.pinned('kafka')[0].coordinates}.*start again"):
        jars.ensure_jars(copied, "kafka")


def test_offline_says_what_is_missing_and_what_to_do(empty: Settings, small: Path, offline: None) -> None:
    with pytest.raises(DownloadError, match=r"fetching .*:.*connect to the network and start again") as caught:
        jars.ensure_jars(empty, "kafka")
    assert "\n" not in str(caught.value)


def test_only_what_is_missing_is_fetched(copied: Settings) -> None:
    paths = jars.ensure_jars(copied, "kafka")
    untouched = paths[1].stat().st_ino
    gone = next(path for path in paths if path.name.startswith("jspecify"))
    gone.unlink()
    told: list[jars.Progress] = []
    fetch_or_skip(copied, told)
    assert gone.exists() and paths[1].stat().st_ino == untouched
    assert told[-1].jars == told[-1].of_jars == 1


def test_what_a_mirror_changed_is_refused(empty: Settings, small: Path) -> None:
    fetch_or_skip(load_settings(_env_file=None, home=empty.home, cache_dir=empty.cache_dir / "reachable"))
    small.write_text(small.read_text().replace('sha256 = "', 'sha256 = "0'))
    jars.pinned.cache_clear()
    with pytest.raises(DownloadError, match=r"verifying .*expected .* SHA-256 0.*got"):
        jars.ensure_jars(empty, "kafka")
    assert list(jars.jar_folder(empty, "kafka").glob("*.jar")) == []


def test_a_killed_fetch_leaves_nothing_half_done(empty: Settings, small: Path) -> None:
    child = fetching(empty, small)
    process.wait_until(lambda: child.poll() is not None or any(empty.cache_dir.glob("jars/.fetching-*/ivy.log")), 30)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not any(empty.cache_dir.glob("jars/*/verified.json"))
    fetch_or_skip(empty)
    assert jars.missing(empty, "kafka") == []
    assert not any(empty.cache_dir.glob("jars/.fetching-*"))


def test_two_at_once_both_get_them(empty: Settings, small: Path) -> None:
    children = [fetching(empty, small), fetching(empty, small)]
    codes = [child.wait(120) for child in children]
    if codes == [1, 1]:
        fetch_or_skip(empty)
    assert codes == [0, 0]
    assert jars.missing(empty, "kafka") == []


def test_the_wheels_java_fetches_from_who_the_machine_trusts(empty: Settings, small: Path, without_java: None) -> None:
    assert java.find_java().bundled
    fetch_or_skip(empty)
    assert jars.missing(empty, "kafka") == []


def test_an_old_java_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, without_java: None) -> None:
    old = tmp_path / "old" / "bin" / "java"
    old.parent.mkdir(parents=True)
    old.write_text("#!/bin/sh\necho '    java.home = /old' >&2\necho '    java.specification.version = 11' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    assert java.find_java().bundled


def test_a_java_home_for_spark_leaves_out_the_module_that_the_wheel_lacks(empty: Settings, without_java: None) -> None:
    executable = java.java_home(empty) / "bin" / "java"
    asked = [str(executable), "--add-modules=jdk.incubator.vector", "-Dspaced=a b", "-version"]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 0 and "version" in done.stderr
    assert java.java_home(empty) == executable.parents[1]


def fetch_or_skip(settings: Settings, told: list[jars.Progress] | None = None) -> None:
    """Fetch; a machine without network can't show more than the other tests do."""
    try:
        jars.ensure_jars(settings, "kafka", (told if told is not None else []).append)
    except DownloadError as error:
        if os.environ.get("CI") == "true" or "verifying" in str(error):
            raise
        pytest.skip(str(error))


def fetching(settings: Settings, pins: Path) -> subprocess.Popen[bytes]:
    code = (
        "from pathlib import Path; from edge_assets.platform import jars\n"
        "from edge_assets.settings import load_settings\n"
        f"jars.PINS = Path({str(pins)!r}); jars.ensure_jars(load_settings(), 'kafka')"
    )
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **settings.environment()})
