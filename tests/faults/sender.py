"""One session from its first byte to its last answer, with forks and restores in between."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from tests.faults.oracle import ANSWER_TOKENS, Oracle
from tests.faults.plan import Document, Fork, Restore, SessionPlan
from tests.faults.promise import LostError, StartOverError, Whole
from tests.faults.uploads import Uploads
from tests.faults.wire import Wire
from tests.faults.world import World

from rmt_model.state import ReaderState

T = TypeVar("T")
_PATIENCE_S = 120.0


class Sender:
    """Sends what the plan says through everything that happens, and knows what must come of it.

    `run` and `verify` raise LostError where a promise was broken.
    """

    def __init__(self, world: World, wire: Wire, plan: SessionPlan, oracle: Oracle, tally: Counter[str]) -> None:
        self._world, self._wire, self._plan, self._oracle, self._tally = world, wire, plan, oracle, tally
        self._tries = 0
        self.sids: list[str] = []

    def run(self) -> None:
        """Send everything; a session that Redis lost as a whole is sent again as a whole."""
        while True:
            try:
                self._begin()
                for number, step in enumerate(self._plan.steps):
                    self._take(step, str(number))
                self._stable(lambda: None)
            except StartOverError:
                self._tally["session made again"] += 1
            else:
                return

    def verify(self) -> None:
        """Compare what the session is now with one undisturbed reading of what was sent."""
        while True:
            try:
                self._stable(self._compare)
            except StartOverError:
                self.run()
            else:
                return

    def delete(self) -> None:
        """Delete every session that was made, and every snapshot."""
        self._wire.hang_up()
        for sid in self.sids:
            if self._wire.call("DELETE", f"/v1/sessions/{sid}").status != 404:
                self._wire.call("DELETE", f"/v1/sessions/{sid}").expect(404)
        while found := self._wire.call("GET", "/v1/snapshots").response.json()["snapshots"]:
            for one in found:
                self._wire.call("DELETE", f"/v1/snapshots/{one['id']}")

    # ------------------------------------------------------------------ steps

    def _begin(self) -> None:
        self._tries += 1
        self._whole = Whole()
        self._base = self._oracle.fresh(self._plan.focus)
        self._create(focus=list(self._plan.focus))

    def _create(self, **body: Any) -> None:
        """A session, new or forked, that the rest goes into."""
        name = {"Idempotency-Key": f"{self._plan.seed}-{self._tries}-{len(self.sids)}"}
        body["keep_text"] = self._plan.keep_text
        session = self._made(201, "POST", "/v1/sessions", json=body, headers=name)
        self.sids.append(session["id"])
        self._path = f"/v1/sessions/{session['id']}"
        self._begin_uploads()

    def _begin_uploads(self) -> None:
        self._uploads = Uploads(self._world, self._wire, self._path, self._whole, self._tally, steady=self._plan.steady)

    def _take(self, step: Document | Fork | Restore, name: str) -> None:
        match step:
            case Document():
                self._uploads.add(step, name)
                self._uploads.settle()
            case Fork():
                self._tally["fork"] += 1
                snapshot, self._base = self._stable(self._snapshot)
                self._create(from_snapshot=snapshot)
            case Restore():
                self._tally["restore"] += 1
                snapshot, state = self._stable(self._snapshot)
                self._take(step.forgotten, f"{name}-forgotten")
                self._restore(snapshot, state)
                self._base = state
                self._begin_uploads()

    def _snapshot(self) -> tuple[str, ReaderState]:
        """A snapshot of the session as it is, equal to the undisturbed reading of what was sent so far."""
        self._wait_until_read()
        snapshot = self._made(201, "POST", f"{self._path}/snapshots", json={})["id"]
        content = self._wire.call("GET", f"/v1/snapshots/{snapshot}/content")
        self._whole.check(self._world.losses())
        found, state = content.expect(200).response.content, self._undisturbed()
        if found != state.to_bytes():
            other = ReaderState.from_bytes(found)
            raise LostError(f"{self._path}: the memory differs: {_short(other)}, should be {_short(state)}")
        return snapshot, state

    def _restore(self, snapshot: str, state: ReaderState) -> None:
        """Put a snapshot back; where Redis has taken back a part of the text meanwhile, that comes first.

        The ETag sees to it that a request which comes late restores nothing once more.
        """
        while True:
            losses = self._world.losses()
            self._uploads.settle()
            etag = {"If-Match": self._wait_until_read()[1]}
            answered = self._wire.call("POST", f"{self._path}/restore", json={"snapshot": snapshot}, headers=etag)
            self._whole.check(self._world.losses())
            if answered.status == 412 and self._wait_until_read()[0]["digest"] == state.digest:
                answered = self._wire.call("GET", self._path)
            elif answered.status == 412 or (answered.status == 409 and losses != self._world.losses()):
                continue
            self._whole.add(answered.expect(200))
            return

    def _compare(self) -> None:
        session, _ = self._wait_until_read()
        _, state = self._snapshot()
        wanted = {
            "accepted_bytes": state.bytes_read,
            "read_bytes": state.bytes_read,
            "tokens": state.tokens_read,
            "segments": state.segments_read,
            "digest": state.digest,
        }
        if (found := {name: session[name] for name in wanted}) != wanted:
            raise LostError(f"{self._path}: {found}, should be {wanted}")
        self._compare_movements(state)
        asked = {"questions": list(self._plan.questions), "max_tokens": ANSWER_TOKENS}
        answered = self._wire.call("POST", f"{self._path}/answers", json=asked)
        self._whole.check(self._world.losses())
        found = answered.expect(200).response.json()["answers"]
        answers = [(one["answer"], one["lane"]) for one in found]
        right = self._oracle.answers(state, self._plan.questions)
        if answers != right:
            raise LostError(f"{self._path}: answers {answers}, should be {right}")

    def _compare_movements(self, state: ReaderState) -> None:
        """Every segment since the session began, or was restored, is in them."""
        answered = self._wire.call("GET", f"{self._path}/movements")
        self._whole.check(self._world.losses())
        movements = answered.expect(200).response.json()
        first, each = self._base.segments_read, movements["segments_each"]
        wanted = [min(at + each, state.segments_read) for at in range(first, state.segments_read, each)]
        if (found := [column["segment"] for column in movements["columns"]]) != wanted:
            raise LostError(f"{self._path}: movements at segments {found}, should be {wanted}")
        self._tally["movements compared"] += len(wanted)

    def _wait_until_read(self) -> tuple[dict[str, Any], str]:
        """The session and its ETag, when all of its text has been read."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            answered = self._wire.call("GET", self._path)
            self._whole.check(self._world.losses())
            session = answered.expect(200).response.json()
            if session["status"] == "idle":
                return session, answered.response.headers["ETag"]
            if time.monotonic() > deadline_s:
                raise LostError(f"{self._path} is not read on: {session}")
            time.sleep(0.05)

    def _undisturbed(self) -> ReaderState:
        state = self._base
        for text in self._uploads.texts:
            state = self._oracle.read(state, text)
        return state

    # ------------------------------------------------------------------ what Redis loses meanwhile

    def _made(self, status: int, method: str, path: str, **more: Any) -> dict[str, Any]:
        """Something new, which Redis keeps or loses as a whole."""
        answered = self._wire.call(method, path, **more)
        self._whole.check(self._world.losses())
        self._whole.add(answered.expect(status))
        return dict(answered.response.json())

    def _stable(self, call: Callable[[], T]) -> T:
        """What a call gives while Redis loses nothing; every document is complete before it."""
        while True:
            losses = self._world.losses()
            try:
                self._uploads.settle()
                result = call()
            except LostError:
                if losses == self._world.losses():
                    raise
                continue
            if losses == self._world.losses():
                return result


def _short(state: ReaderState) -> str:
    return f"{state.bytes_read} bytes, {state.segments_read} segments, {state.documents_read} documents, {state.digest}"
