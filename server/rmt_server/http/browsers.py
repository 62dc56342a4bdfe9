"""Browsers: what pages of other origins may do here, and what a browser may make of an answer."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from rmt_server.errors import CrossSiteError
from rmt_server.http.problems import problem_answer
from rmt_server.settings import LOOPBACK_HOSTS

__all__ = ["NoForeignPages", "add_security_headers", "allow_origins"]

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_DOCS_POLICY = (
    "default-src 'none'; frame-ancestors 'none'; connect-src 'self'; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; style-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    "img-src data: https://fastapi.tiangolo.com"
)


def add_security_headers(headers: MutableHeaders, path: str) -> None:
    """Add to an answer what browsers should know, where it does not say so itself."""
    if path == "/docs":
        headers.setdefault("Content-Security-Policy", _DOCS_POLICY)
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)


def allow_origins(app: Starlette, origins: tuple[str, ...]) -> None:
    """Let pages of these origins call the app. Browsers send nothing on their own here: a page has to hold the key."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=("GET", "HEAD", "POST", "PATCH", "DELETE"),
        allow_headers=("*",),
        expose_headers=(
            *("ETag", "Location", "Retry-After", "WWW-Authenticate", "X-Request-Id"),
            *("Upload-Offset", "Upload-Complete", "Upload-Length", "Upload-Limit"),
        ),
        max_age=600,
    )


class NoForeignPages:
    """Keeps web pages away from a server that asks for no key.

    Where it listens on loopback it trusts whoever can connect, and that is every page that is open in a browser on this
    machine: it can send simple requests here (cross-site request forgery), and read the answers, too, when its own name
    is made to point to 127.0.0.1 (DNS rebinding). Browsers tell both apart: by `Origin`, and by the name in `Host`.

    Args:
        app: What is kept.
        origins: Origins whose pages may call nevertheless.
        hosts: Names that `Host` may have beside addresses, which nobody can point elsewhere; none: loopback's only.
    """

    def __init__(self, app: ASGIApp, origins: tuple[str, ...], hosts: frozenset[str]) -> None:
        self.app = app
        self.origins = origins
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and (error := self._refusal(Headers(scope=scope))):
            await problem_answer(Request(scope), error)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refusal(self, headers: Headers) -> CrossSiteError | None:
        host, origin = headers.get("host"), headers.get("origin")
        if host is not None and not self._is_own(_name(f"//{host}") or ""):
            if self.hosts:
                return CrossSiteError(f"Host {host[:100]!r} is not listed in RMT_ALLOWED_HOSTS.")
            return CrossSiteError(f"Host {host[:100]!r} is not this machine's own name: 127.0.0.1 or localhost.")
        if origin is not None and origin not in self.origins and origin.partition("//")[2] != host:
            return CrossSiteError(f"Pages of {origin[:100]!r} are not listed in RMT_CORS_ORIGINS.")
        return None

    def _is_own(self, name: str) -> bool:
        return name in LOOPBACK_HOSTS or (bool(self.hosts) and (name in self.hosts or _is_address(name)))


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
