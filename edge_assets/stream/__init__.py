"""Kafka → Delta: the stream writer, the only one to commit to the lake.

loop         its life: mend, recover, read the log from where the tables stand, until told to stop
session      the Spark session: one small JVM, and the lock that proves that it is the only one
java_references what Python holds of Java's, and how it lets go of it: else plans of past queries fill the heap
reading      the streaming query, and when it has to begin anew
source       Kafka as Spark reads it: where to begin, and a record in columns
backlog      how a batch is shared out among topics when there is much to catch up with
losses       what the log gave up before it was read
batch        one batch, from records to commits
decode       the contract (`edge_assets.decoding`) as SQL over many records at once
control      records that teach: descriptions of devices, barriers, clocks
room_columns columns that rooms bring by themselves
registry     the devices as Spark joins with them
lake         the tables: commits that happen once, and what each says of itself
log_store    Delta's log in a bucket: a commit is written once, or ends the writer
durability   what a power cut may cost, and how a torn table is made whole
gold         windows and sessions over rooms, from silver, step by step with the watermark
requests     how others ask for work on tables that only the writer may commit to; asking: the same for a person
chores       work that takes longer than a batch may wait, in slices: maintenance (joining small files), expiry (age)
reprocess    recomputing ranges of the log (ranges) into place; rollback: a table at a former version
"""
