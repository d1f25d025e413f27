"""What the metrics server registers: a collector that answers a scrape at once, whatever state the platform is in.

What is cheap (status files, locks, `/proc`: some milliseconds) is read at the scrape itself. What is dear (Dagster's
storage, the tables' logs, folders) is read in a thread beside it when it is due, and a scrape has what the last look
found. Nobody scrapes: nothing is looked at.

A source that raises is out of the answer until it works again, and `edge_metrics_source_up` says so; that is logged
when it begins and when it ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version

from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from edge_assets.platform_metrics.catalogue import METRICS, Sample
from edge_assets.platform_metrics.dagster_word import Dagster
from edge_assets.platform_metrics.disk_use import disks, folders
from edge_assets.platform_metrics.flow import FLOW
from edge_assets.platform_metrics.lake import Lake
from edge_assets.platform_metrics.log_ends import log_ends
from edge_assets.platform_metrics.processes import Processes
from edge_assets.settings import Settings

log = logging.getLogger(__name__)

DAGSTER_SECONDS = 15.0
LAKE_SECONDS = 60.0
FOLDER_SECONDS = 600.0


@dataclass(slots=True)
class Source:
    """Where samples come from, and what it said last."""

    name: str
    read: Callable[[Settings], Iterable[Sample]]
    every_seconds: float = 0.0
    """0: cheap, read at each scrape; else read beside it, and not more often"""
    samples: list[Sample] = field(default_factory=list)
    up: bool | None = None
    at: float = 0.0
    seconds: float = 0.0
    _due: float = 0.0

    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def look(self, settings: Settings) -> None:
        """Read it. Never raises."""
        begun = time.perf_counter()
        try:
            self.samples = [_declared(sample) for sample in self.read(settings)]
        except Exception as error:
            self.samples = []
            if self.up is not False:
                log.warning("metrics of %s cannot be read: %s", self.name, str(error).split("\n")[0] or repr(error))
            self.up = False
        else:
            if self.up is False:
                log.info("metrics of %s can be read again", self.name)
            self.up, self.at, self.seconds = True, time.time(), time.perf_counter() - begun
        self._due = time.monotonic() + self.every_seconds

    def about_itself(self) -> Iterator[Sample]:
        if self.up is not None:
            yield "edge_metrics_source_up", (self.name,), float(self.up)
        if self.at:
            yield "edge_metrics_source_timestamp_seconds", (self.name,), self.at
            yield "edge_metrics_source_duration_seconds", (self.name,), self.seconds


def sources() -> list[Source]:
    """All of them; a collector has its own, as some remember what they have seen."""
    return [
        Source("processes", Processes()),
        *(Source(service, read) for service, read in FLOW.items()),
        Source("log_ends", log_ends),
        Source("disk", disks),
        Source("dagster", Dagster(), DAGSTER_SECONDS),
        Source("lake", Lake(), LAKE_SECONDS),
        Source("folders", folders, FOLDER_SECONDS),
    ]


class PlatformCollector(Collector):
    """All platform metrics of one home. `collect` never raises, and waits for nothing but small files."""

    def __init__(self, settings: Settings, read_from: Sequence[Source] | None = None) -> None:
        self._settings = settings
        self._sources = sources() if read_from is None else read_from
        self._scraping = threading.Lock()
        self._thread: threading.Thread | None = None

    def describe(self) -> Iterable[Family]:
        """Told at registration, so that the registry does not read everything just to know the names."""
        return list(_families(()))

    def collect(self) -> Iterable[Family]:
        with self._scraping:
            self._have_dear_ones_read()
            for source in self._sources:
                if not source.every_seconds:
                    source.look(self._settings)
            samples = [sample for source in self._sources for sample in (*source.samples, *source.about_itself())]
        info: Sample = ("edge_build_info", (_version(), self._settings.site), 1.0)
        return [family for family in _families([info, *samples]) if family.samples]

    def _have_dear_ones_read(self) -> None:
        due = [source for source in self._sources if source.every_seconds and source.is_due()]
        if due and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._read, args=(due,), name="platform-metrics", daemon=True)
            self._thread.start()

    def _read(self, due: list[Source]) -> None:
        for source in due:
            source.look(self._settings)


def _declared(sample: Sample) -> Sample:
    """Raises `ValueError` where the catalogue does not have it so: a mistake of ours, which must not end a scrape."""
    name, labels, _ = sample
    if name not in METRICS or len(METRICS[name].labels) != len(labels):
        raise ValueError(f"{name} with {len(labels)} labels is not in the catalogue")
    return sample


@cache
def _version() -> str:
    return version("edge_assets")


def _families(samples: Iterable[Sample]) -> Iterator[Family]:
    """The catalogue's metrics in its order, with those samples; one twice (a clash of labels) counts once."""
    found: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in METRICS}
    for name, labels, value in samples:
        found[name][labels] = value
    for name, metric in METRICS.items():
        make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = make(name, metric.words, labels=metric.labels)
        for labels, value in found[name].items():
            family.add_metric(labels, value)
        yield family
