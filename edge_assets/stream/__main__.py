"""`python -m edge_assets.stream`: the stream writer as a process of its own."""

import sys

from edge_assets.standalone import serve
from edge_assets.stream.loop import run

if __name__ == "__main__":
    sys.exit(serve("stream_writer", run))
