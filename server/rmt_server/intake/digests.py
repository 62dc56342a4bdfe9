"""Content-Digest (RFC 9530): what a sender says its content hashes to."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping

from rmt_server.errors import BadRequestError, DigestMismatchError

__all__ = ["named_digests", "verify"]

_ALGORITHMS = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}
_KEY = r"[a-z*][a-z0-9_.*-]*"
_MEMBER = re.compile(rf"({_KEY})=:([A-Za-z0-9+/]*={{0,2}}):(?:[ ]*;[ ]*{_KEY}(?:=[^,;]*)?)*")


def named_digests(fields: list[str]) -> Mapping[str, bytes]:
    """The digests that `Content-Digest` names, of the algorithms that are known here; others are ignored.

    Raises:
        BadRequestError: It is no dictionary of byte sequences, or a digest has not its algorithm's size.
    """
    digests = {}
    for member in filter(None, (part.strip(" \t") for field in fields for part in field.split(","))):
        found = _MEMBER.fullmatch(member)
        if not found:
            raise BadRequestError(f"Content-Digest must be like sha-256=:base64:, not {member[:80]!r}.")
        if found[1] in _ALGORITHMS:
            digests[found[1]] = _digest(found[1], found[2])
    return digests


def verify(content: bytes | bytearray, digests: Mapping[str, bytes]) -> None:
    """Check content against all of its digests.

    Raises:
        DigestMismatchError: One of them is another.
    """
    for algorithm, expected in digests.items():
        if not hmac.compare_digest(_ALGORITHMS[algorithm](content).digest(), expected):
            raise DigestMismatchError(algorithm, f":{base64.b64encode(expected).decode()}:")


def _digest(algorithm: str, text: str) -> bytes:
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise BadRequestError(f"The {algorithm} digest of Content-Digest is not base64: {error}.") from error
    size = _ALGORITHMS[algorithm]().digest_size
    if len(digest) != size:
        raise BadRequestError(f"A {algorithm} digest has {size} bytes, not {len(digest)}.")
    return digest
