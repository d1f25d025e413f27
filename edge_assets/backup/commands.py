"""`edge backup` and `edge restore`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_assets.settings import Settings, load_settings

Json = Annotated[bool, typer.Option("--json", help="print JSON for other programs")]
Profile = Annotated[str | None, typer.Option(help="a named set of settings, as for `edge up`")]


def backup(
    destination: Annotated[
        str | None,
        typer.Argument(metavar="[DEST]", help="a folder or s3://bucket/prefix; left out: EDGE_BACKUP__DESTINATION"),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="list the backups that lie there, and make none")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="compare what lies there with its checksums")] = False,
    as_json: Json = False,
    profile: Profile = None,
) -> None:
    """Back up the lake, rollups, rules, rooms, settings without secrets, and Dagster's history: only what is new is
    copied. Works while the platform runs, and while it is down; after a kill it goes on where it was.

    Exit codes: 0 done, 1 --verify found damage, 4 another backup is being made, 10 the disk there is full, 12 it cannot
    be made.
    """
    from edge_assets.backup import drill, making
    from edge_assets.platform.console import Console

    settings = _settings(profile)
    where = making.destination(settings, destination)
    console = Console(settings.home / "logs" / "backup.log", sys.stderr)
    if verify:
        found = drill.damaged(settings, where, console.progress)
        _say(as_json, found, [f"{id}: {'; '.join(problems) or 'whole'}" for id, problems in found.items()])
        if any(found.values()):
            raise typer.Exit(1)
    elif listed:
        _list(settings, where, as_json)
    else:
        done = making.backup(settings, where, console.progress)
        if as_json:
            print(json.dumps(done.as_dict(), indent=2))
            return
        rows = sum(table.rows for table in done.tables.values())
        console.say(
            f"backup {done.id} is in {done.destination}: {len(done.tables)} tables with {rows:,} rows, "
            f"{done.files_copied:,} of {done.files:,} files were new ({done.bytes_copied / 1e6:,.1f} of "
            f"{done.bytes / 1e6:,.1f} MB), {done.seconds:.1f} s"
        )


def _list(settings: Settings, where: str, as_json: bool) -> None:
    from edge_assets.backup import manifest, place

    there = place.opened(where, settings)
    found = [manifest.read(there, id) for id in reversed(manifest.ids(there))]
    rows = {each.id: sum(table.rows for table in each.tables.values()) for each in found}
    about = [
        {"id": each.id, "taken_at": each.taken_at, "site": each.site, "rows": rows[each.id], "bytes": each.size}
        | {"files": len(each.files), "edge_assets": each.edge_assets}
        | {"tables": {name: table.rows for name, table in each.tables.items()}}
        for each in found
    ]
    lines = [
        f"{each.id}  site {each.site}, {len(each.tables)} tables, {rows[each.id]:,} rows, {each.size / 1e6:,.1f} MB"
        for each in found
    ]
    _say(as_json, about, lines or [f"no backup lies in {where} yet"])


def restore(
    source: Annotated[str, typer.Argument(help="the folder or s3://bucket/prefix of `edge backup`")],
    to: Annotated[Path | None, typer.Option(help="the home to make; left out: EDGE_HOME")] = None,
    at: Annotated[str | None, typer.Option(help="the newest one until then, UTC: 2026-11-22T03:00; or an id")] = None,
    home_only: Annotated[
        bool, typer.Option("--home-only", help="without the lake, which is whole where it is")
    ] = False,
    as_json: Json = False,
    profile: Profile = None,
) -> None:
    """Make a home of a backup, on this machine or a blank one; whole or not at all. Nothing is overwritten.

    Each file is compared with its checksum, and each table's rows with the manifest. Exit codes: 0 done, 10 the disk is
    full, 12 it cannot be done.
    """
    from dataclasses import asdict

    from edge_assets.backup.restoring import restore as make
    from edge_assets.platform.console import Console

    console = Console(None, sys.stderr)
    done = make(_settings(profile), source, at, to, console.progress, home_only)
    if as_json:
        print(json.dumps(asdict(done), indent=2))
        return
    for line in _next_steps(done):
        console.say(line)


def _next_steps(done: Any) -> list[str]:
    rows = sum(table.rows for table in done.tables.values())
    lines = [f"backup {done.id} is restored to {done.home}: {done.files:,} files, {done.bytes / 1e6:,.1f} MB"]
    if done.tables:
        lines.append(f"{len(done.tables)} tables with {rows:,} rows are equal by count and hash; in {done.lake}")
    lines.append("next:")
    if done.settings_elsewhere:
        lines.append(f"  settings that were said outside of the home: {done.home}/settings.env; add them to your .env")
    if done.secrets_left_out:
        lines.append(f"  secrets are in no backup; set again: {', '.join(done.secrets_left_out)}")
    return [*lines, f"  EDGE_HOME={done.home} edge up", "  edge verify"]


def _say(as_json: bool, found: Any, lines: list[str]) -> None:
    print(json.dumps(found, indent=2, default=str) if as_json else "\n".join(lines))


def _settings(profile: str | None) -> Settings:
    return load_settings(**({"profile": profile} if profile else {}))
