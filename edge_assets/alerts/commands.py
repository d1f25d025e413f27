"""`edge alerts …`: look at alerts, acknowledge, mute, and put rules and channels to the test."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from edge_assets.settings import Settings, load_settings

app = typer.Typer(
    no_args_is_help=True,
    help="What people are told, by the rules in EDGE_HOME/alerts.yaml: see docs/alerts.md.",
)

Json = Annotated[bool, typer.Option("--json", help="print JSON for other programs")]
Profile = Annotated[str | None, typer.Option(help="a named set of settings, as for `edge up`")]
RulesFile = Annotated[Path | None, typer.Argument(metavar="[RULES]", help="a file of rules; left out: the alerter's")]


@app.command("list")
def list_(
    every: Annotated[bool, typer.Option("--all", help="cleared ones too")] = False,
    limit: Annotated[int, typer.Option(min=1, help="so many, the newest")] = 50,
    as_json: Json = False,
    profile: Profile = None,
) -> None:
    """List open alerts, the newest first. Works whether the platform is up or not."""
    from dataclasses import asdict

    from edge_assets.alerts import desk

    settings = _settings(profile)
    found = desk.alerts(settings, open_only=not every, limit=limit)
    if as_json:
        print(_json([_readable(asdict(alert)) for alert in found]))
        return
    for alert in found:
        marks = [word for word, said in (("cleared", alert.cleared_at), ("muted", alert.muted)) if said]
        if alert.acknowledged_at:
            marks.append(f"acknowledged by {alert.acknowledged_by}" if alert.acknowledged_by else "acknowledged")
        told = f" ({', '.join(marks)})" if marks else ""
        print(f"{alert.alert_id}  {_time(alert.fired_at)}  {alert.severity:8} {alert.rule}: {alert.message}{told}")
    if not found:
        print("no alerts" if every else "no open alerts")
    for mute in desk.mutes(settings):
        print(f"muted until {_time(mute.until)}: rules {mute.rule}, devices {mute.device}")


@app.command()
def ack(
    alert_id: Annotated[str, typer.Argument(help="as `edge alerts list` shows it")],
    by: Annotated[str, typer.Option(help="who has seen it")] = "",
    profile: Profile = None,
) -> None:
    """Acknowledge an open alert: nobody is reminded of it again. Exit codes: 0 done, 11 there is no such open alert."""
    from edge_assets.alerts import desk

    alert = desk.acknowledge(_settings(profile), alert_id, by)
    print(f"{alert.alert_id} ({alert.rule}: {alert.device_name}) is acknowledged")


@app.command()
def mute(
    rule: Annotated[str, typer.Argument(help="a rule's name, or a pattern: `*` is all")],
    device: Annotated[str, typer.Option(help="a device's name, or a pattern")] = "*",
    minutes: Annotated[float, typer.Option(help="for how long")] = 60,
    profile: Profile = None,
) -> None:
    """Tell nobody of alerts for a while. They fire all the same, are listed, and are in the lake."""
    from edge_assets.alerts import desk

    muted = desk.mute(_settings(profile), rule, device, minutes)
    print(f"muted until {_time(muted.until)}: rules {muted.rule}, devices {muted.device}")


@app.command()
def unmute(
    rule: Annotated[str, typer.Argument(help="as it was muted; `*` without a device: all")] = "*",
    device: Annotated[str, typer.Option(help="as it was muted")] = "*",
    profile: Profile = None,
) -> None:
    """Take a mute back."""
    from edge_assets.alerts import desk

    print(f"{desk.unmute(_settings(profile), rule, device)} taken back")


@app.command()
def check(file: RulesFile = None, as_json: Json = False, profile: Profile = None) -> None:
    """Validate a file of rules, and say which of the known devices each rule means.

    Exit codes: 0 it is valid, 1 it is not, or names a channel that is not set.
    """
    from edge_assets.alerts import rule_file

    settings = _settings(profile)
    file = file or rule_file.ensure(settings)
    try:
        rules = rule_file.load(file)
    except rule_file.BadRules as error:
        _bad([str(problem) for problem in error.problems], as_json)
    meant = _meant(settings, rules)
    if as_json:
        print(_json({"valid": True, "rules": len(rules.rules), "in_force": len(rules.in_force), "devices": meant}))
    else:
        print(f"{file}: {len(rules.rules)} rules, {len(rules.in_force)} of them enabled")
        for name, devices in meant.items():
            print(f"  {name:24} {', '.join(devices) or 'no known device yet'}")
    if missing := rule_file.missing_channels(rules, list(settings.alerts.notify)):
        for one in missing:
            print(one, file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def rules(as_json: Json = False, profile: Profile = None) -> None:
    """List the rules of the alerter's file."""
    from edge_assets.alerts import durations, rule_file

    settings = _settings(profile)
    found = rule_file.load(rule_file.ensure(settings))
    if as_json:
        print(_json([rule.model_dump(mode="json", by_alias=True, exclude_defaults=True) for rule in found.rules]))
        return
    for rule in found.rules:
        lasting = f", for {durations.words(rule.for_)}" if rule.for_ else ""
        told = ", ".join(settings.alerts.notify if rule.notify is None else rule.notify) or "nobody"
        state = "" if rule.enabled else " (not enabled)"
        print(f"{rule.name:24} {rule.severity:8} devices {' '.join(rule.devices)}{lasting}; tells {told}{state}")


@app.command()
def test(
    file: RulesFile = None,
    begin: Annotated[str, typer.Option("--from", help="from then on: 2026-03-01, 2026-03-01T12:00, 2h, 7d")] = "7d",
    end: Annotated[str | None, typer.Option("--to", help="and before then; left out: until now")] = None,
    as_json: Json = False,
    profile: Profile = None,
) -> None:
    """Say what rules would have fired over the lake's history, the platform up or not. Times are UTC."""
    from datetime import UTC, datetime

    from edge_assets.alerts import backtest, rule_file
    from edge_assets.platform.console import Console
    from edge_assets.stream.asking import moment

    settings = _settings(profile)
    asked = rule_file.load(file or rule_file.ensure(settings))
    now = datetime.now(UTC)
    first, last = moment(begin, now), moment(end, now) if end else now
    console = Console(settings.home / "logs" / "alerts-test.log", sys.stderr)
    found = backtest.backtest(
        settings, asked, first, last, lambda share: console.progress(f"testing rules: {share:.0%}")
    )
    print(_json(found.as_dict(asked)) if as_json else backtest.said(found, asked))


@app.command("notify-test")
def notify_test(
    channel: Annotated[str | None, typer.Argument(help="a channel's name; left out: all of them")] = None,
    profile: Profile = None,
) -> None:
    """Send a test message. Exit codes: 0 every channel took it, 1 one did not, 11 there is no such channel."""
    from edge_assets.alerts import channels

    found = channels.test(_settings(profile), channel)
    for name, problem in found.items():
        print(f"{name}: {'taken' if problem is None else problem}")
    if any(problem is not None for problem in found.values()):
        raise typer.Exit(1)


def _meant(settings: Settings, rules: Any) -> dict[str, list[str]]:
    """Rule → names of the devices that the alerter knows and the rule means."""
    from edge_assets.alerts import store
    from edge_assets.alerts.engine import Engine, Saved
    from edge_assets.alerts.store import Store

    known = Saved()
    if store.path(settings).exists():
        kept = Store(settings)
        known = kept.load()
        kept.close()
    engine = Engine(rules, Saved(known.clock, known.listening_since, known.devices))
    return {name: sorted(one.name or one.device.device_id for one in who) for name, who in engine.meant().items()}


def _bad(problems: list[str], as_json: bool) -> NoReturn:
    if as_json:
        print(_json({"valid": False, "problems": problems}))
    for problem in [] if as_json else problems:
        print(problem, file=sys.stderr)
    raise typer.Exit(1)


def _readable(said: dict[str, Any]) -> dict[str, Any]:
    from edge_assets.alert_record import iso

    times = ("since", "fired_at", "cleared_at", "acknowledged_at")
    return {key: iso(value) if key in times and value is not None else value for key, value in said.items()}


def _time(at: int) -> str:
    from edge_assets.alerts.schedule import local, machine_zone

    return f"{local(at, machine_zone()):%Y-%m-%d %H:%M:%S}"


def _settings(profile: str | None) -> Settings:
    from edge_assets.platform import endpoints

    return endpoints.remembered(load_settings(**({"profile": profile} if profile else {})))


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str, ensure_ascii=False)
