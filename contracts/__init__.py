"""What crosses between the rooms: messages, codecs, topics, codes, units, the Operator protocol.

No I/O, no clock: every time is an argument."""
