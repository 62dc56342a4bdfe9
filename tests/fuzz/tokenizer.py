"""Any bytes in any cuts, put down and taken up between them: the ids are those of the whole text read at once.

    python -m tests.fuzz.tokenizer --inputs 1000000 --seed 1

An input is a stream of one to three documents, most of them UTF-8, for a tokenizer of one of many families.
"""

import random
import sys
from collections.abc import Iterator, Sequence

from tests.fuzz.campaign import arguments, campaign
from tests.model.tokenizer_families import CORPUS, EXACT, TROUBLE, UNPROVEN, at_once, cut_at, read, reader

from rmt_model.tokenizer import Block, InvalidUtf8Error, StreamingTokenizer, TextTokenizer, TokenizerState

FAMILIES = [*EXACT, *UNPROVEN]
LIMITS = (1, 2, 3, 7, 16, 16, 64, 4096)
_CACHES_BYTES = 2 << 30  # each of the tokenizers, of all families with all limits, remembers some thousand words
_ENDS = (0x7F, 0x7FF, 0xFFFF, 0x10FFFF)


def run(rng: random.Random) -> Iterator[str]:
    """One stream."""
    family, limit = rng.choice(FAMILIES), rng.choice(LIMITS)
    documents = [any_bytes(rng) for _ in range(rng.choice((1, 1, 2, 3)))]
    yield check(family, limit, [_cut(rng, data) for data in documents])


def check(family: str, limit: int, documents: Sequence[Sequence[bytes]]) -> str:
    """What happened to a stream of documents in pieces; an AssertionError where it went wrong."""
    tokenizer, state = reader(family, limit), TokenizerState()
    for pieces in documents:
        whole = b"".join(pieces)
        expected, bad = _expected(family, tokenizer, whole)
        start, ids = state.bytes_fed, []
        for piece in [*pieces, None]:
            stream = StreamingTokenizer(tokenizer, state)
            refusal = _refused(stream, piece, ids)
            if refusal is not None:
                assert bad is not None
                assert refusal.offset == start + bad
                assert stream.state == state
                return "invalid UTF-8, at its end" if piece is None else "invalid UTF-8"
            state = stream.state
            assert len(state.held) <= limit
            assert len(state.undecoded) <= 3
        assert bad is None
        assert ids == expected
        assert state == TokenizerState(bytes_fed=start + len(whole))
    return "proven ids" if tokenizer.exact else "ids"


def _refused(stream: StreamingTokenizer, piece: bytes | None, ids: list[int]) -> InvalidUtf8Error | None:
    """Feeds a piece, or ends the document; what comes out goes to the ids."""
    try:
        ids += stream.finish() if piece is None else stream.feed(piece)
    except InvalidUtf8Error as error:
        return error
    return None


def _expected(family: str, tokenizer: TextTokenizer, data: bytes) -> tuple[list[int], int | None]:
    """The ids of a whole document, or the byte at which it is no UTF-8."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return [], error.start
    blocks, rest = tokenizer.split(Block(text))
    forced = not all(block.after_boundary for block in [*blocks, rest][1:])
    if tokenizer.exact and not forced:
        return at_once(family, text), None
    return read(tokenizer, [data]), None


def any_bytes(rng: random.Random) -> bytes:
    """Text with what is hard about text; one in four is damaged."""
    parts = [_part(rng) for _ in range(rng.randrange(rng.choice((4, 8, 24))))]
    data = bytearray("".join(parts).encode())
    if rng.randrange(4) == 0:
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(data) + 1)
            match rng.randrange(3):
                case 0:
                    data[place:place] = rng.randbytes(rng.randrange(1, 5))
                case 1:
                    del data[place : place + rng.randrange(1, 3)]
                case 2:
                    data[place : place + 1] = bytes([rng.randrange(0x80, 0x100)])
    return bytes(data)


def _cut(rng: random.Random, data: bytes) -> list[bytes]:
    if rng.randrange(16) == 0:
        return [bytes([byte]) for byte in data]
    return cut_at(data, [rng.randrange(1 << 16) for _ in range(rng.randrange(8))])


def _part(rng: random.Random) -> str:
    match rng.randrange(6):
        case 0:
            return _character(rng)
        case 1:
            return rng.choice(TROUBLE) * rng.choice((1, 1, 1, 2, 2, 9))
        case 2:
            text, start = rng.choice(CORPUS), rng.randrange(60)
            return text[start : start + rng.randrange(30)]
        case _:
            return rng.choice(TROUBLE)


def _character(rng: random.Random) -> str:
    point = rng.randrange(rng.choice(_ENDS))
    return "\ufffd" if 0xD800 <= point < 0xE000 else chr(point)


if __name__ == "__main__":
    options = arguments(__doc__).parse_args()
    sys.exit(campaign(run, options.inputs, options.seed, options.first, _CACHES_BYTES))
