"""Audit what is installed: exactly the pinned versions, none of them known to be vulnerable.

`pip-audit` asks a service for what is known today. Where it cannot be reached, the ranges in `known-vulnerable.toml`
have to do, and one line says so. Run as `python ci/audit.py`; exit code 1 when something is found.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

HERE = Path(__file__).parent
OWN = frozenset({"rmt-client", "rmt-model", "rmt-server"})
_CUDA = re.compile(r"nvidia-|cuda-|triton$")
_SERVICE_WAIT_S = 180


@dataclass(frozen=True)
class Vulnerable:
    """Versions of a distribution that nobody should install."""

    name: str
    versions: SpecifierSet
    advisory: str


def installed() -> dict[str, Version]:
    """Every installed distribution, without this project's own, and CUDA's libraries, which PyTorch pins itself."""
    found = {canonicalize_name(one.metadata["Name"]): Version(one.version) for one in distributions()}
    return {name: version for name, version in sorted(found.items()) if name not in OWN and not _CUDA.match(name)}


def read_pins(file: Path) -> dict[str, Version]:
    """The version that a constraints file pins for each distribution, as far as it is meant for this Python."""
    lines = (line.partition("#")[0].strip() for line in file.read_text("utf-8").splitlines())
    requirements = [Requirement(line) for line in lines if line]
    return {
        canonicalize_name(one.name): Version(str(one.specifier).removeprefix("=="))
        for one in requirements
        if one.marker is None or one.marker.evaluate()
    }


def read_vulnerable(file: Path) -> list[Vulnerable]:
    """The committed list."""
    entries = tomllib.loads(file.read_text("utf-8"))["vulnerable"]
    return [
        Vulnerable(canonicalize_name(one["name"]), SpecifierSet(one["versions"]), one["advisory"]) for one in entries
    ]


def complaints(found: Mapping[str, Version], pins: Mapping[str, Version], known: list[Vulnerable]) -> Iterator[str]:
    """What is wrong with the installed versions, each in a line. A build's local part, as in `2.13.0+cpu`, is free."""
    for name, version in found.items():
        if name not in pins:
            yield f"{name} {version} is installed, but not pinned"
        elif Version(version.public) != pins[name]:
            yield f"{name} {version} is installed, but {pins[name]} is pinned"
    for one in known:
        if one.name in found and one.versions.contains(found[one.name].public, prereleases=True):
            yield f"{one.name} {found[one.name]} is vulnerable: {one.advisory}"


def ask_service() -> str | None:
    """The report of `pip-audit` as JSON; None where it ended without one."""
    command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--skip-editable"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SERVICE_WAIT_S, check=False)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout


def service_complaints(report: str | None) -> list[str] | None:
    """What the service knows against the installed versions; None where it did not answer for all of them."""
    try:
        audited = json.loads(report or "")["dependencies"]
    except ValueError:
        return None
    theirs = [one for one in audited if canonicalize_name(one["name"]) not in OWN]
    if not theirs or any("skip_reason" in one for one in theirs):
        return None
    return [
        f"{one['name']} {one['version']} is vulnerable: {flaw['id']}" for one in theirs for flaw in one.get("vulns", ())
    ]


def main() -> int:
    """Audit; 1 when something is found."""
    found = installed()
    wrong = list(
        complaints(found, read_pins(HERE.parent / "constraints.txt"), read_vulnerable(HERE / "known-vulnerable.toml"))
    )
    reported = service_complaints(ask_service())
    if reported is None:
        print(
            "audit: pip-audit's service cannot be reached; checked by constraints.txt and known-vulnerable.toml alone"
        )
    wrong += reported or []
    for line in wrong:
        print(f"audit: {line}")
    print(f"audit: {len(found)} distributions, {len(wrong)} complaints")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
