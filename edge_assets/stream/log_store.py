"""How Delta's log is written in a bucket: `OneWriterLogStore.java`, compiled as the stream writer starts.

Spark brings a compiler (Janino) which needs no JDK, so that the class is here as its source, and is made for the JVM
that runs. Why none of Delta's own log stores will do: docs/decisions/0011-one-writer-in-a-bucket.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_assets.settings import Settings

SOURCE = Path(__file__).with_name("OneWriterLogStore.java")
CLASS = "edge_assets.OneWriterLogStore"


def folder(settings: Settings) -> Path:
    """A folder for the JVM's class path: it must be there when the JVM starts, the class not yet."""
    place = settings.home / "stream" / "classes"
    place.mkdir(parents=True, exist_ok=True)
    return place


def compile_into(gateway: Any, settings: Settings) -> None:
    """Compile the log store. Takes a second. Raises what Py4J raises where it does not compile."""
    java = gateway.jvm.java.io
    compiler = gateway.jvm.org.codehaus.janino.Compiler()
    compiler.setDestinationDirectory(java.File(str(folder(settings))), False)
    sources = gateway.new_array(java.File, 1)
    sources[0] = java.File(str(SOURCE))
    compiler.compile(sources)
