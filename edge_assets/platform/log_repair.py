"""After a power cut the log may end before what the tables hold: both are forced to the disk, at different moments.

Kafka would then give out a second time offsets that the tables have, and nobody would read the records behind them:
a position proves what it proves only while an offset means one record for ever. So before anyone writes, the log is
filled up to the tables' positions with control records (`LOST_KEY` in `edge_assets.log_record`), which say what they
are. The messages that were there are in the tables; the log alone has lost them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from edge_assets import object_store
from edge_assets.errors import LogError
from edge_assets.log_record import LOST_KEY, Place
from edge_assets.platform import log as kafka_log
from edge_assets.settings import Settings
from edge_assets.stream.durability import reached
from edge_assets.warehouse import log_ends

FLUSH_SECONDS = 30

log = logging.getLogger(__name__)


def fill_up(settings: Settings) -> dict[Place, int]:
    """Fill the log up to what the tables hold. Returns how many records each partition had lost. Raises `LogError`."""
    with object_store.in_words(settings):
        positions = reached(settings.lake_path)
    if not positions:
        return {}
    found = log_ends.ask(settings)
    if found.problem:
        raise LogError(found.problem)
    lost = {place: at - found.ends[place] for place, at in positions.items() if at > found.ends.get(place, at)}
    if lost:
        _fill(settings, lost)
    for (_, topic, partition), count in lost.items():
        log.warning(
            "%s/%d had lost its last %d records, which the tables hold: their offsets are filled up",
            topic,
            partition,
            count,
        )
    return lost


def _fill(settings: Settings, lost: Mapping[Place, int]) -> None:
    from confluent_kafka import KafkaException, Producer

    options = {**kafka_log.client_options(settings), "enable.idempotence": True, "acks": "all"}
    producer = Producer(options)
    value = json.dumps({"why": "the log ended before what the tables hold"}).encode()
    try:
        for (_, topic, partition), count in lost.items():
            for _ in range(count):
                producer.produce(topic, value, LOST_KEY.encode(), partition)
                producer.poll(0)
        left = producer.flush(FLUSH_SECONDS)
    except (KafkaException, BufferError) as error:
        raise LogError(f"filling up the log at {kafka_log.bootstrap(settings)}: {error}; does Kafka run?") from error
    if left:
        raise LogError(f"filling up the log at {kafka_log.bootstrap(settings)}: {left} records did not arrive")
