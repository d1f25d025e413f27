"""`python -m edge_assets.live`: the live server as a process of its own."""

import sys

from edge_assets.live.loop import run
from edge_assets.standalone import serve

if __name__ == "__main__":
    sys.exit(serve("live", run))
