"""What Dagster sees; put together in `edge_assets.definitions`.

assets        the way of a reading, hop by hop, as external assets
rollups       rollups and views: made by one scheduled step, a range of days made anew
services      the services as jobs with one op each
sensors       the keep-alive sensors, around
keep_alive    what was seen → what to do
reporting     what the services have added, as materializations without runs
checks        asset checks; samples, judges: what the cheap ones look at, and what they say of it
notices       who is told of freshness and checks
shutdown      how the services are ended
housekeeping  keeping Dagster's own storage small
storage       keeping its files open, so that looking writes nothing
"""
