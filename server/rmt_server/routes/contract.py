"""The wire contract: what FastAPI cannot know of bodies that routes read by themselves, keys, scopes and errors."""

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from rmt_server.openai.bodies import OpenAIErrorBody
from rmt_server.openai.errors import is_openai, openai_status
from rmt_server.routes.scopes import SCOPES
from rmt_server.wire.schemas import DocumentRequest, ProblemBody
from rmt_server.wire.sse import MEDIA_TYPE

__all__ = ["complete"]

_KEY = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "rmt_…",
    "description": "An API key, where the server has any. Named with each call is the scope that it needs: "
    "`write` includes `read`, `admin` includes both.",
}
_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
_OPENAI_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIErrorBody"}}}
_ERRORS = (400, 401, 403, 404, 408, 409, 412, 413, 415, 422, 429, 503)
_CONFLICTS: Mapping[str, tuple[int, ...]] = {
    "POST /v1/sessions": (404, 409),
    "PATCH /v1/sessions/{sid}": (412,),
    "POST /v1/sessions/{sid}/restore": (409, 412),
    "POST /v1/documents": (404, 409),
    "POST /v1/sessions/{sid}/documents": (409,),
    "PATCH /v1/sessions/{sid}/documents/{did}": (409,),
    "POST /v1/sessions/{sid}/answers": (409,),
    "POST /v1/sessions/{sid}/search": (409,),
    "POST /v1/sessions/{sid}/traces": (409,),
    "GET /v1/sessions/{sid}/text": (409,),
    "POST /v1/sessions/{sid}/snapshots": (409,),
    "POST /v1/snapshots": (409,),
    "POST /v1/chat/completions": (404,),
    "POST /v1/completions": (404,),
}
"""Statuses by which a call says that it does not fit what is there, beside those that follow from its form."""

_UPLOAD = ("Upload-Offset", "Upload-Complete", "Upload-Limit")
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "POST /v1/sessions": ("Location", "ETag"),
    "GET /v1/sessions/{sid}": ("ETag",),
    "PATCH /v1/sessions/{sid}": ("ETag",),
    "POST /v1/sessions/{sid}/restore": ("ETag",),
    "POST /v1/documents": ("Location",),
    "POST /v1/sessions/{sid}/documents": ("Location", *_UPLOAD),
    "OPTIONS /v1/sessions/{sid}/documents": ("Allow", "Accept-Patch", "Upload-Limit"),
    "HEAD /v1/sessions/{sid}/documents/{did}": _UPLOAD,
    "PATCH /v1/sessions/{sid}/documents/{did}": _UPLOAD,
    "POST /v1/sessions/{sid}/snapshots": ("Location",),
    "POST /v1/snapshots": ("Location",),
}
"""Headers of a call's good answers."""


def complete(describe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """FastAPI's document, with all that it does not know."""
    document = describe()
    components = document["components"]
    components["securitySchemes"] = {"key": _KEY}
    components["responses"] = {_name(status): _problem(status) for status in _ERRORS}
    components["responses"] |= {_name(status, openai=True): _openai_problem(status) for status in _ERRORS}
    for model in (DocumentRequest, OpenAIErrorBody, ProblemBody):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        components["schemas"] |= schema.pop("$defs", {}) | {model.__name__: schema}
    for call, scope in SCOPES.items():
        method, _, path = call.partition(" ")
        operation = document["paths"][path][method.lower()]
        operation["security"] = [] if scope is None else [{"key": [scope]}]
        responses = {status: one for status, one in operation["responses"].items() if not status.endswith("XX")}
        for one in responses.values():
            only_told = one.get("content", {}).keys() == {MEDIA_TYPE}  # its result has the headers
            one["headers"] = _headers("X-Request-Id", *(() if only_told else _HEADERS.get(call, ())))
        statuses = {openai_status(one) if is_openai(path) else one for one in _errors(call, operation)}
        errors = {
            str(status): {"$ref": f"#/components/responses/{_name(status, openai=is_openai(path))}"}
            for status in statuses
        }
        operation["responses"] = dict(sorted((errors | responses).items()))
    return document


def _errors(call: str, operation: Mapping[str, Any]) -> Iterator[int]:
    yield 403
    if SCOPES[call] is not None:
        yield from (401, 429, 503)
    if "{" in call:
        yield 404
    if "requestBody" in operation:
        yield from (400, 408, 413, 415)
    if "requestBody" in operation or any(one["in"] != "path" for one in operation.get("parameters", ())):
        yield 422
    yield from _CONFLICTS.get(call, ())


def _name(status: int, *, openai: bool = False) -> str:
    return ("OpenAI" if openai else "") + HTTPStatus(status).name.title().replace("_", "")


def _openai_problem(status: int) -> dict[str, Any]:
    return _problem(status) | {"content": _OPENAI_CONTENT}


def _problem(status: int) -> dict[str, Any]:
    named = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}.get(status, ())
    return {
        "description": HTTPStatus(status).phrase,
        "content": _CONTENT,
        "headers": _headers("X-Request-Id", *named),
    }


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"required": True, "schema": {"type": "string"}} for name in names}
