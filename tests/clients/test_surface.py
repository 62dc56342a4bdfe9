"""The public names, and that both clients have the same."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import rmt_client
from rmt_client import AsyncClient, Client


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
