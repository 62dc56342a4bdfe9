"""The public names, and that both clients have the same."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rmt_client
from rmt_client import AsyncClient, Client, Retry, protocol, resumable
from rmt_client.events import Following
from rmt_client.options import AskOptions, SessionOptions
from rmt_client.patience import Patience
from rmt_client.wire import Call, Request

CONTRACT = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
FOR_OTHERS = {
    "GET /livez": "for who runs the server",
    "GET /metrics": "for Prometheus",
    "POST /v1/chat/completions": "for clients of OpenAI",
    "POST /v1/completions": "for clients of OpenAI",
    "GET /v1/models/{model}": "for clients of OpenAI; the list has all there is",
    "POST /v1/documents": "create_session and read, which goes on after a cut",
    "OPTIONS /v1/sessions/{sid}/documents": "the answers to an upload say the same",
}
LEFT_OUT = {
    "POST /v1/sessions/{sid}/documents": {"wait"},  # the client waits by looking, over cut connections
    "GET /v1/sessions/{sid}/events": {"after"},  # the header is the same
}
ARGUMENTS: dict[str, Any] = {
    "idempotency_key": "k",
    "session_id": "{sid}",
    "document_id": "{did}",
    "snapshot_id": "{snapshot_id}",
    "limit": 1,
    "query": "q",
    "documents": ["d"],
    "wait": True,
    "after": "1",
    "metadata": {},
    "ttl_s": 1,
    "revision": 1,
    "name": "n",
    "question": "q",
    "questions": ["q"],
    "answer": "a",
    "lane": 0,
    "vectors": True,
    "start": 0,
    "end": 1,
    "content": b"",
    "data": b"",
    "offset": 0,
    "last": True,
    "length": 1,
    "read_timeout_s": None,
}
"""Something for every parameter of the functions that make requests."""


def public(kind: type) -> dict[str, inspect.Signature]:
    found = inspect.getmembers(kind, inspect.isfunction)
    return {name: inspect.signature(function) for name, function in found if not name.startswith("_")}


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    one, other = public(Client), public(AsyncClient)
    assert one.keys() == other.keys()
    for name, signature in one.items():
        asynchronous = str(other[name]).replace("AsyncSource", "Source").replace("AsyncIterator", "Iterator")
        assert str(signature) == asynchronous, name
        method = getattr(AsyncClient, name)
        assert inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method), name
    assert str(inspect.signature(Client.__init__)) == str(inspect.signature(AsyncClient.__init__))


def requests() -> Iterator[Request]:
    """Every request that the clients can make, with all that can be said in it."""
    yield Following("{sid}", "1", Patience(Retry())).request()
    yield protocol.list_snapshots(None, limit=1, after="1").request
    for module in (protocol, resumable):
        for _, function in inspect.getmembers(module, inspect.isfunction):
            returned = str(inspect.signature(function).return_annotation)
            if function.__module__ != module.__name__ or not returned.startswith(("Call[", "Request")):
                continue
            if function.__name__.startswith("_"):
                continue
            names = inspect.signature(function).parameters
            given = {name: ARGUMENTS[name] for name in names if name != "options"}
            options = SessionOptions if function is protocol.create_session else AskOptions
            more = dict.fromkeys(options.__annotations__, "x") if "options" in names else {}
            made = function(**given, **more)
            yield made.request if isinstance(made, Call) else made


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in CONTRACT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def fields_of(operation: dict[str, Any]) -> set[str]:
    """What a JSON body may hold."""
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    return set(CONTRACT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]) if schema else set()


def test_the_clients_have_everything_that_the_contract_has() -> None:
    said: dict[str, set[str]] = {}
    for one in requests():
        body = set(one.json) if isinstance(one.json, dict) else set()
        known = said.setdefault(f"{one.method} {one.path}".replace("%7B", "{").replace("%7D", "}"), set())
        known |= {name.lower() for name in one.headers} | set(one.params) | body
    contract = dict(operations())
    assert said.keys() == contract.keys() - FOR_OTHERS.keys()
    assert contract.keys() >= FOR_OTHERS.keys()
    for name in said:
        parameters = {one["name"] for one in contract[name].get("parameters", []) if one["in"] != "path"}
        assert (parameters | fields_of(contract[name])) - said[name] <= LEFT_OUT.get(name, set()), name


@pytest.mark.parametrize(
    ("model", "schema"),
    [
        (rmt_client.Answer, "AnswerBody"),
        (rmt_client.Citation, "CitationBody"),
        (rmt_client.Document, "DocumentBody"),
        (rmt_client.Found, "SearchBody"),
        (rmt_client.FoundPassage, "FoundPassageBody"),
        (rmt_client.Position, "PositionBody"),
        (rmt_client.Session, "SessionBody"),
        (rmt_client.Snapshot, "SnapshotBody"),
        (rmt_client.TimelinePoint, "TimelinePointBody"),
        (rmt_client.Trace, "TraceBody"),
    ],
)
def test_what_is_read_has_the_fields_of_the_contract(model: type, schema: str) -> None:
    fields = {field.name for field in dataclasses.fields(model)}
    assert fields == set(CONTRACT["components"]["schemas"][schema]["properties"])


def test_every_public_name_is_listed_once_and_exists() -> None:
    assert len(rmt_client.__all__) == len(set(rmt_client.__all__))
    for name in rmt_client.__all__:
        assert hasattr(rmt_client, name)
    shown = {name for name, value in vars(rmt_client).items() if inspect.isclass(value)}
    assert shown <= set(rmt_client.__all__)


def test_every_error_is_public() -> None:
    kinds = {name for name, _ in inspect.getmembers(rmt_client.errors, inspect.isclass) if name.endswith("Error")}
    assert kinds <= set(rmt_client.__all__)


def test_the_version_is_the_packages() -> None:
    package = Path(rmt_client.__file__).parents[1] / "pyproject.toml"
    assert tomllib.loads(package.read_text())["project"]["version"] == rmt_client.base.VERSION


def test_the_client_needs_neither_model_nor_server() -> None:
    others = {"torch", "rmt_model", "rmt_server", "fastapi"}
    code = f"import sys, rmt_client.cli; print({{name.split('.')[0] for name in sys.modules}} & {others})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
