"""The services of `deploy/compose.yaml` run as they stand there, outside of containers: broker, log, store, and ours.

`compose_rig` says what is taken over from the file (command, user, environment, health check) and what is not.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import paho.mqtt.client as paho
import pytest
from obstore.exceptions import AlreadyExistsError
from obstore.store import S3Store
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import SecretStr

from edge_assets import object_store
from edge_assets.errors import LakeError
from edge_assets.platform import container, jars, log
from edge_assets.platform.java import find_java
from edge_assets.settings import KafkaSettings, LakeSettings, S3Settings, Settings
from edge_assets_tests import compose_rig, s3_rig
from edge_assets_tests.bridge_rig import wait_for
from edge_assets_tests.compose_rig import Machine, Running, all_ended, wait_healthy

START_SECONDS = 60.0
A_LOOK_SECONDS = 1.0
"""between two looks by a command, which is a Python each"""
BRIDGE_SECONDS = 60.0
GRACE_SECONDS = 75.0


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Folders that the containers' users can reach: pytest's own are its user's alone."""
    folder = Path(tmp_path_factory.mktemp("compose"))
    aside = Path("/tmp") / f"edge-compose-{os.getpid()}-{folder.name}"
    aside.mkdir(mode=0o755)
    made = None
    try:
        made = Machine(aside, compose_rig.prepared(folder / "deploy"))
        yield made
    finally:
        if made:
            made.end()
        for log_file in aside.glob("*.log"):
            print(f"--- {log_file.name}\n{log_file.read_text(errors='replace')[-3_000:]}")
        shutil.rmtree(aside, ignore_errors=True)


@pytest.fixture
def running() -> Iterator[list[Running]]:
    with all_ended([]) as started:
        yield started


def started(machine: Machine, running: list[Running], name: str) -> Running:
    running.append(machine.start(name))
    wait_healthy(machine, running[-1], START_SECONDS)
    return running[-1]


def start_mosquitto(machine: Machine, running: list[Running]) -> Running:
    if not shutil.which("mosquitto_sub") or not shutil.which("mosquitto_passwd"):
        pytest.skip("Mosquitto's clients are not on this machine; on Debian: `apt install mosquitto mosquitto-clients`")
    return started(machine, running, "mosquitto")


def start_kafka(machine: Machine, running: list[Running], settings: Settings) -> Running:
    """The image's own start, in short: properties from KAFKA_*, storage formatted once, the JVM's options."""
    jvm = ("KAFKA_HEAP_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_OPTS")
    environment = machine.environment("kafka")
    names = [
        name for name in environment if name.startswith("KAFKA_") and name not in (*jvm, "KAFKA_LOG4J_ROOT_LOGLEVEL")
    ]
    lines = [f"{name.removeprefix('KAFKA_').lower().replace('_', '.')}={environment[name]}" for name in names]
    properties = machine.folder / "server.properties"
    properties.write_text("\n".join(lines))
    java = [str(find_java().executable), *(word for name in jvm for word in environment[name].split())]
    library = machine.folder / "kafka-jars"
    if not library.exists():
        shutil.copytree(jars.ensure_jars(settings, "kafka")[0].parent, library)
    command = [*java, "-cp", f"{library}/*"]
    formatted = machine.path("kafka", "/var/lib/kafka/data") / "meta.properties"
    if not formatted.exists():
        cluster = ["format", "--cluster-id", "MkU3OEVBNTcwNTJENDM2Qg", "--config", str(properties)]
        done = machine.run("kafka", [*command, "kafka.tools.StorageTool", *cluster])
        assert done.returncode == 0, done.stderr
    running.append(machine.start("kafka", [*command, "kafka.Kafka", str(properties)]))
    wait_healthy(machine, running[-1], START_SECONDS)
    return running[-1]


def start_s3(machine: Machine, running: list[Running], settings: Settings) -> Running:
    """The store's program in the place of the image's."""
    program = machine.folder / "versitygw"
    if not program.exists():
        shutil.copy(s3_rig.gateway(settings), program)
        program.chmod(0o755)
        machine.programs["/app/versitygw"] = str(program)
    return started(machine, running, "s3")


class Client:
    """One user of the broker: what it hears, and what it says."""

    def __init__(self, machine: Machine, user: str, password: str | None = None) -> None:
        passwords = machine.services["mosquitto"]["environment"]
        self.heard: list[tuple[str, bytes]] = []
        self.refused = threading.Event()
        self._connected = threading.Event()
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(user, password or passwords[f"MQTT_PASSWORD_{user.upper()}"])
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _, __, message: self.heard.append((message.topic, bytes(message.payload)))
        self._client.connect("127.0.0.1", machine.at(1883))
        self._client.loop_start()

    def __enter__(self) -> Client:
        assert self._connected.wait(10), "the broker let it not in"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def listen(self, topic: str) -> None:
        self._subscribed.clear()
        self._client.subscribe(topic, qos=1)
        assert self._subscribed.wait(10)

    def say(self, topic: str, payload: bytes = b"1") -> None:
        """Returns when the broker has it: it acknowledges also what it may not pass on."""
        self._client.publish(topic, payload, qos=1).wait_for_publish(10)

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        (self.refused if reason.is_failure else self._connected).set()


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.minio.yaml"]])
def test_the_files_are_valid_by_the_specification(files: list[str], settings: Settings) -> None:
    command = [compose_rig.built(settings, *compose_rig.LOADER), "-no-interpolation", "-format", "json", *files]
    read = subprocess.run(command, cwd=compose_rig.DEPLOY, capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    image = json.loads(read.stdout)["services"]["s3"]["image"]
    assert image.startswith("edge_minio:" if "compose.minio.yaml" in files else "versity/versitygw:")


RIGHTS = {
    "edge": {"edge/alerts/offline": True, "zigbee2mqtt/plug/set": False, "pico/temperature/dht22": False},
    "zigbee2mqtt": {"zigbee2mqtt/plug": True, "homeassistant/switch/plug": True, "edge/alerts/offline": False},
    "devices": {"pico/temperature/dht22": True, "building/101/telemetry": True, "zigbee2mqtt/plug/set": False},
    "simulators": {"zigbee2mqtt/door": True, "pico/temperature/dht22": True, "building/101/telemetry": True},
    "monitor": {"zigbee2mqtt/plug": False, "edge/alerts/offline": False},
}


@pytest.mark.broker
def test_each_user_of_the_broker_may_do_what_it_must_and_no_more(machine: Machine, running: list[Running]) -> None:
    start_mosquitto(machine, running)
    with Client(machine, "edge") as platform:
        platform.listen("#")
        for user, rights in RIGHTS.items():
            with Client(machine, user) as one:
                for topic, allowed in rights.items():
                    one.say(topic, f"{user} {allowed}".encode())
                with Client(machine, "zigbee2mqtt") as last:  # what comes behind it shows that all before has come
                    last.say(f"zigbee2mqtt/after/{user}")
            wait_for(lambda: {topic for topic, _ in platform.heard}, {f"zigbee2mqtt/after/{user}"}.issubset)
        heard = {(topic, payload) for topic, payload in platform.heard}
        for user, rights in RIGHTS.items():
            for topic, allowed in rights.items():
                assert ((topic, f"{user} {allowed}".encode()) in heard) == allowed, f"{user}: {topic}"


@pytest.mark.broker
def test_readers_hear_what_they_may_and_strangers_nothing(machine: Machine, running: list[Running]) -> None:
    start_mosquitto(machine, running)
    with Client(machine, "devices") as devices, Client(machine, "monitor") as monitor, Client(machine, "edge") as edge:
        for client in (devices, monitor):
            client.listen("#")
        monitor.listen("$SYS/#")
        edge.listen("$SYS/broker/publish/messages/dropped")
        edge.say("edge/alerts/offline")
        wait_for(lambda: {topic for topic, _ in monitor.heard}, lambda topics: "$SYS/broker/uptime" in topics)
        wait_for(lambda: edge.heard, bool)
        assert all(topic.startswith("$SYS/") for topic, _ in monitor.heard)
        assert not devices.heard
    for user, password in (("edge", "wrong"), ("stranger", "any")):
        one = Client(machine, user, password)
        assert one.refused.wait(10)
        one.__exit__()


@pytest.mark.broker
def test_the_broker_keeps_a_queue_over_a_restart_and_its_passwords_to_itself(
    machine: Machine, running: list[Running]
) -> None:
    first = start_mosquitto(machine, running)
    passwords = machine.services["mosquitto"]["environment"]
    access = machine.path("mosquitto", "/mosquitto/data") / "access"
    kept = (access / "passwords").read_text()
    assert not any(secret in kept for secret in passwords.values())
    assert {file.stat().st_mode & 0o777 for file in access.iterdir()} == {0o600}
    bridge = paho.Client(CallbackAPIVersion.VERSION2, client_id="bridge", clean_session=False)
    bridge.username_pw_set("edge", passwords["MQTT_PASSWORD_EDGE"])
    heard: list[bytes] = []
    ready = threading.Event()
    bridge.on_message = lambda _, __, message: heard.append(bytes(message.payload))
    bridge.on_connect = lambda client, *_: client.subscribe("zigbee2mqtt/#", qos=1)
    bridge.on_subscribe = lambda *_: ready.set()
    bridge.connect("127.0.0.1", machine.at(1883))
    bridge.loop_start()
    assert ready.wait(10)
    bridge.disconnect()
    bridge.loop_stop()
    with Client(machine, "zigbee2mqtt") as one:
        for number in range(2_000):  # more than the thousand at which Mosquitto's own default drops
            one._client.publish("zigbee2mqtt/door", str(number), qos=0)
        one.say("zigbee2mqtt/door", b"last")
    assert first.stop(30) == 0
    start_mosquitto(machine, running)
    bridge.connect("127.0.0.1", machine.at(1883))
    bridge.loop_start()
    wait_for(lambda: len(heard), lambda count: count >= 2_001)
    bridge.disconnect()
    bridge.loop_stop()
    assert heard == [*(str(number).encode() for number in range(2_000)), b"last"]


@pytest.mark.java
def test_kafka_takes_the_files_settings_and_comes_back(
    machine: Machine, running: list[Running], settings: Settings
) -> None:
    first = start_kafka(machine, running, settings)
    here = settings.model_copy(update={"kafka": KafkaSettings(bootstrap=f"127.0.0.1:{machine.at(9092)}")})
    wait_for(lambda: log.answers(here), bool)
    log.ensure_topic(here, "sensor-events")
    [identity] = log.log_ids(here, ["sensor-events"]).values()
    said = settings_of(here)
    assert said["log.retention.hours"] == "168"
    assert said["log.retention.bytes"] == str(KafkaSettings().retention_bytes)
    assert said["auto.create.topics.enable"] == "false"
    assert said["log.flush.interval.ms"] == "500"
    assert first.stop(60) in (0, 143)
    start_kafka(machine, running, settings)
    wait_for(lambda: log.answers(here), bool)
    assert log.log_ids(here, ["sensor-events"]) == {"sensor-events": identity}


def settings_of(settings: Settings) -> dict[str, str]:
    """What Kafka itself says that it runs with."""
    from confluent_kafka.admin import AdminClient, ConfigResource

    admin, broker_one = AdminClient(log.client_options(settings)), ConfigResource(ConfigResource.Type.BROKER, "1")
    found = admin.describe_configs([broker_one])[broker_one].result(10)
    return {name: str(entry.value) for name, entry in found.items()}


def lake_on(machine: Machine, settings: Settings) -> Settings:
    """The lake as the container `code` has it."""
    environment = machine.environment("code")
    s3 = S3Settings(
        endpoint=environment["EDGE_S3__ENDPOINT"],
        access_key=environment["EDGE_S3__ACCESS_KEY"],
        secret_key=SecretStr(environment["EDGE_S3__SECRET_KEY"]),
    )
    return settings.model_copy(update={"s3": s3, "lake": LakeSettings(path=environment["EDGE_LAKE__PATH"])})


def test_the_store_honours_conditional_writes_and_keeps_files_as_files(
    machine: Machine, running: list[Running], settings: Settings
) -> None:
    first = start_s3(machine, running, settings)
    here = lake_on(machine, settings)
    object_store.race(here)
    (here.lake_path / "kept").write_text("still there")
    wrong = here.s3.model_copy(update={"secret_key": SecretStr("wrong")})
    with pytest.raises(LakeError):
        object_store.race(here.model_copy(update={"s3": wrong}))
    assert first.stop(20) in (0, -signal.SIGTERM)
    assert (machine.path("s3", "/data") / "lake" / "edge" / "kept").read_text() == "still there"
    start_s3(machine, running, settings)
    assert (lake_on(machine, settings).lake_path / "kept").read_text() == "still there"


def test_a_backup_of_the_store_keeps_what_conditional_writes_need(
    machine: Machine, running: list[Running], settings: Settings, tmp_path: Path
) -> None:
    """The store knows a file by its extended attributes: without them, it would let a commit be overwritten."""
    first = start_s3(machine, running, settings)
    commit = lake_on(machine, settings).lake_path / "_delta_log" / "0.json"
    commit.write_text("first")
    first.stop(20)
    text = (compose_rig.DEPLOY / "README.md").read_text()
    [keep] = {tuple(shlex.split(options)) for options in re.findall(r"tar ((?:--\S+ )+)-[cx]zf", text)}
    assert keep == ("--xattrs", "--xattrs-include=user.*")
    volume, archive = machine.path("s3", "/data"), tmp_path / "s3.tar.gz"
    subprocess.run(["tar", *keep, "-czf", str(archive), "-C", str(volume), "."], check=True)
    shutil.rmtree(volume / "lake")
    subprocess.run(["tar", *keep, "-xzf", str(archive), "-C", str(volume)], check=True)
    start_s3(machine, running, settings)
    assert (lake_on(machine, settings).lake_path / "_delta_log" / "0.json").read_text() == "first"
    with pytest.raises(AlreadyExistsError):
        obstore.put(bucket_of(machine, settings), "edge/_delta_log/0.json", b"second", mode="create")


def bucket_of(machine: Machine, settings: Settings) -> Any:
    s3 = lake_on(machine, settings).s3
    assert s3.endpoint and s3.access_key and s3.secret_key
    return S3Store(
        "lake",
        endpoint=s3.endpoint,
        access_key_id=s3.access_key,
        secret_access_key=s3.secret_key.get_secret_value(),
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def test_what_the_store_counts_is_there_for_prometheus(
    machine: Machine, running: list[Running], settings: Settings
) -> None:
    program = machine.folder / "statsd_exporter"
    shutil.copy(compose_rig.built(settings, *compose_rig.STATSD_EXPORTER), program)
    running.append(machine.start("s3-exporter", [str(program), *machine.command("s3-exporter")]))
    start_s3(machine, running, settings)
    (lake_on(machine, settings).lake_path / "counted").write_text("x" * 1_000)
    said = wait_for(lambda: page(machine, 9102, "/metrics"), lambda text: "versitygw_bytes_written" in text)
    assert 'versitygw_success_count{action="PutObject",api="s3",bucket="lake"' in said


def test_prometheus_and_the_machines_exporter_take_their_arguments(machine: Machine, running: list[Running]) -> None:
    """Debian's programs in the place of the images': older ones, which know every argument."""
    programs = {"prometheus": "prometheus", "node-exporter": "prometheus-node-exporter"}
    if missing := [program for program in programs.values() if not shutil.which(program)]:
        pytest.skip(f"{', '.join(missing)} is not on this machine; on Debian: `apt install {' '.join(missing)}`")
    for name, program in programs.items():
        running.append(machine.start(name, [program, *machine.command(name)]))
        wait_healthy(machine, running[-1], START_SECONDS)
    said = page(machine, 9100, "/metrics")
    for metric in (
        "node_memory_MemAvailable_bytes",
        "node_load1",
        "node_filesystem_avail_bytes",
        "node_cpu_seconds_total",
    ):
        assert f"\n{metric}" in said
    assert 'mountpoint="/"' in said
    assert "node_network_receive_bytes_total" not in said
    loaded = json.loads(page(machine, 9090, "/api/v1/targets?state=any"))["data"]["activeTargets"]
    services = {target["discoveredLabels"]["__address__"].partition(":")[0] for target in loaded}
    assert services - {"localhost", "platform"} <= set(machine.services)


def share_jars(machine: Machine, settings: Settings) -> None:
    """What the image's build has fetched into its cache, as its user's."""
    for name in jars.needed(lake_on(machine, settings.model_copy(update={"kafka": KafkaSettings(bootstrap="x:1")}))):
        jars.ensure_jars(settings, name)
        folder = jars.jar_folder(settings, name)
        shutil.copytree(folder, machine.path("code", "/var/cache/edge") / "jars" / folder.name)
    machine.give("code", machine.path("code", "/var/cache/edge"))


def edge(machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    """`docker compose exec code edge …`"""
    return machine.run("code", [str(machine.python), "-m", "edge_assets.cli", *words])


def status(machine: Machine) -> dict[str, Any]:
    found = edge(machine, "status", "--json")
    assert found.stdout, found.stderr
    return json.loads(found.stdout)


def ask(machine: Machine, query: str, **variables: str) -> Any:
    """Dagster's page, asked as a browser does."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    address = f"http://127.0.0.1:{machine.at(3000)}/graphql"
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["data"]


def spare_spark(machine: Machine) -> None:
    """Switch the stream writer off before the daemon starts: Spark is tried elsewhere."""
    sensors = ask(
        machine,
        """{sensorsOrError(repositorySelector:
            {repositoryName: "__repository__", repositoryLocationName: "edge_assets"})
            {... on Sensors {results {name sensorState {id}}} ... on Error {message}}}""",
    )["sensorsOrError"]["results"]
    [state] = [each["sensorState"]["id"] for each in sensors if each["name"] == "keep_stream_writer_alive"]
    stopped = ask(
        machine,
        """mutation Stop($id: String!) {stopSensor(id: $id)
            {... on StopSensorMutationResult {instigationState {status}} ... on Error {message}}}""",
        id=state,
    )
    assert stopped["stopSensor"]["instigationState"]["status"] == "STOPPED"


def page(machine: Machine, port: int, path: str) -> str:
    """Empty while nobody is there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{machine.at(port)}{path}", timeout=10) as answer:
            return answer.read().decode()
    except OSError:
        return ""


@pytest.mark.java
@pytest.mark.broker
def test_the_platform_lives_in_three_containers_and_ends_in_order(
    machine: Machine, running: list[Running], settings: Settings
) -> None:
    start_mosquitto(machine, running)
    start_kafka(machine, running, settings)
    start_s3(machine, running, settings)
    share_jars(machine, settings)
    code = started(machine, running, "code")
    assert edge(machine, "up").returncode == 4, "a second platform in this home is refused"
    web = started(machine, running, "web")
    spare_spark(machine)
    daemon = started(machine, running, "daemon")
    simulators = started(machine, running, "simulators")

    found = wait_for(
        lambda: status(machine)["services"],
        lambda services: services["bridge"]["counters"].get("logged", 0) > 50 and all_up(services),
        BRIDGE_SECONDS,
        A_LOOK_SECONDS,
    )
    assert found["bridge"]["counters"]["kafka_connected"]
    here = settings.model_copy(update={"kafka": KafkaSettings(bootstrap=f"127.0.0.1:{machine.at(9092)}")})
    assert {"sensor-events", "telemetry.101"} & set(log.topics(here))
    wait_for(lambda: page(machine, 8000, "/metrics"), lambda text: "zigbee_sensor_available" in text)
    wait_for(lambda: page(machine, 8090, "/").lower(), lambda text: "<html" in text)
    assert edge(machine, "doctor").returncode == 0
    assert edge(machine, "sql", "select 1").returncode == 0

    # The code server dies: it is back in its container, and the services have not noticed.
    os.kill(found["dagster_code"]["pid"], signal.SIGKILL)
    after = wait_for(
        lambda: status(machine)["services"],
        lambda services: services["dagster_code"]["restarts"] == 1,
        START_SECONDS,
        A_LOOK_SECONDS,
    )
    wait_healthy(machine, code, START_SECONDS)
    assert after["bridge"]["pid"] == found["bridge"]["pid"]
    wait_for(
        lambda: ask(machine, LOCATION)["workspaceOrError"]["locationEntries"][0]["loadStatus"], lambda s: s == "LOADED"
    )

    assert simulators.stop(10) == 0
    daemon.stop(25)
    web.stop(15)
    assert code.stop(GRACE_SECONDS) == 0
    assert "was killed" not in code.words()
    left = status(machine)
    assert left["state"] == "stopped"
    assert {left["services"][name]["state"] for name in ("bridge", "live", "alerter")} == {"stopped"}


LOCATION = "{workspaceOrError {... on Workspace {locationEntries {name loadStatus}}}}"
UP = ("broker", "kafka", "dagster_code", "dagster_web", "dagster_daemon")


def all_up(services: dict[str, Any]) -> bool:
    return all(services[name]["state"] == "up" for name in UP)


@pytest.mark.broker
def test_without_a_log_the_services_start_all_the_same(
    machine: Machine, running: list[Running], settings: Settings
) -> None:
    """Alerts and the live page do not need it. What waits for it, waits: log and tables are compared when it comes."""
    start_mosquitto(machine, running)
    share_jars(machine, settings)
    impatient = (
        "import sys; from edge_assets.platform import container as c; c.PREPARE_SECONDS = 2.0; sys.exit(c.main())"
    )
    command = machine.command("code")
    running.append(machine.start("code", [str(machine.python), "-c", impatient, *command[3:]]))
    code = running[-1]
    wait_healthy(machine, code, START_SECONDS)
    assert "starting without it" in code.words()
    assert status(machine)["services"]["kafka"]["state"] == "down"
    assert code.stop(GRACE_SECONDS) == 0


@pytest.mark.java
def test_jars_of_an_image_are_known_again_after_their_times_were_cut_to_seconds(settings: Settings) -> None:
    """A layer keeps whole seconds: what `fetch` leaves has none to lose."""
    names: tuple[jars.Set, ...] = ("spark", "s3")
    own = settings.model_copy(update={"cache_dir": settings.home / "cache"})
    for name in names:
        folder = jars.jar_folder(own, name)
        folder.mkdir(parents=True)
        for file in jars.ensure_jars(settings, name):
            shutil.copy2(file, folder)
    container.fetch(own)
    for name in names:
        folder = jars.jar_folder(own, name)
        stamps = json.loads((folder / jars.VERIFIED).read_text())
        assert stamps and all(nanoseconds % 1_000_000_000 == 0 for _, nanoseconds in stamps.values())
        verified = (folder / jars.VERIFIED).stat().st_mtime_ns
        for file in folder.glob("*.jar"):
            second = int(file.stat().st_mtime)
            os.utime(file, (second, second))
        jars.ensure_jars(own, name)
        assert (folder / jars.VERIFIED).stat().st_mtime_ns == verified, "nothing was read again"
