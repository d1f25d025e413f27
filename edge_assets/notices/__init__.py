"""What people are told of the platform itself: assets that stand still and checks that fail, when that begins and ends.

    engine     what was seen, and what was told before → what is news; pure
    words      news in words
    store      what was told, and what is still to be handed over; one SQLite file, one transaction
    post       hands it to the channels of the alerts (`python -m edge_assets.notices`), and ends

Devices are the alerter's (`edge_assets.alerts`), which works while Dagster is dead; this is the word of Dagster's own
sensor (`edge_assets.defs.notices`), and needs its daemon. Nothing here knows Dagster.
"""
