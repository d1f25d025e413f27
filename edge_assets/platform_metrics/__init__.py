"""The platform's own figures for Prometheus, taken from outside: from what its parts and services leave on disk.

Nothing here asks a service, so that a service that hangs is seen to hang, and Dagster's daemon that is dead to be dead.

    catalogue.py     every metric: name, type, labels, meaning; `docs/metrics.md` is made from it (page.py)
    collector.py     what the metrics server registers: answers at once, and has dear things fetched beside
    processes.py     parts and services: alive, since when, memory, CPU; of the JVMs their heaps (jvm.py)
    flow.py          what the services count, from their status files
    log_ends.py      where the embedded Kafka's log ends, from its own file
    lake.py          tables: rows, files, bytes, from their logs
    dagster_word.py  assets, checks, freshness, heartbeats, from Dagster's storage
    disk_use.py      what is free and what fills it; rollups and backups by their files

A source is a function that takes the settings and yields samples; where it raises, `edge_metrics_source_up` says so.
"""
