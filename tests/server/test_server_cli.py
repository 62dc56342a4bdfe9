"""`rmt-server`: what is wrong with a setting or a checkpoint is one sentence and exit code 1."""

from pathlib import Path

import pytest

from rmt_server.cli import main
from rmt_server.settings import Settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"RMT_{name.upper()}", raising=False)


@pytest.mark.parametrize(
    ("arguments", "environment", "complaint"),
    [
        (["--host", "0.0.0.0"], {}, "RMT_ALLOW_PUBLIC"),
        (["--port", "x"], {}, "RMT_PORT"),
        (["--port", "70000"], {}, "RMT_PORT"),
        (["--device", "tpu"], {}, "RMT_DEVICE"),
        ([], {"RMT_DTYPE": "float8"}, "RMT_DTYPE"),
        ([], {"RMT_LEASE_S": "0"}, "RMT_LEASE_S"),
        ([], {"RMT_MAX_UNREAD_BYTES": "-1"}, "RMT_MAX_UNREAD_BYTES"),
        (["--checkpoint", "no-such"], {"RMT_REDIS_URL": "redis://127.0.0.1:9"}, "no checkpoint no-such"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: dict[str, str],
    complaint: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["serve", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rmt-server: ")
    assert complaint in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_every_setting_is_described_and_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(field.description for field in Settings.model_fields.values())
    monkeypatch.setenv("RMT_MAX_READINGS", "3")
    assert Settings().max_readings == 3
    assert Settings(host="0.0.0.0", allow_public=True).host == "0.0.0.0"


def test_the_url_of_redis_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "redis_url"
    file.write_text("redis://:secret@redis:6379/0\n")
    assert Settings(redis_url_file=file).redis_url.get_secret_value() == "redis://:secret@redis:6379/0"
    assert Settings(redis_url="", redis_url_file=file).redis_url.get_secret_value().endswith("@redis:6379/0")
    assert Settings(redis_url_file="").redis_url.get_secret_value() == ""
    with pytest.raises(ValueError, match="both set"):
        Settings(redis_url="redis://other", redis_url_file=file)
    file.write_text("http://redis")
    with pytest.raises(ValueError, match="redis_url"):
        Settings(redis_url_file=file)
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        Settings(redis_url_file=tmp_path / "none")
