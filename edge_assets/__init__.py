"""edge_assets: sensor readings from the wire to tables that can be asked anything.

The way of a reading, hop by hop, is the order of the folders:

    sources       what publishes to the MQTT broker: simulated devices, recordings; and history from files
    bridge        MQTT → Kafka: byte for byte, acknowledged only when the log has it, once across crashes
    log_record    the contract between the bridge and the log's readers
    stream        Kafka → Delta: Spark reads the log, decodes, and is the only one to commit to the lake
    decoding      the contract of payloads: what is a reading, what is a dead letter
    tables        the contract of the lake: tables, columns, units
    object_store  a lake in a bucket, as each engine is told of it
    lake_claim    whose a lake is that several platforms reach
    warehouse     the lake's reading side: SQL over everything, and the proof that nothing is missing

Beside it, straight from the broker, for those who cannot wait for the lake:

    listening     MQTT heard directly, and decoded by the same contract
    alerts        rules, and who is told
    alert_record  the contract of an alert's events
    live          the live page, and metrics of devices
    serving       the read-only API over HTTP: history and views, for the page and for dashboards
    dashboards    the Grafana dashboards as data
    platform_metrics  the platform itself, for Prometheus

And what holds it all:

    defs          Dagster's side: services, assets, sensors
    upgrades      a home of an earlier version, made this version's
    platform      what it all runs on: Java, jars, broker, log, supervisor; up, down, status, doctor

Loops are plain code; `defs` only holds them up to Dagster. `settings` is the one tree that all of them are given.
"""
