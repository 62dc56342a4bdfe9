"""Logs: for people or for machines, each line with the request, tenant and session that it is about.

Nothing secret and nothing of what is read or asked goes into a log: lines name things by their ids and count them.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

__all__ = ["LogFormat", "LogLevel", "about", "about_session", "configure", "note"]

LogFormat = Literal["auto", "text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

_NAMES = ("request_id", "tenant", "session_id")
_OWN = ("rmt_server", "rmt_model")
_about: ContextVar[dict[str, str] | None] = ContextVar("about", default=None)


@contextmanager
def about(**names: str) -> Iterator[None]:
    """What is logged inside, here and in tasks and threads that begin here, carries these names."""
    token = _about.set({**(_about.get() or {}), **names})
    try:
        yield
    finally:
        _about.reset(token)


def note(**names: str | None) -> None:
    """Add names that have become known to the `about` around; without one there is nothing to add to."""
    around = _about.get()
    if around is not None:
        around.update({name: value for name, value in names.items() if value is not None})


def about_session(key: tuple[str, str]) -> dict[str, str]:
    """`extra` of one line about a session, for what serves many of them."""
    return {"tenant": key[0], "session_id": key[1]}


def configure(log_format: LogFormat, level: LogLevel) -> None:
    """Send the logs of everything to standard error.

    `level` holds for this server. Libraries know nothing of what must not be shown, and say no more than warnings;
    uvicorn says when it starts and stops, too.
    """
    as_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(_Text() if as_text else _json())
    handler.addFilter(_add_names)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(capture=True)
    own = logging.getLevelNamesMapping()[level.upper()]
    for name in _OWN:
        logging.getLogger(name).setLevel(own)
    logging.getLogger("uvicorn").setLevel(max(own, logging.INFO))


def _add_names(record: logging.LogRecord) -> bool:
    """Give a line the names around it, except those that it brings itself."""
    for name, value in (_about.get() or {}).items():
        if not hasattr(record, name):
            setattr(record, name, value)
    return True


class _Text(logging.Formatter):
    """A line for people, with the names behind it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class names it
        """The line, without a traceback."""
        names = [f"{name}={getattr(record, name)}" for name in _NAMES if hasattr(record, name)]
        return super().formatMessage(record) + (f" [{' '.join(names)}]" if names else "")


def _json() -> logging.Formatter:
    return JsonFormatter(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
        timestamp=True,
        reserved_attrs=[*logging.makeLogRecord({}).__dict__, "asctime", "message", "taskName", "color_message"],
        json_ensure_ascii=False,
    )
