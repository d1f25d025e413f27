"""The two Grafana dashboards as data; `python -m edge_assets.dashboards` writes their JSON to deploy/grafana.

    model.py       what a dashboard is made of: rows, panels, queries, variables
    rendering.py   the same as Grafana's classic JSON (schema 42), laid out on its grid
    sensors.py     what people look at: climate, doors, energy, rooms, batteries, anomalies, alerts
    platform.py    what the one who looks after it looks at: the machine, services, broker, Kafka, Spark, lake, Dagster

Grafana's JSON of one panel is a hundred lines that nobody can review; here it is three. A test says when the files in
deploy/ are stale, and another runs every panel's query against a real platform.
"""
