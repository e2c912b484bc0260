"""The page of a survey: report.html."""

import math
from collections import Counter

import cv2
import numpy as np
from matplotlib.figure import Figure

from command import number_of
from formats.batch import beside
from formats.photo import read_photo
from quantify.columns import MILLIMETRES, NOT_IN_IT, PIXELS, PLUS_MINUS
from quantify.damage import BINS_MM, BINS_PX, NO_SCALE, give_or_take, sentence, too_much, worst_first
from quantify.measure import WIDTH_EDGES_MM
from report import page
from report.figure import colours_of, width_ticks

GALLERY = 48  # pictures in the report, the worst first; the table holds every photo
GALLERY_PX = 800
LEVELS = ("low", "central", "high")
WORST_FIRST = ("high", "medium", "low", "none")
IN_PX = {
    "crack, % of photo": "crack_percent",
    "pattern": "pattern",
    "length, px": "length_px",
    "median width, px": "width_median_px",
    "largest width, px": "width_max_px",
    "specks": "specks",
}  # columns of the report's table
IN_MM = {
    "severity (indicative)": "indicative_severity",
    "crack, % of photo": "crack_percent",
    "pattern": "pattern",
    "length, m": ("length_m", 2),
    "median width, mm": ("width_median_mm", 1),
    "largest width, mm": ("width_max_mm", 1),
    "to patch, m²": ("patch_m2", 2),
    "specks": "specks",
}  # a name and its decimals: with plus_minus
UNITS_SAY = {"m": "m", "m2": "m²"}
MINIMUM = (
    "The minimum charge applies: the work in these photos comes to less than it, so the total is what it costs to have "
    "a crew come, not a price by the metre. Photograph all that is to be repaired before you ask what that costs."
)
FOUND = ("A4 sheet", "Letter sheet", "ArUco marker")  # scale sources that are seen in the photo itself
SEVERITY = (
    f"Indicative severity follows the widths of ASTM D6433 (low under {WIDTH_EDGES_MM[0]} mm, medium to "
    f"{WIDTH_EDGES_MM[1]} mm, high above; alligator "
    "cracking by its pattern): the highest level of at least 5 % of the length, or of any network. It is no PCI: a "
    "photo cannot show filling, spalling or the road around it."
)


def budget_line(found):
    """Findings with a scale -> quantities, and money if there are prices, in one line."""
    total, money = found.quantities, found.budget
    if total is None:
        return "frames of a video overlap: no quantities are added up"
    line = f"to seal: {give_or_take(total['seal_m'], total['seal_plus_minus_m'])} m"
    line += f", to patch: {give_or_take(total['patch_m2'], total['patch_plus_minus_m2'])} m²"
    if money is None:
        return f"{line}; --prices data/prices.csv gives a budget"
    left = f"; without a price and not in it: {not_priced(money)}" if money["not_priced"] else ""
    least = "; minimum charge applies" if money["minimum_applied"] else ""
    return (
        f"{line}; budget {money['scope']}: {money['central']:.0f} {money['currency']}, "
        f"low {money['low']:.0f}, high {money['high']:.0f}{least}{left}"
    )


def colour_scale(rows):
    """The widths that the colours of all pictures stand for, or None where pictures of different sizes differ in it."""
    scales = {width_ticks(max(row["photo_width"], row["photo_height"]), row) for row in rows}
    return scales.pop() if len(scales) == 1 else None


def colours_say(rows):
    """What the colours of the pictures mean, in words."""
    if (ticks := colour_scale(rows)) is None:
        return (
            "The crack is coloured by its width, purple where thin and yellow where wide; pictures of about the same "
            "size share one scale, which stands in each."
        )
    low, high = (f"{width} {'mm' if 'mm_per_pixel' in rows[0] else 'px'}" for width in (ticks[0], ticks[-1]))
    return (
        "The crack is coloured by its width, in all pictures by one scale: purple is a width of "
        f"{low} or less, yellow one of {high} or more."
    )


def histogram(results):
    """Matplotlib figure: how much crack is how wide, all photos together, in the colours of the pictures."""
    scaled = results[0]["quantities"] is not None
    bins, unit = (BINS_MM, "mm") if scaled else (BINS_PX, "px")
    amount = np.sum([result["length_by_width"] for result in results], axis=0)
    names = [f"{a:g}–{b:g}" if math.isfinite(b) else f"over {a:g}" for a, b in zip(bins, bins[1:], strict=False)]
    fig = Figure(figsize=(11, 2.8), layout="constrained")
    axes = fig.subplots()
    if ticks := colour_scale([result["row"] for result in results]):
        colours = colours_of(np.mean([bins[:-1], [*bins[1:-1], bins[-2]]], axis=0), ticks) / 255
    else:
        colours = "#0072b2"
    axes.bar(names, amount, color=colours, edgecolor="#000000", linewidth=0.5)
    axes.set(xlabel=f"width of the crack, {unit}", ylabel="length of crack, m" if scaled else "length of crack, px")
    axes.spines[["top", "right"]].set_visible(False)
    return fig


def scatter(rows):
    """Matplotlib figure: where the photos with GPS were taken, north up, coloured by their share of crack."""
    fig = Figure(figsize=(11, 5), layout="constrained")
    axes = fig.subplots()
    rows = sorted(rows, key=lambda row: row["crack_percent"])  # the worst on top
    spots = [[row[key] for row in rows] for key in ("longitude", "latitude", "crack_percent")]
    dots = axes.scatter(*spots[:2], c=spots[2], cmap="plasma_r", edgecolors="#000000", linewidths=0.5)
    axes.set(xlabel="longitude, degrees", ylabel="latitude, degrees")
    axes.set_aspect(1 / math.cos(math.radians(np.mean(spots[1]))), adjustable="datalim")
    axes.ticklabel_format(useOffset=False)
    fig.colorbar(dots, label="crack, % of the photo")
    return fig


def quantities_section(found):
    """Totals with their uncertainty, and the budget if there are prices."""
    total, results = found.quantities, found.photos
    rows = [(work_name(p), f"{give_or_take(p['length_m'], p['plus_minus_m'])} m") for p in total["seal"]]
    patch = give_or_take(total["patch_m2"], total["patch_plus_minus_m2"])
    rows.append(("patch a network of cracks", f"{patch} m²"))
    area, unsure = (sum(r["row"][f"photographed_{key}m2"] for r in results) for key in ("", "plus_minus_"))
    rows.append(("road in the photos", f"{give_or_take(area, unsure)} m²"))
    parts = [page.table(["for the photographed area", "amount"], rows, sortable=False), page.paragraph(NOT_IN_IT)]
    if found.budget:
        parts += money_parts(found.budget)
    return page.section("Quantities", *parts)


def scale_section(rows):
    """Where the millimetres come from, and what the severity is not."""
    sources = " and ".join(sorted({row["scale_source"] for row in rows}))
    largest = max(row["scale_plus_minus_percent"] for row in rows)
    scale = f"Scale: {sources}, ± {largest:.0f} %."
    if not all(row["scale_source"] in FOUND for row in rows):
        scale += " Nothing in the photos confirms it: it is an assumption on which every metre, millimetre and sum "
        scale += "of money here rests. If it is wrong by a tenth, so are they, and areas by a "
        scale += "fifth."
    return page.section("Scale and severity", page.paragraph(scale), page.paragraph(SEVERITY))


def work_name(part):
    """A width class to seal, or patching, in words."""
    if part.get("item") == "patch":
        return "patch a network of cracks"
    upper = part["width_to_mm"]
    wide = (
        f"{part['width_from_mm']:g} mm and more" if math.isinf(upper) else f"{part['width_from_mm']:g} to {upper:g} mm"
    )
    return f"seal cracks {wide} wide"


def not_priced(money):
    """What the table of prices does not cover, in words."""
    return ", ".join(
        f"{work_name(n)}: {give_or_take(n['quantity'], n['plus_minus'])} {UNITS_SAY[n['unit']]}"
        for n in money["not_priced"]
    )


def money_parts(money):
    """The estimate's lines and totals."""
    lines = []
    for line in money["lines"]:
        costs = [f"{line[f'cost_{level}']:.0f}" for level in LEVELS]
        least = " (minimum charge)" if line["minimum_applied"] else ""
        amount = f"{give_or_take(line['quantity'], line['plus_minus'])} {UNITS_SAY[line['unit']]}"
        lines.append((work_name(line) + least, amount, *costs))
    lines.append(("total", "", *(f"{money[level]:.0f}" for level in LEVELS)))
    heads = ["item", "amount", *(f"{name}, {money['currency']}" for name in LEVELS)]
    sources = "; ".join(sorted({line["source"] for line in money["lines"]}))
    how = "Low: the low price of the amount less its ±; high: the high price of the amount and its ±. Rounded, so a "
    how += "column may differ from its total by one."
    parts = [page.paragraph(f"Budget {money['scope']}:"), page.table(heads, lines, sortable=False), page.paragraph(how)]
    parts += [page.paragraph(f"Where the prices come from: {sources or 'not said in the table of prices'}.")]
    if money["minimum_applied"]:
        parts.append(page.paragraph(MINIMUM))
    if money["not_priced"]:
        parts.append(page.paragraph(f"Without a price in the table, not in the total: {not_priced(money)}."))
    return parts


def view(start, row):
    """The picture with the crack marked that was written for a photo, or for a frame of a video; None if it is gone."""
    if row["second"] is None:
        return shrunk(read_photo(beside(start, "_overlay.jpg")))
    video = cv2.VideoCapture(str(beside(start, "_cracks.mp4")))
    video.set(cv2.CAP_PROP_POS_MSEC, 1000 * row["second"] + 1)
    ok, frame = video.read()
    video.release()
    return shrunk(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)) if ok else None


def shrunk(picture):
    factor = min(1, GALLERY_PX / max(picture.shape))
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def name_of(row):
    return row["photo"] if row["second"] is None else f"{row['photo']}, second {row['second']:.1f}"


def gallery_section(shown, count):
    """[(start, row)] of the worst results -> their pictures."""
    pictures = [
        page.picture(image, f"{name_of(row)}: {sentence(row)}")
        for start, row in shown
        if (image := view(start, row)) is not None
    ]
    heading = f"The worst {len(shown)} of {count}" if len(shown) < count else "All, the worst first"
    order = "share of the photo that is crack"
    order = f"indicative severity, then {order}" if "length_m" in shown[0][1] else order
    legend = f"In the order of: {order}. {colours_say([row for _, row in shown])} "
    legend += "The ring, where there is one, is at the widest point that is clear of junctions and ends."
    return page.section(heading, page.paragraph(legend), page.gallery(pictures))


def table_section(rows):
    """Every photo in a sortable table."""
    columns = IN_MM if "length_m" in rows[0] else IN_PX
    cells = [(name_of(row), *(shown(row, of) for of in columns.values())) for row in rows]
    return page.section("Every photo", page.table(["photo", *columns], cells))


def shown(row, column):
    """A row's value for the report's table: key, or (key, decimals) of a value with its uncertainty."""
    if isinstance(column, str):
        return row[column]
    key, decimals = column
    stem, unit = key.rsplit("_", 1)
    unsure = row[f"{stem}_plus_minus_{unit}"]
    return None if row[key] is None else give_or_take(row[key], unsure, decimals)


def columns_section(scaled):
    """What the columns of cracks.csv say."""
    meaning = PIXELS | MILLIMETRES if scaled else PIXELS
    parts = [page.table(["column", "what it says"], meaning.items(), sortable=False)]
    return page.section("The columns of cracks.csv", *parts, *[page.paragraph(PLUS_MINUS)] * scaled)


def report(found):
    """Findings -> the page."""
    results, starts, failed = found.results, found.starts, found.failed
    order = sorted(range(len(results)), key=lambda k: worst_first(results[k]["row"]))
    rows, still = [results[k]["row"] for k in order], found.photos
    scaled, single = found.scaled, [row for row in rows if row["copy_of"] is None]
    cracked, again = sum(row["crack_area_px"] > 0 for row in single), len(rows) - len(single)
    intro = f"Cracked: {cracked} of {number_of(len(single), 'picture')}, as seen by {found.made_with}."
    intro += f" {number_of(again, 'file')} more: copies, which are in no sum." if again else ""
    if failed:
        intro += f" {len(failed)} more could not be used and are in no number here; the end of this page says why."
    if scaled:
        levels = Counter(row["indicative_severity"] for row in single)
        intro += f" Indicative severity: {', '.join(f'{level} {levels[level]}' for level in WORST_FIRST)}."
    sections = [page.paragraph(intro), *map(page.paragraph, filter(None, [too_much(rows)]))]
    if not scaled:
        sections.append(page.paragraph(NO_SCALE))
    if len(still) < len(single):
        sections.append(page.paragraph("Frames of a video overlap: they are not added up."))
    if scaled:
        sections.append(scale_section(rows))  # first: all that follows rests on it
    if still and scaled:
        sections.append(quantities_section(found))
    how_wide = "Length of crack by its width, all pictures but copies; a crack counts in each that shows it"
    sections.append(page.section("Widths", page.figure(histogram(found.originals), how_wide)))
    if placed := [row for row in rows if row["latitude"] is not None]:
        sections.append(page.section("Places", page.figure(scatter(placed), "Where the photos were taken, north up")))
    sections.append(gallery_section([(starts[k], results[k]["row"]) for k in order[:GALLERY]], len(rows)))
    sections += [table_section(rows), columns_section(scaled)]
    if failed:
        sections.append(page.section("Not read", *map(page.paragraph, failed)))
    return page.page(f"Cracks in {number_of(len(rows), 'picture')}", *sections)


def write_report(path, found):
    """Findings -> the page into a file, atomically."""
    page.write(path, report(found))
