"""What a backup takes of the home besides the lake, and how.

| what | how |
|---|---|
| `edge.toml`, `profiles/*.toml` | as they are; where they hold secrets, without these (and without comments) |
| `settings.env` | what the environment or a `.env` file said, without secrets and without places of this machine |
| `format.json` | as it is: an older version refuses what a newer one wrote |
| `alerts.yaml` | the rules in use, wherever they lie |
| `alerts/alerts.db`, `rooms.db`, Dagster's runs, events, ticks | by SQLite's own backup, beside a writer if need be |
| `bridge/*.json`, `imports/*.json` | as they are: each is replaced whole |
| `warehouse/rollups.json`, `warehouse/rollups/` | the state, and the files that were there with it |

Not taken: Kafka's log and Spark's checkpoint (positions are in the tables), the broker's queue, logs and run files, and
what is made anew: `edge.duckdb`, what anomalies have learnt.
"""

from __future__ import annotations

import json
import sqlite3
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic_settings import PydanticBaseSettingsSource

from edge_assets import rooms
from edge_assets.alerts import rule_file, store
from edge_assets.errors import BackupError
from edge_assets.platform import broker, endpoints, log, parts
from edge_assets.service import read_status
from edge_assets.settings import Settings
from edge_assets.upgrades import home_format
from edge_assets.warehouse.rollups.layout import folder as warehouse_folder
from edge_assets.warehouse.rollups.layout import state_path

Content = bytes | Path

SECRETS = ("EDGE_MQTT__PASSWORD", "EDGE_KAFKA__CLIENT", "EDGE_S3__SECRET_KEY", "EDGE_ALERTS__NOTIFY")
"""settings that are or may hold secrets: Kafka's client options hold its password"""

OF_THIS_MACHINE = ("EDGE_HOME", "EDGE_CACHE_DIR", "EDGE_LAKE__PATH", "EDGE_ALERTS__RULES")
"""settings that a restore decides anew"""

SETTINGS_ENV = "settings.env"
STATE = "warehouse/rollups.json"
LOOKS = 20


def files(settings: Settings, scratch: Path) -> Iterator[tuple[str, Content]]:
    """(name in the home, content) of all of it but the rollups. Copies of databases are made in `scratch`."""
    yield from _settings_files(settings)
    if (written := home_format.path(settings)).is_file():
        yield home_format.NAME, written.read_bytes()
    for folder in ("bridge", "imports"):
        for path in sorted((settings.home / folder).glob("*.json")):
            yield f"{folder}/{path.name}", path.read_bytes()
    for number, (name, path) in enumerate(_databases(settings)):
        copy = scratch / f"{number}.db"
        _copy_database(path, copy)
        yield name, copy


def rollups(settings: Settings) -> dict[str, Content]:
    """The rollups' state, with the files that were there with it. A file is never changed, and one that was replaced
    stays for an hour; so this may be read while a run is at work. To be asked before the lake: a state must not know
    of commits that the backup does not have."""
    path, home = state_path(settings), settings.home
    for _ in range(LOOKS):
        if not path.exists():
            return {}
        state = path.read_bytes()
        names = [file for file in (warehouse_folder(settings) / "rollups").rglob("*.parquet") if file.is_file()]
        if path.read_bytes() == state:
            return {STATE: state, **{file.relative_to(home).as_posix(): file for file in names}}
    raise BackupError("backup: the rollups' state changed at each look; try again later")


def followed(rollups: Mapping[str, Content]) -> dict[tuple[str, str], int]:
    """The version of each table (layer, name) up to which these rollups have followed its commits."""
    state = rollups.get(STATE, b"{}")
    assert isinstance(state, bytes)
    seen = json.loads(state).get("seen", {})
    return {(name.partition(".")[0], name.partition(".")[2]): about["version"] for name, about in seen.items()}


def secrets_set(settings: Settings) -> tuple[str, ...]:
    """The secrets that are set, by their variables."""
    said = settings.environment()
    return tuple(name for name in SECRETS if said.get(name, "{}") not in ("", "{}"))


# -- settings ----------------------------------------------------------------------------------------------------------


def _settings_files(settings: Settings) -> Iterator[tuple[str, bytes]]:
    for path in (settings.home / "edge.toml", *sorted((settings.home / "profiles").glob("*.toml"))):
        if path.is_file():
            yield path.relative_to(settings.home).as_posix(), _without_secrets(path.read_bytes())
    yield SETTINGS_ENV, said_elsewhere(settings).encode()
    rules = rule_file.path(settings)
    if rules.is_file():
        yield "alerts.yaml", rules.read_bytes()


def said_elsewhere(settings: Settings) -> str:
    """The text of a `.env` file: what is neither a default nor said by the files of the home, without secrets, without
    places of this machine, and without the ports and addresses that `edge up` has chosen."""
    said, of_files = settings.environment(), _FromFiles(home=settings.home, profile=settings.profile).environment()
    left_out = {*SECRETS, *OF_THIS_MACHINE, *_chosen_by_the_platform(settings)}
    lines = (f"{name}={value}" for name, value in said.items() if name not in left_out and of_files.get(name) != value)
    return "".join(f"{line}\n" for line in lines)


class _FromFiles(Settings):
    """What the home's own files say, and the defaults."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: Any, init_settings: Any, *others: Any, **named: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        first, _, _, *of_files = super().settings_customise_sources(settings_cls, init_settings, *others, **named)
        return (first, *of_files)


def _chosen_by_the_platform(settings: Settings) -> set[str]:
    own = {f"EDGE_{'__'.join(name.split('.'))}".upper() for name in endpoints.remembered_ports(settings)}
    runs = read_status(settings, "supervisor").get("services", {})
    addresses = ((log.NAME, "EDGE_KAFKA__BOOTSTRAP"), (broker.NAME, "EDGE_MQTT__HOST"))
    return own | {name for part, name in addresses if part in runs}


def _without_secrets(content: bytes) -> bytes:
    """A TOML file of settings; the same bytes where it holds no secret."""
    try:
        said = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BackupError(f"backup: a file of settings is not TOML: {error}; mend the line") from error
    kept, found = dict(said), False
    for variable in (*SECRETS, "EDGE_ALERTS__RULES"):  # the rules themselves are in the home from then on
        section, _, name = variable.removeprefix("EDGE_").lower().partition("__")
        if name in (table := kept.get(section, {})):
            kept[section] = {key: value for key, value in table.items() if key != name}
            found = True
    return _toml(kept).encode() if found else content


def _toml(said: Mapping[str, Any]) -> str:
    plain = [f"{name} = {_toml_value(value)}\n" for name, value in said.items() if not isinstance(value, dict)]
    for section, table in said.items():
        if isinstance(table, dict):
            plain += [f"\n[{section}]\n", *(f"{name} = {_toml_value(value)}\n" for name, value in table.items())]
    return "".join(plain)


def _toml_value(value: Any) -> str:
    """JSON's texts, numbers and truth values are TOML's, too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return json.dumps(value, default=str)


# -- databases ---------------------------------------------------------------------------------------------------------


def _databases(settings: Settings) -> Iterator[tuple[str, Path]]:
    own = (store.path(settings), rooms.path(settings))
    dagster = sorted(parts.dagster_home(settings).rglob("*.db"))
    for path in (*own, *dagster):
        if path.is_file():
            yield path.relative_to(settings.home).as_posix(), path


def _copy_database(path: Path, copy: Path) -> None:
    """As it is at one moment, in one step, whoever writes to it meanwhile. A plain copy could be torn."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(path, timeout=30)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except sqlite3.Error as error:
        raise BackupError(
            f"backup: copying {path}: {error}; is the file whole, and is there room in the home?"
        ) from error
