"""Idempotency: a creation that comes again finds what the first one made."""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Self

__all__ = ["Creation", "new_id"]


def new_id(kind: str) -> str:
    """An id: `ses_`, `doc_` or `snp_`, and 128 bits that nobody can guess."""
    return f"{kind}_{secrets.token_urlsafe(16)}"


@dataclass(frozen=True, slots=True)
class Creation:
    """How a creation is known again: by its `Idempotency-Key`, if it has one, and by what it asks for."""

    key: str | None = None
    asked: str = ""
    """A digest of what is asked for: the same key with another one is a mistake. Empty without a key."""

    @classmethod
    def of(cls, key: str | None, *options: object) -> Self:
        """A creation with these options, which JSON can write."""
        if key is None:
            return cls()
        return cls(key, hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest())

    def new_id(self, kind: str, *scope: str) -> str:
        """An id for what is made: with a key always the same one.

        Args:
            kind: What it names.
            scope: Whose key it is, from the tenant on.
        """
        if self.key is None:
            return new_id(kind)
        digest = hashlib.sha256("\0".join((kind, *scope, self.key)).encode()).digest()[:16]
        return f"{kind}_{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
