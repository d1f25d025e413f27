"""The serving API: what Grafana and the live page ask of rollups, lake and alerts. HTTP and JSON; it only reads.

    api             the endpoints, their documentation, and an app to run them alone
    parameters      what may be asked of each endpoint, and what a wrong parameter is told
    times           a time as people and Grafana write it → UTC
    models          the shapes of the answers, for OpenAPI and for tests
    refusals        what is told to one who cannot be answered
    asking          a question answered: ETag, the memory of answers, one more try where a file has gone
    turns           a few threads, a deadline, and a bound on who waits: nobody holds the process up
    opened          `edge.duckdb` as it is now, kept open until the next one takes its place
    relations       Delta tables of the lake as they are now, kept for a second
    catalogue       which views there are, and what they can be cut by
    described       their columns, as DuckDB says them
    tiers           minutes, hours or days, and how wide a bucket is
    questions       one view asked: its SQL and parameters
    series          one measurement of one device, for a chart
    devices         each device with its health and latest values
    alerting        the alerter's own store: alerts and what they come to
    platform_state  how the platform is, without what is nobody's business
    answers         rows as JSON, by DuckDB itself

Nobody hands in SQL. Names are those of the catalogue; whatever else comes from outside is a parameter of a query.
"""
