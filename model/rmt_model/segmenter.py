"""Token ids in, whole segments out; what does not fill a segment yet is kept."""

from collections.abc import Iterable, Sequence


class Segmenter:
    """Cuts a stream of token ids into segments of one length.

    The segments depend on the ids alone, never on how they were handed over. The time is linear in
    the number of ids; at most `segment_tokens - 1` ids are kept.

    Args:
        segment_tokens: Length of every segment, in tokens; at least 1.
        pending: Ids of an unfinished segment to go on with, fewer than `segment_tokens`.

    Raises:
        ValueError: The length is below 1, or the pending segment is already whole.
    """

    def __init__(self, segment_tokens: int, pending: Sequence[int] = ()) -> None:
        if segment_tokens < 1:
            raise ValueError(f"segment_tokens must be at least 1, not {segment_tokens}")
        if len(pending) >= segment_tokens:
            raise ValueError(f"{len(pending)} pending ids are no part of a segment of {segment_tokens}")
        self._segment_tokens = segment_tokens
        self._pending = list(pending)

    @property
    def pending(self) -> tuple[int, ...]:
        """The ids that do not fill a segment yet: a session's remainder."""
        return tuple(self._pending)

    def feed(self, ids: Iterable[int]) -> list[tuple[int, ...]]:
        """Takes further ids and returns the segments that they completed, in order."""
        self._pending.extend(ids)
        whole = len(self._pending) - len(self._pending) % self._segment_tokens
        segments = [
            tuple(self._pending[start : start + self._segment_tokens])
            for start in range(0, whole, self._segment_tokens)
        ]
        del self._pending[:whole]
        return segments
