"""What people are told, in a second: rules over what devices say, heard at the broker itself.

    rules, rule_file      what a rule can say; the YAML file, read with the lines of what is wrong
    durations, schedule   spans of time, hours of the week
    conditions            a condition taken apart: leaves that each look at one measurement
    presence              whether a device is there: availability, network, usual silence
    watch                 one rule over one device: pending, firing, clearing
    engine                all of them: observations and ticks → firings and clearings; pure
    wording               an alert in words
    store                 what survives a crash: one SQLite file
    outbox, channels      what is to be told and to whom; Apprise
    loop                  the service: MQTT in, engine, store, out to people
    desk                  alerts as other processes see them: list, acknowledge, mute
    backtest              what rules would have said of the lake's history
    commands              `edge alerts …`

Kafka, Spark, the lake and Dagster may be dead: nothing here but the backtest needs them. How to write rules, and what
happens when this dies: docs/alerts.md.
"""
