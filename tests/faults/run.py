"""One run: a world, its senders, the trouble, and what is found in the end."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.faults.oracle import Oracle
from tests.faults.plan import RunPlan
from tests.faults.sender import Sender
from tests.faults.wire import Wire
from tests.faults.world import World

_EXCEPTION = re.compile(
    r"^(?:[\w.]+(?:Error|Exception|Exit|CancelledError)\b.*|.*\bCRITICAL\b.*|.*never retrieved.*)$", re.M
)
_FENCED = re.compile(r" dropped: .*lease")
_CUT_OFF = "timeout graceful shutdown exceeded"  # a sender that hangs is cut off when a server stops


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to; without problems everything was as it should be."""

    seed: int
    fsync: str
    seconds: float
    sessions: int
    sent_bytes: int
    counts: dict[str, int]
    problems: list[str]


class Run:
    """Carries a plan out."""

    def __init__(self, plan: RunPlan, oracle: Oracle, checkpoint: Path, binary: Path | None = None) -> None:
        self._plan, self._oracle, self._checkpoint, self._binary = plan, oracle, checkpoint, binary
        self._counts: Counter[str] = Counter()
        self._problems: list[str] = []

    def __call__(self) -> Outcome:
        """The outcome; the logs of a run with problems stay, in a directory that the problems name."""
        began_s = time.monotonic()
        directory = Path(tempfile.mkdtemp(prefix=f"faults-{self._plan.fsync}-{self._plan.seed}-"))
        try:
            self._carry_out(directory)
        except Exception:
            self._problems.append(traceback.format_exc())
        if self._problems:
            self._problems.append(f"logs are in {directory}")
        else:
            shutil.rmtree(directory)
        documents = [step for session in self._plan.sessions for step in session.steps if hasattr(step, "text")]
        return Outcome(
            self._plan.seed,
            self._plan.fsync,
            round(time.monotonic() - began_s, 1),
            len(self._plan.sessions),
            sum(len(one.text) for one in documents),
            dict(sorted((+self._counts).items())),
            self._problems,
        )

    def _carry_out(self, directory: Path) -> None:
        with ExitStack() as stack:
            world = stack.enter_context(World(self._plan, directory, self._checkpoint, self._binary, self._counts))
            senders = []
            for session in self._plan.sessions:
                wire = stack.enter_context(Wire(world.replicas, session.seed))
                senders.append(Sender(world, wire, session, self._oracle, self._counts))
            stack.callback(lambda: self._problems.extend(world.problems))
            world.trouble()
            self._together([sender.run for sender in senders])
            world.calm()
            if not self._problems:
                for sender in senders:
                    sender.verify()
                self._clean_up(world, senders)
        self._read_logs(directory)

    def _together(self, calls: Sequence[Callable[[], None]]) -> None:
        def guarded(call: Callable[[], None]) -> None:
            try:
                call()
            except Exception:
                self._problems.append(traceback.format_exc())

        threads = [threading.Thread(target=guarded, args=(call,), daemon=True) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _clean_up(self, world: World, senders: list[Sender]) -> None:
        """Delete everything and stop; nothing of a session is left."""
        for sender in senders:
            sender.delete()
        world.stop_servers()
        left = [key for sender in senders for sid in sender.sids for key in world.keys_of(sid)]
        if left:
            self._problems.append(f"left behind: {left}")

    def _read_logs(self, directory: Path) -> None:
        """No server met anything that it did not expect."""
        for log in directory.glob("server-*.log"):
            text = log.read_text(errors="replace")
            self._counts["reader fenced"] += len(_FENCED.findall(text))
            found = set(_EXCEPTION.findall(text))
            self._problems += [f"{log.name}: {one}" for one in found if _CUT_OFF not in one]
