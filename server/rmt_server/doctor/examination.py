"""Examination: looks at everything that a server needs, and says what to mend; it changes nothing."""

import asyncio
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from rmt_server.doctor.findings import Finding
from rmt_server.doctor.machine_checks import check_device, check_embedded_redis, load_fingerprint
from rmt_server.doctor.redis_checks import judge_checkpoints, judge_redis, judge_timing
from rmt_server.errors import StartupError, StoreUnavailableError
from rmt_server.redis_process.url import shown_redis_url
from rmt_server.settings import LOOPBACK_HOSTS, Settings
from rmt_server.store import Store
from rmt_server.traces import traces_wanted

__all__ = ["examine"]

_OF_CLIENTS = frozenset({"RMT_URL", "RMT_API_KEY"})
_MOST_SESSIONS = 1000


def examine(given: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Check the settings, this machine, and Redis.

    Args:
        given: Settings that were given as flags.
        environment: Where the other settings come from.
    """
    settings, wrong = _settings(dict(given))
    yield from wrong or [Finding("settings", "ok", "all have values that can be used")]
    yield from _unknown(environment)
    yield _exposure(settings)
    yield _traces(environment)
    url = settings.redis_url.get_secret_value()
    sessions: dict[str, int] = {}
    if url:
        found, sessions = asyncio.run(_redis(url))
        yield from found
    else:
        yield from check_embedded_redis(settings.data_dir)
    yield check_device(settings)
    loaded, fingerprint = load_fingerprint(settings)
    yield loaded
    if sessions:
        yield judge_checkpoints(sessions, fingerprint)


def _settings(given: dict[str, Any]) -> tuple[Settings, list[Finding]]:
    """The settings, with defaults in the place of those that are wrong."""
    wrong: list[Finding] = []
    while True:
        try:
            return Settings(**given), wrong
        except ValidationError as error:
            for one in error.errors(include_input=False, include_url=False):
                field = str(one["loc"][0]) if one["loc"] else "host"
                given[field] = Settings.model_fields[field].default
                wrong.append(Finding("settings", "problem", f"RMT_{field.upper()}: {one['msg']}"))
        except StartupError as error:
            given |= {"api_keys_file": None, "api_keys": "", "host": "127.0.0.1"}
            wrong.append(Finding("settings", "problem", f"{error}"))


def _unknown(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that look like settings and are none: a slip of the pen would go unseen."""
    known = {f"RMT_{field.upper()}" for field in Settings.model_fields} | _OF_CLIENTS
    for name in sorted(name for name in environment if name.startswith("RMT_") and name.upper() not in known):
        near = difflib.get_close_matches(name, known, 1)
        yield Finding("settings", "warning", f"{name} is no setting", f"Did you mean {near[0]}?" if near else "")


def _exposure(settings: Settings) -> Finding:
    """Who may connect."""
    asks = settings.key_ring().asks
    if settings.host in LOOPBACK_HOSTS:
        return Finding("access", "ok", f"{settings.host} is reached from this machine only; keys: {_yes(asks)}")
    if asks:
        return Finding("access", "ok", f"{settings.host} can be reached by others, who need a key")
    mend = "Set RMT_API_KEYS_FILE, unless a proxy in front authenticates"
    found = f"{settings.host} can be reached by others, and whoever connects may do anything (RMT_ALLOW_PUBLIC)"
    return Finding("access", "warning", found, mend)


def _yes(asks: bool) -> str:
    return "asked for" if asks else "not asked for"


def _traces(environment: Mapping[str, str]) -> Finding:
    """Whether traces go where they are wanted."""
    try:
        wanted = traces_wanted(environment)
    except StartupError as error:
        mend = "Install the packages, or unset OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_ENDPOINT"
        return Finding("traces", "problem", str(error), mend)
    return Finding("traces", "ok", "sent by OpenTelemetry" if wanted else "not asked for")


async def _redis(url: str) -> tuple[list[Finding], dict[str, int]]:
    """What is to be known about a Redis that is given, and how many sessions belong to each checkpoint."""
    store = Store.connect(url)
    try:
        found = [Finding("redis", "ok", f"{shown_redis_url(url)} answers")]
        found += judge_redis(await store.info())
        trouble = await store.trouble()
        if trouble:
            mend = "Until it takes changes, uploads are refused with 503; see its other lines here, and its log"
            found.append(Finding("redis changes", "problem", trouble.rstrip("."), mend))
        found += judge_timing(await store.timing())
        return found, await store.checkpoints(_MOST_SESSIONS)
    except StoreUnavailableError as error:
        reason = str(error.__cause__ or error).rstrip(".")
        mend = "Start it, or mend RMT_REDIS_URL: host, port, user, password"
        return [Finding("redis", "problem", f"{shown_redis_url(url)} does not answer: {reason}", mend)], {}
    finally:
        await store.close()
