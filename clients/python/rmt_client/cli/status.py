"""`rmt status`."""

from __future__ import annotations

import typer

from rmt_client.cli.options import DEFAULT_URL, ApiKey, AsJson, Url, connect
from rmt_client.cli.output import put_json


def status(url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Tell whether the server takes work; exits with 1 when it does not."""
    with connect(url, api_key) as rmt:
        health = rmt.status()
    if as_json:
        put_json(health)
    else:
        typer.echo(f"{url} is {'ready' if health.ready else f'not ready: {health.status}'}")
    raise typer.Exit(0 if health.ready else 1)
