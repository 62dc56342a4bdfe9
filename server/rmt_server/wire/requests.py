"""What requests say in headers and bodies that FastAPI does not read for us."""

import asyncio
import json
import re
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from rmt_server.errors import BadRequestError, InconsistentLengthError, UnsupportedMediaTypeError

__all__ = [
    "declared_bytes",
    "media_type",
    "parsed_json",
    "require_text",
    "told_length",
    "unless_disconnected",
    "upload_complete",
    "upload_length",
    "upload_offset",
]

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)
_COUNT = re.compile(r"\d{1,15}")
_UTF8 = {"", "utf-8", "utf8", "us-ascii"}


def media_type(request: Request) -> str:
    """The content type without parameters, lower-cased; empty when there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_text(request: Request, *others: str) -> None:
    """Refuse a body that does not say it is UTF-8 text, or plain bytes of it.

    Args:
        request: The request.
        others: Types that are accepted here too, but read elsewhere; the refusal names them.

    Raises:
        UnsupportedMediaTypeError: Another type, or another character set.
    """
    found = request.headers.get("content-type", "")
    charset = re.search(r'charset="?([^";\s]+)', found, re.IGNORECASE)
    is_text = media_type(request).startswith("text/") or media_type(request) in (
        "",
        "application/octet-stream",
    )
    if not is_text or (charset and charset[1].lower() not in _UTF8):
        raise UnsupportedMediaTypeError(found, ("text/plain; charset=utf-8", "application/octet-stream", *others))


def upload_offset(request: Request) -> int:
    """`Upload-Offset`, in bytes.

    Raises:
        BadRequestError: It is missing, or not a number of up to 15 digits.
    """
    offset = _count(request, "upload-offset")
    if offset is None:
        raise BadRequestError("Upload-Offset is missing: send the number of bytes that were accepted so far.")
    return offset


def upload_length(request: Request) -> int | None:
    """`Upload-Length`, in bytes, if it is given."""
    return _count(request, "upload-length")


def upload_complete(request: Request, default: bool | None = None) -> bool:
    """`Upload-Complete`: `?1` or `?0`.

    Raises:
        BadRequestError: It is something else, or missing where there is no default.
    """
    found = _item(request, "upload-complete")
    if found is None and default is not None:
        return default
    if found not in ("?0", "?1"):
        raise BadRequestError("Upload-Complete must be ?1 when the document ends with this body, ?0 when more follows.")
    return found == "?1"


def declared_bytes(request: Request) -> int | None:
    """`Content-Length`, if it is given."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() else None


def told_length(request: Request, offset: int, content_bytes: int | None, *, complete: bool) -> int | None:
    """The length of the document that an upload's request tells: by `Upload-Length`, or by content that ends it.

    Args:
        request: The request.
        offset: Where its content begins.
        content_bytes: The size of the content, where that is known beforehand.
        complete: Whether the document ends with it.

    Raises:
        InconsistentLengthError: It tells two lengths, or goes beyond the one that it tells.
    """
    declared = upload_length(request)
    if content_bytes is None:
        return declared
    reached = offset + content_bytes
    if declared is None:
        return reached if complete else None
    if reached > declared or (complete and reached < declared):
        raise InconsistentLengthError(declared, reached)
    return declared


def parsed_json(content: bytes, model: type[Model]) -> Model:
    """A JSON body, validated.

    Raises:
        BadRequestError: It is not JSON.
        RequestValidationError: It does not have the model's form.
    """
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"The body is not valid JSON: {error}.") from error
    try:
        return model.model_validate(parsed)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_input=False)) from error


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do what a caller waits for; when the caller leaves, it is cancelled.

    Args:
        request: The request, of which the whole body has been read.
        work: What is to be done.

    Raises:
        ClientDisconnect: The caller has left.
    """
    tasks = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise ClientDisconnect
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _item(request: Request, name: str) -> str | None:
    """A structured field with one item (RFC 9651), without its parameters."""
    found = request.headers.get(name)
    return None if found is None else found.partition(";")[0].strip()


def _count(request: Request, name: str) -> int | None:
    found = _item(request, name)
    if found is None:
        return None
    if not _COUNT.fullmatch(found):
        raise BadRequestError(f"{name.title()} must be a number of bytes from 0 on, not {found[:40]!r}.")
    return int(found)
