"""Errors in the form of OpenAI's API, for the calls that speak it."""

from collections.abc import Mapping
from typing import Any

__all__ = ["is_openai", "openai_error", "openai_status"]

_PATHS = ("/v1/chat/", "/v1/completions", "/v1/models")
_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_AS_400 = (409, 422)
"""OpenAI answers these with 400; and of 409 its clients believe that trying again helps."""


def is_openai(path: str) -> bool:
    """Whether a call speaks OpenAI's form."""
    return path.startswith(_PATHS)


def openai_status(status: int) -> int:
    """The status that OpenAI's clients expect."""
    return 400 if status in _AS_400 else status


def openai_error(problem: Mapping[str, Any]) -> dict[str, Any]:
    """A problem in OpenAI's form: the field that is wrong as `param`, the kind of problem as `code`."""
    fields = [one["field"].removeprefix("body").removeprefix(".") for one in problem.get("errors", ())]
    status = problem["status"]
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = str(problem["type"]).rpartition("/")[2].rpartition(":")[2].replace("-", "_")
    return {
        "error": {
            "message": problem["detail"],
            "type": kind,
            "param": fields[0] or None if fields else None,
            "code": code,
        }
    }
