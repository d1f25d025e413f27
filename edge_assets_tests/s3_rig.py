"""A real S3 API: Versity's gateway on a folder, which honours `If-None-Match`.

It is the machine's, else it is built once into the cache by Go (two minutes), else its tests are skipped.
`python -m edge_assets_tests.s3_rig` builds it ahead.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from edge_assets.platform import endpoints
from edge_assets.settings import LakeSettings, S3Settings, Settings, load_settings

MODULE, VERSION = "github.com/versity/versitygw/cmd/versitygw", "v1.8.0"
BUCKET, KEY, SECRET = "lake", "edge-test", "edge-test-secret"


def gateway(settings: Settings) -> str:
    """The program. Skips where it is not here and cannot be built."""
    if found := shutil.which("versitygw"):
        return found
    try:
        return str(_built(settings))
    except LookupError as error:
        pytest.skip(f"no S3 server: {error}")


def _built(settings: Settings) -> Path:
    """Raises `LookupError` where it cannot be built."""
    built = settings.cache_dir / "tests" / f"versitygw-{VERSION}" / "versitygw"
    if built.exists():
        return built
    go = shutil.which("go")
    if go is None:
        raise LookupError("`versitygw` is not on PATH, and there is no Go to build it with")
    aside = built.parent / f"building-{os.getpid()}"
    environment = {**os.environ, "GOBIN": str(aside)}
    done = subprocess.run([go, "install", f"{MODULE}@{VERSION}"], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise LookupError(f"building versitygw: {done.stderr.strip().splitlines()[-1]}")
    (aside / "versitygw").replace(built)
    aside.rmdir()
    return built


@contextmanager
def served(program: str, folder: Path, port: int | None = None) -> Iterator[str]:
    """Serve a folder, in which each folder is a bucket; yields the address."""
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    port = port or endpoints.free_port()
    environment = {**os.environ, "ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET}
    command = [program, "--quiet", "--port", f"127.0.0.1:{port}", "posix", str(folder)]
    with (folder.parent / "gateway.log").open("a") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def on(settings: Settings, address: str, prefix: str) -> Settings:
    """The same platform with its lake in the bucket."""
    lake = LakeSettings(path=f"s3://{BUCKET}/{prefix}")
    s3 = S3Settings(endpoint=address, access_key=KEY, secret_key=SecretStr(SECRET))
    return settings.model_copy(update={"lake": lake, "s3": s3})


if __name__ == "__main__":
    print(shutil.which("versitygw") or _built(load_settings(_env_file=None)))
