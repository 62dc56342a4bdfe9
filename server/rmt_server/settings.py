"""Settings: everything an operator can choose, from the environment (`RMT_` + name), validated once, frozen."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from limits import parse
from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from rmt_model.config import DtypeName
from rmt_server.auth import KeyRing
from rmt_server.errors import why_unreadable
from rmt_server.logs import LogFormat, LogLevel
from rmt_server.redis_process.url import check_redis_url

__all__ = ["LOOPBACK_HOSTS", "MOST_ENTRIES", "Settings"]

MOST_ENTRIES = 1024
"""Most entries of a list or an object in JSON, whatever is set."""

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
_ORIGIN = re.compile(r"https?://[\w.\-]+(:\d{1,5})?", re.ASCII)
_MIB = 1 << 20
_DAY_S = 86_400

Bytes = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Quota = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


def _listed(text: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in text.split(",") if one.strip())


class Settings(BaseSettings):
    """Each field is documented by its description; `docs/server-behavior.md` tells what a client sees at each limit."""

    model_config = SettingsConfigDict(env_prefix="RMT_", frozen=True, extra="ignore", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address to listen on. Without API keys: loopback only.")
    port: int = Field(8080, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    allow_public: bool = Field(
        False, description="Listen beyond loopback without API keys: anyone who connects may do anything."
    )
    api_keys_file: Path | None = Field(
        None,
        description="File of API keys, a line each: `tenant scopes sha256:HEX # comment`. Read anew when it changes.",
    )
    api_keys: SecretStr = Field(SecretStr(""), description="The same lines, which `;` may separate, too.")
    allowed_hosts: str = Field(
        "", description="Names that `Host` may have beside addresses; empty: any, where others can connect."
    )
    cors_origins: str = Field(
        "", description="Origins whose web pages may call this server, separated by commas; `*`: any, with API keys."
    )
    redis_url: SecretStr = Field(
        SecretStr(""), description="Redis that keeps all state; empty starts one under `data_dir`."
    )
    redis_url_file: Path | None = Field(None, description="File that holds the URL, such as a mounted secret.")
    data_dir: Path = Field(Path("data"), description="Where the embedded Redis keeps its append-only file.")
    redis_fsync: Literal["everysec", "always"] = Field("everysec", description="`appendfsync` of the embedded Redis.")
    checkpoint: str = Field(
        "auto", description="A checkpoint's directory or bundled name; `auto`: the bundled encoder for the device."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto` takes CUDA where there is any.")
    dtype: DtypeName = Field(
        "auto", description="`auto`: bfloat16 on CUDA, else float32; `fast`: bfloat16 wherever it is computed with."
    )
    threads: int = Field(0, ge=0, description="CPU threads of the engine; 0 leaves it to PyTorch.")
    engine_yields: bool = Field(
        False, description="On a CPU, compute only in the time that others leave: the door, Redis, and all beside them."
    )
    log_format: LogFormat = Field("auto", description="`text`, `json`, or `auto`: text on a terminal, else JSON.")
    log_level: Annotated[LogLevel, BeforeValidator(str.lower)] = Field(
        "info", description="Least important of this server's own lines that are written."
    )

    max_document_bytes: Bytes = Field(4096 * _MIB, description="Largest document; above it 413.")
    max_json_bytes: Bytes = Field(16 * _MIB, description="Largest JSON or multipart-header body; above it 413.")
    max_unread_bytes: Bytes = Field(4 * _MIB, description="Accepted text that waits to be read, for each session.")
    max_focuses: int = Field(16, gt=0, le=MOST_ENTRIES, description="Focuses, and so lanes, of one session.")
    max_questions: int = Field(64, gt=0, le=MOST_ENTRIES, description="Questions in one call.")
    max_question_bytes: Bytes = Field(16 * 1024, description="A question or a focus, before its tokens are counted.")
    max_answer_tokens: Count = Field(256, description="Longest answer that may be asked for.")
    max_metadata_bytes: Bytes = Field(4096, description="Metadata of a session or snapshot, as JSON.")
    max_answer_lanes: Count = Field(64, description="Answers that are decoded side by side.")
    max_rereads: Count = Field(
        4, description="Texts that this process reads once more at once, for `reread` and `auto`."
    )
    max_waiting_rereads: Count = Field(64, description="Calls that wait for that; above it 503.")
    auto_snapshots: int = Field(
        4, ge=0, le=64, description="Ends of its last documents of which a session keeps snapshots."
    )
    timeline_points: int = Field(128, ge=0, le=MOST_ENTRIES, description="States kept along a session's text; 0: none.")
    max_timeline_bytes: Bytes = Field(
        8 * _MIB, description="Size of a session's timeline: many lanes keep fewer states."
    )
    max_waiting_questions: Count = Field(1024, description="Questions that wait for the engine; above it 503.")

    search_dir: Path | None = Field(
        None, description="Folder for search indexes; empty: under the system's folder for temporary files."
    )
    max_search_bytes: Bytes = Field(512 * _MIB, description="Search indexes of this process, all together.")
    max_search_indexes: Count = Field(64, description="Sessions of which this process keeps a search index.")
    max_waiting_searches: Count = Field(256, description="Searches that wait for an index; above it 503.")

    rate_limit: str = Field("", description="Calls of one tenant, such as `600/minute`; empty: no limit.")
    max_tenant_sessions: Quota = Field(0, description="Sessions of one tenant; 0: no limit.")
    max_tenant_snapshots: Quota = Field(0, description="Snapshots of one tenant; 0: no limit.")
    max_tenant_kept_bytes: Quota = Field(0, description="Text and memories kept for one tenant; 0: no limit.")
    max_tenant_unread_bytes: Quota = Field(0, description="Unread text of one tenant; 0: no limit.")
    max_tenant_tokens_day: Quota = Field(0, description="Tokens of one tenant on one day in UTC; 0: no limit.")
    max_connections: Count = Field(1024, description="Open connections; beyond it 503.")
    max_head_bytes: Bytes = Field(64 * 1024, description="Target and header fields of a request; above it 431.")

    head_timeout_s: Seconds = Field(10.0, description="How long the head of a request may take; then 408.")
    send_idle_s: Seconds = Field(30.0, description="A reader that takes nothing for so long is cut off.")
    body_idle_s: Seconds = Field(30.0, description="How long a body may bring nothing.")
    back_pressure_wait_s: Seconds = Field(30.0, description="How long a sender is held back without any progress.")
    answer_wait_s: Seconds = Field(60.0, description="How long a question waits for its turn; then 503.")
    read_wait_s: Seconds = Field(600.0, description="How long `wait=true` waits for reading to finish.")
    session_ttl_s: Count = Field(7 * _DAY_S, description="A session goes so long after its last change.")
    snapshot_ttl_s: Count = Field(30 * _DAY_S, description="A snapshot goes so long after it was taken.")
    chat_ttl_s: Count = Field(
        _DAY_S, description="What a chat of OpenAI's form has read stays so long after its last use."
    )
    max_ttl_s: Count = Field(365 * _DAY_S, description="Longest time to live that may be asked for.")

    max_batch_lanes: Count = Field(64, description="Lanes that one step reads.")
    max_batch_tokens: int = Field(
        0, ge=0, description="Tokens that one step reads, memory included; 0: 2048 on a CPU, 65536 on CUDA."
    )
    max_readings: Count = Field(32, description="Sessions that this process reads at once.")
    turn_s: Seconds = Field(2.0, description="How long a session is read before one that waits gets its place.")
    commit_interval_s: Seconds = Field(0.5, description="Longest time between commits of a session that is read.")
    lease_s: Seconds = Field(10.0, description="A reader that is silent so long loses its session to another.")
    poll_s: Seconds = Field(0.1, description="How often to look for work and progress of other processes.")
    max_event_streams: Count = Field(256, description="Streams that follow sessions; above it 503.")
    event_ping_s: Seconds = Field(5.0, description="A stream that has nothing to tell sends a comment so often.")
    drain_s: Seconds = Field(20.0, description="Time that a stopping server gives to what is under way.")

    @model_validator(mode="before")
    @classmethod
    def _read_redis_url(cls, values: dict[str, Any]) -> dict[str, Any]:
        file = values.get("redis_url_file")
        if not file:
            return {name: value for name, value in values.items() if name != "redis_url_file"}
        if values.get("redis_url"):
            raise ValueError("RMT_REDIS_URL and RMT_REDIS_URL_FILE are both set: give one")
        try:
            return values | {"redis_url": Path(file).read_text().strip()}
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"the URL in {file} cannot be read: {why_unreadable(error)}") from None

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value():
            check_redis_url(url.get_secret_value())
        return url

    @field_validator("rate_limit")
    @classmethod
    def _is_a_rate(cls, value: str) -> str:
        if value:
            parse(value)
        return value

    @model_validator(mode="after")
    def _refuse_open_door(self) -> Self:
        if self.trusts_loopback and self.host not in LOOPBACK_HOSTS:
            raise ValueError(
                f"host {self.host!r} is reachable by others and this server asks for no key: "
                "set RMT_API_KEYS_FILE, listen on 127.0.0.1, or set RMT_ALLOW_PUBLIC=true behind a proxy that "
                "authenticates"
            )
        return self

    @model_validator(mode="after")
    def _check_origins(self) -> Self:
        if self.origins == ("*",):
            if not self.key_ring().asks:
                raise ValueError("cors_origins '*' lets every web page do anything here: set API keys, or name origins")
        elif not all(_ORIGIN.fullmatch(one) for one in self.origins):
            raise ValueError("cors_origins must be like https://app.example.com or http://localhost:3000, or '*' alone")
        return self

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins whose web pages may call this server."""
        return _listed(self.cors_origins)

    @property
    def host_names(self) -> frozenset[str]:
        """The names that `Host` may have, where they are listed."""
        return frozenset(one.lower() for one in _listed(self.allowed_hosts))

    @property
    def trusts_loopback(self) -> bool:
        """Whether whoever can connect is trusted because only this machine can."""
        return not (self.key_ring().asks or self.allow_public)

    def key_ring(self) -> KeyRing:
        """The API keys.

        Raises:
            StartupError: They cannot be read.
        """
        return KeyRing(self.api_keys_file, self.api_keys.get_secret_value())
