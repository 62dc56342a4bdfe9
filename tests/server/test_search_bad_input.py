"""Search and answers with bad questions, bad documents, and an index folder that is full, read-only or damaged.

Run: pytest tests/server/test_search_bad_input.py. The folder tests mount a small file system, as root on Linux.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving import ProcessFactory, Server, ServerProcess

FILLER = "The old garden was quiet and nobody came along the path for a long time. "
LION = "The lion is here. "
MOST_S = 20.0
"""Longer than anything here takes on a busy machine; a call that hangs fails."""


def found(api: Any, sid: str, query: str) -> list[dict[str, Any]]:
    """What a search finds; each passage is what the session's text holds at its place."""
    answer = api.http.post(f"/v1/sessions/{sid}/search", json={"query": query, "limit": 20}, timeout=MOST_S)
    assert answer.status_code == 200, answer.text
    for one in answer.json()["passages"]:
        params = {"start": one["start"], "end": one["end"]}
        assert api.http.get(f"/v1/sessions/{sid}/text", params=params).json()["text"] == one["text"]
    return list(answer.json()["passages"])


def asked(api: Any, sid: str, question: str) -> tuple[int, str]:
    """The status of an answer, and its outcome or the problem."""
    body = {"question": question, "mode": "search"}
    answer = api.http.post(f"/v1/sessions/{sid}/answers", json=body, timeout=MOST_S)
    if answer.status_code != 200:
        return answer.status_code, str(answer.json()["type"]).rpartition(":")[2]
    (only,) = answer.json()["answers"]
    for one in only["citations"]:
        params = {"start": one["start"], "end": one["end"]}
        assert api.http.get(f"/v1/sessions/{sid}/text", params=params).json()["text"] == one["quote"]
    return 200, str(only["outcome"])


# ---------------------------------------------------------------------------- questions


@pytest.fixture(scope="module")
def read(pointing: Server) -> str:
    """A session that has read an English text."""
    sid = pointing.session()
    pointing.send(sid, (FILLER * 100 + LION + FILLER * 100).encode(), wait=True)
    return sid


@pytest.mark.parametrize(
    "question",
    [
        "who is it and what was the",
        "Is it?",
        "the",
        "Где находится лев?",
        "獅子はどこにいますか",
        "أين الأسد؟",
        "Où est le lion ?",
        "🦁?",
        "?!",
        "a\x00b",
    ],
)
def test_a_question_that_finds_little_is_answered_all_the_same(pointing: Server, read: str, question: str) -> None:
    status, outcome = asked(pointing, read, question)
    assert (status, outcome in ("answered", "not_found")) == (200, True), (status, outcome)
    assert asked(pointing, read, "Where is the lion?")[0] == 200


@pytest.mark.parametrize("question", ["lion " * 2000, "x" * 10_000, "獅子" * 5000, "?" * 10_000, "\u0301" * 10_000])
def test_a_question_of_ten_thousand_characters_is_refused_and_still_looked_up(
    pointing: Server, read: str, question: str
) -> None:
    assert asked(pointing, read, question) == (422, "question-too-long")
    answer = pointing.http.post(f"/v1/sessions/{read}/search", json={"query": question}, timeout=MOST_S)
    problem = answer.json().get("type", "").rpartition(":")[2]
    assert (answer.status_code, problem) in ((200, ""), (422, "empty-question"), (422, "question-too-long"))
    assert bool(answer.json().get("passages")) == question.startswith("lion")


# ---------------------------------------------------------------------------- documents


def words(seed: int, size: int) -> str:
    """One line of random words."""
    drawn = random.Random(seed)
    return " ".join(f"w{drawn.randrange(5000)}" for _ in range(size // 6))


DOCUMENTS: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "white space": lambda: " \n\t\r\n" * 40_000,
    "no spaces": lambda: random.Random(3).randbytes(200_000).hex(),
    "one letter": lambda: "x" * 400_000,
    "one line": lambda: words(1, 400_000),
    "punctuation": lambda: "?!.-" * 100_000,
    "accents alone": lambda: "\u0301" * 100_000,
    "zeros": lambda: "\x00" * 200_000,
    "no spaces, Chinese": lambda: "鑰匙在花園裡" * 20_000,
    "every letter a sentence": lambda: "x. " * 100_000,
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_strange_document_is_kept_and_hides_no_other(pointing: Server, kind: str) -> None:
    server, text = pointing, DOCUMENTS[kind]()
    sid = server.session()
    document = server.send(sid, text.encode())
    server.send(sid, (FILLER * 20 + LION).encode())
    assert LION.strip() in found(server, sid, "lion")[0]["text"]
    for query in (text[:40], text[1000:1040]):
        if any(char.isalnum() for char in query):
            found(server, sid, query)
    status, outcome = asked(server, sid, "Where is the lion?")
    assert (status, outcome in ("answered", "not_found")) == (200, True), (status, outcome)
    kept = server.http.get(f"/v1/sessions/{sid}/text", params={"start": 0, "end": min(1000, len(text.encode()))})
    assert kept.status_code == 200
    assert text.startswith(kept.json()["text"])
    assert server.look(sid)["accepted_bytes"] == document["start"] + len(text.encode()) + len(FILLER * 20 + LION)
    server.http.delete(f"/v1/sessions/{sid}")


# ---------------------------------------------------------------------------- the folder of the indexes


def indexed(process: ServerProcess, size: int = 60) -> tuple[str, str]:
    """A session that was searched, and its open document."""
    sid = process.session()
    document = process.open(sid, (FILLER * size + LION).encode())
    assert "lion" in found(process, sid, "lion")[0]["text"]
    return sid, document


def goes_on(process: ServerProcess, sid: str, document: str) -> None:
    """What was accepted is found; so is what is appended now."""
    assert "lion" in found(process, sid, "lion")[0]["text"]
    offset = int(process.http.head(document).headers["Upload-Offset"])
    more = f"The tiger{offset} is here. {FILLER * 30}".encode()
    assert process.append(document, more, offset).status_code == 204
    assert f"tiger{offset}" in found(process, sid, f"tiger{offset}")[0]["text"]
    assert "lion" in found(process, sid, "lion")[0]["text"]
    assert process.process.poll() is None


def cut_short(file: Path, rng: random.Random) -> None:
    os.truncate(file, rng.randrange(file.stat().st_size + 1))


def emptied(file: Path, rng: random.Random) -> None:
    os.truncate(file, 0)


def flipped(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(min(len(data), 20)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    with file.open("r+b") as opened:  # the server maps these bytes
        opened.write(data)


def zeroed(file: Path, rng: random.Random) -> None:
    with file.open("r+b") as opened:
        opened.write(bytes(file.stat().st_size))


def swapped(file: Path, rng: random.Random) -> None:
    other = rng.choice([one for one in file.parent.iterdir() if one.is_file()])
    ours, theirs = file.read_bytes(), other.read_bytes()
    file.write_bytes(theirs)
    other.write_bytes(ours)


def deleted(file: Path, rng: random.Random) -> None:
    file.unlink()


def replaced(file: Path, rng: random.Random) -> None:
    file.unlink()
    file.mkdir()


def longer(file: Path, rng: random.Random) -> None:
    with file.open("ab") as opened:
        opened.write(rng.randbytes(5000))


DAMAGES = (cut_short, emptied, flipped, zeroed, swapped, deleted, replaced, longer)


def test_no_damage_of_index_files_ends_the_server_or_hides_text(start_process: ProcessFactory, tmp_path: Path) -> None:
    """The files are mapped: one that is cut short ends a process that looks behind its end."""
    process = start_process(search_dir=tmp_path / "search").wait_until_ready()
    rng = random.Random(7)
    sid, document = indexed(process)
    for damage in DAMAGES * 2:
        (folder,) = [one for one in (tmp_path / "search").glob("process-*/*") if one.is_dir()]
        files = sorted(one for one in folder.iterdir() if one.is_file() and one.stat().st_size)
        for file in files if rng.random() < 0.5 else [rng.choice(files)]:
            if file.is_file():
                damage(file, rng)
        goes_on(process, sid, document)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_on_a_full_disk_indexes_are_kept_in_memory(start_process: ProcessFactory, small_disk: Path) -> None:
    process = start_process(search_dir=small_disk).wait_until_ready()
    sid, document = indexed(process)
    room = shutil.disk_usage(small_disk).free
    (small_disk / "other").write_bytes(bytes(room))
    assert shutil.disk_usage(small_disk).free == 0
    goes_on(process, sid, document)
    goes_on(process, *indexed(process))
    (small_disk / "other").unlink()
    goes_on(process, sid, document)
    large = process.session()
    process.send(large, (words(2, 4_000_000) + " . " + LION).encode())
    assert "lion" in found(process, large, "lion")[0]["text"], "its index is larger than the disk"
    assert process.log.read_text().count("in its folder is broken") >= 2


def test_in_a_folder_that_became_read_only_indexes_are_kept_in_memory(
    start_process: ProcessFactory, small_disk: Path
) -> None:
    process = start_process(search_dir=small_disk).wait_until_ready()
    sid, document = indexed(process)
    (folder,) = small_disk.glob("process-*")
    for how in (["--bind", folder, folder], ["-o", "remount,bind,ro", folder]):  # a file in it is open for writing
        subprocess.run(["mount", *how], check=True)
    goes_on(process, sid, document)
    goes_on(process, *indexed(process))


def test_a_folder_that_is_read_only_from_the_beginning_keeps_nothing_from_working(
    start_process: ProcessFactory, small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    process = start_process(search_dir=small_disk).wait_until_ready()
    goes_on(process, *indexed(process))
