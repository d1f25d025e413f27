"""The Spark session of the stream writer, by itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from edge_assets.settings import Settings

pytestmark = [pytest.mark.java]

FAILS = """
import os, signal, sys
from edge_assets.platform import jars, java
from edge_assets.settings import load_settings
from edge_assets.stream.session import spark_session

settings = load_settings()
try:
    with spark_session(settings, jars.ensure_spark(settings), java.java_home(settings)) as spark:
        try:
            spark._jvm.java.lang.Class.forName("nothing.There")
        finally:
            if sys.argv[1:] == ["kill"]:
                os.kill(spark.sparkContext._gateway.proc.pid, signal.SIGKILL)
                spark.sparkContext._gateway.proc.wait()
except RuntimeError as error:
    print("SAID" + str(error).splitlines()[0])
"""


@pytest.mark.parametrize("how", [(), ("kill",)])
def test_what_java_says_outlives_its_jvm(settings: Settings, how: tuple[str, ...]) -> None:
    environment = {**os.environ, **settings.environment()}
    ran = subprocess.run(
        [sys.executable, "-c", FAILS, *how], env=environment, capture_output=True, text=True, timeout=120
    )
    assert "SAID" in ran.stdout, ran.stderr
    (said,) = (line for line in ran.stdout.splitlines() if line.startswith("SAID"))
    assert said.startswith("SAIDAn error occurred while calling")
    assert how or "forName" in said, ran.stderr
