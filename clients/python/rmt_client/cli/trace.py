"""`rmt trace` and `rmt timeline`."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from rmt_client.cli.options import DEFAULT_URL, ApiKey, AsJson, SessionId, Url, connect
from rmt_client.cli.output import note, one_line, put_json, put_table
from rmt_client.models import Movements, TimelinePoint, Trace

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 64


def trace(
    question: Annotated[str, typer.Argument(metavar="QUESTION")],
    session: SessionId,
    answer: Annotated[str | None, typer.Option(help="Trace this, instead of what the session answers.")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Find the part of the text that an answer came from."""
    with connect(url, api_key) as rmt:
        found = rmt.trace(session, question, answer=answer)
    if as_json:
        put_json(found)
        return
    typer.echo(found.answer)
    put_trace(found)


def put_trace(found: Trace) -> None:
    """Shows where an answer came from."""
    if found.bytes is None:
        note("No memory along the text has this answer.")
        return
    sure = "" if found.verified else ", not verified"
    typer.echo(f"bytes {found.bytes[0]} to {found.bytes[1]} (segment {found.segment}{sure}):")
    typer.echo("\n".join(f"  {one_line(line)}" for line in found.excerpt.splitlines()))


def timeline(
    session: SessionId,
    question: Annotated[str | None, typer.Option("--question", "-q", help="Ask each memory this.")] = None,
    lane: Annotated[int | None, typer.Option(help="The focus whose memory is shown, by its number.")] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw it.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Look at the memories that are kept along the text: how far each moved, and what each answers.

    Drawn, how far the memory moved is shown of all segments, not only of where one is kept.
    """
    with connect(url, api_key) as rmt:
        drawn = plot and not as_json
        moved = rmt.movements(session, lane=lane or 0) if drawn else None
        plain = moved is not None and moved.columns and not question
        points = () if plain else rmt.timeline(session, question=question, lane=lane)
    if as_json:
        put_json(points)
    elif moved is not None and (moved.columns or (points and question)):
        typer.echo("\n".join(_drawn(moved, points)))
    elif not points:
        note("No memories are kept along the text: it is too short, or the server keeps none.")
    else:
        head = ["segment", "bytes", "tokens", "moved", *(["confidence", "answer"] if question else [])]
        put_table(head, [_row(point, question, lane) for point in points])


def _row(point: TimelinePoint, question: str | None, lane: int | None) -> list[object]:
    moved = point.moved if lane is None else point.moved[lane : lane + 1]
    asked = [f"{point.confidence or 0:.2f}", point.answer] if question else []
    return [point.segment, point.bytes, point.tokens, " ".join(f"{one:.3f}" for one in moved), *asked]


def _drawn(movements: Movements, points: Sequence[TimelinePoint]) -> list[str]:
    """Bars from left to right along the text, and below them what the memory answers, if asked, where that changes.

    How far the memory moved is the mean of its vectors. Of a session that an older server has read, there may be points
    along a text without movements.
    """
    columns = movements.columns
    start, last = movements.start, (columns or points)[-1].bytes
    lines = []
    if columns:
        moved = [sum(column.moved) / len(column.moved) for column in columns]
        most = max((moved if start else moved[1:]) or moved)  # the first comes from nothing, and would outshine all
        lines.append(_bars("moved", [column.bytes for column in columns], moved, most, start, last))
    if later := [point for point in points if point.bytes > start]:
        sure = [point.confidence or 0.0 for point in later]
        lines.append(_bars("confidence", [point.bytes for point in later], sure, 1.0, start, last))
    lines.append(f"{'':>12} {start:<{_WIDTH // 2},}{last:>{_WIDTH - _WIDTH // 2},} bytes")
    said: str | None = ""
    for point in points:
        if point.answer != said:
            said = point.answer
            shown = typer.style("does not know", dim=True) if said is None else one_line(said)
            lines.append(f"{point.bytes:>12,} {shown} ({point.confidence or 0:.0%})")
    return lines


def _bars(name: str, ends: Sequence[int], values: Sequence[float], most: float, first: int, last: int) -> str:
    """One row from byte to byte: each column shows the highest of the values whose part of the text it shows."""
    columns = [0.0] * _WIDTH
    places = [(end - first) / max(1, last - first) * _WIDTH for end in ends]
    for begin, end, value in zip([0.0, *places], places, values, strict=False):
        start = min(max(0, int(begin)), _WIDTH - 1)
        for column in range(start, min(max(start + 1, math.ceil(end)), _WIDTH)):
            columns[column] = max(columns[column], min(value, most))
    top = most or 1.0
    bars = "".join(_BARS[min(len(_BARS) - 1, round(value / top * (len(_BARS) - 1)))] for value in columns)
    shown = (
        bars
        if sys.stdout.encoding.lower().startswith("utf")
        else bars.translate(dict(zip(map(ord, _BARS), " .:-=+*#@", strict=True)))
    )
    return f"{name:>12} {shown} {most:.2f}"
