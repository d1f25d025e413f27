"""What `edge up` holds up, and what it needs of a machine.

supervisor     `edge up` and `edge down`: the parts, started in order, kept running, stopped in order
parts, keeper  which parts there are; one part kept running
container      the same in containers, where an engine holds up the parts
health         whether something is well, asked from outside
process        one long-lived child process
endpoints      ports that were left open, chosen once and remembered
broker         the embedded MQTT broker: mosquitto, or amqtt_broker where none can be had
log            the embedded Kafka, and what everyone needs to speak to any Kafka
log_repair     what a power cut took of the log, and the tables have: filled up
java, jars     what pip cannot bring, fetched once and verified
status         what runs and where
doctor         what the platform needs, checked
console        what it says while it starts, runs and stops
settings_page  the settings as text
"""
