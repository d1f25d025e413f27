"""What a person looks at: the live page, pushed from the broker in milliseconds, and the metrics of all devices.

    protocol       what server and page say to each other
    loop           the service: from the broker to every viewer
    inbox          from the broker's thread to the server's
    devices        all devices as they are now; `device`, `series` and `cadence` are their parts
    alerts         the alerts that the page shows
    past           what the lake remembers, for the first hello after a start
    hub, wire      all viewers, and what each frame costs
    web            the page's files, the WebSocket, acknowledge and mute; the serving API is mounted there
    visitors       who may ask
    metrics        what Prometheus is told of devices and of the server itself; `scrape` is where it asks
    server         uvicorn inside the loop
    page/          the page: HTML, CSS and JavaScript as they are served

It goes on without Kafka, Spark, the lake and Dagster: only history is asked of the lake, where there is one.
"""
