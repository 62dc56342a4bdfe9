"""A careful client's uploads: documents of one session, one after another, sent through everything."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.faults.plan import Document, Manner, Piece
from tests.faults.promise import Answered, LostError, Promise, Whole
from tests.faults.wire import Wire
from tests.faults.world import World

_REFUSALS = (400, 404, 409)


@dataclass(slots=True)
class Upload:
    """A document that is being sent.

    Attributes:
        text: What it shall be in the end.
        path: Where it is; empty while it is not open.
        sent: Bytes of it that may have arrived.
        acknowledged: Bytes that the servers said to have.
        promise: The offset, or the length + 1 once it is complete.
    """

    plan: Document
    name: str
    text: bytes
    path: str = ""
    sent: int = 0
    acknowledged: int = 0
    pieces: int = 0
    promise: Promise = field(default_factory=Promise)

    def next_piece(self) -> Piece:
        """How to send the next piece: as planned; when more are needed, in the planned sizes again, and unbroken."""
        times, index = divmod(self.pieces, len(self.plan.pieces))
        self.pieces += 1
        piece = self.plan.pieces[index]
        return replace(piece, manner=Manner.PLAIN) if times else piece


class Uploads:
    """The documents that a session was sent since it was made or restored."""

    def __init__(self, world: World, wire: Wire, path: str, whole: Whole, tally: Counter[str], *, steady: bool) -> None:
        self._world, self._wire, self._path, self._whole, self._tally = world, wire, path, whole, tally
        self._steady = steady
        self._uploads: list[Upload] = []

    @property
    def texts(self) -> list[bytes]:
        """What was sent, a document each."""
        return [upload.text for upload in self._uploads]

    def add(self, document: Document, name: str) -> None:
        """One more document, to be sent by `settle`."""
        self._uploads.append(Upload(document, name, document.text))

    def settle(self) -> None:
        """Bring every document to its end; after a loss of Redis, once more those that it took back."""
        while waiting := [upload for upload in self._uploads if not self._is_settled(upload)]:
            for upload in waiting:
                if not self._send(upload):
                    break

    def _is_settled(self, upload: Upload) -> bool:
        return upload.promise.least(self._world.losses()) > len(upload.text)

    def _send(self, upload: Upload) -> bool:
        """Send one document; False where one before it is open again."""
        while (offset := self._offset(upload)) is not None and offset <= len(upload.text):
            if offset == len(upload.text):
                self._end(upload, offset)
                continue
            piece = upload.next_piece()
            time.sleep(piece.pause_s)
            data = upload.text[offset : offset + piece.size_bytes]
            upload.sent = max(upload.sent, offset + len(data))
            self._send_piece(upload, offset, data, piece)
        return offset is not None

    def _send_piece(self, upload: Upload, offset: int, data: bytes, piece: Piece) -> None:
        last = offset + len(data) == len(upload.text) and upload.plan.ending == "last piece"
        headers = _headers(offset, complete=last)

        def once() -> Answered | None:
            return self._wire.once("PATCH", upload.path, headers=headers, content=data)

        if piece.manner != Manner.PLAIN:
            self._tally[piece.manner] += 1
        match piece.manner:
            case Manner.CUT | Manner.STALLED | Manner.UNHEARD:
                self._wire.broken(upload.path, headers, data, piece)
            case Manner.TWICE:
                self._send_doubled(upload, lambda: [once(), once()])
            case Manner.AT_ONCE:
                self._send_doubled(upload, lambda: self._wire.at_once(once))
            case Manner.STALE:
                self._send_stale(upload, int(piece.share * offset), upto=offset)
            case Manner.PLAIN:
                self._note(upload, once())

    def _send_doubled(self, upload: Upload, send: Callable[[], list[Answered | None]]) -> None:
        """The same request two times: accepted once at most."""
        losses = self._world.losses()
        answers = send()
        accepted = [one for one in answers if one is not None and one.status == 204]
        if len(accepted) > 1 and losses == self._world.losses():
            raise LostError(f"{upload.path}: the same bytes were accepted twice, up to {accepted[0].offset}")
        for one in answers:
            self._note(upload, one)

    def _send_stale(self, upload: Upload, offset: int, *, upto: int) -> None:
        """Bytes that are there already: refused, and nothing changes."""
        losses = self._world.losses()
        content = upload.text[offset : min(upto, offset + 100)]
        answered = self._wire.once("PATCH", upload.path, headers=_headers(offset), content=content)
        if content and answered is not None and answered.status == 204 and losses == self._world.losses():
            raise LostError(f"{upload.path}: stale bytes at {offset} were accepted")

    def _end(self, upload: Upload, offset: int) -> None:
        if upload.plan.ending == "cancelled":
            self._wire.once("DELETE", upload.path)
        else:
            self._wire.once("PATCH", upload.path, headers=_headers(offset, complete=True), content=b"")

    def _note(self, upload: Upload, answered: Answered | None) -> None:
        """Remember an offset that was acknowledged."""
        if answered is None or answered.status in _REFUSALS:
            return
        answered.expect(204)
        upload.acknowledged = max(upload.acknowledged, answered.offset)
        upload.promise.add(answered, answered.offset + answered.complete)

    def _offset(self, upload: Upload) -> int | None:
        """Where an upload goes on: its length + 1 when it is complete; None where one before it is open again."""
        while True:
            if not upload.path and not self._open(upload):
                return None
            answered = self._wire.call("HEAD", upload.path)
            losses = self._world.losses()
            least = upload.promise.least(losses)
            if answered.status != 404:
                break
            if least > 0 or not losses:
                raise LostError(f"{upload.path} was acknowledged up to {least}, and is gone")
            upload.path = ""
        offset, complete = answered.expect(204).offset, answered.complete
        if complete and offset < len(upload.text) and losses and upload.plan.ending == "cancelled":
            upload.text = upload.text[:offset]  # an earlier request for the end came after a loss
        if offset + complete < least or offset > upload.sent or (complete and offset < len(upload.text)):
            raise LostError(f"{upload.path}: {offset} of {len(upload.text)} (complete: {complete}) after {least}")
        self._tally["found more than acknowledged"] += offset > upload.acknowledged
        if offset < upload.acknowledged and not complete:
            self._go_back(upload, offset)
        self._note(upload, answered)
        return offset + complete

    def _open(self, upload: Upload) -> bool:
        name = f"{self._path}-{upload.name}"[-200:]
        headers = {"Upload-Complete": "?0", "Idempotency-Key": name, "Content-Type": "text/plain"}
        answered = self._wire.call("POST", f"{self._path}/documents", headers=headers)
        losses = self._world.losses()
        self._whole.check(losses)
        if answered.problem == "upload-open" and losses:
            return False
        upload.path = answered.expect(201).response.headers["Location"]
        return True

    def _go_back(self, upload: Upload, offset: int) -> None:
        """Redis lost accepted bytes: send them again, or other ones where no old request can come between."""
        self._tally["offset went back"] += 1
        upload.acknowledged = offset
        if self._steady and not self._wire.unheard and upload.plan.other_end:
            self._tally["other bytes sent then"] += 1
            kept = next(end for end in range(offset, offset + 4) if _is_text(upload.text[:end]))
            upload.text = upload.text[:kept] + upload.plan.other_end
            upload.sent = offset


def _headers(offset: int, *, complete: bool = False) -> dict[str, str]:
    return {
        "Content-Type": "application/partial-upload",
        "Upload-Offset": str(offset),
        "Upload-Complete": "?1" if complete else "?0",
    }


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
