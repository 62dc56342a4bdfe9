"""What every benchmark writes: its figures as JSON, with the machine and the commit that they belong to."""

import json
import os
import platform
import subprocess
from pathlib import Path


def write(path: Path | None, benchmark: str, **figures: object) -> None:
    """Write the figures of a benchmark, if they are wanted."""
    if path is not None:
        known = {"benchmark": benchmark, "commit": _commit(), "machine": _machine()}
        path.write_text(json.dumps(known | figures, indent=2) + "\n")


def _machine() -> dict[str, object]:
    return {
        "platform": platform.platform(),
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
