"""Backup and restore of a whole platform: `edge backup`, `edge restore`, and the nightly run in Dagster.

    place.py        where backups lie: a folder, or a prefix in a bucket
    manifest.py     what a backup is, and which there are
    stored.py       what a destination holds by checksum; copying what it does not hold
    cut.py          the lake at one moment, and which of its files that takes
    rows.py         a hash of a table's rows, which a restore is held against
    home_files.py   what is taken of the home: settings without secrets, databases, rollups
    making.py       `edge backup`: the steps in their order, and the cleaning behind them
    restoring.py    `edge restore`: beside the home, compared, then moved into its place
    drill.py        a restore for the sake of it; checksums of what lies there
    commands.py     the two commands

Nothing here commits to the lake, and nothing asks the stream writer to stop.
"""
