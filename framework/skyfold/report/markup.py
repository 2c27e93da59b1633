"""Pieces of HTML. Whatever is not marked as HTML already is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NARROW = "\N{NARROW NO-BREAK SPACE}"
SIGMA = f"{NARROW}\N{GREEK SMALL LETTER SIGMA}"


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def section(heading: str, *parts: str) -> Html:
    """Return a section of the page, nothing if it would be empty; its parts are HTML."""
    if not any(parts):
        return Html()
    return Html(f"<section><h2>{escape(heading)}</h2>{''.join(parts)}</section>")


def note(text: str) -> Html:
    """Return a remark in small print."""
    return Html(f'<p class="note">{escape(text)}</p>')


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> Html:
    """Return a table, nothing if it has no rows; the head may be empty."""
    rows = list(rows)
    if not rows:
        return Html()
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    top = f"<thead><tr>{titles}</tr></thead>" if titles else ""
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows
    )
    return Html(f'<div class="scroll"><table>{top}<tbody>{body}</tbody></table></div>')


def _cell(value: Any) -> str:
    return value if isinstance(value, Html) else escape(str(value))


def copyable(text: str, shown: str | None = None) -> Html:
    """Return text that a click copies; it may be shown shortened, and is told in full on hover."""
    shown = text if shown is None else shown
    whole = escape(text)
    return Html(
        f'<button class="copy" data-copy="{whole}" title="{whole}">{escape(shown)}</button>'
    )


def chart(figure: Figure, alternative: str, size: str = "") -> Html:
    """Return a figure as an image that scales, in fonts of the reader's machine.

    Parameters
    ----------
    figure
        The figure.
    alternative
        What it shows, for those who cannot see it.
    size
        ``wide`` for one that fills the page.
    """
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "skyfold"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    uri = "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue().encode()).decode()
    names = f"chart {size}".strip()
    return Html(f'<img class="{names}" src="{uri}" alt="{escape(alternative)}">')


def whole(value: float) -> str:
    """Return a number without decimals, its thousands apart."""
    return f"{value:,.0f}".replace(",", NARROW)


def number(value: Any) -> str:
    """Return a number in five digits, anything else as it is."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def words(name: str) -> str:
    """Return the name of a key as people write it."""
    return name.replace("_", " ")
