"""Problems: every error as `application/problem+json` (RFC 9457), with the request's id."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from rmt_model.errors import FingerprintError, QuestionError, RmtModelError
from rmt_server.errors import BadRequestError, BusyError, ConflictError, RmtServerError, UnprocessableError
from rmt_server.metrics import OTHER_ERRORS
from rmt_server.openai.errors import is_openai, openai_error, openai_status

__all__ = ["error_document", "install_problems", "problem_answer", "problem_document", "unexpected"]

_MEDIA_TYPE = "application/problem+json"
_CLIENT_CLOSED_REQUEST = 499
_MOST_ERRORS = 10
_HEADERS = {
    "upload_limit": "Upload-Limit",
    "challenge": "WWW-Authenticate",
    "expected_bytes": "Upload-Offset",
    "accept_encoding": "Accept-Encoding",
    "accept_patch": "Accept-Patch",
}
_log = logging.getLogger(__name__)


def install_problems(app: FastAPI) -> None:
    """Make the app answer every error in one form."""

    @app.exception_handler(RmtServerError)
    async def known(request: Request, error: RmtServerError) -> Response:
        return problem_answer(request, error)

    @app.exception_handler(RmtModelError)
    async def model(request: Request, error: RmtModelError) -> Response:
        known = _known(error)
        if known is None:
            raise error
        return problem_answer(request, known)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        details = [
            {"field": ".".join(map(str, one["loc"])), "problem": one["msg"], "kind": one["type"]}
            for one in error.errors()[:_MOST_ERRORS]
        ]
        if any(one["kind"] == "json_invalid" for one in details):
            return problem_answer(
                request,
                BadRequestError(f"The body is not valid JSON: {error.errors()[0].get('ctx', {}).get('error', '')}."),
            )
        what = "; ".join(f"{one['field']}: {one['problem']}" for one in details)
        return problem_answer(request, UnprocessableError(what, {"errors": jsonable_encoder(details)}))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        found = _met_in_the_body(error)
        if found is not None:
            return problem_answer(request, found)
        problem = {
            "type": "about:blank",
            "title": error.detail,
            "status": error.status_code,
            "detail": error.detail,
        }
        return _render(request, OTHER_ERRORS, problem, dict(error.headers or {}))

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        del request, error
        return Response(status_code=_CLIENT_CLOSED_REQUEST)


def _met_in_the_body(error: HTTPException) -> RmtServerError | None:
    """What FastAPI met while it read or parsed a body, and wrapped."""
    match error.__cause__:
        case RmtServerError() as known:
            return known
        case RecursionError() | UnicodeDecodeError() as malformed:
            return BadRequestError(f"The body is not valid JSON: {malformed}.")
    return None


def unexpected(request: Request, error: Exception) -> Response:
    """The answer to an error that nobody expected: the log has it, the caller has the request's id."""
    return problem_answer(request, _logged(request, error))


def error_document(request: Request, error: Exception) -> dict[str, Any]:
    """The problem of an error that comes when the answer has begun."""
    known = _known(error) or _logged(request, error)
    request.app.state.metrics.errors.labels(known.slug).inc()
    if is_openai(request.url.path):
        return openai_error(known.problem())
    return problem_document(request, known.problem())


def problem_document(request: Request, problem: Mapping[str, Any]) -> dict[str, Any]:
    """A problem, with what only the request knows."""
    return {**problem, "instance": request.url.path, "request_id": request.state.request_id}


def problem_answer(request: Request, error: RmtServerError) -> Response:
    """The answer to an error of this server."""
    headers = {}
    if isinstance(error, BusyError):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    for attribute, header in _HEADERS.items():
        value = getattr(error, attribute, None)
        if value is not None:
            headers[header] = str(value)
    if error.ends_connection:
        headers["Connection"] = "close"
    return _render(request, error.slug, error.problem(), headers)


def _render(request: Request, kind: str, problem: dict[str, Any], headers: dict[str, str]) -> Response:
    request.app.state.metrics.errors.labels(kind).inc()
    if is_openai(request.url.path):
        return JSONResponse(openai_error(problem), openai_status(problem["status"]), headers)
    return JSONResponse(problem_document(request, problem), problem["status"], headers, media_type=_MEDIA_TYPE)


def _known(error: Exception) -> RmtServerError | None:
    """An error in this server's own terms; None for one that nobody expected."""
    match error:
        case RmtServerError():
            return error
        case QuestionError():
            return UnprocessableError(f"{error}.")
        case FingerprintError():
            return ConflictError(f"{error}.")
    return None


def _logged(request: Request, error: Exception) -> RmtServerError:
    _log.error("request %s failed", request.state.request_id, exc_info=error)
    return RmtServerError("Something went wrong in the server; its log has the request id.")
