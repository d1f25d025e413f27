"""MQTT heard directly, for those who cannot wait for the lake: the alerter and the live page.

    heard          what one message says: observations of devices, rooms and bridges
    decoder        a message → what it says, by the contract of `edge_assets.decoding`, as fast as it comes
    subscription   the connection to the broker: descriptions of devices first, then everything that is routed

Nothing here touches Kafka, Spark, the lake or Dagster, and nothing here writes. What is heard is decoded by the same
rules as the log's records (`edge_assets.decoding.reference`, with its corpus), so an alert means what a table says.
"""
