"""The Spark session of the stream writer: one small JVM, and the lock that proves that it is the only one."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edge_assets import object_store
from edge_assets.errors import PlatformError
from edge_assets.settings import Settings
from edge_assets.stream import log_store

if TYPE_CHECKING:
    from py4j.protocol import Py4JJavaError
    from pyspark.sql import SparkSession

# Measured on two cores: without the C2 compiler a backlog takes half as long again, and 90 MB are saved; a heap that
# is let shrink gives back what a backlog took. The jars' bytecode is not verified again, which is a quarter of what a
# start takes until the first table is there: their checksums were (`edge_assets.platform.jars`).
JVM_OPTIONS = (
    "-XX:+UseSerialGC -XX:NewSize=96m -XX:MinHeapFreeRatio=20 -XX:MaxHeapFreeRatio=45 -XX:MaxMetaspaceSize=256m "
    "-XX:ReservedCodeCacheSize=96m -Xss512k -XX:+ExitOnOutOfMemoryError "
    "-XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
)


TALKATIVE = (
    "org.apache.spark.sql.catalyst.util.StringUtils",  # a plan was cut short: so we asked
    "org.apache.spark.sql.execution.streaming.runtime.ProcessingTimeExecutor",  # a batch took longer than its trigger
    "org.apache.spark.rdd.MapPartitionsRDD",  # a merge holds its rows, and nobody will ask for their lineage
    "org.apache.spark.scheduler.DAGScheduler",  # a job group that is cancelled at a stop had no jobs
)
"""Loggers that warn of the ordinary, some at every batch."""


@contextmanager
def spark_session(settings: Settings, jars: list[Path], java_home: Path) -> Iterator[SparkSession]:
    """Start the JVM, yield its session, and stop it.

    What Java throws leaves as a RuntimeError: an error of Java's asks its JVM for its words, whenever it is asked for
    them, and whoever hears of it outside of this would ask when the JVM has gone.

    The JVM inherits a locked descriptor: until it is really gone, no successor can start, even where the Python
    process that started it was killed and the JVM is about to finish one more commit.
    """
    from py4j.protocol import Py4JJavaError
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    _pass_no_arrays()
    with _jvm_lock(settings) as lock:
        os.environ["JAVA_HOME"] = str(java_home)
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        conf = SparkConf()
        for name, value in _options(settings, jars).items():
            conf.set(name, value)
        gateway = launch_gateway(conf, {"pass_fds": (lock.fileno(),), "start_new_session": True})
        lock.seek(0)
        lock.truncate()
        lock.write(str(gateway.proc.pid))
        lock.flush()
        context = None
        try:
            context = SparkContext(gateway=gateway, conf=conf)
            context.setLogLevel("WARN")
            if object_store.is_bucket(settings.lake_path):
                log_store.compile_into(gateway, settings)
            for name in TALKATIVE:
                _quiet(gateway, name)
            yield SparkSession(context)
        except Py4JJavaError as error:
            raise RuntimeError(_words(error)) from error
        finally:
            _stop(context, gateway)


def _pass_no_arrays() -> None:
    """Let PySpark not ask of each argument whether it is NumPy's: to ask, it imports helpers of its own tests, and with
    them NumPy, pandas and PyArrow, which is 95 MB and a second of each start. (`functions.lit` asks too.)"""
    from py4j import protocol

    converters = protocol.INPUT_CONVERTER
    converters[:] = [each for each in converters if not type(each).__name__.startswith("Numpy")]


def _quiet(gateway: Any, name: str) -> None:
    log4j = gateway.jvm.org.apache.logging.log4j
    log4j.core.config.Configurator.setLevel(name, log4j.Level.ERROR)


def _words(error: Py4JJavaError) -> str:
    """What a Java error says; where its JVM is gone already, what py4j knows of it without."""
    try:
        return str(error)
    except Exception:
        return error.errmsg


def _stop(context, gateway) -> None:
    from py4j.protocol import Py4JError, Py4JNetworkError

    try:
        if context is not None:
            context.stop()
    except (Py4JError, Py4JNetworkError, OSError):
        pass  # the JVM is gone already
    gateway.shutdown()
    gateway.proc.stdin.close()
    try:
        gateway.proc.wait(20)
    except Exception:
        gateway.proc.kill()


@contextmanager
def _jvm_lock(settings: Settings, patience_seconds: float = 20) -> Iterator[IO[str]]:
    """Hold the JVM's lock; a predecessor's JVM that still holds it is killed: it can commit nothing of use."""
    path = settings.home / "run" / "stream_writer.jvm.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                pid = int(file.read().strip() or 0)
                if time.monotonic() > deadline:
                    raise PlatformError(
                        f"the Spark JVM {pid} of a former stream writer does not die: kill it"
                    ) from None
                if time.monotonic() > deadline - patience_seconds + 2 and pid:
                    _kill(pid)
                time.sleep(0.1)
        yield file


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _options(settings: Settings, jars: list[Path]) -> dict[str, str]:
    local = settings.home / "stream"
    local.mkdir(parents=True, exist_ok=True)
    bucket = object_store.is_bucket(settings.lake_path)
    class_path = ":".join(map(str, [*jars, log_store.folder(settings)] if bucket else jars))
    return {
        "spark.master": settings.stream.master,
        "spark.app.name": "edge_assets",
        "spark.driver.memory": f"{settings.stream.heap_mb}m",
        "spark.driver.extraClassPath": class_path,
        "spark.driver.extraJavaOptions": f"{JVM_OPTIONS} -Djava.io.tmpdir={local} -Dderby.system.home={local}",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.local.dir": str(local),
        "spark.sql.warehouse.dir": str(local / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # No page shows the plans, and writing each of them out took a fifth of a small batch's time on the driver.
        "spark.sql.ui.explainMode": "simple",
        # Where in our code an expression was made is noted in it, at the price of a stack trace for each.
        "spark.python.sql.dataFrameDebugging.enabled": "false",
        "spark.sql.maxPlanStringLength": "200",
        "spark.sql.debug.maxToStringFields": "1",
        "spark.sql.variable.substitute": "false",  # a name may hold ${…}
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.shuffle.partitions": "1",
        "spark.default.parallelism": "2",
        "spark.sql.adaptive.enabled": "false",
        # By default 4 MB: too large for the young generation, so that each batch left 20 MB for a full collection.
        "spark.buffer.pageSize": "1m",
        "spark.sql.codegen.cache.maxEntries": "200",
        # Rows of several days go to as many open files; without it every batch is sorted by day first.
        "spark.sql.maxConcurrentOutputFileWriters": "4",
        "spark.sql.parquet.compression.codec": "zstd",
        # Each open file is written from memory: by default up to 128 MB of it, which with four days is the whole heap.
        "spark.hadoop.parquet.block.size": str(32 << 20),
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        # Without checksum files beside each file: Parquet has its own, and they double what an SD card has to create.
        "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
        "spark.hadoop.fs.AbstractFileSystem.file.impl": "org.apache.hadoop.fs.local.RawLocalFs",
        # One process writes, so a plain rename will do: the ways for several start a `readlink` and a `chmod` for each
        # file, and each of those forks the JVM, which took a tenth of a small batch's time.
        "spark.delta.logStore.file.impl": "io.delta.storage.LocalLogStore",
        "spark.delta.logStore.s3a.impl": log_store.CLASS,
        # A query that is stopped in the midst of its start may not hear of it: then the JVM's end is its end.
        "spark.sql.streaming.stopTimeout": "10s",
        "spark.sql.streaming.checkpointFileManagerClass": "org.apache.spark.sql.execution.streaming.checkpointing."
        "FileSystemBasedCheckpointFileManager",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.databricks.delta.properties.defaults.checkpointInterval": "50",
        "spark.databricks.delta.optimize.maxThreads": "1",
        "spark.sql.streaming.minBatchesToRetain": "2",
        "spark.sql.streaming.metricsEnabled": "false",
        "spark.sql.ui.retainedExecutions": "5",
        "spark.ui.retainedJobs": "5",
        "spark.ui.retainedStages": "5",
        "spark.ui.retainedTasks": "100",
        "spark.sql.mapKeyDedupPolicy": "LAST_WIN",
        "spark.cleaner.periodicGC.interval": "10min",
        **object_store.spark_options(settings),
    }
