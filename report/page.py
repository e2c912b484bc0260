"""One self-contained HTML page: no network, light and dark, works by keyboard; text is escaped unless it is Html."""

import base64
import html
import io
import math
import re
from numbers import Integral, Real

import cv2
import matplotlib
import numpy as np

from command import written_whole

LONGEST = 1920  # pixels of an embedded picture's longer side

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1d2125; --faint: #5c6670; --line: #d4d9de; --link: #0060a8 }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16191d; --ink: #e4e7ea; --faint: #a0a9b2; --line: #3a4148; --link: #7cc0ff } }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif }
h1 { font-size: 1.6rem; line-height: 1.25 } h2 { margin-top: 2.5rem; font-size: 1.25rem }
p { max-width: 46rem } figcaption { color: var(--faint); font-size: .875rem; overflow-wrap: anywhere }
.scroll { overflow: auto } .tall { max-height: 80vh } .tall :is(th, td) { white-space: nowrap }
.tall td.words { white-space: normal; min-width: 16rem }
.scroll:focus-visible { outline: 2px solid var(--link) }
table { border-collapse: collapse; font-size: .875rem }
th, td { padding: .3rem .75rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
thead th { position: sticky; top: 0; background: var(--paper) }
td.number { text-align: right; font-variant-numeric: tabular-nums }
th button { padding: 0; border: 0; background: none; color: var(--link); font: inherit; font-weight: 600;
  cursor: pointer }
th[aria-sort=ascending] button::after { content: " ↑" } th[aria-sort=descending] button::after { content: " ↓" }
figure { margin: 1rem 0 } figure svg { width: 100%; height: auto; fill: currentColor }
.gallery { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--least)), 1fr)) }
.gallery figure { margin: 0 } figure button { padding: 0; border: 0; background: none; cursor: zoom-in }
figure button img { display: block; max-width: 100%; height: auto }
dialog { max-width: 98vw; max-height: 96vh; padding: .5rem; border: 0; background: var(--paper); cursor: zoom-out }
dialog img { max-width: 95vw; max-height: 88vh } dialog::backdrop { background: #000c }
@media (max-width: 50rem) {
 dialog img { max-width: none; max-height: none; width: 220vw }
 figure:has(> svg) { overflow-x: auto }
 figure svg { min-width: 40rem }
}
"""

SCRIPT = """
for (const button of document.querySelectorAll('th button')) button.onclick = () => {
  const th = button.parentElement, body = th.closest('table').tBodies[0], column = th.cellIndex;
  const down = th.ariaSort === 'ascending' ? -1 : 1;
  for (const other of th.parentElement.children) other.ariaSort = 'none';
  th.ariaSort = down > 0 ? 'ascending' : 'descending';
  const key = row => { const cell = row.cells[column]; return cell.dataset.value ?? cell.textContent; };
  const compare = (a, b) => a === '' ? (b === '' ? 0 : 1) : b === '' ? -1 :
    down * (isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
  body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
};
const dialog = document.querySelector('dialog');
for (const button of document.querySelectorAll('figure button')) button.onclick = () => {
  dialog.replaceChildren(button.firstElementChild.cloneNode());
  dialog.firstElementChild.removeAttribute('width');
  dialog.showModal();
};
dialog.onclick = () => dialog.close();
"""

# nothing may be fetched from anywhere: the browser itself keeps the promise of the first line
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


class Html(str):
    """Text that is HTML already: what the functions here return."""


def escaped(text):
    return text if isinstance(text, Html) else Html(html.escape(str(text)))


def page(title, *sections):
    """Title and sections -> the whole file as a string."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><link rel="icon" href="data:,">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escaped(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{escaped(title)}</h1>\n{''.join(map(escaped, sections))}"
        f'<dialog aria-label="enlarged picture"></dialog><script>{SCRIPT}</script></body></html>\n'
    )


def section(heading, *parts):
    return Html(f"<section><h2>{escaped(heading)}</h2>\n{''.join(map(escaped, parts))}</section>\n")


def paragraph(text):
    return Html(f"<p>{escaped(text)}</p>\n")


def table(columns, rows, sortable=True):
    """Column names and rows of cells; a click on a name sorts, numbers as numbers, nan, None and "" always last."""
    heads = [f'<button type="button">{escaped(name)}</button>' if sortable else escaped(name) for name in columns]
    head = "".join(f'<th scope="col"{" aria-sort=none" * sortable}>{name}</th>' for name in heads)
    body = "\n".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    grid = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
    kind = "scroll tall" if sortable else "scroll"
    return Html(f'<div class="{kind}" tabindex="0" role="region" aria-label="table">{grid}</div>\n')


def cell(value):
    """A number keeps its full value for sorting and shows three decimals; nan and None are an empty cell."""
    if value is None or (isinstance(value, Real) and math.isnan(value)):
        return "<td></td>"
    if isinstance(value, Real):
        shown = value if isinstance(value, Integral) else f"{value:.3f}"
        return f'<td class="number" data-value="{value}">{shown}</td>'
    return f"<td{' class=words' * (len(str(value)) > 30)}>{escaped(value)}</td>"


def picture(array, caption, width=None):
    """(H, W, 3) uint8 RGB or (H, W) uint8 -> embedded JPEG, `width` CSS pixels wide; click or Enter enlarges it."""
    shrink = min(1, LONGEST / max(array.shape[:2]))
    if shrink < 1:
        array = cv2.resize(array, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR) if array.ndim == 3 else array
    # full colour resolution: the default halves it, and a thin crack's colour would be lost
    full = [cv2.IMWRITE_JPEG_QUALITY, 84, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    data = base64.b64encode(cv2.imencode(".jpg", np.ascontiguousarray(array), full)[1]).decode()
    size = f' width="{int(width)}"' if width else ""
    image = f'<img src="data:image/jpeg;base64,{data}" alt="{escaped(caption)}"{size}>'
    button = f'<button type="button" title="enlarge">{image}</button>'
    return Html(f"<figure>{button}<figcaption>{escaped(caption)}</figcaption></figure>\n")


def gallery(pictures, least=30):
    """Pictures and figures side by side, as many in a row as stay `least` rem wide."""
    return Html(f'<div class="gallery" style="--least: {least}rem">{"".join(pictures)}</div>\n')


def figure(fig, caption):
    """A matplotlib figure -> embedded SVG in the page's own colours; `caption` is its text for those who cannot see."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "page"}):  # the same figure gives the same bytes
        fig.savefig(buffer, format="svg", metadata={"Date": None})
    svg = re.sub(r"^.*?(?=<svg)|<metadata>.*?</metadata>|<style.*?</style>", "", buffer.getvalue(), flags=re.DOTALL)
    svg = svg.replace("#000000", "currentColor").replace("#ffffff", "var(--paper)")
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escaped(caption)}"', 1)
    return Html(f"<figure>{svg}<figcaption>{escaped(caption)}</figcaption></figure>\n")


def write(path, text):
    """The page into a file, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
