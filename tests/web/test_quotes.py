"""Answers with their quotes, passages that are found, and the reader that shows them in the text, in a real browser.

    python -m pytest tests/web/test_quotes.py

What the bundled checkpoint answers is of no interest here: that what is shown is what the text holds, is. Encoders with
random weights have an answer to everything, or doubt everything.
"""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from tests.serving import Server, ServerFactory, one_thread, wait_for
from tests.web.conftest import Page

from rmt_model.checkpoint import find_checkpoint
from rmt_model.encoder_checkpoint import load_encoder_checkpoint
from rmt_model.engine import Engine
from rmt_model.span_engine import SpanEngine

QUESTION = "Where did Zoë hide the gramophone?"
PLACES = """
return [...document.querySelectorAll("#answers > li:first-child .place")].map((one) => {
  const words = one.querySelector(".words");
  return [words.textContent, [...words.querySelectorAll("mark")].map((mark) => mark.textContent)];
});
"""
"""What the newest entry quotes, and what of that is marked."""
READER = """
const box = document.querySelector("#reader-text"), mark = box.querySelector(":scope > mark");
const edges = box.getBoundingClientRect(), pieces = [...box.childNodes];
const before = pieces.slice(0, Math.max(0, pieces.indexOf(mark)));
const seen = (mark?.querySelector("mark") ?? mark)?.getBoundingClientRect();
return {
  text: box.textContent,
  quote: mark?.textContent,
  inside: [...(mark?.querySelectorAll("mark") ?? [])].map((one) => one.textContent),
  before: before.map((one) => one.textContent).join(""),
  top: seen?.top - edges.top,
  seen: seen && seen.top >= Math.max(0, edges.top) && seen.bottom <= Math.min(innerHeight, edges.bottom),
  focus: document.activeElement.id,
};
"""
"""What the reader shows, whether the highlight can be seen, and where the focus is."""


def prose(sentences: int, seed: int = 0) -> str:
    """English sentences with letters of more than one byte."""
    source = random.Random(seed)
    who, what = (
        ["Zoë", "The old captain", "Šarūnas", "A child", "She"],
        ["the café", "the harbour", "“Linden”", "the 東京 train"],
    )
    does = ["walked to", "had never seen", "was waiting in", "went back from", "wrote of"]
    pieces = (
        f"{source.choice(who)} {source.choice(does)} {source.choice(what)} on the {day}th of May."
        for day in range(sentences)
    )
    return "\n".join(" ".join(line) for line in zip(*[pieces] * 3, strict=False))


TEXTS = (
    prose(60),
    prose(150, 1) + "\nZoë hid the gramophone in the crooked boathouse — quietly. It was raining.\n" + prose(150, 2),
    prose(30, 3),
)


@pytest.fixture(scope="module")
def servers(
    service_redis: Any, tiny_encoder_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Server]]:
    """A server by the kind of its checkpoint: ``bundled``, or one that is ``certain`` or ``doubtful`` of everything."""
    with ExitStack() as stack:
        stack.enter_context(one_thread())
        known: dict[str, Server] = {}

        def checkpoint(kind: str) -> Path:
            if kind == "bundled":
                return find_checkpoint("rmt-minilm")
            made = tiny_encoder_checkpoint()
            if kind == "doubtful":
                curves = {way: {"slope": 1.0, "intercept": 0.0} for way in ("focus", "search", "recall")}
                (made / "calibration.json").write_text(json.dumps({**curves, "least": 0.999999, "trusted": 0.999999}))
            return made

        def start(kind: str) -> Server:
            if kind not in known:
                engine = SpanEngine(load_encoder_checkpoint(checkpoint(kind)))
                known[kind] = stack.enter_context(Server(service_redis.url, engine, {}))
            return known[kind]

        yield start


@pytest.fixture(scope="module")
def pointing(servers: Callable[[str], Server]) -> Server:
    """The server of the bundled checkpoint."""
    return servers("bundled")


def session(server: Server, *texts: str, **body: Any) -> str:
    """A session that has been sent these documents."""
    sid = server.session(**body)
    for one in texts:
        server.send(sid, one.encode())
    return sid


def kept(server: Server, sid: str, start: int, end: int) -> str:
    """What the session's text holds there."""
    return str(server.http.get(f"/v1/sessions/{sid}/text", params={"start": start, "end": end}).json()["text"])


def ask(page: Page, question: str, mode: str = "automatic") -> None:
    """Ask, and wait for the answer."""
    page.find("#mode").send_keys(mode)
    before = len(page.all("#answers > li"))
    page.find("#question").send_keys(question, Keys.ENTER)
    answered = lambda: len(page.all("#answers > li[aria-busy=false]")) > before  # noqa: E731
    wait_for(answered, what=f"the answer; alert: {page.text('#alert')!r}")


def find(page: Page, query: str) -> list[WebElement]:
    """Look for words; the places that are found."""
    page.find("#query").clear()
    page.find("#query").send_keys(query, Keys.ENTER)
    wait_for(lambda: page.text(".found .asked").endswith(f": {query}"), what="what is found")
    return page.all(".found .place")


def reader(page: Page, quote: str) -> dict[str, Any]:
    """What the reader shows, once that is this."""
    wait_for(lambda: page.driver.execute_script(READER)["quote"] == quote and page.find("#reader").is_displayed())
    return dict(page.driver.execute_script(READER))


def longer(page: Page, before: str) -> dict[str, Any]:
    """What the reader shows, once that is more."""
    wait_for(lambda: len(page.driver.execute_script(READER)["text"]) > len(before), 10, "more of the text")
    return dict(page.driver.execute_script(READER))


def press(page: Page, *keys: str) -> None:
    """Press keys, wherever the focus is."""
    ActionChains(page.driver).send_keys(*keys).perform()


@pytest.mark.parametrize("kind", ["bundled", "certain", "doubtful"])
def test_quotes_are_what_the_text_holds_and_open_there(page: Page, servers: Callable[[str], Server], kind: str) -> None:
    server = servers(kind)
    sid = session(server, *TEXTS)
    page.open(server.url, sid)
    page.wait("#facts", "read")
    ask(page, QUESTION)
    answer = server.ask(sid, QUESTION)
    assert answer["citations"]
    if kind != "bundled":
        assert answer["outcome"] == ("answered" if kind == "certain" else "not_found")
    known = answer["outcome"] == "answered"
    assert page.text("#answers .said") == (answer["answer"] if known else "I did not find this.")
    how = page.text("#answers .sure")
    assert f"{round(100 * answer['confidence'])} % sure" in how
    assert ("from the text" if known else "Looked up in the text") in how
    assert bool(page.all("#answers .dim")) is ("Closest places" in page.text("#answers")) is not known
    shown = page.driver.execute_script(PLACES)
    assert len(shown) == min(3, len(answer["citations"]))
    for one, (words, marks), button in zip(answer["citations"], shown, page.all("#answers .place"), strict=False):
        span = (one["answer_start"], one["answer_end"])
        assert words == one["quote"] == kept(server, sid, one["start"], one["end"])
        assert marks == [kept(server, sid, *span)]
        button.click()
        opened = reader(page, words)
        assert (opened["inside"], opened["seen"], opened["focus"]) == (marks, True, "reader-text")
        (text,) = [text for text in TEXTS if opened["text"] in text]
        assert text.index(opened["text"]) + len(opened["before"]) == one["start_char"]
        assert button.get_attribute("aria-expanded") == "true"
        assert len(page.all("[aria-expanded=true]")) == 1
        assert page.text("#reader-where") == f"bytes {one['start']:,} to {one['end']:,}"
        assert page.text("#reader-where") in page.text("#heard")
        press(page, Keys.ESCAPE)
        assert not page.find("#reader").is_displayed()
        assert page.driver.execute_script("return document.activeElement === arguments[0]", button)
        assert button.get_attribute("aria-expanded") == "false"
    assert page.errors() == []


def test_the_reader_goes_on_to_both_ends_of_its_document(page: Page, pointing: Server) -> None:
    sid = session(pointing, *TEXTS)
    page.open(pointing.url, sid)
    page.wait("#facts", "read")
    (place,) = find(page, "boathouse")
    place.click()
    wait_for(lambda: page.driver.execute_script(READER)["seen"])
    before = page.driver.execute_script(READER)
    for edge, more in (("begins", "earlier"), ("ends", "later")):
        for _ in range(20):
            if page.text(f"#reader-{more}") == f"The text {edge} here":
                break
            page.find(f"#reader-{more}").click()
            after = longer(page, before["text"])
            assert before["text"] in after["text"]
            assert after["quote"] == before["quote"]
            assert after["top"] == pytest.approx(before["top"], abs=2), "what is read stays where it is"
            before = after
        assert page.find(f"#reader-{more}").get_attribute("aria-disabled") == "true"
    assert before["text"] == TEXTS[1]
    assert "Later text is shown" in page.text("#heard")
    page.press("Close")
    assert not page.find("#reader").is_displayed()


def test_a_rare_word_is_found_without_a_mouse(page: Page, pointing: Server) -> None:
    sid = session(pointing, *TEXTS)
    page.open(pointing.url, sid)
    page.wait("#facts", "read")
    assert find(page, "xylophone") == []
    assert page.text(".found .sure").startswith("No place has these words.")
    page.find("#query").clear()
    page.find("#query").send_keys("the Boathouses", Keys.ENTER)
    wait_for(lambda: len(page.all(".found .place")) == 1)
    (passage,) = pointing.http.post(f"/v1/sessions/{sid}/search", json={"query": "the Boathouses"}).json()["passages"]
    ((words, marks),) = page.driver.execute_script(PLACES)
    assert marks == ["boathouse"]
    assert words.strip("… ") in passage["text"]
    assert page.text("#heard") == "1 place"
    for _ in range(5):
        press(page, Keys.TAB)
        if page.driver.execute_script("return document.activeElement.matches('.found .place')"):
            break
    press(page, Keys.ENTER)
    opened = reader(page, passage["text"])
    assert (opened["inside"], opened["seen"], opened["focus"]) == (["boathouse"], True, "reader-text")
    press(page, Keys.TAB)
    assert page.driver.execute_script("return document.activeElement.id") == "reader-later"
    press(page, Keys.ESCAPE)
    assert page.driver.execute_script("return document.activeElement.matches('.found .place')")
    press(page, Keys.SPACE)
    reader(page, passage["text"])
    page.press("Clear what was found for the Boathouses")
    assert page.all(".found") == []
    assert not page.find("#reader").is_displayed()
    assert page.driver.execute_script("return document.activeElement.id") == "query"
    assert find(page, "boathouse"), "the reader is still there to be opened"


def test_the_words_of_a_query_are_marked_in_any_script(page: Page, pointing: Server) -> None:
    sid = session(
        pointing, "The cafés were closed. 彼は東京に住んでいる。 Zoë travelled on, writing letters of her journey."
    )
    page.open(pointing.url, sid)
    page.wait("#facts", "read")
    for query, expected in (
        ("cafe", ["cafés"]),
        ("東京", ["東京"]),
        ("travels and journeys", ["travelled", "journey"]),
        ("who wrote the letter", ["letters"]),
    ):
        assert find(page, query), query
        assert page.driver.execute_script(PLACES)[0][1] == expected


def test_what_no_place_of_a_text_can_answer_is_told(page: Page, pointing: Server) -> None:
    sid = session(pointing, *TEXTS)
    page.open(pointing.url, sid)
    page.wait("#facts", "read")
    ask(page, "Summarise this text")
    assert page.text("#answers .said") == "No place of a text can answer this."
    said = page.text("#answers .rest")
    assert all(word in said for word in ("who, what, when, where", "how many", "why", "Summaries", "translations"))
    assert page.all("#answers .place") == page.all("#answers meter") == []
    ask(page, "Xylophones?")
    assert page.text("#answers .said") == "I did not find this."
    assert page.text("#answers .sure") == "Looked up in the text; nothing came close"


def test_the_name_of_a_file_stands_with_its_quotes(page: Page, pointing: Server, tmp_path: Path) -> None:
    file = tmp_path / "Zoës Grammophon.txt"
    file.write_text(TEXTS[1])
    page.open(pointing.url)
    page.find("#file").send_keys(str(file))
    page.press("Read")
    page.wait("#title", file.name)
    pointing.wait_until_read(page.sid)
    ask(page, QUESTION)
    places = [one.text for one in page.all("#answers .place .where")]
    assert places
    assert all(file.name in one for one in places)
    (place,) = find(page, "boathouse")
    assert file.name in place.text
    place.click()
    wait_for(lambda: page.text("#reader-where").startswith(f"{file.name} · bytes "), what="the reader")
    assert page.text("#took-nothing") == ""
    assert page.errors() == []


def test_a_memory_that_took_nothing_is_told_of(
    page: Page, start_server: ServerFactory, make_engine: Callable[..., Engine]
) -> None:
    engine = make_engine()
    with torch.no_grad():
        engine.checkpoint.model.cell.update.bias += 100.0  # it keeps its memory as it is
    server = start_server(engine)
    kept, dropped, empty = server.session(), server.session(keep_text=False), server.session()
    for sid in (kept, dropped):
        server.send(sid, TEXTS[0].encode(), wait=True)
    page.open(server.url, kept)
    page.wait("#took-nothing", "The memory took nothing of this text in; search still finds its passages.")
    page.open(server.url, dropped)
    page.wait("#took-nothing", "The memory took nothing of this text in.")
    page.open(server.url, empty)
    page.wait("#facts", "read")
    assert page.text("#took-nothing") == ""
    server.send(empty, TEXTS[0].encode())
    page.wait("#took-nothing", "The memory took nothing")
    assert page.errors() == []


def test_a_notice_is_shown(page: Page, servers: Callable[[str], Server]) -> None:
    server = servers("certain")
    sid = session(server, "def gate(key):\n    open = lock.turn(key)\n    assert open, key\n" * 60)
    page.open(server.url, sid)
    page.wait("#facts", "read")
    ask(page, "Which key turns the lock of the gate?")
    notice = server.ask(sid, "Which key turns the lock of the gate?")["notice"]
    assert notice
    assert page.text("#answers .notice") == notice
    assert notice in page.text("#heard")


def test_each_way_to_answer_is_told(page: Page, servers: Callable[[str], Server]) -> None:
    server = servers("certain")
    sid = session(server, *TEXTS, focus=[QUESTION])
    server.wait_until_read(sid)
    page.open(server.url, sid)
    page.wait("#facts", "read: ")
    hints = set()
    for mode, way in (
        ("automatic", "from its memory (focus)"),
        ("look up", "from the text"),
        ("from memory", "from its memory"),
        ("read once more", "read once more"),
    ):
        ask(page, QUESTION, mode)
        assert way in page.text("#answers .sure"), mode
        assert page.all("#answers > li:first-child .place"), mode
        hints.add(page.text("#mode-hint"))
    assert len(hints) == 4


def test_questions_can_be_asked_while_the_text_is_read(page: Page, pointing: Server, tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    file.write_text(TEXTS[1] + prose(40_000))
    page.open(pointing.url)
    page.find("#file").send_keys(str(file))
    page.press("Read")
    page.wait("#title", "long.txt")
    page.wait("#reading-hint", "still being read")
    wait_for(lambda: pointing.look(page.sid)["accepted_bytes"] > 30_000, what="some of it to arrive")
    ask(page, QUESTION)
    assert page.all("#answers .place")
    assert find(page, "boathouse")
    page.find(".found .place").click()
    wait_for(lambda: page.driver.execute_script(READER)["seen"])
    known = pointing.look(page.sid)
    assert (known["status"], known["read_bytes"] < file.stat().st_size) == ("reading", True)
    page.driver.execute_script("location.hash = ''")
    wait_for(lambda: not page.find("#session").is_displayed())
    pointing.http.delete(f"/v1/sessions/{known['id']}")


def test_another_session_shows_nothing_of_the_one_before(page: Page, pointing: Server) -> None:
    first, second = session(pointing, *TEXTS), session(pointing, "Zoë went home.")
    page.open(pointing.url, first)
    page.wait("#facts", "read")
    find(page, "boathouse")[0].click()
    wait_for(lambda: page.find("#reader").is_displayed())
    page.driver.execute_script("location.hash = arguments[0]", second)
    wait_for(lambda: page.all("#answers > li") == [] and page.find("#session").is_displayed())
    assert not page.find("#reader").is_displayed()
    find(page, "Zoë")[0].click()
    wait_for(lambda: page.find("#reader").is_displayed())
    assert page.driver.execute_script(READER)["text"] == "Zoë went home."


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 1100), ("light", 360), ("dark", 360)])
def test_everybody_can_use_quotes(
    page: Page, servers: Callable[[str], Server], node_modules: Path, scheme: str, width: int
) -> None:
    """No complaint of axe, nothing beyond the edge of a narrow screen, in light and dark."""
    page.look(scheme, width)
    for kind in ("certain", "doubtful"):
        server = servers(kind)
        page.open(server.url, session(server, *TEXTS))
        page.wait("#facts", "read")
        ask(page, "Summarise this text")
        ask(page, QUESTION)
        find(page, "boathouse")
        for place in (".found .place", "#answers > li:not(.found) .place"):
            page.find(place).click()
            wait_for(lambda: page.driver.execute_script(READER)["seen"])
            assert page.complaints(node_modules) == "[]"
            assert page.driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
