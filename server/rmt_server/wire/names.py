"""Names of documents: found in a request, and made fit to be shown."""

import re
import unicodedata
from urllib.parse import unquote

from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from rmt_server.errors import UnprocessableError

__all__ = ["MOST_NAME_CHARS", "document_name", "filename_in", "sent_filename"]

MOST_NAME_CHARS = 200
_LONGEST_PATH_CHARS = 4096
"""What is longer is no path of a file either, and is refused without being looked through."""
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of text: with them a name can look like another one."""
_UNSHOWN = ("Cc", "Cs", "Zl", "Zp")
_EXTENDED = re.compile(rb";\s*filename\*\s*=\s*utf-8'[^']*'([^;\s]*)", re.IGNORECASE)


def document_name(wanted: str | None, filename: str | None) -> str | None:
    """What a document is called: as the caller wants it, else as its file is; None where neither says anything.

    Of a path only the last part stays. Control characters and marks of direction go.

    Raises:
        UnprocessableError: The name has more than 200 characters, or nothing of a wanted name is left.
    """
    sent = filename or "" if wanted is None else wanted
    name = sent if len(sent) > _LONGEST_PATH_CHARS else _cleaned(sent)
    if len(name) > MOST_NAME_CHARS:
        raise UnprocessableError(
            f"The document's name has {len(name)} characters; the limit is {MOST_NAME_CHARS}. "
            "Send a shorter one, as ?name=."
        )
    if not name and wanted is not None:
        raise UnprocessableError(
            "The document's name is empty: behind the last / or \\ it needs characters that can be shown. "
            "Send another name, or none."
        )
    return name or None


def sent_filename(request: Request) -> str | None:
    """The file name in a request's `Content-Disposition`, if there is one."""
    return filename_in(request.headers.get("content-disposition", "").encode("latin-1"))


def filename_in(disposition: bytes) -> str | None:
    """The file name in the value of a `Content-Disposition`: of `filename*` (RFC 8187), else of `filename`."""
    extended = _EXTENDED.search(disposition)
    if extended is not None:
        return unquote(extended[1].decode("ascii", "replace"), errors="replace")
    filename = parse_options_header(disposition)[1].get(b"filename")
    return None if filename is None else filename.decode("utf-8", "replace")


def _cleaned(name: str) -> str:
    shown = "".join(one for one in name if unicodedata.category(one) not in _UNSHOWN and one not in _DIRECTIONS)
    last = re.split(r"[/\\]", shown)[-1].strip()
    seen = "".join(one for one in last if unicodedata.category(one) != "Cf").strip()
    return "" if seen in ("", ".", "..") else last
