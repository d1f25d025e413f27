"""Gold as Dagster's assets: windows and sessions over rooms, what people know of rooms, the windows' way back to Kafka.

The stream writer makes all of them, without a run. Their checks look from outside: another engine computes a stretch of
windows again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from edge_assets import rooms
from edge_assets.decoding.patterns import ROOM
from edge_assets.defs import addresses, columns, groups
from edge_assets.defs.assets import OWN_NETWORK, QUIET, STEADY, owner, table_key, table_spec
from edge_assets.defs.checks import check_job, result
from edge_assets.defs.judges import Verdict
from edge_assets.defs.words import service_stale, stream_writer, told
from edge_assets.service import read_status
from edge_assets.settings import Settings, Window
from edge_assets.stream.gold.publisher import SUFFIX
from edge_assets.tables import ROOM_TELEMETRY, SESSIONS, Column, window_table
from edge_assets.warehouse.lineage import WINDOWS

ROOMS = dg.AssetKey(["dimensions", "rooms"])
PUBLISHED = dg.AssetKey(["log", "telemetry_downsampled"])

COMPARED = timedelta(minutes=30)
"""so much event time is compared, behind what late messages may still be about to correct"""
HEARD = timedelta(hours=3)

ROOM_COLUMNS = (
    Column("room_id", "string", "the room, as its topic says"),
    Column("room_name", "string", "its name"),
    Column("floor", "string", "its floor"),
    Column("room_type", "string", "what kind of room it is"),
)


def gold_specs(settings: Settings) -> list[dg.AssetSpec]:
    """The assets that these settings describe."""
    windows = settings.windows.tables
    published = [window for window in windows if window.publish]
    return [
        _rooms(settings),
        *(_windows(settings, window) for window in windows),
        table_spec(settings, SESSIONS, _SESSION_WORDS, [table_key(ROOM_TELEMETRY.full_name), ROOMS], QUIET),
        *([_downsampled(settings, published)] if published else []),
    ]


_SESSION_WORDS = (
    "When people were in a room, how many at most, and what the air was like. A session is written when nobody has "
    "been seen for the gap that the settings give. Fresh means that the stream writer has looked."
)


def _rooms(settings: Settings) -> dg.AssetSpec:
    return dg.AssetSpec(
        ROOMS,
        group_name=groups.SOURCES,
        description=told(
            "What people know of rooms and no sensor says: name, floor, kind. It stands beside each window from the "
            "next one on.",
            row="one room",
            by="people, with `edge rooms`, when they like",
        ),
        kinds={"sqlite"},
        owners=[owner(settings)],
        metadata={
            addresses.URI: str(rooms.path(settings)),
            columns.SCHEMA: columns.column_schema(ROOM_COLUMNS),
            "written by": "edge rooms",
        },
    )


def _windows(settings: Settings, window: Window) -> dg.AssetSpec:
    late = (
        f"A window is written once, {settings.windows.watermark_seconds:g} s after its end; what comes later corrects "
        f"it within {settings.windows.repair_minutes:g} minutes."
    )
    slides = window.step_seconds < window.size_seconds
    words = f"Rooms in windows of {window.size_seconds} s" + (
        f" that begin each {window.step_seconds} s. " if slides else ". "
    )
    sources = [table_key(ROOM_TELEMETRY.full_name), ROOMS]
    made = columns.derived(WINDOWS)
    return table_spec(settings, window_table(window), words + late, sources, freshness(settings), made)


def freshness(settings: Settings) -> dg.FreshnessPolicy:
    return STEADY if settings.simulators.enabled and settings.simulators.rooms else OWN_NETWORK


def _downsampled(settings: Settings, windows: Sequence[Window]) -> dg.AssetSpec:
    topics = [
        f"`{r.topic}{SUFFIX}`" for r in settings.bridge.routes if r.parsed and r.parsed.level_of(ROOM) is not None
    ]
    return dg.AssetSpec(
        PUBLISHED,
        deps=[table_key(window_table(window).full_name) for window in windows],
        group_name=groups.GOLD,
        description=told(
            f"The windows on their way back to Kafka: {', '.join(topics)}, JSON, the key is the room. At least once; a "
            "correction says that it is one.",
            row="one window of one room",
            by=f"{stream_writer(settings)}: behind the batch that closes it",
            stale=service_stale("stream_writer"),
        ),
        kinds={"kafka"},
        owners=[owner(settings)],
        freshness_policy=freshness(settings),
        metadata={
            addresses.URI: ", ".join(addresses.kafka(settings, topic.strip("`")) for topic in topics),
            "written by": "stream_writer",
        },
    )


# -- checks --------------------------------------------------------------------------------------------------------


def gold_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """The checks of gold: they read tables, so each needs a run, which `check_gold_job` gives them hourly."""
    windows = settings.windows.tables
    return [*(_equal(settings, window) for window in windows), *([_described(settings, windows[0])] if windows else [])]


def check_gold_job(settings: Settings) -> tuple[dg.JobDefinition, dg.ScheduleDefinition]:
    keys = [key for check in gold_checks(settings) for key in check.check_keys]
    words = "Compares half an hour of windows with a recompute, and looks for rooms that nobody has described."
    return check_job(keys, "check_gold", "27 */3 * * *", words)


def _equal(settings: Settings, window: Window) -> dg.AssetChecksDefinition:
    table = window_table(window)

    @dg.asset_check(
        asset=table_key(table.full_name),
        name="equals_silver",
        description="Half an hour of windows is what another engine computes from silver.room_telemetry. Else: `edge "
        "reprocess` for the table, as the verdict says it, mends them.",
    )
    def check() -> dg.AssetCheckResult:
        from edge_assets.warehouse.windows import compare

        span = compared_span(settings, window)
        if span is None:
            return dg.AssetCheckResult(passed=True, description="no room has spoken yet")
        found = compare(settings, window, *span)
        when = f"windows between {span[0]:%H:%M} and {span[1]:%H:%M} UTC"
        words = f"{found.windows:,} {when} are what silver gives"
        if not found.equal:
            again = f"edge reprocess --table {table.full_name} --from {span[0]:%Y-%m-%dT%H:%M}"
            words = (
                f"of {found.windows:,} {when} {found.differing:,} differ from silver, {found.missing:,} are missing, "
                f"{found.unfounded:,} have no messages; `{again}` mends them"
            )
        figures = {"windows": found.windows, "differing": found.differing, "missing": found.missing}
        within = f"window_start >= '{span[0]:%Y-%m-%d %H:%M:%S}Z' and window_start < '{span[1]:%Y-%m-%d %H:%M:%S}Z'"
        look = f'edge sql "from {table.full_name} where {within} order by window_start, room_id"'
        return result(Verdict(found.equal, words, figures, dg.AssetCheckSeverity.ERROR, look=look))

    return check


def compared_span(settings: Settings, window: Window) -> tuple[datetime, datetime] | None:
    """The newest half hour of which all is written, and all that was late has been put right."""
    news = (read_status(settings, "stream_writer").get("tables") or {}).get(window_table(window).full_name) or {}
    if not news.get("last_event_at"):
        return None
    settled = timedelta(minutes=2 * settings.windows.repair_minutes + 1, seconds=window.size_seconds)
    end = datetime.fromisoformat(news["last_event_at"]) - settled
    return end - COMPARED, end


def _described(settings: Settings, window: Window) -> dg.AssetChecksDefinition:
    table = window_table(window)

    @dg.asset_check(
        asset=table_key(table.full_name),
        name="rooms_described",
        description="Each room that speaks has a name, a floor and a kind. Else: say it with `edge rooms`.",
    )
    def check() -> dg.AssetCheckResult:
        nameless = undescribed(settings, window)
        words = "each room that spoke lately is described"
        if nameless:
            words = (
                f"{len(nameless)} rooms are not described, so their windows have no name: {', '.join(nameless[:10])}; "
                f"edge rooms set {nameless[0]} --name … --floor … --type …"
            )
        rows = [{"room": room} for room in nameless]
        return result(Verdict(not nameless, words, {"rooms": len(nameless)}, rows=rows, look="edge rooms list"))

    return check


def undescribed(settings: Settings, window: Window) -> list[str]:
    """The rooms with windows of late, of which nothing is said."""
    from edge_assets.warehouse.windows import rooms_heard

    known = {room.room_id for room in rooms.known(settings)}
    return [room for room in rooms_heard(settings, window, datetime.now(UTC) - HEARD) if room not in known]
