"""The endpoints, each a few lines: what is asked is read from the address, answered by `asking`, and given its headers.

`router` is mounted by the live server under `/api/v1`; `app` is the same on its own. All of it is GET.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.middleware.gzip import GZipMiddleware

from edge_assets.errors import EdgeError
from edge_assets.serving import alerting, answers, devices, models, parameters, platform_state, questions, series
from edge_assets.serving.answers import Answer
from edge_assets.serving.asking import Asker, Session, Unchanged, matches
from edge_assets.serving.catalogue import all_views, view
from edge_assets.serving.described import describes, known_view, shown
from edge_assets.serving.opened import Warehouse
from edge_assets.serving.refusals import Refusal
from edge_assets.settings import Settings

PREFIX = "/api/v1"
PACKED_BYTES, PACKED_LEVEL = 1_000, 5
"""from which size on answers are packed (gzip), and how hard"""
ROLLUPS, ALERTS, PLATFORM = "Readings and views", "Alerts", "Platform"

IfNoneMatch = Annotated[
    str | None, Header(description="the ETag of an answer that is there already: 304 if it still stands")
]


class OneLine(APIRoute):
    """A route whose refusals are `{"detail": "one line"}`, on any app."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestValidationError as error:
                return JSONResponse({"detail": _first_line(error)}, 422)
            except Refusal as refusal:
                return JSONResponse({"detail": str(refusal)}, refusal.status, dict(refusal.headers))
            except EdgeError as error:
                return JSONResponse({"detail": str(error)}, 503)

        return answered


_REFUSALS: dict[int | str, dict[str, Any]] = {
    304: {"description": "what If-None-Match names still stands"},
    422: {"model": models.Problem, "description": "a parameter is wrong: one line says which, and what is expected"},
    503: {"model": models.Problem, "description": "not now: there are no rollups yet, or it took too long"},
}
_NO_VIEW: dict[int | str, dict[str, Any]] = {404: {"model": models.Problem, "description": "there is no such view"}}


def router(settings: Settings, warehouse: Warehouse | None = None) -> APIRouter:
    """The read-only API of a home; nothing is opened before the first question. `warehouse`: one that the process has
    already."""
    asker = Asker(settings, warehouse=warehouse)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        asker.close()

    found = APIRouter(route_class=OneLine, responses=_REFUSALS, lifespan=lifespan)
    _add_readings(found, asker)
    _add_views(found, asker)
    _add_alerts(found, asker)
    _add_platform(found, asker)
    return found


def app(settings: Settings) -> FastAPI:
    """The API alone, with OpenAPI at `/openapi.json`; large answers are packed."""
    found = FastAPI(
        title="edge_assets serving API",
        version="1",
        description="What the sensors of this place have measured, read-only. Times are UTC.",
        docs_url=None,  # the pages that FastAPI has for it load their scripts from the internet
        redoc_url=None,
    )
    found.add_middleware(GZipMiddleware, minimum_size=PACKED_BYTES, compresslevel=PACKED_LEVEL)
    found.include_router(router(settings), prefix=PREFIX)
    return found


def _add_readings(router: APIRouter, asker: Asker) -> None:
    @router.get(
        "/devices", tags=[ROLLUPS], response_model=list[models.Device], summary="Every device and room, as it is"
    )
    async def devices_(
        asked: Annotated[parameters.DevicesAsked, Query()], if_none_match: IfNoneMatch = None
    ) -> Response:
        """Health, battery and the latest value of each measurement within seven days, as of the newest rollups (every
        ten minutes). What happens this second is pushed by the live page's WebSocket instead."""
        return _response(await asker.ask(lambda session: devices.question(asked.time), if_none_match))

    @router.get(
        "/series", tags=[ROLLUPS], response_model=models.Series, summary="One measurement of one device, for a chart"
    )
    async def series_(asked: Annotated[parameters.SeriesAsked, Query()], if_none_match: IfNoneMatch = None) -> Response:
        """Mean, lowest and highest value of each bucket, read from minutes, hours or days by the range and the points
        asked for; buckets lie at whole minutes, hours and days of UTC. A series that is not known has no points."""
        span = asked.span()
        return _response(await asker.ask(lambda session: series.question(session.settings, asked, span), if_none_match))


def _add_views(router: APIRouter, asker: Asker) -> None:
    @router.get("/views", tags=[ROLLUPS], response_model=list[models.ViewShown], summary="The views that can be asked")
    async def views_(_: Annotated[parameters.NothingAsked, Query()], if_none_match: IfNoneMatch = None) -> Response:
        """Each with its columns and what rows can be chosen by. Before the first rollups those of the lake alone."""
        listed = await asker.work(lambda session: [shown(session, each) for each in describes(session, all_views())])
        return _plain(answers.of_value(listed), if_none_match)

    @router.get(
        "/views/{name}",
        tags=[ROLLUPS],
        response_model=list[models.Row],
        responses=_NO_VIEW,
        summary="The rows of a view",
    )
    async def rows(
        name: Annotated[str, Path(description="one of /views", examples=["grafana_climate"], max_length=200)],
        asked: Annotated[parameters.ViewAsked, Query()],
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """A list of objects, by time. With `points`, rows are put into buckets, each series for itself: the mean of
        values, the lowest of lowest, the highest of highest, the sum of counts, energy and money. Where there are more
        rows than `limit`, the newest are given, and the header `X-Truncated: true` says so."""
        found = view(name)
        wanted = parameters.wanted(asked)

        def question(session: Session) -> questions.Question:
            return questions.question(session.settings, known_view(session, found), wanted, session.relations.of)

        return _response(await asker.ask(question, if_none_match))


def _add_alerts(router: APIRouter, asker: Asker) -> None:
    @router.get("/alerts", tags=[ALERTS], response_model=list[models.Alert], summary="Alerts, open ones and past")
    async def alerts_(asked: Annotated[parameters.AlertsAsked, Query()], if_none_match: IfNoneMatch = None) -> Response:
        """Newest first, as the alerter knows them this second. With from and to: those open at some time between."""
        asked.span()
        listed, truncated = await asker.look(lambda: alerting.listed(asker.settings, asked))
        answer = answers.of_value(listed)
        return _plain(Answer(answer.body, answer.etag, truncated), if_none_match)

    @router.get("/alerts/summary", tags=[ALERTS], response_model=models.AlertSummary, summary="How many, and how long")
    async def summary(
        asked: Annotated[parameters.SummaryAsked, Query()], if_none_match: IfNoneMatch = None
    ) -> Response:
        """Counts, and how many seconds it took until alerts were cleared and seen, in all and by rule."""
        span = asked.span()
        found = await asker.look(lambda: alerting.summary(alerting.within(asker.settings, span)))
        return _plain(answers.of_value(found), if_none_match)


def _add_platform(router: APIRouter, asker: Asker) -> None:
    @router.get("/status", tags=[PLATFORM], response_model=models.Status, summary="Whether the platform runs")
    async def status(_: Annotated[parameters.NothingAsked, Query()], if_none_match: IfNoneMatch = None) -> Response:
        """Its parts and services, free space, and how old the rollups are. Paths and addresses are not in it."""
        found = await asker.look(lambda: platform_state.shown(asker.settings))
        return _plain(answers.of_value(found), if_none_match)


def _plain(answer: Answer, known: str | None) -> Response:
    return _response(Unchanged(answer.etag) if matches(known, answer.etag) else answer)


def _response(answer: Answer | Unchanged) -> Response:
    if isinstance(answer, Unchanged):
        return Response(status_code=304, headers=Answer(b"", answer.etag).headers)
    return Response(answer.body, media_type="application/json", headers=answer.headers)


def _first_line(error: RequestValidationError) -> str:
    """`limit: Input should be less than or equal to 50000 (given: '99999999')`"""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"] if part not in ("query", "path", "header"))
    if first["type"] == "extra_forbidden":
        return f"{name[:60]}: there is no such parameter; /openapi.json lists them"
    given = "" if first["type"] == "missing" else f" (given: {str(first.get('input'))[:60]!r})"
    return f"{name[:60]}: {first['msg']}{given}".replace("\n", " ")
