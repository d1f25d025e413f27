"""What a message means: one contract, and a decoder to read.

    contract    as data: what is a number, what a unit may hold, what a topic means, which outcome a record has
    patterns    topics whose levels say what a bare payload is, and rooms
    fields      fields of rooms' messages that the contract does not name: which become columns, of which type
    registry    who has which name, since when, and what each of its measurements is
    knowledge   barriers, clocks, columns of rooms: what decoding needs to know besides record and devices
    reference   the contract as plain Python, one record at a time; `edge_assets.stream.decode` does the same in Spark

Both decoders run one corpus, `edge_assets_tests/corpus`.
"""
