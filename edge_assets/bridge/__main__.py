"""`python -m edge_assets.bridge`: the bridge as a process of its own."""

import sys

from edge_assets.bridge.loop import run
from edge_assets.standalone import serve

if __name__ == "__main__":
    sys.exit(serve("bridge", run))
