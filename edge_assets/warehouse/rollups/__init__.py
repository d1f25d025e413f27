"""Rollups: what the readings come to per minute, hour and day, kept up incrementally by DuckDB.

    model         the rollups as plain data: names, columns, units, the files that they lie in
    times         UTC buckets and units of files, as Python's times and as SQL
    layout        where the files lie, which of them holds a bucket, the state file
    changes       what the Delta logs say has changed since a version
    measurements  rooms and devices as one relation
    buckets       the SQL of a bucket: from silver, and from smaller buckets
    days          the SQL of a day: energy, doors, messages; and of a device's health
    files         rewriting one file, aside and then in its place
    update        the incremental run, and the rebuild
    publish       `edge.duckdb`, built aside and swapped in
    expiry        minutes that are too old leave readings_1m
    compare       sampled buckets against a recompute from silver

The promise: each bucket is what a recompute from silver gives. Buckets are recomputed and never added to, so a run
that was killed is simply done again. Why the files are cut as they are: docs/decisions/0009.
"""
