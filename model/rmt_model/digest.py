"""StreamDigest: a SHA-256 of a stream of bytes that can be put down, stored, and taken up again elsewhere."""

import hashlib

__all__ = ["DIGEST_BLOCK_BYTES", "StreamDigest"]

DIGEST_BLOCK_BYTES = 1024
_START = bytes(32)


class StreamDigest:
    """A chain over blocks of 1 KiB: `chain = SHA-256(chain + block)`, begun with 32 zero bytes.

    `hexdigest` is `SHA-256(chain + rest)` with the rest that does not fill a block yet. It depends on the bytes alone,
    not on how they were cut; anyone can compute it from the text.

    Attributes:
        chain: The chain after all full blocks, 32 bytes.
        rest: The bytes after them, fewer than a block.
    """

    __slots__ = ("chain", "rest")

    def __init__(self, chain: bytes = _START, rest: bytes = b"") -> None:
        self.chain = chain
        self.rest = rest

    def update(self, data: bytes) -> None:
        """Go on with further bytes."""
        stream = self.rest + data
        full = len(stream) - len(stream) % DIGEST_BLOCK_BYTES
        for start in range(0, full, DIGEST_BLOCK_BYTES):
            self.chain = hashlib.sha256(self.chain + stream[start : start + DIGEST_BLOCK_BYTES]).digest()
        self.rest = stream[full:]

    def hexdigest(self) -> str:
        """64 hexadecimal digits that name the bytes so far."""
        return hashlib.sha256(self.chain + self.rest).hexdigest()
