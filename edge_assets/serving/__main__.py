"""`python -m edge_assets.serving`: the API as a process of its own, at the live page's address."""

import sys

import uvicorn

from edge_assets.errors import EdgeError
from edge_assets.platform import endpoints
from edge_assets.serving.api import app
from edge_assets.settings import load_settings


def main() -> int:
    try:
        settings = endpoints.remembered(load_settings())
        endpoints.claim("the serving API", settings.live.host, settings.live.port)
    except EdgeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    uvicorn.run(app(settings), host=settings.live.host, port=settings.live.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
