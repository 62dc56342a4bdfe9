"""What every benchmark writes: its figures as a table and as JSON, with the machine and commit that they belong to."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch

_SHOWN = ("torch", "transformers", "redis", "fastapi")


@dataclass(frozen=True)
class Figure:
    """A measured figure beside the one that is wanted.

    Attributes:
        what: What was measured.
        against: What it was compared with.
        value: What was found.
        unit: Of the value; empty for a ratio.
        least: It should be no smaller.
        most: It should be no larger.
    """

    what: str
    against: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it is as wanted; what nothing is wanted of always is."""
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def wanted(self) -> str:
        """What is wanted, in words."""
        bounds = [(">=", self.least), ("<=", self.most)]
        return " and ".join(f"{sign} {bound:,g}" for sign, bound in bounds if bound is not None)


def show(figures: Sequence[Figure]) -> bool:
    """Print a table; whether all figures are as wanted."""
    for one in figures:
        verdict = "" if not one.wanted else "holds" if one.holds else "MISSED"
        value = f"{one.value:,.3f}" if one.value < 100 else f"{one.value:,.0f}"
        print(f"{one.what:48} {one.against:34} {value:>12} {one.unit:10} {one.wanted:22} {verdict}")
    return all(one.holds for one in figures)


def write(path: Path | None, benchmark: str, figures: Sequence[Figure] = (), **more: object) -> None:
    """Write what a benchmark found, if it is wanted."""
    if path is not None:
        known = {"benchmark": benchmark, "commit": _commit(), "machine": _machine()}
        shown = [asdict(one) | {"holds": one.holds} for one in figures]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known | {"figures": shown} | more, indent=2) + "\n")


def _machine() -> dict[str, object]:
    return {
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _SHOWN},
    }


def _cpu() -> str:
    """The processor's name, and what of its instructions decides how fast matrices are multiplied."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    known = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {name.strip(): value.strip() for name, value in known.items()}
    kinds = [one for one in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if one in facts.get("flags", "").split()]
    return f"{facts.get('model name', platform.machine())} ({', '.join(kinds)})"


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
