"""The one tree of settings: typed, frozen, built once at the edge of the program and passed inwards.

Where a value may come from, the first that has it wins:

1. an argument (tests, the command line),
2. an environment variable (`EDGE_MQTT__HOST=broker.lan`),
3. a `.env` file in the working directory,
4. `edge.toml` in the platform's home,
5. the named profile (`EDGE_PROFILE=pi`, `edge up --profile pi`),
6. the default below.

`.env.example` and `docs/settings.md` are generated from this module (`edge settings`), so a field's
description is its documentation. A port of 0 means: the customary one where it is free, else any free one;
what was taken is remembered in `EDGE_HOME`, so that an address stays the same across starts.
"""

from __future__ import annotations

import os
import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from edge_assets import object_store
from edge_assets.alert_record import ALERTS
from edge_assets.decoding import patterns
from edge_assets.errors import SettingsError

PROFILES = Path(__file__).parent / "profiles"
ALERTS_FILTER = f"{ALERTS}#"


LAYERS = ("bronze", "silver", "gold")
"""the folders of a lake"""


RENAMED = {"EDGE_ROLLUPS__SCHEDULE": "EDGE_ROLLUPS__UPDATE_MINUTES"}
"""settings of earlier versions, by what took their place: to be refused with its name, as the values differ"""


def is_site_folder(name: str) -> bool:
    """Whether a shared lake can have a folder of this name for a site."""
    return bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name)) and name.lower() not in LAYERS


def _default_home() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "edge_assets"


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge_assets"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Route(Section):
    """Which MQTT messages go to which Kafka topic. The first route whose filter matches wins."""

    filter: str = Field(default="", description="an MQTT topic filter, for example `zigbee2mqtt/#`")
    pattern: str | None = Field(
        default=None,
        description="in the filter's place, for devices that are not Zigbee2MQTT's: which level of a topic says what, "
        "for example `pico/<measurement>/<sensor>`; see edge_assets.decoding.patterns",
    )
    topic: str | None = Field(
        default="sensor-events",
        description="the Kafka topic, which may hold names of the pattern; null: counted and dropped at the bridge",
    )
    units: dict[str, str] = Field(default_factory=dict, description="the unit of each measurement of a pattern")
    retention_hours: int | None = Field(default=None, description="of its Kafka topics; null: as for all")

    @model_validator(mode="after")
    def _filter_of_pattern(self) -> Route:
        if self.pattern is None:
            if self.topic and patterns.is_template(self.topic):
                raise ValueError(f"the topic {self.topic!r} holds a name, and there is no pattern that says what it is")
            return self
        parsed = patterns.Pattern.parse(self.pattern)
        if self.filter not in ("", parsed.filter):
            raise ValueError("a route has a filter or a pattern, not both")
        if unknown := patterns.names_in(self.topic or "") - set(parsed.names.values()):
            raise ValueError(f"the topic {self.topic!r} holds <{min(unknown)}>, which the pattern does not")
        object.__setattr__(self, "filter", parsed.filter)
        return self

    @property
    def parsed(self) -> patterns.Pattern | None:
        """The pattern, taken apart."""
        return None if self.pattern is None else patterns.Pattern.parse(self.pattern)


class MqttSettings(Section):
    host: str | None = Field(default=None, description="your own broker; unset: the platform runs one")
    port: int = Field(default=0, description="0: 1883 where it is free (1883 of your own broker)")
    bind: str = Field(default="127.0.0.1", description="where the embedded broker listens")
    username: str | None = Field(
        default=None, description="for your own broker; the embedded one then asks every client for it"
    )
    password: SecretStr | None = Field(default=None, description="goes with the username; never printed")
    tls: bool = Field(default=False, description="speak TLS to the broker")
    ca_file: Path | None = Field(default=None, description="the CA that signed the broker's certificate")
    keepalive_seconds: int = Field(
        default=30, description="a connection that is silent for one and a half times this is taken for dead"
    )
    engine: Literal["auto", "mosquitto", "amqtt"] = Field(
        default="auto", description="the embedded broker; auto: mosquitto where it can be had, else amqtt"
    )
    queue_max_messages: int = Field(
        default=1_000_000, description="what the embedded broker queues for the bridge before it drops"
    )
    queue_max_bytes: int = Field(default=512 * 1024 * 1024, description="the same bound in bytes")
    autosave_seconds: int = Field(
        default=30,
        description="how often the embedded broker saves its queues: what a killed broker can lose",
    )
    max_inflight: int = Field(
        default=4_096,
        description="messages the broker sends ahead of their acknowledgement (receive maximum)",
    )


class KafkaSettings(Section):
    bootstrap: str | None = Field(default=None, description="your own Kafka; unset: the platform runs one")
    port: int = Field(default=0, description="0: 9092 where it is free")
    controller_port: int = Field(default=0, description="0: 9093 where it is free")
    heap_mb: int = Field(default=128, ge=96, description="Java heap of the embedded log; it takes about 40 MB more")
    partitions: int = Field(default=1, ge=1, description="partitions of a topic that the platform creates")
    replication: int = Field(default=1, ge=1, description="copies of each partition; more than 1 needs your own Kafka")
    retention_hours: int = Field(default=168, description="how long the log keeps a record")
    retention_bytes: int = Field(
        default=1024 * 1024 * 1024,
        description="and how much of each partition, in bytes; -1: as much as comes. An outage of the lake is survived "
        "for as long as both hold it (1 GiB: a week at 5 messages of 350 bytes a second)",
    )
    max_message_bytes: int = Field(default=1_000_000, description="the log's limit for one record")
    flush_ms: int = Field(
        default=1_000,
        description="how often the embedded log forces its writes to the disk: a power cut's cost",
    )
    client: dict[str, str] = Field(
        default_factory=dict, description="further client options (SASL, TLS) as librdkafka names them"
    )


class BridgeSettings(Section):
    id: str = Field(default="bridge", description="the bridge's name in records and its MQTT client identifier")
    routes: tuple[Route, ...] = Field(
        default=(
            Route(filter="zigbee2mqtt/#"),
            Route(pattern="pico/<measurement>/<sensor>", units={"temperature": "°C", "humidity": "%"}),
            Route(pattern="building/<room>/telemetry", topic="telemetry.<room>", retention_hours=72),
            Route(filter=ALERTS_FILTER, topic="alerts"),
        ),
        description="which MQTT topics go to which Kafka topic; the first filter that matches wins, topic null drops. "
        f"Alerts (`{ALERTS_FILTER}`) go to `alerts` where no route of yours says otherwise",
    )
    max_topics: int = Field(
        default=64,
        ge=1,
        description="so many Kafka topics a route may make (`telemetry.<room>`); what comes then goes to `….other`",
    )
    dead_letter_topic: str = Field(
        default="dead-letters", description="the Kafka topic for messages over the log's limit"
    )

    @model_validator(mode="after")
    def _alerts_are_kept(self) -> BridgeSettings:
        """Who writes routes of their own thinks of devices, and their alerts would be in no table."""
        if not any(route.filter == ALERTS_FILTER for route in self.routes):
            object.__setattr__(self, "routes", (*self.routes, Route(filter=ALERTS_FILTER, topic="alerts")))
        return self

    @property
    def patterns(self) -> list[patterns.Pattern]:
        """Those of bare topics, in the routes' order. Decoders number them so, and their units from -1 down."""
        return [route.parsed for route in self.routes if route.parsed]


class SimulatorSettings(Section):
    enabled: bool = Field(default=True, description="run the simulated devices")
    seed: int = Field(default=7, description="the same seed gives the same devices and the same events")
    doors: int = Field(default=3, ge=0, description="simulated SNZB-04P door contacts")
    plugs: int = Field(default=3, ge=0, description="simulated S60ZBTPF plugs")
    interval_seconds: float = Field(default=5.0, gt=0, description="how often a plug reports")
    speed: float = Field(default=1.0, gt=0, description="simulated seconds per second, for doors and events")
    base_topic: str = Field(
        default="zigbee2mqtt", description="the base topic that the simulated network publishes under"
    )
    pico: bool = Field(default=True, description="a simulated Pico W: bare numbers, one topic each")
    pico_interval_seconds: float = Field(default=5.0, gt=0, description="how often it reports")
    pico_base_topic: str = Field(default="pico", description="the first level of its topics")
    rooms: int = Field(default=8, ge=0, le=8, description="simulated rooms of a building; 0: none")
    rooms_interval_seconds: float = Field(default=0.5, gt=0, description="how often each room reports")
    rooms_base_topic: str = Field(default="building", description="the first level of the rooms' topics")

    def base_of(self, topic: str) -> str | None:
        """Below which of the simulated base topics a topic or filter lies; None: it is not simulated."""
        pico, rooms = [self.pico_base_topic] * self.pico, [self.rooms_base_topic] * (self.rooms > 0)
        bases = [self.base_topic, *pico, *rooms] if self.enabled else []
        return next((base for base in bases if topic.startswith(f"{base}/")), None)


class HistorySettings(Section):
    topic: str = Field(default="imports", description="the Kafka topic that `edge import` writes to")


class StreamSettings(Section):
    master: str = Field(default="local[2]", description="the Spark master")
    heap_mb: int = Field(default=512, ge=256, description="Java heap of the stream writer; it takes about 250 MB more")
    trigger_seconds: float = Field(
        default=10.0, ge=0, description="a batch each so many seconds; less is fresher and writes more"
    )
    max_records_per_batch: int = Field(
        default=50_000,
        ge=1,
        description="bounds a batch when there is much to catch up: a larger one catches up sooner, takes more memory, "
        "and lets live readings wait longer meanwhile",
    )
    reprocess_offsets: int = Field(
        default=25_000, ge=1, description="a step of `edge reprocess`; live readings wait while one is done"
    )
    base_topics: tuple[str, ...] = Field(default=("zigbee2mqtt",), description="base topics decoded as Zigbee2MQTT")
    event_time_past_hours: float = Field(
        default=24 * 400, description="a payload's time this far before its arrival is still believed"
    )
    event_time_future_seconds: float = Field(default=300, description="and this far after it")
    max_room_fields: int = Field(
        default=64,
        ge=0,
        le=256,
        description="so many fields that rooms bring by themselves become columns of silver.room_telemetry; further "
        "ones are refused and counted",
    )
    fsync: bool = Field(default=True, description="force the lake's files to the disk at each commit")
    min_free_mb: int = Field(
        default=200,
        ge=0,
        description="with less free space the stream writer stops, and leaves the rest to the log and to Dagster; it "
        "goes on by itself when there is a quarter more",
    )
    compact_minutes: float = Field(
        default=180,
        description="Dagster asks for maintenance each hour; when nobody has asked for so long, the stream writer does "
        "it by itself; 0: never, and small files are joined on request only",
    )
    join_mb: int = Field(
        default=8, ge=1, description="so much of a table's small files is joined in one go, while batches wait"
    )
    join_files: int = Field(default=250, ge=8, description="or so many of them, whichever comes first")
    vacuum_hours: float = Field(default=24, description="how long files that were replaced stay readable")
    most_files_a_day: int = Field(
        default=1_000, ge=1, description="a check fails where a day of a table lies in more files than this"
    )
    longest_log: int = Field(
        default=200,
        ge=1,
        description="a check fails where a table's log has more commits than this since a checkpoint",
    )


class RetentionRule(Section):
    """How long readings are kept that match. The first rule that matches a reading counts."""

    device: str = Field(default="*", description="device_id or device_name; `*` stands for any signs, `?` for one")
    measurement: str = Field(
        default="*", description="the measurement, in the same way; raw messages of rooms hold all and match `*` alone"
    )
    raw_days: int | None = Field(default=None, ge=2, description="days of silver.readings and silver.room_telemetry")
    minutes_days: int | None = Field(default=None, ge=2, description="days of readings_1m, by whole months")


class RetentionSettings(Section):
    """How long tables keep their rows, counted from the UTC day on which they were received. What is not named stays
    for ever, and so do hours, days and what else is rolled up."""

    bronze_days: int = Field(
        default=30,
        ge=0,
        description="0: for ever; of bronze.events and bronze.dead_letters, which are redriven from it: so far back "
        "can silver be recomputed, and `edge verify` prove",
    )
    readings: tuple[RetentionRule, ...] = Field(
        default=(), description="of readings, by device and measurement; the first rule that matches counts"
    )
    tables: dict[str, int] = Field(
        default_factory=dict, description='of other tables, for example `{"silver.device_states": 365}`'
    )

    @field_validator("bronze_days")
    @classmethod
    def _whole_days(cls, days: int) -> int:
        if days == 1:
            raise ValueError("must be 0, or 2 at least: a day is closed before it goes")
        return days

    @field_validator("tables")
    @classmethod
    def _have_days(cls, tables: dict[str, int]) -> dict[str, int]:
        for name, days in tables.items():
            own = {"silver.readings": "readings", "silver.room_telemetry": "readings", "silver.devices": None}
            if name in own or not re.fullmatch(r"(silver|gold)\.\w+", name):
                instead = own.get(name, "bronze_days" if name.startswith("bronze.") else None)
                raise ValueError(f"{name} has no days of its own" + (f": see retention.{instead}" if instead else ""))
            if days < 2:
                raise ValueError(f"{name}: 2 days at least")
        return tables


class Window(Section):
    """One table of windows over the rooms' messages: `gold.<name>`."""

    name: str = Field(description="the table's name in gold", pattern=r"^[a-z][a-z0-9_]{0,63}$")
    size_seconds: int = Field(ge=1, le=86_400, description="how long a window is")
    slide_seconds: int | None = Field(
        default=None, ge=1, description="a window begins each so many seconds; null: each as one ends (tumbling)"
    )
    publish: bool = Field(default=False, description="hand each window to Kafka too: `telemetry.<room>.downsampled`")

    @model_validator(mode="after")
    def _slides_through(self) -> Window:
        if self.size_seconds % self.step_seconds:
            raise ValueError(f"{self.name}: size_seconds must be a multiple of slide_seconds")
        return self

    @property
    def step_seconds(self) -> int:
        """From one window's begin to the next one's."""
        return self.slide_seconds or self.size_seconds


class WindowSettings(Section):
    tables: tuple[Window, ...] = Field(
        default=(
            Window(name="telemetry_5s_agg", size_seconds=10, slide_seconds=5, publish=True),
            Window(name="telemetry_1m_agg", size_seconds=60),
            Window(name="telemetry_5m_agg", size_seconds=300),
        ),
        description="the tables of windows over rooms: name, size, slide, and whether Kafka gets them too",
    )
    watermark_seconds: float = Field(
        default=30,
        ge=0,
        description="a window is closed when a message so much later than its end has come; what comes behind that is "
        "late, and corrects the window",
    )
    idle_seconds: float = Field(
        default=60, gt=0, description="when no room has spoken for so long, the clock closes the last windows"
    )
    session_gap_seconds: int = Field(
        default=600, ge=1, description="an occupancy session ends when nobody was seen in the room for so long"
    )
    repair_minutes: float = Field(
        default=5, gt=0, description="how often windows that late messages belong to are computed again"
    )

    @field_validator("tables")
    @classmethod
    def _names_differ(cls, tables: tuple[Window, ...]) -> tuple[Window, ...]:
        names = [table.name for table in tables]
        if taken := {name for name in names if names.count(name) > 1 or name in ("sessions", "anomalies")}:
            raise ValueError(f"the name {min(taken)!r} is taken")
        return tables


class RollupSettings(Section):
    update_minutes: int = Field(
        default=10,
        ge=1,
        le=60,
        description="how often Dagster brings rollups and views up to date, so that hours divide evenly (10: six times "
        "an hour); each run costs a card 130 KB of Dagster's own",
    )
    first_day: date = Field(
        default=date(2026, 1, 1),
        description="the first UTC day that Dagster offers for a rebuild; earlier days are kept up all the same",
    )
    energy_price_per_kwh: float = Field(default=0.30, ge=0, description="what a kWh costs, for the views of cost")
    currency: str = Field(default="EUR", description="the currency of that price")
    energy_max_kw: float = Field(
        default=100,
        gt=0,
        description="a counter that rises faster than this power has jumped, and the step adds no energy",
    )

    @field_validator("update_minutes")
    @classmethod
    def _divides_an_hour(cls, minutes: int) -> int:
        if 60 % minutes:
            raise ValueError("must divide an hour: 1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30 or 60")
        return minutes


class AnomalySettings(Section):
    enabled: bool = Field(default=True, description="look for anomalies after each update of the rollups")
    wait_minutes: int = Field(
        default=5, ge=0, description="so long after its end a minute waits for late readings before it is scored, once"
    )


class LakeSettings(Section):
    path: str | None = Field(
        default=None, description="folder of the lake, or `s3://bucket/prefix`; unset: `lake` in the home"
    )

    shared: bool = Field(
        default=False,
        description="platforms of other places write into the same lake: this one's tables lie in a folder of its own "
        "there, named as EDGE_SITE says, and `edge sql` reads all of them as `sites.silver.readings` and so on",
    )

    @field_validator("path")
    @classmethod
    def _known_scheme(cls, path: str | None) -> str | None:
        if path and "://" in path and not re.fullmatch(r"s3://[^/]+(/.*)?", path):
            raise ValueError("must be a folder, or `s3://bucket/prefix`")
        return path

    @model_validator(mode="after")
    def _shared_where(self) -> LakeSettings:
        if self.shared and not self.path:
            raise ValueError("a shared lake needs EDGE_LAKE__PATH, which all of its platforms reach")
        return self


class S3Settings(Section):
    """Where the bucket of an `s3://` lake is."""

    endpoint: str | None = Field(
        default=None, description="address of the S3 API, for example `http://nas.lan:9000`; unset: Amazon's"
    )
    region: str = Field(default="us-east-1", description="region of the bucket; most other stores take any")
    access_key: str | None = Field(
        default=None, description="unset, with the secret: as Amazon's tools find them (`AWS_*`, the instance's role)"
    )
    secret_key: SecretStr | None = Field(default=None, description="the secret of the access key")


class AlertSettings(Section):
    enabled: bool = Field(default=True, description="watch what devices say, and tell people by the rules")
    rules: Path | None = Field(
        default=None,
        description="the file of rules, YAML; unset: `alerts.yaml` in the home, written with a few ready-made rules "
        "where there is none",
    )
    notify: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="channels by name, each an Apprise URL, never printed: "
        '`{"phone": "ntfy://…", "mail": "mailtos://…"}`',
    )
    notify_timeout_seconds: float = Field(default=20, gt=0, description="how long a channel may take for a message")
    retry_seconds: float = Field(
        default=5, gt=0, description="after a message could not be handed over; then twice as long each time"
    )
    retry_most_seconds: float = Field(default=900, gt=0, description="and this long at most")
    give_up_days: float = Field(
        default=3, gt=0, description="a message that no one has taken for so long is given up, which is logged"
    )
    keep_days: float = Field(default=30, gt=0, description="how long cleared alerts are kept (the lake keeps them all)")
    store_seconds: float = Field(
        default=10,
        gt=0,
        description="how often is stored what a crash may cost: the last values of series. What alerts and their "
        "timers stand on is stored before it is acknowledged to the broker",
    )


class NoticeSettings(Section):
    """What people are told of the platform itself: assets that stand still, checks that fail."""

    enabled: bool = Field(
        default=True, description="tell people when an asset stands still or a check fails, and when that is over"
    )
    channels: tuple[str, ...] | None = Field(
        default=None, description="names of channels of `EDGE_ALERTS__NOTIFY` that are told; unset: all of them"
    )
    mute: tuple[str, ...] = Field(
        default=(),
        description="what is not told, by patterns: `silver/readings` is an asset's freshness, "
        "`silver/readings:plausible` a check, `*:backed_up` that check of any asset, `rollups/*` all of the rollups",
    )


class LiveSettings(Section):
    enabled: bool = Field(default=True, description="serve the live page, the API and the metrics")
    host: str = Field(default="127.0.0.1", description="where page and API listen; they ask nobody for a password")
    port: int = Field(default=0, description="0: 8090 where it is free")
    names: tuple[str, ...] = Field(
        default=(),
        description="names by which browsers reach it, for example behind a proxy. Addresses and names of the local "
        "network need none; any other is refused, as it could be another site's",
    )
    points: int = Field(
        default=600, ge=10, description="so many last points of each series are kept in memory for the page"
    )
    series: int = Field(
        default=3_000,
        ge=1,
        description="so many measurements of devices are kept in memory; what comes beyond is counted and left out",
    )
    history_hours: float = Field(
        default=6, ge=0, description="after a start, the page shows so much of what the lake has of each series"
    )
    stale_seconds: float = Field(
        default=60,
        gt=0,
        description="a device that is silent for longer than this, and than five times its usual, is marked stale",
    )
    stale_online_seconds: float = Field(
        default=900, gt=0, description="the same of a device that its network calls available"
    )


class MetricsSettings(Section):
    host: str = Field(default="127.0.0.1", description="where Prometheus finds the metrics of devices and platform")
    port: int = Field(default=0, description="0: 8000 where it is free")


class BackupSettings(Section):
    destination: str | None = Field(
        default=None,
        description="a folder, or `s3://bucket/prefix` in the store of `EDGE_S3__…`: Dagster backs the platform up to "
        "it each night, and `edge backup` when it is told no other; unset: no nightly backup",
    )
    keep: int = Field(default=7, ge=1, description="so many backups are kept, the newest")

    @field_validator("destination")
    @classmethod
    def _the_same_for_all(cls, destination: str | None) -> str | None:
        """Dagster's working directory is another than that of who wrote it."""
        if destination and not re.match(r"s3://[^/]+|/|~", destination):
            raise ValueError("must be a folder's whole path, or `s3://bucket/prefix`")
        return destination


class ClockSettings(Section):
    trust: Literal["auto", "always", "kernel"] = Field(
        default="auto",
        description="auto: doubted only without a hardware clock, while a time service has yet to set it; "
        "kernel: the kernel's word alone",
    )


class DagsterSettings(Section):
    host: str = Field(default="127.0.0.1", description="where the web page listens; it asks nobody for a password")
    port: int = Field(default=0, description="0: 3000 where it is free")
    grpc_port: int = Field(default=0, description="0: 4266 where it is free")
    owner: str | None = Field(
        default=None,
        pattern=r"^(team:[\w-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$",
        description="who looks after the assets: `team:NAME` or a mail address; unset: the team of the site",
    )
    grafana_url: str | None = Field(
        default=None, description="where your Grafana is, for links from the dashboards' assets: `http://nas.lan:3001`"
    )
    freshness_minutes: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict,
        description="assets whose limit of freshness is another than the platform's own, where your devices speak more "
        'seldom, or you want to know sooner: {"silver/readings": 1440} fails at an age of a day, and warns at half of '
        "it. The least is 1; services report each five minutes",
    )
    keep_days: int = Field(
        default=14, ge=1, description="how long finished runs and reports stay in Dagster's storage; the newest stay on"
    )
    keep_mb: int = Field(
        default=500, ge=20, description="of that storage: where it holds more, fewer days of it are kept"
    )
    renew_mb: int = Field(
        default=600,
        ge=0,
        description="a process of Dagster's (code server, page, daemon) whose memory comes to this is started anew; "
        "the services run on. 0: never",
    )
    renew_days: int = Field(default=7, ge=0, description="and so is one that has run for so many days. 0: never")


class Settings(BaseSettings):
    """Everything that can be set. Frozen: what runs is what was read at the start."""

    model_config = SettingsConfigDict(
        env_prefix="EDGE_",
        env_nested_delimiter="__",
        env_file=".env",
        env_ignore_empty=True,
        dotenv_filtering="match_prefix",
        extra="forbid",
        frozen=True,
    )

    home: Path = Field(default_factory=_default_home, description="everything that the platform writes")
    cache_dir: Path = Field(
        default_factory=_default_cache, description="downloads (jars), shared by all platforms of a user"
    )
    profile: str | None = Field(default=None, description="a named set of settings: see `edge up --help`")
    site: str = Field(default="home", description="the name of this place, in every record")
    mqtt: MqttSettings = MqttSettings()
    kafka: KafkaSettings = KafkaSettings()
    bridge: BridgeSettings = BridgeSettings()
    simulators: SimulatorSettings = SimulatorSettings()
    history: HistorySettings = HistorySettings()
    stream: StreamSettings = StreamSettings()
    lake: LakeSettings = LakeSettings()
    s3: S3Settings = S3Settings()
    windows: WindowSettings = WindowSettings()
    rollups: RollupSettings = RollupSettings()
    retention: RetentionSettings = RetentionSettings()
    anomalies: AnomalySettings = AnomalySettings()
    alerts: AlertSettings = AlertSettings()
    notices: NoticeSettings = NoticeSettings()
    live: LiveSettings = LiveSettings()
    metrics: MetricsSettings = MetricsSettings()
    backup: BackupSettings = BackupSettings()
    clock: ClockSettings = ClockSettings()
    dagster: DagsterSettings = DagsterSettings()

    @field_validator("lake")
    @classmethod
    def _site_is_a_folder(cls, lake: LakeSettings, others: ValidationInfo) -> LakeSettings:
        site = others.data.get("site", "")
        if lake.shared and not is_site_folder(site):
            raise ValueError(
                f"in a shared lake EDGE_SITE names a folder: 1 to 64 letters, digits, dots, dashes or underscores, and "
                f"none of {', '.join(LAYERS)}; it is {site!r}"
            )
        return lake

    @model_validator(mode="after")
    def _absolute_paths(self) -> Settings:
        # Dagster resolves relative paths against each process's working directory, so there must be none.
        object.__setattr__(self, "home", self.home.expanduser().absolute())
        object.__setattr__(self, "cache_dir", self.cache_dir.expanduser().absolute())
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            _TomlSource(settings_cls, "edge.toml", _home_toml),
            _TomlSource(settings_cls, "profile", _profile_toml),
        )

    @property
    def lake_path(self) -> Path:
        """The folder of this platform's tables: `<lake>/<layer>/<table>`, in a shared lake `<lake>/<site>/<layer>/…`.
        In a bucket it is one that behaves as a `Path`."""
        return self.lake_root / self.site if self.lake.shared else self.lake_root

    @property
    def lake_root(self) -> Path:
        """The folder of the whole lake, which others may share."""
        if self.lake.path and object_store.is_bucket(self.lake.path):
            return object_store.folder(self.lake.path, self.s3)
        return Path(self.lake.path).expanduser().absolute() if self.lake.path else self.home / "lake"

    def environment(self) -> dict[str, str]:
        """The settings as `EDGE_*` variables: how a parent hands its resolved tree to a child process.

        Values are JSON where the type is not plain. Secrets are included: the environment of a process is
        readable by its user alone.
        """
        flat: dict[str, str] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Section):
                for key in type(value).model_fields:
                    _put(flat, f"EDGE_{name}__{key}".upper(), getattr(value, key))
            else:
                _put(flat, f"EDGE_{name}".upper(), value)
        return flat


def _put(flat: dict[str, str], name: str, value: Any) -> None:
    import json

    if value is None:
        return
    if isinstance(value, SecretStr):
        flat[name] = value.get_secret_value()
    elif isinstance(value, bool):
        flat[name] = "true" if value else "false"
    elif isinstance(value, dict):
        flat[name] = json.dumps({k: v.get_secret_value() if isinstance(v, SecretStr) else v for k, v in value.items()})
    elif isinstance(value, tuple):
        flat[name] = json.dumps([v.model_dump() if isinstance(v, Section) else v for v in value])
    else:
        flat[name] = str(value)


class _TomlSource(PydanticBaseSettingsSource):
    """A TOML file whose place depends on the sources before it (the home, the profile's name)."""

    def __init__(self, settings_cls: type[BaseSettings], label: str, read: Any) -> None:
        super().__init__(settings_cls)
        self._label = label
        self._read = read

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._read(self.current_state)

    def __repr__(self) -> str:
        return f"_TomlSource({self._label})"


def _home_toml(state: dict[str, Any]) -> dict[str, Any]:
    return _read_toml(Path(state.get("home") or _default_home()).expanduser() / "edge.toml")


def _profile_toml(state: dict[str, Any]) -> dict[str, Any]:
    name = state.get("profile")
    if not name:
        return {}
    home = Path(state.get("home") or _default_home()).expanduser()
    places = [home / "profiles" / f"{name}.toml", PROFILES / f"{name}.toml"]
    for place in places:
        if place.is_file():
            return _read_toml(place)
    known = ", ".join(sorted(p.stem for p in PROFILES.glob("*.toml")))
    raise SettingsError(
        f"no profile named {name!r}: looked for {', '.join(map(str, places))}; the ready-made ones: {known}"
    )


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}; mend the line or move the file away") from error


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from all their places.

    Raises `SettingsError`, one line, naming the setting, what was given and what is accepted.
    """
    _refuse_unknown_variables()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        name = "EDGE_" + "__".join(str(part) for part in first["loc"]).upper()
        if name in RENAMED:
            raise SettingsError(_renamed(name)) from error
        given = "" if first["type"] == "extra_forbidden" else f" (given: {first.get('input')!r})"
        raise SettingsError(
            f"setting {name}: {first['msg']}{given}; looked in the environment, .env, edge.toml and the profile; "
            "see docs/settings.md"
        ) from error


def _refuse_unknown_variables() -> None:
    """A misspelt `EDGE_MQT__HOST` must not be taken for silence."""
    known = set(known_variables())
    sections = {name for name in known if isinstance(Settings.model_fields[name[5:].lower()].default, Section)}
    for variable in os.environ:
        name = variable.upper()
        if not name.startswith("EDGE_") or name in known:
            continue
        if name in RENAMED:
            raise SettingsError(_renamed(name))
        section, _, key = name.partition("__")
        fields = type(Settings.model_fields[section[5:].lower()].default).model_fields if section in sections else {}
        if key.partition("__")[0].lower() not in fields:
            raise SettingsError(f"setting {variable} is not known; `edge settings` lists them all")


def _renamed(name: str) -> str:
    now = RENAMED[name]
    section, _, key = now.removeprefix("EDGE_").lower().partition("__")
    field = type(Settings.model_fields[section].default).model_fields[key]
    return f"setting {name} is called {now} now: {field.description}; set that in its place"


def known_variables() -> list[str]:
    """Names of the variables of the tree's first level."""
    return [f"EDGE_{name}".upper() for name in Settings.model_fields]
