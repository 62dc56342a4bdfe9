"""A careful client: it sends a session's documents through everything, and knows what it was promised."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.faults.oracle import ANSWER_TOKENS, Oracle
from tests.faults.plan import Document, Fork, Manner, Piece, Restore, SessionPlan
from tests.faults.wire import Answered, LostError, Wire
from tests.faults.world import Loss, World

from rmt_model.state import ReaderState

T = TypeVar("T")
_PATIENCE_S = 120.0


class StartOverError(Exception):
    """Redis lost the session as a whole, and was allowed to."""


@dataclass(slots=True)
class Promise:
    """What was acknowledged: a number that may only grow, as long as Redis loses nothing."""

    kept: list[tuple[float, float, int]] = field(default_factory=list)
    losses: int = 0

    def add(self, answered: Answered, number: int) -> None:
        self.kept.append((answered.began_s, answered.got_s, number))

    def least(self, losses: tuple[Loss, ...]) -> int:
        """What must still be there: what was answered before the last moment that Redis kept, or after it was back."""
        for loss in losses[self.losses :]:
            self.kept = [one for one in self.kept if one[1] < loss.kept_s or one[0] > loss.back_s]
        self.losses = len(losses)
        return max((number for _, _, number in self.kept), default=0)


@dataclass(slots=True)
class Upload:
    """A document that is being sent; an offset of its length + 1 means that it is complete."""

    plan: Document
    name: str
    text: bytes
    path: str = ""
    sent: int = 0
    acknowledged: int = 0
    pieces_sent: int = 0
    promise: Promise = field(default_factory=Promise)


class Sender:
    """One session from its first byte to its last answer.

    Raises:
        LostError: A promise was broken.
    """

    def __init__(self, world: World, wire: Wire, plan: SessionPlan, oracle: Oracle, tally: Counter[str]) -> None:
        self._world, self._wire, self._plan, self._oracle, self._tally = world, wire, plan, oracle, tally
        self._tries = 0
        self.sids: list[str] = []

    def run(self) -> None:
        """Send everything, with the forks and restores in between."""
        while True:
            try:
                self._begin()
                for number, step in enumerate(self._plan.steps):
                    self._take(step, f"{number}")
                self._stable(self._settle)
            except StartOverError:
                self._tally["session created again"] += 1
                continue
            return

    def verify(self) -> None:
        """Compare what the session is now with one undisturbed reading of what was sent."""
        while True:
            try:
                self._stable(self._compare)
            except StartOverError:
                self.run()
                continue
            return

    def delete(self) -> None:
        """Delete every session that was made, and every snapshot."""
        self._wire.hang_up()
        for sid in self.sids:
            if self._wire.call("DELETE", f"/v1/sessions/{sid}").status not in (204, 404):
                raise LostError(f"{sid} cannot be deleted")
        while found := self._wire.call("GET", "/v1/snapshots").json["snapshots"]:
            for one in found:
                self._wire.call("DELETE", f"/v1/snapshots/{one['id']}")

    # ------------------------------------------------------------------ steps

    def _begin(self) -> None:
        self._tries += 1
        self._fragile = Promise()
        self._base = self._oracle.fresh(self._plan.focus)
        self._create(focus=list(self._plan.focus), keep_text=self._plan.keep_text)

    def _create(self, **body: Any) -> None:
        """A session, new or forked, that the rest goes into."""
        name = f"{self._plan.seed}-{self._tries}-{len(self.sids)}"
        answered = self._found(self._wire.call("POST", "/v1/sessions", json=body, headers={"Idempotency-Key": name}))
        self._expect(answered, 201)
        self._promise(answered)
        self._path = f"/v1/sessions/{answered.json['id']}"
        self.sids.append(answered.json["id"])
        self._uploads: list[Upload] = []

    def _take(self, step: Document | Fork | Restore, name: str) -> None:
        if isinstance(step, Document):
            self._uploads.append(Upload(step, name, step.text))
            self._settle()
            return
        snapshot, state = self._stable(self._snapshot)
        if isinstance(step, Fork):
            self._tally["fork"] += 1
            self._base = state
            self._create(from_snapshot=snapshot, keep_text=self._plan.keep_text)
            return
        self._tally["restore"] += 1
        self._take(step.forgotten, f"{name}-forgotten")
        self._restore(snapshot)
        self._base, self._uploads = state, []

    def _snapshot(self) -> tuple[str, ReaderState]:
        """A snapshot of the session as it is, equal to the undisturbed reading of what was sent so far."""
        self._wait_until_read()
        made = self._found(self._wire.call("POST", f"{self._path}/snapshots", json={}))
        self._expect(made, 201)
        self._promise(made)
        content = self._found(self._wire.call("GET", f"/v1/snapshots/{made.json['id']}/content"))
        self._expect(content, 200)
        state = self._undisturbed()
        if content.response.content != state.to_bytes():
            found = ReaderState.from_bytes(content.response.content)
            raise LostError(f"{self._path}: the memory differs: {_short(found)}, should be {_short(state)}")
        return made.json["id"], state

    def _restore(self, snapshot: str) -> None:
        """Put a snapshot back; where Redis has taken back a part of the text meanwhile, that comes first."""
        while True:
            self._settle()
            self._wait_until_read()
            losses = self._world.losses()
            answered = self._found(self._wire.call("POST", f"{self._path}/restore", json={"snapshot": snapshot}))
            if answered.status == 409 and losses != self._world.losses():
                continue
            self._expect(answered, 200)
            self._promise(answered)
            return

    def _compare(self) -> None:
        self._settle()
        session = self._wait_until_read()
        _, state = self._snapshot()
        wanted = {
            "accepted_bytes": state.bytes_read,
            "read_bytes": state.bytes_read,
            "tokens": state.tokens_read,
            "segments": state.segments_read,
            "digest": state.digest,
        }
        found = {name: session[name] for name in wanted}
        if found != wanted:
            raise LostError(f"{self._path}: {found}, should be {wanted}")
        asked = {"questions": list(self._plan.questions), "max_tokens": ANSWER_TOKENS}
        answered = self._found(self._wire.call("POST", f"{self._path}/answers", json=asked))
        self._expect(answered, 200)
        answers = [(one["answer"], one["lane"], one["confidence"]) for one in answered.json["answers"]]
        if answers != (right := self._oracle.answers(state, self._plan.questions)):
            raise LostError(f"{self._path}: answers {answers}, should be {right}")

    def _wait_until_read(self) -> dict[str, Any]:
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            answered = self._found(self._wire.call("GET", self._path))
            self._expect(answered, 200)
            session: dict[str, Any] = answered.json
            if session["status"] == "idle":
                return session
            if time.monotonic() > deadline_s:
                raise LostError(f"{self._path} is not read on: {session}")
            time.sleep(0.05)

    def _undisturbed(self) -> ReaderState:
        state = self._base
        for upload in self._uploads:
            state = self._oracle.read(state, upload.text)
        return state

    # ------------------------------------------------------------------ uploads

    def _settle(self) -> None:
        """Bring every document to its end; after a loss of Redis, once more those that it took back."""
        while any(not self._is_settled(upload) for upload in self._uploads):
            for upload in self._uploads:
                if not self._is_settled(upload) and not self._send(upload):
                    break

    def _is_settled(self, upload: Upload) -> bool:
        return upload.promise.least(self._world.losses()) > len(upload.text)

    def _send(self, upload: Upload) -> bool:
        """Send one document; False where one before it is open again."""
        while (offset := self._offset(upload)) is not None and offset <= len(upload.text):
            if offset == len(upload.text):
                self._end(upload, offset)
                continue
            piece = self._next_piece(upload, offset)
            time.sleep(piece.pause_s)
            data = upload.text[offset : offset + piece.size_bytes]
            upload.sent = max(upload.sent, offset + len(data))
            self._send_piece(upload, offset, data, piece)
        return offset is not None

    def _next_piece(self, upload: Upload, offset: int) -> Piece:
        pieces = upload.plan.pieces
        piece = pieces[upload.pieces_sent % len(pieces)]
        upload.pieces_sent += 1
        return piece

    def _send_piece(self, upload: Upload, offset: int, data: bytes, piece: Piece) -> None:
        last = offset + len(data) == len(upload.text) and upload.plan.ending == "last piece"
        headers = _headers(offset, complete=last)
        request = {"headers": headers, "content": data}
        match piece.manner:
            case Manner.CUT | Manner.STALLED | Manner.UNHEARD:
                self._wire.broken(upload.path, headers, data, piece)
            case Manner.AT_ONCE:
                self._send_doubled(upload, piece.manner, lambda: self._wire.at_once("PATCH", upload.path, **request))
            case Manner.STALE if offset > 0:
                self._send_stale(upload, int(piece.share * offset))
            case Manner.TWICE:
                twice = lambda: [self._wire.once("PATCH", upload.path, **request) for _ in range(2)]  # noqa: E731
                self._send_doubled(upload, piece.manner, twice)
            case _:
                self._note(upload, self._wire.once("PATCH", upload.path, **request))

    def _send_doubled(self, upload: Upload, manner: Manner, send: Callable[[], list[Answered | None]]) -> None:
        """The same request two times: accepted once at most."""
        self._tally[manner] += 1
        losses = self._world.losses()
        answers = send()
        accepted = [one for one in answers if one is not None and one.status == 204]
        if len(accepted) > 1 and losses == self._world.losses():
            raise LostError(f"{upload.path}: the same bytes were accepted twice, up to {_offset_of(accepted[0])}")
        for one in answers:
            self._note(upload, one)

    def _send_stale(self, upload: Upload, offset: int) -> None:
        """Bytes that are there already: refused, and nothing changes."""
        self._tally[Manner.STALE] += 1
        seen = self._world.losses()
        content = upload.text[offset : offset + 100]
        answered = self._wire.once("PATCH", upload.path, headers=_headers(offset), content=content)
        if answered is not None and answered.status == 204 and seen == self._world.losses():
            raise LostError(f"{upload.path}: stale bytes at {offset} were accepted")

    def _end(self, upload: Upload, offset: int) -> None:
        if upload.plan.ending == "cancelled":
            self._wire.once("DELETE", upload.path)
        else:
            self._wire.once("PATCH", upload.path, headers=_headers(offset, complete=True), content=b"")

    def _note(self, upload: Upload, answered: Answered | None) -> None:
        """Remember an offset that was acknowledged."""
        if answered is None:
            return
        if answered.status == 204:
            upload.acknowledged = max(upload.acknowledged, _offset_of(answered))
            upload.promise.add(answered, _offset_of(answered) + _is_complete(answered))
        elif answered.status not in (400, 404, 409):
            raise LostError(f"{upload.path}: {answered.status} {answered.response.text}")

    def _offset(self, upload: Upload) -> int | None:
        """Where an upload goes on: its length + 1 when it is complete; None where one before it is open again."""
        while True:
            if not upload.path and not self._open(upload):
                return None
            answered = self._wire.call("HEAD", upload.path)
            losses = self._world.losses()
            least = upload.promise.least(losses)
            if answered.status == 404:
                if least > 0 or not losses:
                    raise LostError(f"{upload.path} was acknowledged up to {least}, and is gone")
                upload.path = ""
                continue
            break
        self._expect(answered, 204)
        offset, complete = _offset_of(answered), _is_complete(answered)
        if complete and offset < len(upload.text) and losses and upload.plan.ending == "cancelled":
            upload.text = upload.text[:offset]  # the end that an earlier request wanted came after a loss
        if offset + complete < least or offset > upload.sent or (complete and offset < len(upload.text)):
            raise LostError(f"{upload.path}: {offset} of {len(upload.text)} (complete: {complete}) after {least}")
        if offset < upload.acknowledged and not complete:
            self._go_back(upload, offset)
        self._note(upload, answered)
        return offset + complete

    def _open(self, upload: Upload) -> bool:
        name = f"{self._path}-{upload.name}"
        headers = {"Upload-Complete": "?0", "Idempotency-Key": name[-200:], "Content-Type": "text/plain"}
        answered = self._found(self._wire.call("POST", f"{self._path}/documents", headers=headers))
        if answered.problem == "upload-open" and self._world.losses():
            return False
        self._expect(answered, 201)
        upload.path = answered.response.headers["Location"]
        return True

    def _go_back(self, upload: Upload, offset: int) -> None:
        """Redis lost accepted bytes: send them again, or other ones where no old request can come between."""
        self._tally["offset went back"] += 1
        upload.acknowledged = offset
        if self._plan.steady and not self._wire.unheard and upload.plan.other_end:
            self._tally["other bytes sent then"] += 1
            kept = next(end for end in range(offset, offset + 4) if _is_text(upload.text[:end]))
            upload.text = upload.text[:kept] + upload.plan.other_end
            upload.sent = offset

    # ------------------------------------------------------------------ promises

    def _stable(self, call: Callable[[], T]) -> T:
        """What a call gives when Redis loses nothing meanwhile; every document is complete before it."""
        while True:
            losses = self._world.losses()
            try:
                self._settle()
                result = call()
            except LostError:
                if losses == self._world.losses():
                    raise
                continue
            if losses == self._world.losses():
                return result

    def _promise(self, answered: Answered) -> None:
        """Remember that something was made as a whole; when Redis may have lost it, the session starts over."""
        self._fragile.add(answered, len(self._fragile.kept) + 1)

    def _found(self, answered: Answered) -> Answered:
        """An answer that is not 404."""
        made = len(self._fragile.kept)
        if self._fragile.least(self._world.losses()) < made:
            raise StartOverError
        return answered

    def _expect(self, answered: Answered, status: int) -> None:
        if answered.status != status:
            request = answered.response.request
            raise LostError(f"{request.method} {request.url.path}: {answered.status} {answered.response.text}")


def _headers(offset: int, *, complete: bool = False) -> dict[str, str]:
    return {
        "Content-Type": "application/partial-upload",
        "Upload-Offset": str(offset),
        "Upload-Complete": "?1" if complete else "?0",
    }


def _offset_of(answered: Answered) -> int:
    return int(answered.response.headers["Upload-Offset"])


def _is_complete(answered: Answered) -> bool:
    return answered.response.headers["Upload-Complete"] == "?1"


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _short(state: ReaderState) -> str:
    return f"{state.bytes_read} bytes, {state.segments_read} segments, {state.documents_read} documents, {state.digest}"
