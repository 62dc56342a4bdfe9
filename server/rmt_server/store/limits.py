"""What the store bounds by itself. Limits that an operator sets are arguments of the calls."""

BLOCK_BYTES = 64 * 1024
"""Size of a block of text: what is compressed, dropped and fetched as one."""

READ_BYTES = 1024 * 1024
"""The most text that one call returns."""

PENDING_DOCUMENTS = 1000
"""The most complete documents that wait to be read in one session."""

FINISHED_DOCUMENTS = 1000
"""Of how many read documents a session keeps the records."""

KEPT_LANES = 16
"""Of how many questions, for which its text was read once more, a session keeps the lanes."""

KEPT_EVENTS = 256
"""How many of its last events a session keeps."""

COMPACT_BLOCKS = 16
"""The most blocks that one call compresses."""
