"""The columns of views, as DuckDB says them: looked up once for each `edge.duckdb`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edge_assets.errors import LakeError
from edge_assets.serving.asking import Session, describe
from edge_assets.serving.catalogue import Known, known
from edge_assets.serving.questions import unfiltered
from edge_assets.warehouse.views import LAKE, View


def known_view(session: Session, view: View) -> Known:
    """The view with its columns. Raises `Away` where it needs rollups and there are none, `LakeError`."""
    return known(view, session.opened.known, lambda view: _columns(session, view))


def describes(session: Session, views: Mapping[str, View]) -> Iterator[Known]:
    """Those that can be described now."""
    for view in views.values():
        if view.group == LAKE or session.opened.has_rollups:
            try:
                yield known_view(session, view)
            except LakeError:  # one broken table does not hide the other views
                continue


def shown(session: Session, known: Known) -> dict[str, Any]:
    return {
        "name": known.name,
        "group": known.view.group,
        "description": known.view.description,
        "time": known.time,
        "step_seconds": known.step,
        "filters": list(known.filters),
        "columns": [{"name": name, "type": kind} for name, kind in known.columns.items()],
    }


def _columns(session: Session, view: View) -> dict[str, str]:
    if view.group != LAKE:
        session.needs_rollups()
    return describe(session, unfiltered(session.settings, view, session.relations.of))
