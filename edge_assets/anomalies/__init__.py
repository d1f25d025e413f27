"""What is unusual: each measurement of each device, scored on closed minutes, without configuration.

    detector   the method, on arrays: a column of series, one bucket of time after the other
    spread     medians, and how far from the usual a day's largest departure may be
    memory     what the detector remembers of each series, and its file: a cache
    minutes    closed minutes from the rollup readings_1m
    table      gold.anomalies: the one committer of it
    run        the incremental run that joins them

A device that says nothing, or always the same, is no business of it: that is for alerts.
"""
