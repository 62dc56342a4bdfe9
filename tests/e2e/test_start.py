"""A server that has started says so, and what to try."""

import signal

from tests.serving import ProcessFactory


def test_the_first_thing_it_says_is_what_to_try(start_process: ProcessFactory) -> None:
    server = start_process().wait_until_ready()
    assert server.stop(signal.SIGTERM) == 0
    said = server.log.read_text()
    assert f"Ready at {server.url}, a page for browsers; documentation under {server.url}/docs" in said
    assert f"export RMT_URL={server.url}" in said
    assert "rmt ask" in said
