"""Search over HTTP and on a real Redis: what is found, where it stands, and what is followed.

Run: pytest tests/server/test_search.py. What becomes of damaged, full and old indexes is in test_search_indexes.py.
"""

import random
import signal
from collections.abc import Callable
from typing import Any

import pytest
from tests.serving import ProcessFactory, Server, ServerFactory, cut, wait_for

FILLER = "The old garden was quiet and nobody came along the path for a long time. "


def search(api: Any, sid: str, query: str, **more: Any) -> list[dict[str, Any]]:
    answer = api.http.post(f"/v1/sessions/{sid}/search", json={"query": query, **more})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["passages"])


def refusal(api: Any, sid: str, **body: Any) -> tuple[int, str]:
    answer = api.http.post(f"/v1/sessions/{sid}/search", json=body)
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def story(sentence: str, before: int = 60, after: int = 60) -> bytes:
    return (FILLER * before + sentence + " " + FILLER * after).encode()


def test_a_passage_says_where_it_stands(server: Server) -> None:
    sid = server.session()
    first = server.send(sid, story("Ä short one."))
    second = server.send(sid, story("The brass key of Zürich lies beneath the third stone."))
    found = search(server, sid, "Where is the key of Zurich?", limit=3)
    assert 1 <= len(found) <= 3
    best = found[0]
    assert "brass key of Zürich" in best["text"]
    assert best["document_id"] == second["id"]
    assert best["document"] is best["page"] is best["section"] is None
    assert best["score"] == max(one["score"] for one in found)
    for one in found:
        params = {"start": one["start"], "end": one["end"]}
        kept = server.http.get(f"/v1/sessions/{sid}/text", params=params).json()
        assert kept == {"start": one["start"], "end": one["end"], "text": one["text"]}
        document = first if one["document_id"] == first["id"] else second
        data = (
            story("Ä short one.")
            if document is first
            else story("The brass key of Zürich lies beneath the third stone.")
        )
        assert data.decode()[one["start_char"] : one["end_char"]] == one["text"]
        assert document["start"] <= one["start"] < one["end"] <= document["start"] + len(data)


def test_only_the_wanted_documents_are_searched(server: Server) -> None:
    sid = server.session()
    documents = [server.send(sid, story(f"The lion sleeps in room {number}."))["id"] for number in range(3)]
    assert {one["document_id"] for one in search(server, sid, "lion")} == set(documents)
    for wanted in ([documents[1]], documents[::2], [documents[0], documents[0]]):
        assert {one["document_id"] for one in search(server, sid, "lion", documents=wanted)} == set(wanted)
    empty = server.send(sid, b"")["id"]
    assert search(server, sid, "lion", documents=[empty]) == []
    assert refusal(server, sid, query="lion", documents=["doc_none"]) == (404, "document-not-found")


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("钥匙在花园里的第三块石头下面。", "钥匙在哪里？", "钥匙"),
        ("鍵は庭の三番目の石の下にあります。", "鍵はどこですか", "鍵"),
        ("열쇠는 정원의 돌 아래에 있다.", "열쇠가 어디에 있습니까?", "열쇠"),
        ("चाबी बगीचे में तीसरे पत्थर के नीचे है।", "चाबी कहाँ है?", "चाबी"),
        ("הַמַּפְתֵּחַ מוּנָח מִתַּחַת לָאֶבֶן.", "המפתח", "מַּפְתֵּחַ"),
        ("Der Schlüssel liegt unter dem dritten Stein.", "Wo liegt der Schlüssel?", "Schlüssel"),
        ("Ключ лежит под третьим камнем.", "Где ключ?", "Ключ"),
        ("The running foxes were jumping.", "Which fox jumps and runs?", "foxes"),
        ("error code E-4711 in module max_unread_bytes", "What is E-4711?", "4711"),
    ],
)
def test_every_language_is_found(server: Server, text: str, query: str, expected: str) -> None:
    sid = server.session()
    server.send(sid, story(text, 100, 100))
    found = search(server, sid, query, limit=1)
    assert found
    assert expected in found[0]["text"]


@pytest.mark.parametrize("query", ['"phrase', "a AND (b", "words:x", "start:[0 TO 9]", "*", "key~2^9", "\\", "\x00key"])
def test_a_query_has_no_syntax(server: Server, query: str) -> None:
    sid = server.session()
    server.send(sid, story("The key is a phrase of words to start with x or b."))
    answer = server.http.post(f"/v1/sessions/{sid}/search", json={"query": query})
    if any(char.isalnum() for char in query):
        assert answer.status_code == 200
        assert answer.json()["passages"]
    else:
        assert answer.json()["type"].endswith("empty-question")


def test_what_cannot_be_searched_for(server: Server) -> None:
    sid = server.session()
    assert server.http.post(f"/v1/sessions/{sid}/search", json={"query": "x"}).json() == {"passages": [], "position": 0}
    server.send(sid, story("The key is here."))
    for query in ("", "  ", "?!"):
        assert refusal(server, sid, query=query) == (422, "empty-question")
    assert search(server, sid, "who is it")
    assert search(server, sid, "zebra crossing unicorn") == []
    assert search(server, sid, "key " * 2500)[0]["text"].count("key")
    assert refusal(server, sid, query="key " * 5000) == (422, "question-too-long")
    for body in ({}, {"query": 1}, {"query": "x", "limit": 0}, {"query": "x", "limit": 101}, {"query": "x", "more": 1}):
        assert refusal(server, sid, **body)[0] == 422
    assert refusal(server, sid, query="x", documents=[])[0] == 422
    assert refusal(server, "ses_none", query="x") == (404, "session-not-found")
    assert len(search(server, sid, "garden", limit=100)) > 1


def test_without_all_of_the_text_nothing_is_searched(server: Server) -> None:
    forgetful = server.read(story("The key is here."), keep_text=False)
    assert refusal(server, forgetful, query="key") == (409, "text-not-kept")
    sid = server.read(story("The key is here."))
    snapshot = server.snapshot(sid)
    fork = server.session(from_snapshot=snapshot)
    assert refusal(server, fork, query="key") == (409, "text-not-kept")
    assert search(server, sid, "key")
    assert server.http.post(f"/v1/sessions/{sid}/restore", json={"snapshot": snapshot}).is_success
    assert refusal(server, sid, query="key") == (409, "text-not-kept")


def test_a_restore_to_the_beginning_begins_a_new_text(server: Server) -> None:
    sid = server.session()
    empty = server.snapshot(sid)
    server.send(sid, story("The lion is here."), wait=True)
    assert search(server, sid, "lion")
    assert server.http.post(f"/v1/sessions/{sid}/restore", json={"snapshot": empty}).is_success
    assert search(server, sid, "lion") == []
    server.send(sid, story("The tiger is here, in a text that is longer than the one before.", 70, 70), wait=True)
    assert search(server, sid, "lion") == []
    assert "tiger" in search(server, sid, "tiger")[0]["text"]


def test_growth_is_followed_at_once_and_ends_as_the_whole(server: Server) -> None:
    source = random.Random(3)
    things = ["lamp", "key", "chair"]
    sentences = [f"Room {number} holds the {source.choice(things)} of Berta." for number in range(300)]
    data = " ".join(sentences).encode() + "花园。".encode() * 50
    grown, whole = server.session(), server.session()
    server.send(whole, data)
    document, sent = server.open(grown), 0
    for piece in cut(data, 7, 400, 1500, 31):
        assert server.append(document, piece, sent, complete=sent + len(piece) == len(data)).is_success
        sent += len(piece)
        answer = server.http.post(f"/v1/sessions/{grown}/search", json={"query": "Berta 花园"}).json()
        assert sent - 3 < answer["position"] <= sent
        said = data[: answer["position"]].decode()
        assert all(said[one["start_char"] : one["end_char"]] == one["text"] for one in answer["passages"])
    places = [
        sorted((one["start"], one["end"]) for one in search(server, sid, "room 花园 berta", limit=100))
        for sid in (grown, whole)
    ]
    assert places[0] == places[1]
    assert len(places[0]) > 5


def test_it_does_not_wait_for_reading_unless_it_is_told_to(
    start_server: ServerFactory, engine: Any, throttle: Any
) -> None:
    server = start_server(engine, answer_wait_s=5.0)
    throttle.open.clear()
    sid = server.session()
    server.send(sid, story("The key is here."))
    assert search(server, sid, "key")
    assert server.look(sid)["read_bytes"] < server.look(sid)["accepted_bytes"]
    throttle.open.set()
    assert search(server, sid, "key", wait=True)
    assert server.look(sid)["status"] == "idle"


def test_a_cancelled_upload_may_end_within_a_character(server: Server) -> None:
    sid = server.session()
    document = server.open(sid, story("The key is in the garden of Zü", 20, 0)[:-2])
    assert server.http.delete(document).is_success
    server.send(sid, story("Ünder the lion.", 0, 20))
    for one in search(server, sid, "key lion garden", limit=100):
        params = {"start": one["start"], "end": one["end"]}
        assert server.http.get(f"/v1/sessions/{sid}/text", params=params).json()["text"] == one["text"]
    assert search(server, sid, "under lion")[0]["start_char"] == 0


def test_one_line_of_five_million_bytes(start_server: ServerFactory) -> None:
    server = start_server(max_unread_bytes=1 << 24, max_rereads=1)
    sid = server.session()
    words = random.Random(5).choices([f"w{number}" for number in range(5000)], k=850_000)
    words[600_000] = "needle"
    data = " ".join(words).encode()[:5_000_000]
    server.send(sid, data)
    found = search(server, sid, "needle")[0]
    assert data[found["start"] : found["end"]].decode() == found["text"]
    assert len(found["text"]) <= 1500
    assert server.metric("rmt_search_builds_total") == 1


def test_a_restart_and_two_processes_find_the_same(start_process: ProcessFactory, tmp_path: Any) -> None:
    one = start_process(search_dir=tmp_path / "search").wait_until_ready()
    sid = one.session()
    one.send(sid, story("The key is here."))
    found = search(one, sid, "key garden")
    other = start_process(search_dir=tmp_path / "search").wait_until_ready()
    assert search(other, sid, "key garden") == found
    other.send(sid, story("The zebra is here."))
    assert "zebra" in search(one, sid, "zebra")[0]["text"]
    assert len(list((tmp_path / "search").glob("process-*"))) == 2
    one.process.kill()
    one.process.wait()
    assert other.stop(signal.SIGTERM) == 0
    assert len(list((tmp_path / "search").glob("process-*"))) == 1
    again = start_process(search_dir=tmp_path / "search").wait_until_ready()
    assert "zebra" in search(again, sid, "zebra")[0]["text"]
    wait_for(lambda: len(list((tmp_path / "search").glob("process-*"))) == 1, what="the killed one's to go")


def test_many_searches_at_once_share_an_index(start_server: ServerFactory) -> None:
    from concurrent.futures import ThreadPoolExecutor

    server = start_server()
    sid = server.session()
    server.send(sid, story("The key is here.", 3000, 3000))
    with ThreadPoolExecutor(8) as callers:
        found = list(callers.map(lambda _: search(server, sid, "key"), range(16)))
    assert all(one == found[0] for one in found)
    assert server.metric("rmt_search_builds_total") == 1
    assert server.metric("rmt_searches_total") == 16


def test_deleted_sessions_leave_no_index(
    start_server: Callable[..., Server], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rmt_server.search.indexes._SWEEP_S", 0.1)
    server = start_server(search_dir=tmp_path)
    sid = server.session()
    server.send(sid, story("The key is here."))
    assert search(server, sid, "key")
    (process,) = tmp_path.glob("process-*")
    assert [one.name for one in process.iterdir() if one.is_dir()] == ["0"]
    assert server.http.delete(f"/v1/sessions/{sid}").is_success
    assert refusal(server, sid, query="key") == (404, "session-not-found")
    wait_for(lambda: not [one for one in process.iterdir() if one.is_dir()], what="its index to go")
