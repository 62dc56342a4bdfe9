"""API keys: whose a request is, and what it may do.

A key is ``rmt_`` and 256 random bits; the server keeps its SHA-256 only. Plain and fast is right here. Slow or salted
hashes protect secrets that people choose, which can be guessed and are used twice; nobody finds 256 random bits by
guessing, however fast. A secret of another form opens nothing, whatever hash is listed, so nobody can choose one.
"""

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from rmt_server.errors import MissingScopeError, StartupError, UnauthorizedError, why_unreadable
from rmt_server.keys import check_tenant

__all__ = ["PUBLIC", "Caller", "KeyRing", "Scope", "new_key"]

Scope = Literal["read", "write", "admin"]

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""What a key may be allowed; each scope includes those before it."""

_KEY = re.compile(r"rmt_[A-Za-z0-9_-]{43}")
_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")
_KEY_ID_DIGITS = 12
_MOST_KEYS = 1000
_MOST_FILE_BYTES = 1 << 20
_LOOK_EVERY_S = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request.

    Attributes:
        tenant: Whose sessions and snapshots the request sees.
        scopes: What it may do.
        key_id: The first hexadecimal digits of the key's hash, by which logs name the key; empty without keys.
    """

    tenant: str
    scopes: frozenset[Scope]
    key_id: str = ""

    def require(self, scope: Scope) -> None:
        """Refuse what the caller may not do.

        Raises:
            MissingScopeError: The key lacks the scope.
        """
        if scope not in self.scopes:
            raise MissingScopeError(scope)


PUBLIC = Caller("public", frozenset(SCOPES))
"""Everybody, where no keys are set."""


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key as it is kept."""

    sha256: bytes = field(repr=False)
    caller: Caller


class KeyRing:
    """The keys that a server knows. Those of a file follow the file, which is looked at once a second at most."""

    def __init__(self, file: Path | None, text: str) -> None:
        """Read the keys.

        Args:
            file: A file with a key a line, or none.
            text: The same lines, which may be separated by `;`, too.

        Raises:
            StartupError: A line is malformed, the file cannot be read or anybody may write to it, a source holds no
                key, or a key is listed twice. The message does not show what stands there: it might be a key.
        """
        self._file = file
        self._text = text
        self._stamp = None if file is None else _stamp(file)
        self._look_at_s = time.monotonic() + _LOOK_EVERY_S
        self._keys = _read(file, text)
        if self.asks and not self._keys:
            raise StartupError("RMT_API_KEYS_FILE and RMT_API_KEYS list no key: `rmt-server keys new` makes one")

    def announce(self) -> None:
        """Tell the log how many keys there are, and whether their file shows the tenants to anybody."""
        if self.asks:
            _log.info("%d API keys are listed", len(self._keys))
        if self._stamp is not None and self._stamp[0] & stat.S_IROTH:
            _log.warning("anybody may read which tenants %s lists: chmod 600", self._file)

    @property
    def asks(self) -> bool:
        """Whether a request needs a key."""
        return self._file is not None or self._text != ""

    def caller(self, authorization: list[str]) -> Caller:
        """Who makes a request.

        Args:
            authorization: The values of its `Authorization` headers.

        Raises:
            UnauthorizedError: It has no key, or one that is not listed.
        """
        if not self.asks:
            return PUBLIC
        scheme, _, key = authorization[0].strip().partition(" ") if len(authorization) == 1 else ("", "", "")
        if scheme.lower() != "bearer":
            raise UnauthorizedError
        found = self._find(key.strip())
        if found is None:
            raise UnauthorizedError("The key is not known, or no longer.", invalid=True)
        return found

    def _find(self, key: str) -> Caller | None:
        """The key's caller, in a time that does not depend on which key it is, or whether it is any."""
        self._follow_file()
        digest = hashlib.sha256(key.encode()).digest()
        found = None
        for one in self._keys:
            if hmac.compare_digest(one.sha256, digest):
                found = one.caller
        return found if _KEY.fullmatch(key) else None

    def _follow_file(self) -> None:
        if self._file is None or time.monotonic() < self._look_at_s:
            return
        self._look_at_s = time.monotonic() + _LOOK_EVERY_S
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp  # before reading: what changes meanwhile is seen the next time
        try:
            self._keys = _read(self._file, self._text)
        except StartupError as error:
            _log.warning("%s; the keys from before stay", error)
        else:
            self.announce()


def new_key(tenant: str, scopes: str) -> tuple[str, str]:
    """A new key, and the line that lists it.

    Args:
        tenant: Whose key it is.
        scopes: What it allows: `read`, `write` or `admin`, or several, separated by commas.

    Raises:
        StartupError: There is no such scope, or it is no tenant name.
    """
    key = f"rmt_{secrets.token_urlsafe(32)}"
    line = f"{tenant} {scopes} sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    _parsed(line, "the new key")
    return key, line


def _read(file: Path | None, text: str) -> tuple[ListedKey, ...]:
    keys = _parsed(text.replace(";", "\n"), "RMT_API_KEYS")
    if file is not None:
        keys += _parsed(_content(file), str(file))
    if len({one.sha256 for one in keys}) < len(keys):
        raise StartupError("an API key is listed twice")
    if len(keys) > _MOST_KEYS:
        raise StartupError(f"{len(keys)} API keys are listed; the limit is {_MOST_KEYS}")
    return keys


def _parsed(text: str, source: str) -> tuple[ListedKey, ...]:
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            keys.append(_listed(words))
        except ValueError as error:
            raise StartupError(f"{source}, line {number}: {error}") from None
    return tuple(keys)


def _listed(words: list[str]) -> ListedKey:
    if any(_KEY.fullmatch(word) for word in words):
        raise ValueError(
            "this is a key itself; list its hash instead, and make a new key, since others may have read it"
        )
    if len(words) != 3:
        raise ValueError("a line is `tenant scopes sha256:HEX # comment`")
    tenant, scopes, hashed = words
    try:
        check_tenant(tenant)
    except ValueError:
        raise ValueError("a tenant has 1 to 128 letters, digits, '_', '.' or '-'") from None
    named = scopes.split(",")
    if not set(named) <= set(SCOPES):
        raise ValueError(f"scopes are {', '.join(SCOPES)}, separated by commas without spaces")
    found = _HASH.fullmatch(hashed)
    if not found or _is_placeholder(found[1].lower()):
        raise ValueError("a hash is `sha256:` and the 64 hexadecimal digits of a key's SHA-256")
    digits = found[1].lower()
    allowed = SCOPES[: 1 + max(SCOPES.index(one) for one in SCOPES if one in named)]
    return ListedKey(bytes.fromhex(digits), Caller(tenant, frozenset(allowed), digits[:_KEY_ID_DIGITS]))


def _is_placeholder(digits: str) -> bool:
    """Whether somebody typed the digits: a pattern that repeats, or the hash of nothing."""
    return digits in (digits + digits)[1:-1] or digits == hashlib.sha256().hexdigest()


def _stamp(file: Path) -> tuple[int, ...] | None:
    """What changes when a file does; None while there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mode, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _content(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            content = opened.read(_MOST_FILE_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"the API keys in {file} cannot be read: {why_unreadable(error)}") from None
    if len(content) > _MOST_FILE_BYTES:
        raise StartupError(f"the API keys in {file} take more than {_MOST_FILE_BYTES} bytes")
    if mode & stat.S_IWOTH:
        raise StartupError(f"anybody may write to the API keys in {file}: chmod 600")
    return text
