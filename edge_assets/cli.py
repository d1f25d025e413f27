"""`edge`: the commands. Each does one thing of another module; what is slow to import is imported where it is used.

Exit codes are a contract: 0 done, 1 a check failed or an error without a code of its own, and those of
`edge_assets.errors` (2 settings, 3 platform, 4 runs already, 5 does not run, 6 download, 7 log, 8 lake, 9 history,
10 disk full, 11 alerts, 12 backups).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from edge_assets.alerts import commands as alerts
from edge_assets.backup import commands as backups
from edge_assets.errors import EdgeError, NotRunning
from edge_assets.settings import Settings, load_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Sensor readings from the wire to tables that can be asked anything. Settings: `edge settings`.",
)

app.add_typer(alerts.app, name="alerts")
app.command()(backups.backup)
app.command()(backups.restore)

Json = Annotated[bool, typer.Option("--json", help="print JSON for other programs")]
Profile = Annotated[
    str | None, typer.Option(help="a named set of settings: `pi`, `low_latency`, or a file in EDGE_HOME/profiles")
]


def main() -> None:
    """The entry point. An `EdgeError` is one line on stderr; any other exception is a defect and shows its trace."""
    try:
        app()
    except EdgeError as error:
        print(f"edge: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `edge sql ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", help="run in the background; returns when it is up")] = False,
    profile: Profile = None,
    background: Annotated[bool, typer.Option("--background", hidden=True)] = False,
) -> None:
    """Start the platform and keep it running; says where to look. Ctrl-C or `edge down` stops it.

    The first start fetches what pip could not bring (about 70 MB); later ones need no network. Exit codes: 0 stopped
    as asked (or up, with --detach), 3 a part does not start, 4 it runs already, 6 something could not be fetched.
    """
    from edge_assets.platform import supervisor
    from edge_assets.platform.console import Console

    settings = _settings(profile)
    log = settings.home / "logs" / "supervisor.log"
    if detach:
        supervisor.detach(settings, ["--profile", profile] if profile else [], Console(log))
    else:
        supervisor.up(settings, Console(log, None if background else sys.stdout))


@app.command()
def down(profile: Profile = None) -> None:
    """Stop the platform in order, and whatever a killed one left running. Nothing to stop is no error."""
    from edge_assets.platform import supervisor
    from edge_assets.platform.console import Console

    settings = _settings(profile)
    stopped = supervisor.down(settings, Console(settings.home / "logs" / "supervisor.log"))
    print("the platform is down" if stopped else "nothing runs here")


@app.command()
def status(as_json: Json = False, profile: Profile = None) -> None:
    """Show what runs, since when, and where. Exit codes: 0 it is up, 5 it is not."""
    from edge_assets.platform.status import lines
    from edge_assets.platform.status import status as look

    found = look(_settings(profile))
    print(_json(found) if as_json else "\n".join(lines(found)))
    if not found["running"]:
        raise typer.Exit(NotRunning.exit_code)


@app.command()
def doctor(as_json: Json = False, profile: Profile = None) -> None:
    """Check what the platform needs of this machine; each line is ok, warn or fail with the next step.

    Exit codes: 0 nothing failed, 1 something did.
    """
    from edge_assets.platform.doctor import examine

    findings = examine(_settings(profile))
    if as_json:
        print(_json([finding.as_dict() for finding in findings]))
    else:
        for finding in findings:
            print(finding)
    if any(finding.level == "fail" for finding in findings):
        raise typer.Exit(1)


@app.command()
def settings(
    env: Annotated[bool, typer.Option("--env", help="print the text of .env.example")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="print the text of docs/settings.md")] = False,
) -> None:
    """List all settings with their defaults and what they mean."""
    from edge_assets.platform import settings_page

    text = settings_page.env_example() if env else settings_page.markdown() if markdown else settings_page.listing()
    print(text, end="")


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="a recording: one JSON object a line, plain or gzip")],
    speed: Annotated[
        float | None,
        typer.Option(help="how many times as fast as recorded; left out: as fast as the broker takes it"),
    ] = None,
    qos: Annotated[
        int | None, typer.Option(min=0, max=2, help="publish all lines at this QoS; left out: as recorded")
    ] = None,
    as_json: Json = False,
    profile: Profile = None,
) -> None:
    """Publish a recording to the MQTT broker, the platform's or yours. Lines that are no message are skipped.

    Exit codes: 0 each line was published once, 1 it can't be said of all (the answer says why).
    """
    from dataclasses import asdict

    from edge_assets.platform.console import Console
    from edge_assets.sources.replay import replay_file

    settings = _settings(profile)
    console = Console(settings.home / "logs" / "replay.log", sys.stderr)

    def progress(done: int, size: int) -> None:
        console.progress(f"replaying {file}: {done / max(size, 1):.0%} of {size / 1e6:.1f} MB")

    result = replay_file(settings, file, speed, progress, qos)
    if as_json:
        print(_json({**asdict(result), "complete": result.complete}))
    else:
        console.say(
            f"published {result.published} messages in {result.seconds:.1f} s, skipped {result.skipped_lines} lines, "
            f"lost the connection {result.connections_lost} times"
        )
        for problem in result.problems:
            print(f"  {problem}", file=sys.stderr)
    if not result.complete:
        raise typer.Exit(1)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV or JSON lines, plain or gzip")],
    device: Annotated[str | None, typer.Option(help="the device of all lines; left out: the file's name")] = None,
    device_column: Annotated[str | None, typer.Option(help="the column that names each line's device")] = None,
    time_column: Annotated[str | None, typer.Option(help="the column of times; left out: known by its name")] = None,
    time_format: Annotated[
        str | None,
        typer.Option(
            help="iso, epoch, epoch_ms, DD.MM.YYYY, DD/MM/YYYY, MM/DD/YYYY (a time of day may follow), or one with % "
            "as in strptime; left out: known by its looks, but for slashes"
        ),
    ] = None,
    timezone: Annotated[str, typer.Option(help="of times that say none: Europe/Berlin")] = "UTC",
    separator: Annotated[str | None, typer.Option(help="between the cells of a CSV file")] = None,
    decimal: Annotated[Literal[".", ","] | None, typer.Option(help="the decimal mark of a CSV file")] = None,
    encoding: Annotated[str | None, typer.Option(help="of the text; left out: UTF-8, or UTF-16 by its mark")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="a column to leave out; may be given again")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="import nothing if any line is bad")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would be imported")] = False,
    as_json: Json = False,
    profile: Profile = None,
) -> None:
    """Import history: each line with a time becomes a record of the log, and so readings of its own time.

    What is in the lake already, or was sent before, is not sent again: after a kill, or with a file that overlaps,
    simply import again. Bad lines are left out and written to FILE.rejected with their reasons. Exit codes: 0 each
    line is imported, 1 all but the bad ones, 9 nothing: it cannot be understood, or has bad lines and --strict.
    """
    from edge_assets.platform.console import Console
    from edge_assets.sources.history import report
    from edge_assets.sources.history.columns import Options
    from edge_assets.sources.history.importing import examine, import_file

    settings = _settings(profile)
    said = Options(
        device=device,
        device_column=device_column,
        time_column=time_column,
        time_format=time_format,
        timezone=timezone,
        separator={"tab": "\t", "\\t": "\t"}.get(separator or "", separator),
        decimal=decimal,
        encoding=encoding,
        skip=tuple(skip or ()),
    )
    console = Console(settings.home / "logs" / "import.log", sys.stderr)
    if dry_run:
        found = examine(settings, file, said, console.progress)
        print(_json(found.as_dict()) if as_json else report.examined(found))
        complete = not found.survey.bad
    else:
        result = import_file(settings, file, said, strict, console.progress)
        if as_json:
            print(_json(result.as_dict()))
        else:
            console.say(report.imported(result))
            for problem in result.examined.survey.problems:
                print(f"  {problem}", file=sys.stderr)
        complete = result.complete
    if not complete:
        raise typer.Exit(1)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="the question, in DuckDB's SQL; `-` reads it from stdin")],
    form: Annotated[
        Literal["table", "csv", "json"], typer.Option("--format", help="how to print the answer")
    ] = "table",
    profile: Profile = None,
) -> None:
    """Ask the lake: `edge sql "select * from silver.readings limit 5"`. Works whether the platform is up or not."""
    from edge_assets.warehouse.sql import run_sql

    print(run_sql(_settings(profile), sys.stdin.read() if query == "-" else query, form))


@app.command()
def export(
    what: Annotated[str, typer.Argument(help="a query in DuckDB's SQL, or the name of a table or view")],
    file: Annotated[Path, typer.Argument(help="the file to write: NAME.parquet or NAME.csv")],
    as_json: Json = False,
    profile: Profile = None,
) -> None:
    """Write an answer to a file: `edge export readings_1h hours.parquet`. Works whether the platform is up or not.

    Exit codes: 0 the file is written whole, 8 it is not, and no part of it is left behind.
    """
    from dataclasses import asdict

    from edge_assets.platform.console import Console
    from edge_assets.warehouse.export import export as write

    settings = _settings(profile)
    console = Console(settings.home / "logs" / "export.log", sys.stderr)
    done = write(settings, what, file, lambda share: console.progress(f"exporting: {share:.0%}"))
    if as_json:
        print(_json(asdict(done)))
    else:
        console.say(f"wrote {done.rows:,} rows to {done.file} ({done.bytes / 1e6:,.1f} MB)")


@app.command()
def verify(
    wait: Annotated[float, typer.Option(help="wait so many seconds for what the log holds now to be written")] = 0,
    as_json: Json = False,
    profile: Profile = None,
) -> None:
    """Prove that every record of the log is in the lake once, with one outcome. Without --wait a lag is no fault.

    Exit codes: 0 it holds, 1 it does not, or the log is away and could not be compared with.
    """
    from edge_assets.warehouse.verify import verify as prove

    report = prove(_settings(profile), wait_seconds=wait)
    print(_json(report.as_dict()) if as_json else report.render())
    if not report.holds:
        raise typer.Exit(1)


@app.command()
def redrive(
    reason: Annotated[str | None, typer.Option(help="only dead letters of this reason")] = None,
    profile: Profile = None,
) -> None:
    """Put dead letters through again, after what made them unreadable was mended. The stream writer does it."""
    from edge_assets.stream.requests import redrive as request

    print(_json(request(_settings(profile), reason=reason)))


rooms_app = typer.Typer(
    no_args_is_help=True,
    help="What people know of rooms and no sensor says: name, floor, kind. It stands beside each window from the next "
    "one on, without a restart; `edge reprocess --table gold` brings it to those that are written.",
)
app.add_typer(rooms_app, name="rooms")


@rooms_app.command("list")
def rooms_list(as_json: Json = False, profile: Profile = None) -> None:
    """List the rooms that are described."""
    from dataclasses import asdict

    from edge_assets import rooms

    known = [asdict(room) for room in rooms.known(_settings(profile))]
    if as_json:
        print(_json(known))
    for room in [] if as_json else known:
        print("  ".join(f"{room[name] or '-':20}" for name in room).rstrip())
    if not known and not as_json:
        print("no room is described yet: edge rooms set ROOM --name … --floor … --type …")


@rooms_app.command("set")
def rooms_set(
    room_id: Annotated[
        str, typer.Argument(metavar="ROOM", help="the room, as its topic says: building/<room>/telemetry")
    ],
    name: Annotated[str | None, typer.Option(help="its name for people")] = None,
    floor: Annotated[str | None, typer.Option(help="its floor")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="what kind of room it is: office, kitchen …")] = None,
    profile: Profile = None,
) -> None:
    """Describe a room. What is not named stays as it is; an empty text ("") takes a word back."""
    from edge_assets import rooms

    if name is None and floor is None and kind is None:
        raise typer.BadParameter("nothing is said of the room: give --name, --floor or --type")
    room = rooms.describe(_settings(profile), room_id, room_name=name, floor=floor, room_type=kind)
    told = (f"name {room.room_name!r}", f"floor {room.floor!r}", f"type {room.room_type!r}")
    print(f"{room.room_id}: {', '.join(told)}")


@rooms_app.command("forget")
def rooms_forget(
    room_id: Annotated[str, typer.Argument(metavar="ROOM", help="the room, as its topic says")], profile: Profile = None
) -> None:
    """Take back what was said of a room; its messages and windows stay. Exit codes: 0 done, 1 nothing was said."""
    from edge_assets import rooms

    if not rooms.forget(_settings(profile), room_id):
        print(f"nothing is said of {room_id!r}; `edge rooms list` lists the rooms that are described", file=sys.stderr)
        raise typer.Exit(1)
    print(f"{room_id}: forgotten")


sites_app = typer.Typer(
    no_args_is_help=True,
    help="The sites of a shared lake, and which platform writes each: docs/sites.md.",
)
app.add_typer(sites_app, name="sites")


@sites_app.command("list")
def sites_list(as_json: Json = False, profile: Profile = None) -> None:
    """List the sites of the lake and whose they are. Exit codes: 0 done, 8 the lake cannot be read."""
    from dataclasses import asdict

    from edge_assets import lake_claim
    from edge_assets.warehouse import sites

    settings = _settings(profile)
    names = sites.names(settings) if settings.lake.shared else [settings.site]
    claims = {name: lake_claim.read(sites.of(settings, name)) for name in names}
    if as_json:
        print(_json([{"site": name, "claim": claim and asdict(claim)} for name, claim in claims.items()]))
    for name, claim in {} if as_json else claims.items():
        print(f"{name:20}  {claim.who if claim else 'no claim'}")


@sites_app.command("take-over")
def sites_take_over(profile: Profile = None) -> None:
    """Let this platform write the site's tables in the place of the one that did: when that one is gone for good, or
    this is its restored copy. Where it still runs, its stream writer ends within a minute."""
    from edge_assets import lake_claim

    settings = _settings(profile)
    if settings.lake.path is None:
        print(f"the lake of {settings.home} lies within it and is nobody else's")
        return
    before = lake_claim.take_over(settings)
    print(f"{settings.lake_path} is this platform's now{f'; it was {before.who}' if before else ''}")


@app.command()
def reprocess(
    begin: Annotated[str, typer.Option("--from", help="received from then on: 2026-03-01, 2026-03-01T12:00, 2h, 1d")],
    end: Annotated[str | None, typer.Option("--to", help="and before then; left out: until now")] = None,
    table: Annotated[
        str, typer.Option(help="silver (all of it), one table of silver, gold.NAME, or, with --from-log, bronze")
    ] = "silver",
    from_log: Annotated[
        bool, typer.Option("--from-log", help="read the records themselves again from what Kafka still has")
    ] = False,
    as_json: Json = False,
    profile: Profile = None,
) -> None:
    """Recompute tables from bronze with today's decoder and settings, while the stream goes on. Times are UTC.

    The stream writer does it in steps; what is right already is not written, and twice changes nothing. Ctrl-C ends
    the waiting, not the work. Exit codes: 0 done, 5 the writer does not run, 8 it cannot be done (the line says why).
    """
    from edge_assets.platform.console import Console
    from edge_assets.stream import asking

    settings = _settings(profile)
    console = Console(settings.home / "logs" / "reprocess.log", sys.stderr)
    done = asking.reprocess(settings, begin, end, table, from_log, console.progress)
    print(_json(done)) if as_json else console.say(asking.said(done))


@app.command()
def rollback(
    table: Annotated[str, typer.Argument(help="a table of silver")],
    version: Annotated[int, typer.Argument(min=0, help="one of those that `edge history TABLE` lists")],
    as_json: Json = False,
    profile: Profile = None,
) -> None:
    """Take a table of silver back to a version; records that came later are derived again. The stream writer does it.

    Exit codes: 0 done, 5 the writer does not run, 8 it cannot be done (the line says why).
    """
    from edge_assets.platform.console import Console
    from edge_assets.stream import asking

    settings = _settings(profile)
    console = Console(settings.home / "logs" / "reprocess.log", sys.stderr)
    done = asking.rollback(settings, table, version, console.progress)
    print(_json(done)) if as_json else console.say(asking.said(done))


@app.command()
def history(
    table: Annotated[str, typer.Argument(help="a table of the lake: silver.readings")],
    limit: Annotated[int, typer.Option(min=1, help="so many versions, the newest ones")] = 20,
    as_json: Json = False,
    profile: Profile = None,
) -> None:
    """List a table's versions, newest first: when, by what, how many rows. Works whether the platform is up or not.

    A version can be asked for in `edge sql`: "FROM silver.readings AT (VERSION => 12)".
    """
    from edge_assets.warehouse.history import history as look
    from edge_assets.warehouse.history import shown

    found = look(_settings(profile), table, limit)
    print(_json([version.as_dict() for version in found]) if as_json else shown(found))


@app.command()
def maintain(as_json: Json = False, profile: Profile = None) -> None:
    """Join small files of the lake and drop what they replaced long ago, now; Dagster asks for it each hour. The stream
    writer does it, in steps between which batches have their turn."""
    from edge_assets.stream.requests import maintain as request

    told = request(_settings(profile))
    if as_json:
        print(_json(told))
        return
    for name, figures in told["tables"].items():
        files = f"{figures['before']['files']:,} files → {figures['after']['files']:,}"
        print(f"{name}: {files}, {figures['after']['bytes'] / 1e6:,.1f} MB")
    print(f"a batch had to wait for {told['turns']['longest_seconds']:.1f} s at most")


@app.command()
def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="bridge, stream, backlog, latency, writes, footprint, start, query, rollup, anomalies, alert, live, "
            "serving, recovery, cockpit"
        ),
    ],
    seconds: Annotated[float | None, typer.Option(help="how long latency, writes and cockpit measure")] = None,
    messages: Annotated[int | None, typer.Option(min=1, help="how long a backlog is drained; left out: a day")] = None,
    series: Annotated[Path | None, typer.Option(help="for anomalies: a labelled CSV of timestamp and value")] = None,
    windows: Annotated[Path | None, typer.Option(help="its labels, as the Numenta benchmark has them (JSON)")] = None,
    as_json: Json = False,
    profile: Profile = None,
) -> None:
    """Measure, beside a reference of the same run. Makes a platform of its own where it needs one."""
    from edge_assets.bench import run

    options = {"seconds": seconds, "messages": messages, "series": series, "windows": windows}
    found = run(name, _settings(profile), **options)
    print(_json(found) if as_json else "\n".join(_figures(found)))


def _figures(found: dict[str, Any], indent: str = "") -> Iterator[str]:
    for name, value in found.items():
        if isinstance(value, dict):
            yield f"{indent}{name}"
            yield from _figures(value, indent + "  ")
        else:
            yield f"{indent}{name:{32 - len(indent)}}{value}"


def _settings(profile: str | None) -> Settings:
    return load_settings(**({"profile": profile} if profile else {}))


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str)


if __name__ == "__main__":
    main()
