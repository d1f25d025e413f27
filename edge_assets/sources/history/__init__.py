"""`edge import FILE`: history in a file of lines → records of the log, from where it goes the way of every reading.

    columns    what a file is like: encoding, separator, decimal mark, and what each column is
    times      a cell → a time
    values     a cell → a number, a text, true or false, missing, or an error
    lines      the two of them together: a file → entries, and bad lines with their number and reason
    survey     the first look through the whole file: counts, types, first rows
    record     an entry → key, value and header of a record of the log
    ledger     what this home has sent of a file
    known      what the lake has already, and waiting until it has what was sent
    sending    the producer
    importing  all of it in order: `import_file`

One line of the file with a time is one record: key `import/<device>`, value a JSON object of its measurements with
the time as `last_seen`. A reading is known by (device, measurement, time): what the lake or the file has already is
not sent again, so an import that was killed, or one that overlaps with another, is simply run again.
"""
