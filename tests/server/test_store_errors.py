import inspect
import re

import pytest

from rmt_server import errors
from rmt_server.errors import BackPressureError, OffsetMismatchError, RmtServerError, StoreUnavailableError

CLASSES = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, RmtServerError)]


def drawn() -> dict[str, tuple[int, int | None]]:
    """Depth and status of each class in the docstring's tree."""
    lines = re.findall(r"^    ([│├└─ ]*)(\w+Error) *(\d{3})?", errors.__doc__ or "", re.MULTILINE)
    return {name: (len(indent) // 4, int(status) if status else None) for indent, name, status in lines}


@pytest.mark.parametrize("error", CLASSES)
def test_the_tree_is_as_drawn(error: type[RmtServerError]) -> None:
    depth, status = drawn()[error.__name__]
    assert depth == error.__mro__.index(RmtServerError)
    assert error.status == status or (status is None and error.status == error.__mro__[1].status)


def test_nothing_else_is_drawn_and_slugs_are_unique() -> None:
    assert drawn().keys() == {each.__name__ for each in CLASSES}
    assert len({each.slug for each in CLASSES}) == len(CLASSES)


def test_a_problem_document() -> None:
    assert OffsetMismatchError(4, 7).problem() == {
        "type": "https://iana.org/assignments/http-problem-types#mismatching-upload-offset",
        "title": "Mismatching upload offset",
        "status": 409,
        "detail": "The upload continues at byte 4, not at 7.",
        "expected-offset": 4,
        "provided-offset": 7,
    }
    assert BackPressureError("full").problem()["type"] == "urn:rmt-server:problem:back-pressure"
    assert StoreUnavailableError().retry_after_s > 0
