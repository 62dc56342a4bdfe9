"""The URL of a Redis, which may hold a password: checked and shown without it."""

import re
from urllib.parse import SplitResult, urlsplit

__all__ = ["check_redis_url", "shown_redis_url"]

_SCHEMES = ("redis", "rediss", "unix", "redis+cluster")
_DATABASE = re.compile(r"(/\d*)?")


def check_redis_url(url: str) -> None:
    """Refuse what would fail later, with the URL in the message.

    Raises:
        ValueError: It is no URL of a Redis; the message does not repeat it.
    """
    _split(url)


def shown_redis_url(url: str) -> str:
    """The URL without user, password and options."""
    parts = _split(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is no URL, or its port is no number; write %40 for @ in a password, %2F for /") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"must begin with one of {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
    if parts.scheme != "unix" and (port == 0 or not parts.hostname or not _DATABASE.fullmatch(parts.path)):
        raise ValueError("must be like redis://user:password@host:6379/0; write %40 for @ in a password, %2F for /")
    return parts
