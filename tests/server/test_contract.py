"""The wire contract: `docs/openapi.json` is what the server does, and every error in it is a problem."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.serving import Server

from rmt_server.app import openapi
from rmt_server.cli import main
from rmt_server.openai.errors import is_openai
from rmt_server.wire.schemas import ProblemBody

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
OPENAI = {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIErrorBody"}}}
HEALTH = {("/livez", "503"), ("/readyz", "503")}
CONTRACT: Any = openapi()
OPERATIONS = [(path, method) for path, operations in CONTRACT["paths"].items() for method in operations]


def test_the_committed_contract_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(COMMITTED.read_text("utf-8")) == json.loads(json.dumps(openapi()))
    assert main(["openapi"]) == 0
    assert capsys.readouterr().out == COMMITTED.read_text("utf-8"), "run: make openapi"


def test_the_served_contract_is_the_committed_one(server: Server) -> None:
    for _ in range(2):
        assert server.http.get("/openapi.json").json() == json.loads(COMMITTED.read_text("utf-8"))


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=" ".join)
def test_every_error_is_named_and_a_problem(path: str, method: str) -> None:
    responses = CONTRACT["paths"][path][method]["responses"]
    assert all(re.fullmatch("[2345][0-9]{2}", status) for status in responses)
    errors = {
        status: CONTRACT["components"]["responses"][one["$ref"].rpartition("/")[2]]
        for status, one in responses.items()
        if status[0] in "45" and (path, status) not in HEALTH
    }
    assert errors
    assert all(one["content"] == (OPENAI if is_openai(path) else PROBLEM) for one in errors.values())
    for status in {"429", "503"} & errors.keys():
        assert errors[status]["headers"]["Retry-After"]["required"]


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=" ".join)
def test_every_operation_is_described(path: str, method: str) -> None:
    operation = CONTRACT["paths"][path][method]
    assert operation["description"]
    assert any(status.startswith("2") for status in operation["responses"])


def test_every_reference_leads_somewhere() -> None:
    names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(CONTRACT)))
    assert names <= CONTRACT["components"]["schemas"].keys()
    assert "HTTPValidationError" not in names, "FastAPI's form of errors is not this server's"


def test_a_problem_has_the_documented_form(server: Server) -> None:
    answers = [
        server.http.get("/v1/sessions/none"),
        server.http.get("/nowhere"),
        server.http.put("/livez"),
        server.http.post("/v1/sessions", json={"surprise": 1}),
        server.http.post("/v1/sessions", content=b"{", headers={"Content-Type": "application/json"}),
        server.http.post("/v1/sessions", content=b"{}", headers={"Content-Type": "text/plain"}),
    ]
    for answer in answers:
        problem = ProblemBody.model_validate(answer.json())
        assert problem.status == answer.status_code
        assert re.fullmatch(r"about:blank|urn:rmt-server:problem:[a-z0-9-]+", problem.type)
