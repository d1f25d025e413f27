"""The first hop: what publishes to the MQTT broker when no real devices do, and what brings history in.

    message       one MQTT publication at a moment of simulated time
    exposes       how Zigbee2MQTT describes a device's measurements
    appliances    what stands behind a plug: power over the day, and its exact integral
    snzb04p       the door contact SONOFF SNZB-04P
    s60zbtpf      the plug SONOFF S60ZBTPF
    zigbee2mqtt   the simulated network of both: a pure, seeded generator of messages
    pico_w        a simulated Pico W: bare numbers
    rooms         the simulated rooms of a building: JSON with ten fields
    publisher     a paho-mqtt client to the broker of the settings
    simulators    the service: publishes all simulated devices in real time
    replay        publishes a recording
    history       `edge import`: files of history, straight into the log

Nothing here knows Spark or Dagster, and nothing but `history` knows Kafka.
"""
