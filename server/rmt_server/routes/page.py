"""The web page: what browsers are given at `/`. It asks for a key itself, where the server has any."""

from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

__all__ = ["PAGE_PATHS", "PAGE_POLICY", "serve_page"]

_FOLDER = Path(__file__).parents[1] / "web"
_FILES = [file.relative_to(_FOLDER) for pattern in ("*.*", "rmt-client/*.js") for file in _FOLDER.glob(pattern)]

PAGE_PATHS = frozenset({"/"} | {f"/web/{file.as_posix()}" for file in _FILES})
"""Open to everybody: they are the same for all."""

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may do (Content Security Policy): nothing from elsewhere, nothing inline."""


def serve_page(app: FastAPI) -> None:
    """Add the page, and what it is made of, to an app."""
    app.router.routes.append(Route("/", _index, methods=["GET", "HEAD"]))
    app.mount("/web", StaticFiles(directory=_FOLDER, follow_symlink=True))


async def _index(request: Request) -> FileResponse:
    del request
    headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}
    return FileResponse(_FOLDER / "index.html", headers=headers)
