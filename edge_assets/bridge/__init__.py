"""MQTT → Kafka: byte for byte, in order, acknowledged only when the log has it, once across crashes.

The way of a message, in the order of the modules:

    publish_tap    the socket that paho is given: takes PUBLISH packets out of the stream, many at a time
    mqtt_in        the connection: subscription, TLS, reconnecting, PUBACKs
    session        which MQTT session this is, and what is to be done before its messages are taken
    topic_filter   an MQTT topic filter, parsed once
    routes         topic → Kafka topic; what to subscribe to
    clock          received time, and whether to believe it
    redelivery     new, a repeat, or maybe a repeat? pure, no input or output
    headers        what the bridge knows of a message, as the text that goes with its record
    kafka_out      the idempotent producer: delivery reports, errors, records that are too large
    dead_letters   a message over the log's limit, in pieces
    acks           what is on its way, in order of arrival: a PUBACK leaves when everything before it is in the log
    loop           joins them: one thread

and at each start, before a message is taken:

    beginning      fences a dead predecessor's last writes, and reads what it logged last
    memory         what a bridge remembers across starts besides the log: a small file
    tail           the end of the log, read back: epoch, incarnation, the last logged messages

    drop_watch     the broker's own counter of messages that it threw away

Why it is once: docs/decisions/0005-readers-fence-the-dead.md and the docstring of `redelivery`.
"""
