"""A document's way into a session: exactly once, whatever happens to the connection."""

from __future__ import annotations

from dataclasses import dataclass, field

from rmt_client import protocol, resumable
from rmt_client.errors import ConflictError, RmtError, SourceError, TransportError
from rmt_client.flow import Flow, Piece, pause, read
from rmt_client.models import Document
from rmt_client.patience import Patience
from rmt_client.resumable import Point
from rmt_client.watch import Watch
from rmt_client.wire import BUSY, Response, reads

CHUNK_BYTES = 1 << 20
LINGER_S = 0.3
POLL_S = 0.1


@dataclass(slots=True)
class Upload:
    """One resumable upload, without the network.

    The server's offset is the truth. After everything but a plain success the upload asks for it and
    goes on from there, so bytes are neither left out nor sent twice: a chunk that arrived although its
    acknowledgement did not lies before the offset, and one that is late meets an offset mismatch.

    Attributes:
        length: Bytes of the whole document, None for a stream.
        idempotency_key: Names the opening, so that a repeated one opens nothing new.
        document_id: An upload to continue; the source must be the same document from its beginning.
        name: What the document is called; empty for no name.
    """

    session_id: str
    length: int | None
    idempotency_key: str
    patience: Patience
    watch: Watch
    document_id: str = ""
    chunk_bytes: int = CHUNK_BYTES
    name: str = ""
    offset: int = field(init=False, default=0)
    complete: bool = field(init=False, default=False)
    _sent: int = field(init=False, default=0)
    _end: int | None = field(init=False, default=None)

    def run(self) -> Flow[Document]:
        """Sends the whole source; returns the document, complete but not necessarily read."""
        yield from self._resume() if self.document_id else self._open()
        while not self.complete:
            piece = yield from self._next_piece()
            yield from self._append(piece)
        call = protocol.get_document(self.session_id, self.document_id)
        return call.parse((yield from self.patience.persist(call.request)))

    def _open(self) -> Flow[None]:
        yield from self.watch.look_if_due()
        request = resumable.open_upload(
            self.session_id, idempotency_key=self.idempotency_key, length=self.length, name=self.name
        )
        response = yield from self.patience.persist(request)
        self._begin(reads(Document.from_json, 200, 201)(response))
        self._move(resumable.point(response))

    def _resume(self) -> Flow[None]:
        yield from self.watch.look_if_due()
        call = protocol.get_document(self.session_id, self.document_id)
        self._begin(call.parse((yield from self.patience.persist(call.request))))
        here = yield from self._locate()
        length = here.offset if self.length is None else self.length
        if here.offset > length or (here.complete and here.offset < length):
            raise SourceError(
                f"The document has {here.offset} bytes already, and this source has {length}.",
                "Give the file that the upload was begun with.",
            )
        self._sent, self._end = here.offset, here.offset if here.complete else None
        self._move(here)

    def _begin(self, document: Document) -> None:
        self.document_id = self.watch.document_id = document.id
        self.watch.start, self.watch.total_bytes = document.start, self.length

    def _next_piece(self) -> Flow[Piece]:
        """Waits for a chunk, but not longer than LINGER_S once some bytes of it are there."""
        waited_s = 0.0
        while True:
            piece = yield from read(self.offset, self.chunk_bytes)
            if not piece.growing or waited_s >= LINGER_S:
                return piece
            yield from self.watch.look_if_due()
            yield from pause(POLL_S)
            waited_s += POLL_S if piece.data else 0.0

    def _append(self, piece: Piece) -> Flow[None]:
        end = self.offset + len(piece.data)
        self._sent, self._end = max(self._sent, end), end if piece.last else self._end
        request = resumable.append(self.session_id, self.document_id, piece.data, offset=self.offset, last=piece.last)
        try:
            response = yield from self.patience.send(request)
        except TransportError as error:
            yield from self._recover(error)
        else:
            yield from self._settle(response, len(piece.data))
        yield from self.watch.look_if_due()

    def _settle(self, response: Response, size: int) -> Flow[None]:
        """Draws the consequence of an answer to bytes that were sent."""
        self._heed(resumable.max_append_bytes(response))
        if response.status in {200, 201, 204}:
            self._move(resumable.point(response))
        elif resumable.is_damaged(response):
            yield from self._recover(response.problem())
        elif response.status in BUSY:
            yield from self.watch.look()
            if self.watch.has_read_on():
                self.patience.moved()  # full, but reading on: waiting is not in vain
            yield from self._recover(response.problem())
        elif response.status in {400, 409}:
            yield from self._realign(response)
        elif response.status != 413 or size <= self.chunk_bytes:
            raise response.problem()

    def _realign(self, response: Response) -> Flow[None]:
        """Finds out whether a refusal only means that the server is elsewhere than was thought."""
        here = yield from self._locate()
        if here.offset != self.offset or here.complete:
            self._move(here)
        elif response.status == 409:
            yield from self._recover(response.problem())
        else:
            raise response.problem()

    def _recover(self, error: RmtError) -> Flow[None]:
        """Waits, then goes on from where the server is."""
        self.watch.tell(str(error))
        yield from self.patience.after(error)
        self._move((yield from self._locate()))

    def _locate(self) -> Flow[Point]:
        response = yield from self.patience.persist(resumable.locate(self.session_id, self.document_id))
        if response.status >= 400:  # the answer to HEAD has no body that says why; that to GET has
            call = protocol.get_document(self.session_id, self.document_id)
            call.parse((yield from self.patience.persist(call.request)))
        return resumable.point(response.expect(200, 204))

    def _move(self, here: Point) -> None:
        """Believes the server, unless it has what was never sent."""
        self._heed(here.max_append_bytes)
        if here.offset > self._sent or (here.complete and here.offset != self._end):
            detail = f"Somebody else writes to document {self.document_id}: it is at byte {here.offset}."
            raise ConflictError(409, {"detail": detail})
        if here.offset > self.offset or here.complete:
            self.patience.moved()
        self.offset = self.watch.sent_bytes = here.offset
        self.complete = here.complete
        if here.complete:
            self.watch.total_bytes = here.offset
        self.watch.tell()

    def _heed(self, max_append_bytes: int | None) -> None:
        if max_append_bytes:
            self.chunk_bytes = min(self.chunk_bytes, max_append_bytes)
