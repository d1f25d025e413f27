"""The lake's reading side: it asks, and never commits.

    duck_types   Delta's and Spark's types in DuckDB's words
    lake         a Delta table at one version, as something that DuckDB can read
    sql          SQL over all tables (`edge sql`), and a connection for notebooks
    rendering    rows as a table, JSON or CSV
    log_ends     where the log begins and ends, as Kafka itself says
    proof        the checks of completeness over one snapshot of the tables
    verify       `edge verify`: the proof against the log, and its report

Spark is not needed for any of it.
"""
