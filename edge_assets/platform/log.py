"""The log: an embedded Kafka (one node, KRaft), and what everyone needs to speak to any Kafka.

EDGE_HOME/kafka/data                the log itself
EDGE_HOME/kafka/server.properties   written at each start from the settings
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edge_assets.decoding.patterns import is_template, template_regex
from edge_assets.errors import LogError, PlatformError
from edge_assets.platform import endpoints, process
from edge_assets.platform.jars import class_path, ensure_jars
from edge_assets.platform.java import find_java
from edge_assets.platform.process import Process
from edge_assets.settings import Route, Settings

NAME = "kafka"
START_SECONDS = 90
STOP_SECONDS = 20
ADMIN_SECONDS = 10

_LOGGING = """status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c{1})%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = org.apache.kafka.common.utils.AppInfoParser
logger.server.level = info
"""


def start(settings: Settings) -> Process:
    """Start the embedded Kafka and wait until it answers. Raises `PlatformError` with Kafka's own last words."""
    running = launch(settings)
    wait_until_up(settings, running)
    return running


def launch(settings: Settings) -> Process:
    """Start the embedded Kafka's process. The ports in `settings` must be resolved.

    The first start formats the storage. Raises `PlatformError` where that fails or a port is taken.
    """
    for port in (settings.kafka.port, settings.kafka.controller_port):
        endpoints.claim("Kafka", "127.0.0.1", port)
    folder = settings.home / "kafka"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log4j2.properties").write_text(_LOGGING)
    _format(settings, folder)
    properties = folder / "server.properties"
    properties.write_text(_properties(settings, folder / "data"))
    return process.start(settings, NAME, [*_java(settings, folder), "kafka.Kafka", str(properties)], _environment())


def stop(running: Process) -> None:
    running.stop(STOP_SECONDS)


def wait_until_up(settings: Settings, running: Process) -> None:
    """Wait until Kafka serves requests, with a deadline. Raises `PlatformError` where it died or does not answer."""
    up = process.wait_until(lambda: not running.alive or answers(settings) == _own_cluster(settings), START_SECONDS)
    if up and running.alive:
        return
    problem = f"no answer in {START_SECONDS} s" if running.alive else f"ended with code {running.exit_code}"
    words = running.last_words()
    running.stop(STOP_SECONDS)
    raise PlatformError(
        f"starting Kafka on {bootstrap(settings)}: {problem}; it said: {words or 'nothing'}; see {running.log}"
    )


def answers(settings: Settings) -> str | None:
    """The identifier of the cluster that answers at the address, None where none does now."""
    from confluent_kafka import KafkaException

    try:
        listed = _admin(settings).list_topics(timeout=2)
        return listed.cluster_id if listed.brokers else None
    except KafkaException:
        return None


def bootstrap(settings: Settings) -> str:
    return settings.kafka.bootstrap or f"127.0.0.1:{settings.kafka.port or 9092}"


def client_options(settings: Settings) -> dict[str, Any]:
    """Options of a confluent-kafka client for this log: the address and what the user set."""
    return {"bootstrap.servers": bootstrap(settings), **settings.kafka.client}


def topics(settings: Settings) -> dict[str, int]:
    """The log's topics with their number of partitions; its internal ones left out."""
    from confluent_kafka import KafkaException

    try:
        listed = _admin(settings).list_topics(timeout=ADMIN_SECONDS).topics
    except KafkaException as error:
        raise _away(settings, "listing topics", error) from error
    return {name: len(topic.partitions) for name, topic in listed.items() if not name.startswith("__")}


def topics_of(routes: Iterable[Route], there: Iterable[str]) -> dict[str, float | None]:
    """Kafka topic → retention in hours (None: Kafka's own) of all topics of these routes: those that they name, and of
    templates (`telemetry.<room>`) those that are `there`."""
    there = sorted(there)
    found: dict[str, float | None] = {}
    for route in routes:
        if route.topic and is_template(route.topic):
            of_route = [name for name in there if re.fullmatch(template_regex(route.topic), name)]
        else:
            of_route = [route.topic] if route.topic else []
        for name in of_route:
            found.setdefault(name, route.retention_hours)
    return found


def read_topics(settings: Settings, there: Iterable[str] | None = None) -> dict[str, float | None]:
    """The same of all topics that the stream writer reads: those of the routes, the bridge's dead letters, and imports.

    `there`: the log's topics; without it they are asked for. Raises `LogError`.
    """
    routed = topics_of(settings.bridge.routes, topics(settings) if there is None else there)
    return {**routed, settings.bridge.dead_letter_topic: None, settings.history.topic: None}


def ensure_topic(settings: Settings, name: str, retention_hours: float | None = None) -> None:
    """Create a topic where it is missing, and wait until it can be written to. Leaves an existing one as it is.

    Raises `LogError`.
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import NewTopic

    admin = _admin(settings)
    config = {} if retention_hours is None else {"retention.ms": str(int(retention_hours * 3_600_000))}
    new = NewTopic(name, settings.kafka.partitions, settings.kafka.replication, config=config)
    try:
        admin.create_topics([new], operation_timeout=ADMIN_SECONDS)[name].result(ADMIN_SECONDS)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise _away(settings, f"creating topic {name!r}", error) from error
    if not process.wait_until(lambda: _has_leaders(admin, name), ADMIN_SECONDS):
        raise LogError(
            f"creating topic {name!r} at {bootstrap(settings)}: no leader for it in {ADMIN_SECONDS} s; is Kafka whole?"
        )


def log_ids(settings: Settings, topics: Iterable[str]) -> dict[str, str]:
    """The identity of each topic's log: Kafka's topic id as a UUID string.

    A topic that is deleted and made anew has another one, and so has one in a new Kafka. Where a log of another make
    has no topic ids, the cluster's id stands in for it. Raises `LogError` where a topic is missing.
    """
    from confluent_kafka import KafkaException, TopicCollection

    admin = _admin(settings)
    ids = {}
    for name, answer in admin.describe_topics(TopicCollection(list(topics))).items():
        try:
            ids[name] = _uuid(answer.result(ADMIN_SECONDS).topic_id) or _cluster_id(settings)
        except KafkaException as error:
            raise _away(settings, f"describing topic {name!r}", error) from error
    return ids


def _uuid(topic_id: Any) -> str | None:
    if topic_id is None:
        return None
    mask = (1 << 64) - 1
    number = (topic_id.get_most_significant_bits() & mask) << 64 | (topic_id.get_least_significant_bits() & mask)
    return str(uuid.UUID(int=number)) if number else None


def _cluster_id(settings: Settings) -> str:
    return _admin(settings).describe_cluster().result(ADMIN_SECONDS).cluster_id


def _admin(settings: Settings) -> Any:
    from confluent_kafka.admin import AdminClient

    quiet = {"log_level": 0, "socket.timeout.ms": 5_000}
    return AdminClient({**quiet, **client_options(settings)}, logger=_silent())


def _silent() -> Any:
    import logging

    logger = logging.getLogger("edge_assets.platform.log.admin")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


def _has_leaders(admin: Any, name: str) -> bool:
    topic = admin.list_topics(name, timeout=5).topics[name]
    return bool(topic.partitions) and all(partition.leader >= 0 for partition in topic.partitions.values())


def _away(settings: Settings, operation: str, error: Exception) -> LogError:
    reason = error.args[0].str() if error.args and hasattr(error.args[0], "str") else str(error)
    return LogError(f"{operation} at {bootstrap(settings)}: {reason}; does it run? `edge status` shows it")


def _own_cluster(settings: Settings) -> str:
    """Empty where the storage has lost it: Kafka itself then says so, and ends."""
    try:
        lines = (settings.home / "kafka" / "data" / "meta.properties").read_text().splitlines()
    except FileNotFoundError:
        return ""
    return next((line.removeprefix("cluster.id=") for line in lines if line.startswith("cluster.id=")), "")


def _format(settings: Settings, folder: Path) -> None:
    """Format the storage once: aside and moved into place, so that a kill midway leaves none."""
    if (folder / "data").exists():
        return
    aside = folder / ".formatting"
    shutil.rmtree(aside, ignore_errors=True)
    properties = folder / "format.properties"
    properties.write_text(_properties(settings, aside))
    tool = [*_java(settings, folder), "kafka.tools.StorageTool", "format", "--standalone"]
    done = subprocess.run(
        [*tool, "--cluster-id", _new_cluster_id(), "--config", str(properties)],
        capture_output=True,
        text=True,
        env=_environment(),
    )
    if done.returncode != 0:
        said = " | ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        raise PlatformError(
            f"formatting Kafka's storage in {folder}: it said: {said}; is there space and may we write there?"
        )
    os.sync()  # a power cut must not leave a name without its content
    aside.rename(folder / "data")
    properties.unlink()


def _new_cluster_id() -> str:
    """22 characters, URL-safe; Kafka's tools take one that begins with a dash for an option."""
    while True:
        identifier = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not identifier.startswith("-"):
            return identifier


def _java(settings: Settings, folder: Path) -> list[str]:
    """Java with the options that let Kafka run in about 170 MB: one compiler tier, one collector thread."""
    return [
        str(find_java().executable),
        f"-Xmx{settings.kafka.heap_mb}m",
        "-Xss512k",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djdk.nio.maxCachedBufferSize=262144",
        f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
        f"-Dkafka.logs.dir={settings.home / 'logs'}",
        "-cp",
        class_path(ensure_jars(settings, "kafka")),
    ]


def _environment() -> dict[str, str]:
    # One malloc arena and not one per core: tens of megabytes less.
    return {**os.environ, "MALLOC_ARENA_MAX": "1"}


def _properties(settings: Settings, data: Path) -> str:
    kafka = settings.kafka
    node, controller = f"127.0.0.1:{kafka.port}", f"127.0.0.1:{kafka.controller_port}"
    values: dict[str, Any] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "listeners": f"PLAINTEXT://{node},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{node},CONTROLLER://{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.bootstrap.servers": controller,
        "log.dirs": data,
        # A killed broker's registration must run out before the next one is let in: 4 s and not 9.
        "broker.session.timeout.ms": 4_000,
        "broker.heartbeat.interval.ms": 1_000,
        **_sizes(settings),
        **_durability(settings),
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _sizes(settings: Settings) -> dict[str, Any]:
    """Threads and buffers for one home's load on a small machine."""
    return {
        "num.network.threads": 1,
        "num.io.threads": 2,
        "background.threads": 1,
        "num.recovery.threads.per.data.dir": 1,
        "num.partitions": settings.kafka.partitions,
        "auto.create.topics.enable": "false",
        "message.max.bytes": settings.kafka.max_message_bytes,
        "group.initial.rebalance.delay.ms": 0,
        "offsets.topic.num.partitions": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "log.segment.bytes": 64 * 1024 * 1024,
        "log.index.size.max.bytes": 1024 * 1024,
        "log.cleaner.dedupe.buffer.size": 2 * 1024 * 1024,
    }


def _durability(settings: Settings) -> dict[str, Any]:
    """How long a record is kept, and how soon it is on the disk.

    Kafka forces a log to the disk only when its flush scheduler looks, which by default is never; half the interval
    for both makes the whole interval the bound.
    """
    half = max(settings.kafka.flush_ms // 2, 1)
    return {
        "log.retention.hours": settings.kafka.retention_hours,
        "log.retention.bytes": settings.kafka.retention_bytes,
        "log.roll.hours": max(settings.kafka.retention_hours // 8, 1),
        "log.flush.interval.ms": half,
        "log.flush.scheduler.interval.ms": half,
    }
