"""What Dagster sees; put together in `edge_assets.definitions`.

groups        the groups of assets, in the order of the data's way
words         what each asset's description answers
addresses     where each thing is
columns       columns with their sources, as Dagster shows them
assets        the way of a reading, hop by hop, as external assets
rollups       rollups, and the file that shows them: made by one scheduled step, a range of days made anew
views         one asset a view
screens       dashboards, live page, metrics
picture       docs/lineage.md: all of it as text
services      the services as jobs with one op each
sensors       the keep-alive sensors, around
keep_alive    what was seen → what to do
schedules     bounded work at its times: one run at a time, one for all the times that were missed
reporting     what the services have added, as materializations without runs
checks        asset checks; samples, judges: what the cheap ones look at, and what they say of it
notices       who is told of freshness and checks
shutdown      how the services are ended
housekeeping  keeping Dagster's own storage small
storage       keeping its files open, so that looking writes nothing
"""
