"""Nothing that is read can run code: no pickle in the source, and none is unpickled by a server at work."""

import ast
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving import ServerProcess, text

ROOT = Path(__file__).parents[1]
FOLDERS = ("model/rmt_model", "server/rmt_server", "clients", "benchmarks", "ci")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
MODULES = {"_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "pickle", "pickle5", "shelve", "yaml"}
CALLS = {"eval", "exec", "__import__", "torch.hub.load", "torch.jit.load", "torch.package.PackageImporter"}
SAFE = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}


def faults(source: str) -> Iterator[str]:
    """What in a source could run code out of a file."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names):
                yield from (f"import {one.name}" for one in names if one.name.partition(".")[0] in MODULES)
            case ast.ImportFrom(module=module, names=names) if module and module.partition(".")[0] in MODULES:
                yield from (f"from {module} import {one.name}" for one in names if one.name != "UnpicklingError")
            case ast.Call(func, _, keywords):
                yield from _faults_of_call(ast.unparse(func), {one.arg: one.value for one in keywords})


def _faults_of_call(name: str, keywords: dict[str | None, ast.expr]) -> Iterator[str]:
    def says(keyword: str, value: bool) -> bool:
        return isinstance(given := keywords.get(keyword), ast.Constant) and given.value is value

    if name in CALLS or (name.endswith("read_pickle") and name != "read_pickle"):
        yield name
    if name in SAFE and not says(*SAFE[name]):
        yield f"{name} without {SAFE[name]}"
    if name.startswith("Auto") and name.endswith(".from_pretrained") and not says("trust_remote_code", False):
        yield f"{name} without trust_remote_code=False"
    if "trust_remote_code" in keywords and not says("trust_remote_code", False):
        yield f"{name} with trust_remote_code"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_runs_code_out_of_a_file(path: Path) -> None:
    assert list(faults(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, dill",
        "from pickle import loads",
        "from yaml import load",
        "import marshal as m",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "pandas.read_pickle(path)",
        "eval(text)",
        "torch.hub.load('x')",
        "AutoTokenizer.from_pretrained(path)",
        "model.from_pretrained(path, trust_remote_code=True)",
    ],
)
def test_what_could_run_code_is_noticed(source: str) -> None:
    assert len(list(faults(source))) == 1


WATCH = """
import os, pickle, sys
def watch(event, arguments):
    if event == "pickle.find_class":
        with open({log!r}, "a") as log:
            log.write(f"{{arguments}}\\n")
sys.addaudithook(watch)
pickle.loads(pickle.dumps(os.getcwd))
"""


def test_a_server_at_work_unpickles_nothing(
    start_process: Callable[..., ServerProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python tells of every class or function that an unpickler looks up; the first is this test's own."""
    log, site = tmp_path / "unpickled", tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(WATCH.format(log=str(log)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH")))))
    server = start_process().wait_until_ready()
    sid = server.read(text(2000))
    server.ask(sid, "Where is Mary?")
    headers: Any = {"Content-Type": "application/vnd.safetensors"}
    imported = server.http.post("/v1/snapshots", content=server.state(sid), headers=headers)
    assert imported.status_code == 201
    server.session(from_snapshot=imported.json()["id"])
    assert server.stop(signal.SIGTERM) == 0
    assert log.read_text().splitlines() == ["('posix', 'getcwd')"]
