"""The tables of gold: windows and sessions over the rooms' messages, each written once, and corrected where need be.

Spark's own streaming state would be a second truth beside the tables (decision 13). Here `silver.room_telemetry` *is*
the state: a window that the watermark has passed is computed from the messages that lie there, and how far a table has
come is in the note of its newest commit. So a kill between any two steps, a checkpoint that is gone, another version of
Spark cost nothing, and what was written is what a recompute would give.

| module | what |
|---|---|
| `windows`, `sessions` | the rules: which messages are in which window or session, and what it says of them |
| `window_table`, `session_table` | the tables; `table`: what they have in common |
| `silver` | where the messages come from, and the note that says how far a table has come |
| `publisher` | windows on their way back to Kafka |
| `tables` | all of them together, for the writer's loop |

One table takes one step in `GoldTable.advance`:

1. the watermark says up to when nothing is waited for any more (`edge_assets.stream.batch`; committed with bronze);
2. what ends after the last step and by then is computed, described, and committed in one append with its note;
3. it goes to Kafka. Where that fails it is sent again before the next step, and after a start.

What comes later than that is late: it is in silver, its batch's note counts it, and `GoldTable.repair` computes its
windows again, merges those that differ, and sends them as corrections. The same finds what a repair or a reprocessing
of silver has changed. All of it runs in the writer's main thread, beside the batches, which never wait for it.
"""
