"""The wire contract: `docs/openapi.json` is what the server does, and every error in it is a problem."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.serving import Server

from rmt_server.app import openapi
from rmt_server.cli import main
from rmt_server.schemas import ProblemBody

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
CONTRACT: Any = openapi()
OPERATIONS = [(path, method) for path, operations in CONTRACT["paths"].items() for method in operations]


def test_the_committed_contract_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(COMMITTED.read_text("utf-8")) == json.loads(json.dumps(openapi()))
    assert main(["openapi"]) == 0
    assert capsys.readouterr().out == COMMITTED.read_text("utf-8"), "run: make openapi"


def test_the_served_contract_is_the_committed_one(server: Server) -> None:
    assert server.http.get("/openapi.json").json() == json.loads(COMMITTED.read_text("utf-8"))


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=" ".join)
def test_every_error_is_a_problem(path: str, method: str) -> None:
    responses = CONTRACT["paths"][path][method]["responses"]
    assert responses["4XX"]["content"] == responses["5XX"]["content"] == PROBLEM
    errors = {status for status in responses if status[0] in "45"} - {"4XX", "5XX"}
    assert errors <= ({"503"} if path == "/readyz" else set()), "an error in another form"


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
