"""A multipart form with one file, read as it arrives: the fields before the file, then the file's bytes."""

from collections import defaultdict, deque
from collections.abc import AsyncIterator

from python_multipart.multipart import MultipartParser, parse_options_header

from rmt_server.errors import BadRequestError, TooLargeError
from rmt_server.wire.names import filename_in

__all__ = ["MultipartUpload"]

_MAX_PARTS = 64


class MultipartUpload:
    """Streams the first part that has a file name; the text fields in front of it are its options.

    Attributes:
        fields: The values of each field, by its name.
        filename: Of the file, once its beginning is read.

    Raises:
        BadRequestError: The form is malformed, has no file, or fields behind it.
        TooLargeError: The fields in front of the file exceed the limit.
    """

    def __init__(self, content_type: str, content: AsyncIterator[bytes], limit_field_bytes: int) -> None:
        _, options = parse_options_header(content_type)
        if not (boundary := options.get(b"boundary")):
            raise BadRequestError("The multipart body has no boundary in its Content-Type.")
        self.fields: defaultdict[str, list[str]] = defaultdict(list)
        self.filename: str | None = None
        self._stream = content
        self._limit_bytes = limit_field_bytes
        self._pieces: deque[bytes] = deque()
        self._header = [b"", b""]
        self._name, self._value, self._parts, self._field_bytes = "", bytearray(), 0, 0
        self._in_file = self._file_seen = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": lambda data, start, end: self._on_header(0, data[start:end]),
                "on_header_value": lambda data, start, end: self._on_header(1, data[start:end]),
                "on_header_end": self._on_header_end,
                "on_part_data": lambda data, start, end: self._on_data(data[start:end]),
                "on_part_end": self._on_part_end,
            },
        )

    async def read_fields(self) -> None:
        """Read as far as the file's beginning."""
        while not self._file_seen:
            if not await self._read_on():
                raise BadRequestError("The form has no file: send the document as a part with a file name.")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file's bytes."""
        while True:
            while self._pieces:
                yield self._pieces.popleft()
            if not await self._read_on():
                return

    async def _read_on(self) -> bool:
        chunk = await anext(self._stream, b"")
        if not chunk:
            self._finish()
            return False
        try:
            self._parser.write(chunk)
        except (BadRequestError, TooLargeError):
            raise
        except ValueError as error:
            raise BadRequestError(f"The multipart body is malformed: {error}.") from error
        return True

    def _finish(self) -> None:
        if self._in_file:
            raise BadRequestError("The multipart body ends inside the file.")

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._file_seen or self._parts > _MAX_PARTS:
            raise BadRequestError("Send the options in front of the file, and one file only.")
        self._name, self._value = "", bytearray()

    def _on_header(self, place: int, data: bytes) -> None:
        self._header[place] += data
        self._count(len(data))

    def _on_header_end(self) -> None:
        name, value = self._header
        self._header = [b"", b""]
        if name.lower() == b"content-disposition":
            _, options = parse_options_header(value)
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            self.filename = filename_in(value)
            self._in_file = self._file_seen = self.filename is not None

    def _on_data(self, data: bytes) -> None:
        if self._in_file:
            self._pieces.append(bytes(data))
        else:
            self._count(len(data))
            self._value += data

    def _on_part_end(self) -> None:
        if not self._in_file:
            self.fields[self._name].append(self._value.decode("utf-8", "replace"))
        self._in_file = False

    def _count(self, size: int) -> None:
        self._field_bytes += size
        if self._field_bytes > self._limit_bytes:
            raise TooLargeError(self._limit_bytes)
