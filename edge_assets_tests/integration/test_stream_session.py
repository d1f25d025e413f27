"""The Spark session of the stream writer, by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from edge_assets.settings import Settings
from edge_assets.stream import java_references

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


def test_what_nobody_has_a_name_for_any_more_is_let_go_of(spark: Any) -> None:
    java_references.release()
    before = java_references.held()
    frames = [spark.sql(f"SELECT {number} AS n") for number in range(50)]
    assert not any(
        frame.isStreaming for frame in frames
    )  # an object and a method that it was asked for hold each other
    java_references.release()  # they grow old
    frames.clear()
    assert java_references.held() >= before + 50, "else Python lets go by itself, and nobody needs to ask"
    java_references.release()
    assert java_references.held() <= before
