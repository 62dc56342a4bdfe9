"""The web page in a real browser, at a real server."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select
from tests.serving import ProcessFactory, Server, ServerFactory, text, wait_for
from tests.web.conftest import Page

from rmt_model.digest import StreamDigest
from rmt_server.auth import new_key

FOCUS = "Where is Mary?"
FRAMED = """
const canvas = document.querySelector("#picture"), probe = document.createElement("span");
probe.style.color = getComputedStyle(canvas).getPropertyValue("--found");
canvas.after(probe);
const [red, green, blue] = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
probe.remove();
const { width, height } = canvas, { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
const is = (at) => data[at] === red && data[at + 1] === green && data[at + 2] === blue && data[at + 3] === 255;
const columns = Array.from({ length: width }, (_, x) => x).filter((x) => is(4 * (Math.floor(height / 2) * width + x)));
return columns.length ? [columns[0] / width, (columns.at(-1) + 1) / width] : null;
"""
"""From where to where in the picture, as shares of its width, the frame of what was found goes."""
INKS = """
const [columns, rows] = arguments, canvas = document.querySelector("#picture");
const pen = canvas.getContext("2d"), high = (canvas.clientHeight - 18) * devicePixelRatio;
const pixel = (x, y) => pen.getImageData(x, y, 1, 1).data[3];
const ink = (column, row) => pixel((column + 0.5) * canvas.width / columns, (row + 0.5) * high / rows);
return Array.from({ length: columns }, (_, column) => Array.from({ length: rows }, (_, row) => ink(column, row)));
"""
"""How dark the middle of each cell of the picture is, by column and row."""

DROP = """
const [name, words] = arguments, data = new DataTransfer();
if (name) data.items.add(new File([words], name));
else data.setData("text/plain", words);
document.querySelector("#drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
"""
"""A file is dropped, or without a name words are."""
SEEN = """
window.seen = [];
const see = () => seen.push(document.querySelector("#answers .said")?.textContent ?? "");
const all = { subtree: true, childList: true, characterData: true };
new MutationObserver(see).observe(document.querySelector("#answers"), all);
"""
"""Remembers everything that the newest answer has said."""
LATE = """
const sid = arguments[0], get = fetch;
window.held = window.late = 0;
window.fetch = async (url, options) => {
  const answer = await get(url, options);
  if (!new RegExp(`${sid}/(text|snapshots)`).test(url)) return answer;
  window.held += 1;
  await new Promise((resolve) => setTimeout(resolve, 1500));
  window.late += 1;
  return answer;
};
"""
"""What is asked of a session is answered, but late."""
BUSY = """
const [key, known] = arguments, get = fetch;
localStorage.setItem(key, known);
window.fetch = async (url, options) => {
  if (!/documents/.test(url)) return get(url, options);
  return Response.json({ title: "Busy", detail: "Not now." }, { status: 503 });
};
"""
"""An upload is remembered, but what is asked of documents is refused."""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A file to be read."""
    file = tmp_path / "book.txt"
    file.write_bytes(text(60_000))
    return file


def read_file(page: Page, server: Server, book: Path, focus: str = "") -> str:
    """Have the page read a file in a new session."""
    page.open(server.url)
    page.find("#file").send_keys(str(book))
    assert book.name in page.text("#chosen")
    page.find("#focus").send_keys(focus)
    page.press("Read")
    page.wait("#title", book.name)
    page.wait("#facts", "read: 60 kB")
    return page.sid


def drawn(page: Page, server: Server) -> WebElement:
    """The picture, once it shows the memory as it is now."""
    picture, columns = page.find("#picture"), movements(server, page.sid)["columns"]
    wait_for(lambda: picture.get_attribute("aria-valuemax") == str(len(columns) - 1), what="the picture")
    return picture


def movements(server: Server, sid: str, lane: int = 0) -> dict[str, Any]:
    """How far the memory of a lane moved."""
    return dict(server.http.get(f"/v1/sessions/{sid}/movements", params={"lane": lane}).json())


def test_a_file_is_read_and_its_memory_is_drawn(page: Page, server: Server, book: Path) -> None:
    sid = read_file(page, server, book)
    known = server.look(sid)
    assert (known["status"], known["read_bytes"], known["metadata"]) == ("idle", 60_000, {"title": "book.txt"})
    assert f"{known['segments']:,} segments" in page.text("#facts")
    picture = drawn(page, server)
    columns, each = (movements(server, sid)[name] for name in ("columns", "segments_each"))
    assert len(columns) == -(-known["segments"] // each)
    picture.click()
    page.wait("#place-title", "Bytes ")
    assert page.text("#place-text").strip() in text(60_000).decode()
    picture.send_keys(Keys.HOME, Keys.ARROW_RIGHT, Keys.ENTER)
    start, stop = (columns[column]["bytes"] for column in (0, 1))
    page.wait("#place-title", f"Bytes {start:,} to {stop:,}")
    assert page.text("#place-text").strip() == text(60_000)[start:stop].decode().strip()
    assert f"up to segment {columns[1]['segment']}" in str(picture.get_attribute("aria-valuetext"))
    assert page.errors() == []


def test_each_segment_of_a_short_text_is_a_column(page: Page, server: Server) -> None:
    """Though it is read within one commit. What is drawn is darker where the memory moved further."""
    page.open(server.url)
    page.driver.execute_script("document.querySelector('#pasted').value = arguments[0]", text(2000).decode())
    page.press("Read")
    page.wait("#facts", "read: 2.0 kB")
    drawn(page, server)
    rows = [column["moved"] for column in movements(server, page.sid)["columns"]]
    assert len(rows) == server.look(page.sid)["segments"] > 10
    assert page.text("#caption").startswith("Each column is a segment")
    inks = page.driver.execute_script(INKS, len(rows), len(rows[0]))
    assert_darker_where_further(rows[1:], inks[1:])


def assert_darker_where_further(rows: list[list[float]], inks: list[list[int]]) -> None:
    some = sorted(
        (moved, ink) for row, column in zip(rows, inks, strict=True) for moved, ink in zip(row, column, strict=True)
    )
    assert [ink for _, ink in some] == sorted(ink for _, ink in some)
    assert some[0][1] < some[-1][1]


def test_on_a_narrow_screen_a_pixel_shows_the_furthest_of_its_columns(page: Page, server: Server, book: Path) -> None:
    page.driver.set_window_size(500, 900)
    sid = read_file(page, server, book)
    drawn(page, server)
    rows = [column["moved"] for column in movements(server, sid)["columns"]]
    width = page.driver.execute_script("return document.querySelector('#picture').width")
    assert width < len(rows)
    shown = [[0.0] * len(rows[0]) for _ in range(width)]
    for column, row in enumerate(rows):
        pixel = shown[column * width // len(rows)]
        pixel[:] = map(max, pixel, row)
    inks = page.driver.execute_script(INKS, width, len(rows[0]))
    assert_darker_where_further(shown[4:], inks[4:])  # the first are below the frame of what is chosen


def test_the_first_column_of_a_fork_shows_what_is_kept_of_its_text(page: Page, server: Server) -> None:
    """Its memory goes on in the middle of a segment, whose beginning is the text of the session before."""
    before = server.read(text(9_000))
    fork = server.session(from_snapshot=server.snapshot(before))
    page.open(server.url, fork)
    wait_for(lambda: "no segment is noted" in str(page.find("#picture").get_attribute("aria-valuetext")))
    server.send(fork, text(5000, seed=2), wait=True)
    assert movements(server, fork)["start"] < 9_000
    drawn(page, server).send_keys(Keys.HOME, Keys.ENTER)
    stop = movements(server, fork)["columns"][0]["bytes"]
    page.wait("#place-title", f"Bytes 9,000 to {stop:,}")
    assert page.text("#place-text").strip() == text(5000, seed=2)[: stop - 9_000].decode().strip()
    assert page.text("#alert") == ""


def test_focuses_are_listed_shown_and_asked(page: Page, server: Server, book: Path) -> None:
    read_file(page, server, book)
    assert not page.find("#focused").is_displayed()
    sid = read_file(page, server, book, f"{FOCUS}\nWho went?")
    assert [one.text for one in page.all("#lanes .what")] == [FOCUS, "Who went?"]
    drawn(page, server)
    shown = page.driver.execute_script(INKS, 10, 4)
    page.press("Show its memory: Who went?")
    wait_for(lambda: page.driver.execute_script(INKS, 10, 4) != shown, what="the other memory")
    assert page.find_button("Show its memory: Who went?").get_attribute("aria-pressed") == "true"
    assert page.find_button(f"Show its memory: {FOCUS}").get_attribute("aria-pressed") == "false"
    page.press("Ask: Who went?")
    page.wait("#answers", "% sure")
    assert page.find("#answers .asked").text == "Who went?"
    assert server.ask(sid, "Who went?", mode="auto")["lane"] == 1


def test_a_file_or_words_can_be_dropped(page: Page, server: Server) -> None:
    page.open(server.url)
    page.driver.execute_script(DROP, "", "Mary went home.")
    page.press("Read")
    page.wait("#facts", "read: 15 bytes")
    page.press("New")
    page.driver.execute_script(DROP, "dropped.txt", "John went to the garden.")
    assert page.text("#chosen") == "dropped.txt, 24 bytes"
    page.press("Read")
    page.wait("#title", "dropped.txt")
    page.wait("#facts", "read: 24 bytes")


def test_everything_can_be_done_with_the_keyboard(page: Page, server: Server) -> None:
    def to(selector: str) -> None:
        for _ in range(40):
            if page.driver.execute_script("return document.activeElement.matches(arguments[0])", selector):
                return
            press(Keys.TAB)
        raise AssertionError(f"Tab does not come to {selector}")

    def press(*keys: str) -> None:
        ActionChains(page.driver).send_keys(*keys).perform()

    page.open(server.url)
    to("#pasted")
    press("Mary went to the garden. " * 20, Keys.TAB, FOCUS)
    to("#begin .main")
    press(Keys.ENTER)
    page.wait("#facts", "read: 500 bytes")
    assert page.driver.execute_script("return document.activeElement.id") == "title"
    to("#question")
    press("Who went?", Keys.ENTER)
    page.wait("#answers", "% sure")
    drawn(page, server)
    to("#picture")
    press(Keys.HOME, Keys.ENTER)
    page.wait("#place-title", "Bytes 0 to")
    to("#snapshot-name")
    press("chapter one", Keys.ENTER)
    page.wait("#snapshots", "chapter one: ")
    to("[aria-label='Fork: chapter one']")
    press(Keys.SPACE)
    page.wait("#title", "chapter one (fork)")
    to("#sessions")


def test_sessions_can_be_changed(page: Page, server: Server) -> None:
    first = server.session(metadata={"title": "First"})
    second = server.session(metadata={"title": "Second"})
    page.open(server.url, first)
    page.wait("#title", "First")
    wait_for(lambda: page.find("#sessions").get_attribute("value") == first, what="the list of sessions")
    Select(page.find("#sessions")).select_by_visible_text("Second")
    page.wait("#title", "Second")
    assert page.sid == second


def test_words_of_an_answer_are_shown_as_they_come(page: Page, server: Server, book: Path) -> None:
    sid = read_file(page, server, book)
    page.find("#mode").send_keys("from memory")
    page.driver.execute_script(SEEN)
    page.find("#question").send_keys("Who went?", Keys.ENTER)
    page.wait("#answers", "% sure")
    answer = server.ask(sid, "Who went?", mode="recall")
    words = [one for one in page.driver.execute_script("return seen") if one not in {"", "…"}]
    guess = answer["answer"] or answer["guess"]
    growing = [one for one in dict.fromkeys(words) if guess.startswith(one.strip())]
    assert len(growing) > 2, words
    assert growing == sorted(growing, key=len)


def test_pasted_text_is_read_with_focuses(page: Page, server: Server) -> None:
    page.open(server.url)
    page.driver.execute_script("document.querySelector('#pasted').value = arguments[0]", text(5000).decode())
    page.find("#focus").send_keys(f"{FOCUS}\nWho went?")
    page.press("Read")
    page.wait("#facts", "read: 5.0 kB")
    assert server.look(page.sid)["focus"] == [FOCUS, "Who went?"]


def test_nothing_to_read_is_told(page: Page, server: Server) -> None:
    page.open(server.url)
    page.press("Read")
    page.wait("#alert", "nothing to read")
    page.driver.execute_script("document.querySelector('#pasted').value = ' \\n '")
    page.press("Read")
    page.wait("#alert", "nothing to read")
    assert page.sid == ""


def test_a_session_that_is_not_there_shows_nothing_of_the_one_before(page: Page, server: Server, book: Path) -> None:
    read_file(page, server, book)
    page.driver.execute_script("location.hash = 'ses_none'")
    page.wait("#alert", "does not exist")
    assert not page.find("#session").is_displayed()
    assert page.driver.title == "rmt-server"


def test_a_file_that_is_no_text_is_told_and_not_asked_for_again(page: Page, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "bad.bin"
    file.write_bytes(b"ok \xff" + bytes(5000))
    page.open(server.url)
    page.find("#file").send_keys(str(file))
    page.press("Read")
    page.wait("#alert", "not UTF-8 at byte 3")
    wait_for(lambda: server.look(page.sid)["documents"] == 1 and page.find("#session").is_displayed())
    wait_for(lambda: server.look(page.sid)["status"] == "idle", what="the document to be ended")
    assert not page.find("#unfinished").is_displayed()
    assert page.driver.execute_script("return Object.keys(localStorage)") == []


def test_a_file_can_be_taken_back_and_a_double_click_begins_one_session(page: Page, server: Server, book: Path) -> None:
    page.open(server.url)
    page.find("#file").send_keys(str(book))
    assert not page.find("#pasted").is_enabled()
    page.press("Remove")
    assert page.text("#chosen") == ""
    page.find("#pasted").send_keys("Mary went home.")
    before = server.http.get("/v1/sessions?limit=1").json()["sessions"]
    page.driver.execute_script("const read = document.querySelector('#begin .main'); read.click(); read.click()")
    page.wait("#facts", "read: 15 bytes")
    assert page.text("#title") == "Mary went home."
    newest = [one["id"] for one in server.http.get("/v1/sessions?limit=2").json()["sessions"]]
    assert newest == [page.sid, *(one["id"] for one in before)]


def test_what_comes_late_is_not_shown_of_another_session(page: Page, server: Server, book: Path) -> None:
    first, second = server.read(book.read_bytes()), server.read(text(2000, seed=5))
    server.snapshot(first)
    page.open(server.url, first)
    drawn(page, server)
    page.wait("#snapshots", "snapshot: ")
    page.driver.execute_script(LATE, first)
    page.find("#picture").click()
    wait_for(lambda: page.driver.execute_script("return held") >= 1, what="the text to be held back")
    page.driver.execute_script("location.hash = arguments[0]", second)
    page.wait("#facts", "read: 2.0 kB")
    page.driver.execute_script("location.hash = arguments[0]", first)
    wait_for(lambda: page.driver.execute_script("return held") >= 2, what="the snapshots to be held back")
    page.driver.execute_script("location.hash = arguments[0]", second)
    page.wait("#facts", "read: 2.0 kB")
    wait_for(lambda: page.driver.execute_script("return late") >= 2, what="the answers that come late")
    assert f"{server.look(first)['tokens']:,} tokens" not in page.text("#snapshots")
    assert not page.find("#place").is_displayed()
    assert page.find("#sessions").get_attribute("value") == second
    assert page.text("#alert") == ""


def test_an_upload_is_remembered_though_the_server_is_busy(page: Page, server: Server) -> None:
    sid = server.session()
    document = server.open(sid).rpartition("/")[2]
    page.open(server.url)
    known = {"name": "book.txt", "size": 9, "documentId": document}
    page.driver.execute_script(BUSY, f"rmt-upload:{sid}", json.dumps(known))
    page.driver.execute_script("location.hash = arguments[0]", sid)
    page.wait("#alert", "Not now.")
    assert (
        json.loads(page.driver.execute_script("return localStorage.getItem(arguments[0])", f"rmt-upload:{sid}"))
        == known
    )
    page.driver.execute_script("location.reload()")
    page.wait("#unfinished-text", "book.txt was sent up to 0 bytes of 9 bytes")
    page.press("End the document here")
    wait_for(lambda: server.look(sid)["status"] == "idle", what="the document to be ended")
    assert not page.find("#unfinished").is_displayed()


def test_it_works_over_plain_http_from_another_machine(
    open_browser: Callable[..., Page], start_server: ServerFactory
) -> None:
    """Where a browser keeps some things from pages that nobody vouches for."""
    server = start_server(allowed_hosts="rmt.test,127.0.0.1")
    page = open_browser("--host-resolver-rules=MAP rmt.test 127.0.0.1")
    page.open(server.url.replace("127.0.0.1", "rmt.test"))
    assert not page.driver.execute_script("return isSecureContext")
    page.find("#pasted").send_keys("Mary went home.")
    page.press("Read")
    page.wait("#facts", "read: 15 bytes")


def test_a_question_is_answered_and_traced(page: Page, server: Server, book: Path) -> None:
    sid = read_file(page, server, book, FOCUS)
    page.find("#question").send_keys(FOCUS, Keys.ENTER)
    page.wait("#answers", "% sure")
    asked = server.ask(sid, FOCUS, mode="auto")
    said = page.find("#answers .said").get_attribute("textContent")
    assert said == (asked["answer"] or "I did not find this.")
    page.find("#mode").send_keys("from memory")
    page.find("#question").send_keys("Who went?", Keys.ENTER)
    wait_for(lambda: len(page.all("#answers > li meter")) == 2, what="the second answer")
    if asked["answer"] is not None:
        page.all("#answers > li")[-1].find_element(By.TAG_NAME, "button").click()
        found = server.http.post(
            f"/v1/sessions/{sid}/traces", json={"question": FOCUS, "answer": asked["answer"]}
        ).json()
        if found["bytes"] is None:
            page.wait("#answers", "No place in the text")
        else:
            start, stop = found["bytes"]
            page.wait("#place-title", f"Bytes {start:,} to {stop:,}")
            assert page.find("#place-text mark").text.strip() == found["excerpt"].strip()
            ends = [column["bytes"] for column in movements(server, sid)["columns"]]
            chosen = page.find("#picture").get_attribute("aria-valuenow")
            assert chosen == str(min(sum(end <= start for end in ends), len(ends) - 1))
            first, last = (sum(end <= byte for end in ends) for byte in (start, min(stop, ends[-1]) - 1))
            expected = [first / len(ends), (last + 1) / len(ends)]
            assert page.driver.execute_script(FRAMED) == pytest.approx(expected, abs=0.01)


def test_snapshots_are_taken_put_back_forked_and_travel(
    open_browser: Callable[..., Page], server: Server, book: Path, tmp_path: Path
) -> None:
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    page = open_browser(downloads=downloads)
    sid = read_file(page, server, book)
    page.find("#snapshot-name").send_keys("chapter one")
    page.press("Keep this memory")
    page.wait("#snapshots", "chapter one: ")
    page.press("Download: chapter one")
    file = downloads / "chapter one.safetensors"
    wait_for(file.exists, what="the download")
    (snapshot,) = server.http.get(f"/v1/sessions/{sid}/snapshots?limit=100").json()["snapshots"][:1]
    assert file.read_bytes() == server.content(snapshot["id"])
    page.find("#more-file").send_keys(str(book))
    page.wait("#facts", "read: 120 kB")
    page.press("Restore: chapter one")
    page.driver.switch_to.alert.accept()
    page.wait("#facts", "read: 60 kB")
    page.press("Fork: chapter one")
    page.wait("#title", "chapter one (fork)")
    assert page.sid != sid
    page.find("#snapshot-file").send_keys(str(file))
    page.wait("#title", "chapter one.safetensors")
    assert server.look(page.sid)["read_bytes"] == 60_000
    page.driver.get(f"{server.url}/#{sid}")
    page.wait("#title", book.name)
    page.press("Delete: chapter one")
    page.driver.switch_to.alert.accept()
    wait_for(lambda: "chapter one" not in page.text("#snapshots"), what="the snapshot to go")


def test_a_reload_in_the_middle_loses_nothing(page: Page, start_server: ServerFactory, book: Path) -> None:
    server = start_server(max_unread_bytes=8192)
    book.write_bytes(text(400_000))
    page.open(server.url)
    page.find("#file").send_keys(str(book))
    page.press("Read")
    page.wait("#title", "book.txt")
    sid = page.sid
    page.wait("#facts", "tokens/s")
    assert page.text("#told") == "Reading…"
    wait_for(lambda: server.look(sid)["read_bytes"] > 10_000, what="some of it to be read")
    page.driver.execute_script("location.reload()")
    if alert := _dialog(page):
        alert.accept()
    page.wait("#unfinished-text", "book.txt was sent up to")
    assert server.look(sid)["accepted_bytes"] < 400_000
    page.find("#resume-file").send_keys(str(book))
    page.wait("#facts", "read: 400 kB", 90)
    assert server.look(sid)["digest"] == digest_of(text(400_000))
    assert not page.find("#unfinished").is_displayed()


def digest_of(data: bytes) -> str:
    digest = StreamDigest()
    digest.update(data)
    return digest.hexdigest()


def _dialog(page: Page) -> object:
    try:
        return page.driver.switch_to.alert
    except Exception:
        return None


def test_a_restart_of_the_server_in_the_middle_loses_nothing(
    page: Page, start_process: ProcessFactory, book: Path
) -> None:
    first = start_process(max_unread_bytes=8192).wait_until_ready()
    port = int(first.url.rpartition(":")[2])
    book.write_bytes(text(200_000))
    page.open(first.url)
    page.find("#file").send_keys(str(book))
    page.press("Read")
    page.wait("#title", "book.txt")
    sid = page.sid
    wait_for(lambda: first.look(sid)["read_bytes"] > 5000, what="some of it to be read")
    assert first.stop(signal.SIGKILL) != 0
    page.wait("#health", "no connection")
    second = start_process(max_unread_bytes=8192, port=port).wait_until_ready()
    page.wait("#facts", "read: 200 kB", 90)
    page.wait("#health", "ready")
    assert second.look(sid)["digest"] == digest_of(text(200_000))


def test_a_key_is_asked_for(page: Page, start_server: ServerFactory) -> None:
    key, line = new_key("acme", "write")
    server = start_server(api_keys=line)
    page.open(server.url)
    page.wait("#key-title", "API key")
    page.find("#key").send_keys("rmt_wrong", Keys.ENTER)
    page.wait("#alert", "key")
    page.wait("#key-title", "API key")
    page.find("#key").clear()
    page.find("#key").send_keys(key, Keys.ENTER)
    page.wait("#sessions", "No sessions yet")
    page.driver.execute_script("document.querySelector('#pasted').value = 'Mary went home.'")
    page.press("Read")
    page.wait("#facts", "read: 15 bytes")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 360])
def test_everybody_can_use_it(
    page: Page, server: Server, book: Path, node_modules: Path, scheme: str, width: int
) -> None:
    """No complaint of axe, nothing beyond the edge of a narrow screen, in light and dark."""
    page.look(scheme, width)
    page.open(server.url)
    assert page.complaints(node_modules) == "[]"
    read_file(page, server, book, f"{FOCUS}\nWho went?")
    page.find("#question").send_keys(FOCUS, Keys.ENTER)
    page.wait("#answers", "% sure")
    page.press("Keep this memory")
    page.wait("#snapshots", "tokens in")
    drawn(page, server).click()
    page.wait("#place-title", "Bytes ")
    assert page.complaints(node_modules) == "[]"
    assert page.driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_the_page_loads_nothing_from_elsewhere(page: Page, server: Server) -> None:
    page.open(server.url)
    loaded = page.driver.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert loaded
    assert all(one.startswith(server.url) for one in loaded)
    answer = server.http.get("/")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert server.http.get("/web/../app.py").status_code == 404
    assert server.http.get("/web/none.js").status_code == 404
