"""One HTML page that holds all it shows: no links, no scripts, nothing to fetch.

Text is escaped; pictures are inline SVG or PNG. The page reads on light and dark screens, and
prints.
"""

import base64
import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal


@dataclass(frozen=True)
class Picture:
    """A picture with what one sees on it.

    Attributes:
        image: an SVG element as text, or the bytes of a PNG.
        title: a few words.
        caption: what one sees, and what it means.
        size: how much of the width it takes.
    """

    image: str | bytes
    title: str
    caption: str
    size: Literal["third", "half", "wide"] = "half"


@dataclass(frozen=True)
class Quantity:
    """A number with its unit and name, written large.

    Attributes:
        value: the number, or text.
        unit: its unit, or nothing.
        name: what it is.
    """

    value: Any
    unit: str
    name: str


@dataclass(frozen=True)
class Table:
    """Numbers in rows: the first column says what they are.

    Attributes:
        columns: heads of the columns.
        rows: cells, as many as there are columns; numbers are written with `form`.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Section:
    """A part of the page: a head, a few sentences, then tiles, pictures, a table, a note."""

    title: str
    text: str = ""
    quantities: Sequence[Quantity] = ()
    pictures: Sequence[Picture] = ()
    table: Table | None = None
    note: str = ""


def form(value: Any) -> str:
    """A number as it is read: four significant digits, grouped thousands, exponents if need be.

    Example:
        >>> from geojax.reports import form
        >>> form(12345), form(0.123456), form(1.5e-7), form(True), form(None)
        ('12,345', '0.1235', '1.5e-07', 'yes', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "–"
        if value == 0:
            return "0"
        if 1e-3 <= abs(value) < 1e4:
            return f"{value:.4g}"
        if 1e4 <= abs(value) < 1e7:
            return f"{value:,.0f}"
        return f"{value:.3g}"
    return str(value)


def render_page(
    title: str,
    lead: str,
    sections: Sequence[Section],
    *,
    quantities: Sequence[Quantity] = (),
    versions: dict[str, str] | None = None,
    config: dict[str, Any] | None = None,
    foot: str = "",
) -> str:
    """The whole page as text.

    Args:
        title: head of the page.
        lead: a sentence or two below it.
        sections: the parts, in order.
        quantities: the numbers that matter most, at the top.
        versions: name -> version, shown at the bottom.
        config: the configuration of the run, shown at the bottom.
        foot: a last line.

    Returns:
        A complete HTML document.
    """
    style = files("geojax.reports").joinpath("page.css").read_text(encoding="utf-8")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title>",
        f"<style>{style}</style></head><body><main>",
        f'<header><h1>{html.escape(title)}</h1><p class="lead">{html.escape(lead)}</p>',
        _tiles(quantities),
        "</header>",
        *(_section(section) for section in sections),
        "<footer>",
        _details("Versions", versions),
        _details("Configuration", config),
        f"<p>{html.escape(foot)}</p>" if foot else "",
        "</footer></main></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _section(section: Section) -> str:
    parts = [f"<section><h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p>{html.escape(text)}</p>" for text in section.text.split("\n\n") if text]
    parts.append(_tiles(section.quantities))
    if section.pictures:
        pictures = "\n".join(_picture(picture) for picture in section.pictures)
        parts.append(f'<div class="pictures">{pictures}</div>')
    if section.table is not None:
        parts.append(_table(section.table))
    if section.note:
        parts.append(f'<p class="note">{html.escape(section.note)}</p>')
    return "\n".join(part for part in [*parts, "</section>"] if part)


def _tiles(quantities: Sequence[Quantity]) -> str:
    if not quantities:
        return ""
    tiles = []
    for quantity in quantities:
        unit = f'<span class="unit">{html.escape(quantity.unit)}</span>' if quantity.unit else ""
        tiles.append(
            f'<div class="tile"><div class="value">{html.escape(form(quantity.value))}{unit}</div>'
            f'<div class="name">{html.escape(quantity.name)}</div></div>'
        )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _picture(picture: Picture) -> str:
    if isinstance(picture.image, bytes):
        data = base64.b64encode(picture.image).decode()
        image = f'<img alt="{html.escape(picture.title)}" src="data:image/png;base64,{data}">'
    else:
        label = f'<svg role="img" aria-label="{html.escape(picture.title)}" '
        image = picture.image.replace("<svg ", label, 1)
    return (
        f'<figure class="{picture.size}">{image}<figcaption><b>{html.escape(picture.title)}.</b> '
        f"{html.escape(picture.caption)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(form(cell))}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    text = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{text}</div>'


def _details(title: str, content: dict[str, Any] | None) -> str:
    if not content:
        return ""
    text = html.escape(json.dumps(content, indent=2, ensure_ascii=False, default=str))
    return f"<details><summary>{html.escape(title)}</summary><pre>{text}</pre></details>"
