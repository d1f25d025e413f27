"""`/metrics` as Prometheus asks for it. Samples are taken in the server's turn; words are made of them in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from edge_assets.live.metrics import Sample, Samples


def application(take: Callable[[], Iterable[Sample]], samples: Samples, registry: CollectorRegistry) -> Starlette:
    async def metrics(request: Request) -> Response:
        samples.latest = list(take())
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        body = await asyncio.to_thread(encode, registry)
        return Response(body, headers={"Content-Type": content_type})

    async def root(request: Request) -> Response:
        return PlainTextResponse("metrics of devices and platform for Prometheus: /metrics\n")

    return Starlette(routes=[Route("/metrics", metrics), Route("/", root)])
