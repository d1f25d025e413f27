"""What `edge import` tells a person."""

from __future__ import annotations

from collections.abc import Iterator

from edge_assets.sources.history.columns import SEPARATORS, spoken
from edge_assets.sources.history.importing import Examined, ImportResult
from edge_assets.sources.history.survey import DEVICES_KEPT
from edge_assets.sources.history.times import iso


def imported(result: ImportResult) -> str:
    """One line."""
    found, counts = result.examined.survey, result.counts
    parts = [
        f"{counts.sent} records sent",
        f"{counts.sent_before} sent before" if counts.sent_before else "",
        f"{counts.there} in the lake before" if counts.there else "",
        f"{found.repeated} repeated in the file" if found.repeated else "",
        f"{found.empty} without a value" if found.empty else "",
        f"{found.bad} bad (see {result.rejected})" if found.bad else "",
    ]
    lines = found.good + found.empty + found.repeated + found.bad
    return f"imported {result.examined.path}: of {lines} lines {', '.join(filter(None, parts))}; {result.seconds:.1f} s"


def examined(found: Examined) -> str:
    """What would be imported: how the file is read, its columns, its first rows, its bad lines."""
    return "\n".join(_lines(found))


def _lines(found: Examined) -> Iterator[str]:
    layout, counts, told = found.layout, found.survey, found.as_dict()
    form = "JSON lines"
    if layout.form == "csv":
        form = f"CSV, separated by {SEPARATORS.get(layout.separator, layout.separator)}, decimal mark {layout.decimal}"
    yield f"{found.path}: {form}, {spoken(layout.encoding)}, times in {layout.time_column!r}"
    yield (
        f"lines: {counts.good} good, {counts.empty} without a value, {counts.repeated} repeated, {counts.bad} bad; "
        f"from {told['first_time']} to {told['last_time']}"
    )
    devices = [f"{name} ({lines})" for name, lines in counts.devices.most_common(10)]
    more = f" and {len(counts.devices) - 10} more" if 10 < len(counts.devices) <= DEVICES_KEPT else ""
    yield f"devices: {', '.join(devices)}{more}"
    yield "columns:"
    for name, column in told["columns"].items():
        span = "" if column["min"] is None else f", {column['min']:g} to {column['max']:g}"
        yield f"  {name}: {column['type']}, {column['values']} values{span}"
    for name in told["passed_over"]:
        yield f"  {name}: passed over, a reading cannot be called so"
    yield "first rows:"
    for row in counts.rows:
        yield f"  line {row.number}: {row.device} {iso(row.at)} {row.measurements}"
    if counts.problems:
        yield "bad lines:"
        yield from (f"  {problem}" for problem in counts.problems)
