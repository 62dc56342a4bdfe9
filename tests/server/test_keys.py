"""API keys as they are kept: the lines that list them, the file that is followed, and what is refused."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import pytest

from rmt_server import auth
from rmt_server.auth import PUBLIC, KeyRing, new_key
from rmt_server.cli import main
from rmt_server.errors import MissingScopeError, StartupError, UnauthorizedError
from rmt_server.settings import Settings

HASH = hashlib.sha256(b"some key").hexdigest()


def bearer(key: str) -> list[str]:
    return [f"Bearer {key}"]


def listed(text: str) -> KeyRing:
    return KeyRing(None, text)


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ("read", {"read"}),
        ("write", {"read", "write"}),
        ("read,write", {"read", "write"}),
        ("admin", {"read", "write", "admin"}),
        ("admin,read", {"read", "write", "admin"}),
    ],
)
def test_a_new_key_opens_what_its_line_says(scopes: str, allowed: set[str]) -> None:
    key, line = new_key("acme", scopes)
    assert re.fullmatch(r"rmt_[\w-]{43}", key, re.ASCII)
    assert hashlib.sha256(key.encode()).hexdigest() in line
    caller = listed(line).caller(bearer(key))
    assert (caller.tenant, caller.scopes) == ("acme", allowed)
    assert line.partition("sha256:")[2].startswith(caller.key_id)


def test_each_scope_includes_those_before_it_and_no_more() -> None:
    key, line = new_key("acme", "write")
    caller = listed(line).caller(bearer(key))
    caller.require("read")
    caller.require("write")
    with pytest.raises(MissingScopeError, match="admin"):
        caller.require("admin")


def test_new_keys_differ() -> None:
    assert len({new_key("a", "read")[0] for _ in range(100)}) == 100


def test_without_keys_everybody_is_the_public_tenant() -> None:
    ring = listed("")
    assert not ring.asks
    assert ring.caller([]) == ring.caller(bearer("anything")) == PUBLIC
    assert (PUBLIC.tenant, PUBLIC.scopes) == ("public", {"read", "write", "admin"})


def test_lines_may_have_comments_and_stand_in_one_line() -> None:
    (one, first), (two, second) = new_key("a", "read"), new_key("b", "write")
    for text in (f"# keys\n\n  {first}  # of Anna\n{second}\n", f"{first};{second}", f" {first} ; {second} # ;"):
        assert [listed(text).caller(bearer(key)).tenant for key in (one, two)] == ["a", "b"]


def test_the_scheme_is_read_in_any_case() -> None:
    key, line = new_key("a", "read")
    ring = listed(line)
    for value in (f"bearer {key}", f"BEARER  {key} "):
        assert ring.caller([value]).tenant == "a"


@pytest.mark.parametrize(
    "authorization",
    [
        lambda key: [],
        lambda key: [""],
        lambda key: ["Bearer"],
        lambda key: ["Bearer "],
        lambda key: [key],
        lambda key: [f"Basic {key}"],
        lambda key: [f"Bearer {key[:-1]}"],
        lambda key: [f"Bearer {key}x"],
        lambda key: [f"Bearer {key} {key}"],
        lambda key: [f"Bearer {key.upper()}"],
        lambda key: [f"Bearer {hashlib.sha256(key.encode()).hexdigest()}"],
        lambda key: [f"Bearer {key}", f"Bearer {key}"],
        lambda key: [f"Bearer {new_key('a', 'read')[0]}"],
        lambda key: ["Bearer \xe9"],
    ],
)
def test_another_key_is_unauthorized(authorization: Any) -> None:
    key, line = new_key("a", "read")
    with pytest.raises(UnauthorizedError):
        listed(line).caller(authorization(key))


def test_a_secret_of_another_form_opens_nothing_although_its_hash_is_listed() -> None:
    with pytest.raises(UnauthorizedError):
        listed(f"a read sha256:{HASH}").caller(bearer("some key"))
    with pytest.raises(UnauthorizedError):
        listed(f"a read sha256:{HASH}").caller(bearer("some"))


def test_every_listed_key_is_compared_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [new_key(f"t{number}", "read") for number in range(20)]
    ring = listed("\n".join(line for _, line in made))
    compared: list[bytes] = []
    plain = auth.hmac.compare_digest
    monkeypatch.setattr(auth.hmac, "compare_digest", lambda a, b: compared.append(a) or plain(a, b))
    for key in (made[0][0], made[-1][0]):
        compared.clear()
        ring.caller(bearer(key))
        assert len(compared) == 20
    compared.clear()
    with pytest.raises(UnauthorizedError):
        ring.caller(bearer("rmt_" + "a" * 43))
    assert len(compared) == 20


# ---------------------------------------------------------------------------- what is wrong with a list

KEY = "rmt_" + "k" * 43


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("acme", "a line is"),
        ("acme read", "a line is"),
        (f"acme read sha256:{HASH} more", "a line is"),
        (f"acme read, write sha256:{HASH}", "a line is"),
        (f"a:b read sha256:{HASH}", "a tenant has"),
        (f"{{a}} read sha256:{HASH}", "a tenant has"),
        (f"{'a' * 129} read sha256:{HASH}", "a tenant has"),
        (f"acme owner sha256:{HASH}", "scopes are read, write, admin"),
        (f"acme read,,write sha256:{HASH}", "scopes are"),
        (f"acme , sha256:{HASH}", "scopes are"),
        (f"acme READ sha256:{HASH}", "scopes are"),
        (f"acme read {HASH}", "a hash is"),
        ("acme read sha256:", "a hash is"),
        (f"acme read sha256:{HASH[:-1]}", "a hash is"),
        (f"acme read sha256:{HASH}0", "a hash is"),
        (f"acme read md5:{HASH}", "a hash is"),
        ("acme read sha256:" + "0" * 64, "a hash is"),
        ("acme read sha256:" + "deadbeef" * 8, "a hash is"),
        ("acme read sha256:" + hashlib.sha256().hexdigest(), "a hash is"),
        (f"acme read {KEY}", "this is a key itself"),
        (KEY, "this is a key itself"),
    ],
)
def test_a_malformed_line_is_refused_by_its_number_and_not_shown(line: str, complaint: str) -> None:
    with pytest.raises(StartupError, match=f"RMT_API_KEYS, line 3: {complaint}") as caught:
        listed(f"# first\n\n{line}\n")
    for secret in (KEY, HASH, "md5", "owner"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("text", [" ", "\n", "# nothing", ";"])
def test_a_list_without_a_key_is_refused(text: str) -> None:
    with pytest.raises(StartupError, match="list no key"):
        listed(text)


def test_a_key_is_listed_once(tmp_path: Path) -> None:
    _, line = new_key("a", "read")
    with pytest.raises(StartupError, match="twice"):
        listed(f"{line}\n{line.replace('a read', 'b admin')}")
    file = written(tmp_path / "keys", line)
    with pytest.raises(StartupError, match="twice"):
        KeyRing(file, line)


def test_a_thousand_keys_and_no_more() -> None:
    lines = [f"a read sha256:{hashlib.sha256(bytes([n % 256, n // 256])).hexdigest()}" for n in range(1001)]
    listed("\n".join(lines[:1000]))
    with pytest.raises(StartupError, match="1001 API keys are listed; the limit is 1000"):
        listed("\n".join(lines))


# ---------------------------------------------------------------------------- the file


def written(file: Path, *lines: str, mode: int = 0o600) -> Path:
    """The file, replaced at once."""
    new = file.with_suffix(".new")
    new.write_text("\n".join(lines))
    new.chmod(mode)
    new.replace(file)
    return file


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock: what stands there is the time."""
    clock = [100.0]
    monkeypatch.setattr(auth.time, "monotonic", lambda: clock[0])
    return clock


def test_a_changed_file_is_followed_within_a_second(tmp_path: Path, seconds: list[float]) -> None:
    (old, old_line), (new, new_line) = new_key("a", "read"), new_key("a", "write")
    ring = KeyRing(written(tmp_path / "keys", old_line), "")
    written(tmp_path / "keys", new_line)
    seconds[0] += 0.99
    assert ring.caller(bearer(old)).tenant == "a", "the file is looked at once a second"
    seconds[0] += 0.02
    assert ring.caller(bearer(new)).scopes == {"read", "write"}
    with pytest.raises(UnauthorizedError):
        ring.caller(bearer(old))


def test_keys_of_the_environment_stay_beside_those_of_the_file(tmp_path: Path, seconds: list[float]) -> None:
    (fixed, fixed_line), (key, line) = new_key("a", "read"), new_key("b", "read")
    ring = KeyRing(written(tmp_path / "keys", line), fixed_line)
    written(tmp_path / "keys", "# all revoked")
    seconds[0] += 2
    assert ring.caller(bearer(fixed)).tenant == "a"
    with pytest.raises(UnauthorizedError):
        ring.caller(bearer(key))


def test_a_file_without_a_key_lets_nobody_in(tmp_path: Path, seconds: list[float]) -> None:
    key, line = new_key("a", "read")
    ring = KeyRing(written(tmp_path / "keys", line), "")
    written(tmp_path / "keys", "")
    seconds[0] += 2
    for authorization in ([], bearer(key)):
        with pytest.raises(UnauthorizedError):
            ring.caller(authorization)


@pytest.mark.parametrize("damage", ["a line", "gone", "a directory", "writable", "not UTF-8", "large"])
def test_a_broken_file_keeps_the_keys_from_before_and_is_warned_of_once(
    tmp_path: Path, seconds: list[float], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    key, line = new_key("a", "read")
    file = written(tmp_path / "keys", line)
    ring = KeyRing(file, "")
    if damage == "gone":
        file.unlink()
    elif damage == "a directory":
        file.unlink()
        file.mkdir()
    elif damage == "not UTF-8":
        file.write_bytes(b"\xff")
    else:
        broken = {"a line": "a read", "writable": line, "large": line + "\n" * (1 << 20)}[damage]
        written(file, broken, mode=0o606 if damage == "writable" else 0o600)
    for _ in range(3):
        seconds[0] += 2
        assert ring.caller(bearer(key)).tenant == "a"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the keys from before stay" in caplog.text
    if damage == "a directory":
        file.rmdir()
    written(file, "")
    seconds[0] += 2
    with pytest.raises(UnauthorizedError):
        ring.caller(bearer(key))


def test_a_file_that_anybody_may_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    KeyRing(written(tmp_path / "keys", new_key("a", "read")[1], mode=0o640), "").announce()
    assert caplog.text == ""
    KeyRing(written(tmp_path / "keys", new_key("a", "read")[1], mode=0o644), "").announce()
    assert "anybody may read" in caplog.text


# ---------------------------------------------------------------------------- settings and command


def test_keys_are_a_reason_to_listen_beyond_loopback(tmp_path: Path) -> None:
    _, line = new_key("a", "read")
    assert Settings(host="0.0.0.0", api_keys=line).key_ring().asks
    assert Settings(host="0.0.0.0", api_keys_file=written(tmp_path / "keys", line)).key_ring().asks
    with pytest.raises(ValueError, match="RMT_API_KEYS_FILE"):
        Settings(host="0.0.0.0")


def test_settings_do_not_show_keys() -> None:
    _, line = new_key("a", "read")
    settings = Settings(api_keys=line)
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert line.partition("sha256:")[2] not in shown


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("RMT_API_KEYS", "acme read", "RMT_API_KEYS, line 1: a line is"),
        ("RMT_API_KEYS", " ", "list no key"),
        ("RMT_API_KEYS_FILE", "/nowhere/keys", "/nowhere/keys cannot be read: No such file"),
        ("RMT_API_KEYS_FILE", os.devnull, "anybody may write to"),
    ],
)
def test_a_server_with_a_broken_list_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)
    assert main(["serve"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert complaint in err


def test_the_command_shows_a_new_key_once_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "--tenant", "acme", "--scopes", "read,admin"]) == 0
    key, line = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    assert listed(line).caller(bearer(key)).tenant == "acme"
    assert key not in line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["--tenant", "a:b"], "a tenant has"), (["--tenant", "a", "--scopes", "owner"], "scopes are")],
)
def test_no_key_is_made_of_wrong_words(
    capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert main(["keys", "new", *arguments]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert complaint in err
