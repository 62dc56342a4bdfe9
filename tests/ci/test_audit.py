"""The audit of what is installed: by pins, by the committed list, and by a service where it answers."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("audit", ROOT / "ci" / "audit.py")
assert SPEC is not None
assert SPEC.loader is not None
audit: Any = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audit)


def found(**versions: str) -> dict[str, Version]:
    return {name: Version(version) for name, version in versions.items()}


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ({"torch": "2.6.0"}, []),
        ({"torch": "2.6.0+cpu"}, []),
        ({}, []),
        ({"torch": "2.6.1"}, ["torch 2.6.1 is installed, but 2.6.0 is pinned"]),
        ({"torch": "2.6.0", "left-pad": "1.0"}, ["left-pad 1.0 is installed, but not pinned"]),
    ],
)
def test_what_is_installed_is_exactly_what_is_pinned(versions: dict[str, str], expected: list[str]) -> None:
    assert list(audit.complaints(found(**versions), found(torch="2.6.0"), [])) == expected


@pytest.mark.parametrize(("version", "vulnerable"), [("1.9", False), ("2.0", True), ("2.5+cpu", True), ("2.6", False)])
def test_a_known_vulnerable_version_is_named_with_its_advisory(version: str, vulnerable: bool) -> None:
    known = [audit.Vulnerable("torch", SpecifierSet(">=2.0,<2.6"), "CVE-1")]
    expected = [f"torch {version} is vulnerable: CVE-1"] if vulnerable else []
    pinned = found(torch=version.partition("+")[0])
    assert list(audit.complaints(found(torch=version), pinned, known)) == expected


def test_pins_are_read_as_far_as_they_are_for_this_python(tmp_path: Path) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text('# pins\nPy_Thing==1.2 ; python_version > "3"\n\nother==3 ; python_version < "3"  # old\n')
    assert audit.read_pins(file) == found(**{"py-thing": "1.2"})


def test_the_committed_lists_can_be_read_and_do_not_contradict_each_other() -> None:
    pins = audit.read_pins(ROOT / "constraints.txt")
    known = audit.read_vulnerable(ROOT / "ci" / "known-vulnerable.toml")
    assert known
    assert {one.name for one in known} <= pins.keys(), "an entry for what is not installed"
    assert list(audit.complaints(pins, pins, known)) == []


@pytest.mark.parametrize(
    "report",
    [
        None,
        "",
        "not JSON",
        json.dumps({"dependencies": []}),
        json.dumps({"dependencies": [{"name": "torch", "skip_reason": "Dependency not found on PyPI"}]}),
        json.dumps({"dependencies": [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "no"}]}),
    ],
)
def test_a_service_that_does_not_answer_for_all_is_no_service(report: str | None) -> None:
    assert audit.service_complaints(report) is None


def test_what_the_service_knows_is_told() -> None:
    clean = {"name": "a", "version": "1", "vulns": []}
    own = {"name": "rmt-server", "skip_reason": "Dependency not found on PyPI"}
    assert audit.service_complaints(json.dumps({"dependencies": [clean, own]})) == []
    flawed = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1"}, {"id": "PYSEC-2"}]}
    told = audit.service_complaints(json.dumps({"dependencies": [clean, flawed, own]}))
    assert told == ["b 2 is vulnerable: PYSEC-1", "b 2 is vulnerable: PYSEC-2"]


@pytest.mark.parametrize(("report", "code"), [(None, 0), ('{"dependencies": [', 0)])
def test_without_the_service_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], report: str | None, code: int
) -> None:
    """The rest is the real environment's: it is as pinned, or this test's machine is not."""
    monkeypatch.setattr(audit, "ask_service", lambda: report)
    monkeypatch.setattr(audit, "installed", lambda: audit.read_pins(ROOT / "constraints.txt"))
    assert audit.main() == code
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "cannot be reached" in line] == lines[:1]
    assert lines[-1].endswith(" 0 complaints")
