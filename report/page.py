"""The frame of every report page, and the blocks that the pages are built from.

A page is one HTML file that loads nothing from anywhere: style, script and pictures are inside. Each function returns
`Html`; whatever else is put into a page is escaped as text. The style is in page.css, the script in page.js.
"""

import base64
import html
import io
import json
import math
import re
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path

import cv2
import matplotlib

from command import written_whole
from formats.photo import at_most

STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
SCRIPT = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
LONGEST = 1920  # pixels of an embedded picture's longer side
WIDE = 6  # inches: a wider chart scrolls on a phone, because its labels would be too small to read
# the browser itself refuses to load anything from outside the file
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
DIALOG = (
    '<dialog aria-label="enlarged picture"><div class="shown"></div><nav aria-label="pictures">'
    '<button type="button" value="-1">← previous</button><button type="button" value="1">next →</button>'
    '<button type="button" value="close">close</button></nav></dialog>'
)


class Html(str):
    """Text that is HTML already: what the functions here return."""


@dataclass(frozen=True)
class Cell:
    """A table cell that shows one thing and is sorted by another, such as a drawn interval by its value."""

    shown: object
    value: float


@dataclass(frozen=True)
class Bar:
    """A value with its interval, drawn as one line of `bars`."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    note: str = ""  # instead of the number behind the bar
    reference: bool = False  # drawn grey: something to compare with, not a result


def escaped(text):
    """Text -> Html, with < > & as entities; Html stays as it is."""
    return text if isinstance(text, Html) else Html(html.escape(str(text)))


def joined(parts):
    """Texts and Html -> one Html string."""
    return "".join(escaped(part) for part in parts)


def page(title, *sections):
    """Title and sections -> the whole file as a string."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><link rel="icon" href="data:,">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escaped(title)}</title>\n'
        f"<style>\n{STYLE}</style></head>\n<body><main><h1>{escaped(title)}</h1>\n{joined(sections)}</main>\n"
        f"{DIALOG}<script>\n{SCRIPT}</script></body></html>\n"
    )


def write(path, text):
    """The page into a file, atomically."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def section(heading, *parts):
    """A section of the page: heading and parts."""
    return Html(f"<section><h2>{escaped(heading)}</h2>\n{joined(parts)}</section>\n")


def group(heading, *parts):
    """A smaller heading inside a section, with what belongs to it."""
    return Html(f"<div><h3>{escaped(heading)}</h3>\n{joined(parts)}</div>\n")


def paragraph(text):
    """Text -> a paragraph."""
    return Html(f"<p>{escaped(text)}</p>\n")


def notice(text):
    """A paragraph that must not be overlooked: a warning."""
    return Html(f'<p class="notice">{escaped(text)}</p>\n')


def details(summary, *parts):
    """A block that opens with a click; the summary says in one line what is inside."""
    return Html(f"<details><summary>{escaped(summary)}</summary>\n{joined(parts)}</details>\n")


def cards(items):
    """[(label, value, remark)] -> large numbers side by side; the remark may be empty."""
    boxes = [
        f'<div class="card">{escaped(label)}<b>{escaped(value)}</b><small>{escaped(remark)}</small></div>'
        for label, value, remark in items
    ]
    return Html(f'<div class="cards">{"".join(boxes)}</div>\n')


def percent(share):
    """A share as "62 %"; "–" if undefined."""
    return "–" if math.isnan(share) else f"{100 * share:.0f} %"


def scrolling(grid, label, kind="scroll"):
    """A block that may be wider than the window: the keyboard reaches it, a screen reader announces its label."""
    return Html(f'<div class="{kind}" tabindex="0" role="region" aria-label="{escaped(label)}">{grid}</div>\n')


def table(columns, rows, label, sortable=True):
    """Column names and rows of cells -> a table. A click on a name sorts: numbers as numbers, undefined values last.

    `label` names the table for screen readers; no two of a page should have the same.
    """
    heads = []
    for name in columns:
        if sortable:
            heads.append(f'<th scope="col" aria-sort="none"><button type="button">{escaped(name)}</button></th>')
        else:
            heads.append(f'<th scope="col">{escaped(name)}</th>')
    body = "\n".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    grid = f"<table><thead><tr>{''.join(heads)}</tr></thead>\n<tbody>{body}</tbody></table>"
    return scrolling(grid, label, "scroll tall" if sortable else "scroll")


def cell(value):
    """A number, its full value for sorting, with three decimals, one from 10 on; nan and None are an empty cell."""
    if isinstance(value, Cell):
        return f'<td data-value="{"" if math.isnan(value.value) else value.value}">{escaped(value.shown)}</td>'
    if value is None or (isinstance(value, Real) and math.isnan(value)):
        return "<td></td>"
    if isinstance(value, Real):
        decimals = 3 if abs(value) < 10 else 1
        shown = value if isinstance(value, Integral) else f"{value:.{decimals}f}"
        return f'<td class="number" data-value="{value}">{shown}</td>'
    if not isinstance(value, Html) and len(str(value)) > 30:
        return f'<td class="words">{escaped(value)}</td>'
    return f"<td>{escaped(value)}</td>"


def line(bar, limits, marks=()):
    """One `Bar` as inline SVG between two limits, dashed lines at `marks`. Its lengths are in percent, so it fills
    whatever width it gets and its strokes stay the same."""

    def place(value):
        share = (value - limits[0]) / (limits[1] - limits[0])
        return f"{100 * min(1, max(0, share)):.2f}%"

    colour = "var(--reference)" if bar.reference else "var(--bar)"
    said = f"{bar.name}: {number_words(bar)}"
    parts = [f'<svg role="img" aria-label="{escaped(said)}" height="22">']
    parts.append('<line x1="0" x2="100%" y1="11" y2="11" stroke="var(--line)"/>')
    for mark in marks:
        parts.append(
            f'<line x1="{place(mark)}" x2="{place(mark)}" y1="0" y2="22" stroke="var(--faint)" stroke-dasharray="3 3"/>'
        )
    if not math.isnan(bar.low):
        start, end = place(bar.low), place(bar.high)
        parts.append(f'<line x1="{start}" x2="{end}" y1="11" y2="11" stroke="{colour}" stroke-width="6"/>')
    if not math.isnan(bar.value):
        parts.append(f'<circle cx="{place(bar.value)}" cy="11" r="5" fill="{colour}" stroke="var(--paper)"/>')
    return Html("".join(parts) + "</svg>")


def number_words(bar):
    """What stands behind a bar: its value and interval, or its note."""
    if bar.note:
        return bar.note
    if math.isnan(bar.value):
        return ""
    if math.isnan(bar.low):
        return f"{bar.value:.3f}"
    return f"{bar.value:.3f} ({bar.low:.3f} to {bar.high:.3f})"


def bars(items, limits=(0, 1), marks=()):
    """[Bar] -> name, drawn interval and number of each below one another, on one scale."""
    rows = []
    for bar in items:
        rows.append(
            f'<div class="bar"><span>{escaped(bar.name)}</span>{line(bar, limits, marks)}'
            f"<span>{escaped(number_words(bar))}</span></div>"
        )
    low, middle, high = (f"{value:g}" for value in (limits[0], (limits[0] + limits[1]) / 2, limits[1]))
    rows.append(
        '<div class="bar"><svg aria-hidden="true" height="16" font-size="12">'
        f'<text x="0" y="12">{low}</text><text x="50%" y="12" text-anchor="middle">{middle}</text>'
        f'<text x="100%" y="12" text-anchor="end">{high}</text></svg></div>'
    )
    return Html(f'<div class="bars">{"".join(rows)}</div>\n')


def image(array, caption, kind, longest):
    """(H, W, 3) uint8 RGB or (H, W) uint8 -> <img> with the JPEG inside, at most `longest` pixels long."""
    array = at_most(array, longest)
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR)
    # full colour resolution: the default halves it, and the colour of a thin crack would be lost
    options = [cv2.IMWRITE_JPEG_QUALITY, 84, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    data = base64.b64encode(cv2.imencode(".jpg", array, options)[1]).decode()
    height, width = array.shape[:2]
    size = f'width="{width}" height="{height}"'
    return f'<img class="{kind}" src="data:image/jpeg;base64,{data}" alt="{escaped(caption)}" {size}>'


def picture(array, caption, plain=None, values=None, longest=LONGEST):
    """(H, W, 3) uint8 RGB or (H, W) uint8 -> figure that a click enlarges.

    plain: the same photo without marks; a button switches between the two.
    values: {what: number or text} by which a gallery sorts and filters.
    longest: pixels of the longer side to which a larger picture is reduced.
    """
    images, toggle, data = image(array, caption, "marked", longest), "", ""
    if plain is not None:
        images += image(plain, f"{caption}, without marks", "plain", longest)
        toggle = '<button type="button" class="toggle" aria-pressed="false">photo only</button>'
    if values is not None:
        data = f' data-values="{escaped(json.dumps(values))}"'
    name = f'aria-label="enlarge {escaped(caption)}"'
    button = f'<button type="button" class="enlarge" title="enlarge" {name}>{images}</button>'
    return Html(f'<figure class="picture"{data}>{button}{toggle}<figcaption>{escaped(caption)}</figcaption></figure>\n')


def gallery(pictures, least=20, sort_by=(), filter_by=None):
    """Pictures side by side, as many in a row as stay `least` rem wide.

    sort_by: keys of the pictures' values offered for sorting, highest first; without a choice the given order stays.
    filter_by: {key: [value, ...]} with one key, the values offered.
    """
    controls = []
    if sort_by:
        options = '<option value="">as listed</option>' + "".join(f"<option>{escaped(key)}</option>" for key in sort_by)
        controls.append(f'<label>sort by <select name="sort">{options}</select></label>')
    for key, offered in (filter_by or {}).items():
        options = '<option value="">all</option>' + "".join(f"<option>{escaped(value)}</option>" for value in offered)
        chosen = f'<select name="filter" data-key="{escaped(key)}">{options}</select>'
        controls.append(f"<label>{escaped(key)} {chosen}</label>")
    above = f'<div class="controls">{"".join(controls)}</div>' if controls else ""
    return Html(f'{above}<div class="gallery" style="--least: {least}rem">{"".join(pictures)}</div>\n')


def legend(colours):
    """{name: (r, g, b)} -> a line that explains colours."""
    blocks = [
        f'<span class="swatch" style="background: rgb{tuple(colour)}" aria-hidden="true"></span> {escaped(name)}'
        for name, colour in colours.items()
    ]
    return Html(f"<p>{' &ensp; '.join(blocks)}</p>\n")


def figure(fig, caption):
    """A matplotlib figure -> embedded SVG in the page's own colours; the caption is also its text for screen readers.

    Charts up to WIDE inches stay readable on a phone; wider ones scroll there.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "page"}):  # the same figure gives the same bytes
        fig.savefig(buffer, format="svg", metadata={"Date": None})
    svg = re.sub(r"^.*?(?=<svg)|<metadata>.*?</metadata>|<style.*?</style>", "", buffer.getvalue(), flags=re.DOTALL)
    svg = svg.replace("#000000", "currentColor").replace("#ffffff", "var(--paper)")
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escaped(caption)}"', 1)
    words = f"<figcaption>{escaped(caption)}</figcaption>"
    if fig.get_figwidth() <= WIDE:
        return Html(f'<figure class="chart">{svg}{words}</figure>\n')
    return Html(f'<figure class="chart wide">{scrolling(svg, f"chart: {caption}")}{words}</figure>\n')
