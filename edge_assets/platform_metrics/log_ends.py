"""Where the embedded Kafka's log ends, by the file in which Kafka itself notes it every 5 s.

So it is known how far the tables are behind while the stream writer is dead or hangs, which its own word on that does
not say. Of another Kafka, kafka_exporter tells it.

The file (`replication-offset-checkpoint`, version 0): the version, the number of lines that follow, then one line for
each partition: topic, partition, the offset that the next record will have.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_assets.platform_metrics.catalogue import Sample
from edge_assets.settings import Settings

FILE = "kafka/data/replication-offset-checkpoint"
VERSION = "0"
KAFKAS_OWN = "__"
"""what names of Kafka's own topics begin with"""


def log_ends(settings: Settings) -> Iterator[Sample]:
    """Raises `ValueError` where the file is none that we understand."""
    path = settings.home / FILE
    if not _is_embedded(settings) or not path.exists():
        return
    version, _, *lines = path.read_text().splitlines()
    if version != VERSION:
        raise ValueError(f"{path} is of version {version}, expected {VERSION}")
    for line in lines:
        topic, partition, offset = line.split()
        if not topic.startswith(KAFKAS_OWN):
            yield "edge_log_end_offset", (topic, partition), float(offset)


def _is_embedded(settings: Settings) -> bool:
    """Whether the Kafka is the platform's: a home may have had one before it was given another's address."""
    return settings.kafka.bootstrap in (None, f"127.0.0.1:{settings.kafka.port}")
