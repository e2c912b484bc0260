"""The page of a survey, report.html: cards, photos, then tables; and the one line that sums it up on the screen."""

import math
from collections import Counter

import cv2
import numpy as np
from matplotlib.figure import Figure

from command import BadInput, number_of
from formats import video
from formats.batch import beside
from formats.photo import RESULTS, at_most, read_photo
from quantify.columns import MILLIMETRES, NOT_IN_IT, PIXELS, PLUS_MINUS
from quantify.damage import BINS_MM, BINS_PX, NO_SCALE, give_or_take, sentence, warnings_about, worst_first
from quantify.measure import WIDTH_EDGES_MM
from report import page
from report.figure import colours_of, width_ticks
from report.records import VIDEO

GALLERY = 48  # pictures on the page, the worst first; the table holds every photo
GALLERY_PX = 1000  # of a picture's longer side
SEVERITIES = ("high", "medium", "low", "none")
LEVELS = ("low", "central", "high")
NO_BREAK = "\u00a0"  # a space at which no line ends
UNITS = {"m": "m", "m2": "m²"}
IN_PX = {
    "crack, % of photo": "crack_percent",
    "pattern": "pattern",
    "length, px": "length_px",
    "traced length, px": "traced_length_px",
    "median width, px": "width_median_px",
    "largest width, px": "width_max_px",
    "specks": "specks",
}  # the columns of the table of all photos: heading and key
IN_MM = {
    "severity": "indicative_severity",
    "crack, % of photo": "crack_percent",
    "pattern": "pattern",
    "length, m": ("length_m", 2),
    "median width, mm": ("width_median_mm", 1),
    "largest width, mm": ("width_max_mm", 1),
    "to patch, m²": ("patch_m2", 2),
    "specks": "specks",
}  # heading and key, or key and decimals of a value that is shown with its uncertainty
MINIMUM = (
    "The minimum charge applies: the work in these photos costs less than a crew's minimum, so the total is the price "
    "of one visit, not a price per metre. Photograph everything that needs repair before you plan with it."
)
SEVERITY = (
    f"Severity follows the crack widths of ASTM D6433: low below {WIDTH_EDGES_MM[0]} mm, medium up to "
    f"{WIDTH_EDGES_MM[1]} mm, high above; alligator cracking by its pattern. A photo gets the highest level that "
    "at least 5 % of its crack length, or any network of cracks, has. It is indicative and no PCI: a photo does not "
    "show fillings, spalling or the road around it."
)


# ---------------------------------------------------------------------------------------------- words
def budget_line(found):
    """Findings with a scale -> quantities, and money if there are prices, in one line."""
    total, money = found.quantities, found.budget
    if total is None:
        return "frames of a video overlap, so their quantities are not added up"
    seal = give_or_take(total["seal_m"], total["seal_plus_minus_m"])
    patch = give_or_take(total["patch_m2"], total["patch_plus_minus_m2"])
    line = f"to seal: {seal} m, to patch: {patch} m²"
    if total["patch_m2"]:
        line = f"{line}; the other {crack_length(found) - total['seal_m']:.2f} m lie in networks to patch"
    if money is None:
        return f"{line}; --prices data/prices.csv adds a budget"
    line += f"; budget {money['scope']}: {money['central']:.0f} {money['currency']}"
    line += f", low {money['low']:.0f}, high {money['high']:.0f}"
    if money["minimum_applied"]:
        line += "; minimum charge applies"
    if money["not_priced"]:
        line += f"; not included, because it has no price: {not_priced(money)}"
    return line


def noun(rows):
    """What to call one of these: "photo", or "picture" where a frame of a video is among them."""
    return "photo" if all(row["second"] is None for row in rows) else "picture"


def name_of(row):
    """A photo's name; for a frame of a video with its second."""
    if row["second"] is None:
        return row["photo"]
    return f"{row['photo']}, second {row['second']:.1f}"


def work_name(part):
    """A width class to seal, or patching, in words."""
    if part.get("item") == "patch":
        return "patch a network of cracks"
    lower, upper = part["width_from_mm"], part["width_to_mm"]
    if math.isinf(upper):
        return f"seal cracks {lower:g} mm and more wide"
    return f"seal cracks {lower:g} to {upper:g} mm wide"


def amount(line):
    """The quantity of a line of the budget, with uncertainty and unit."""
    return f"{give_or_take(line['quantity'], line['plus_minus'])} {UNITS[line['unit']]}"


def not_priced(money):
    """What the table of prices does not cover, in words."""
    return ", ".join(f"{work_name(line)}: {amount(line)}" for line in money["not_priced"])


# ---------------------------------------------------------------------------------------------- cards, notices
def cards(found):
    """What was found, in large numbers."""
    rows = [result["row"] for result in found.originals]
    frames = sum(row["second"] is not None for row in rows)
    cracked = sum(row["crack_area_px"] > 0 for row in rows)
    remarks = []
    if frames:
        remarks.append(f"{frames} of them frames of a video")
    if len(rows) < len(found.rows):
        remarks.append(f"{number_of(len(found.rows) - len(rows), 'duplicate')} not counted")
    if found.failed:
        remarks.append(f"{number_of(len(found.failed), 'file')} could not be used")
    items = [
        (f"{noun(rows)}s", len(rows), ", ".join(remarks)),
        ("with cracks", cracked, f"{cracked / len(rows):.0%} of them"),
    ]
    if found.scaled:
        levels = Counter(row["indicative_severity"] for row in rows)
        worst = next(level for level in SEVERITIES if levels[level])
        others = ", ".join(f"{level} {levels[level]}" for level in SEVERITIES if level != worst)
        items.append(("severity", f"{levels[worst]} {worst}", others))
    if found.quantities:
        items += quantity_cards(found)
    if found.budget:
        items.append(budget_card(found.budget))
    return page.cards(items)


def crack_length(found):
    """Metres of crack in the photos that are added up."""
    return sum(result["row"]["length_m"] for result in found.photos)


def quantity_cards(found):
    """Cards of metres and square metres."""
    total, photos = found.quantities, [result["row"] for result in found.photos]
    length = crack_length(found)
    unsure = sum(row["length_plus_minus_m"] for row in photos)
    road = sum(row["photographed_m2"] for row in photos)
    patch = give_or_take(total["patch_m2"], total["patch_plus_minus_m2"])
    remark = f"{give_or_take(length, unsure)} m on {road:.2f} m² of road"
    if total["patch_m2"]:
        remark += f"; {total['seal_m']:.2f} m to seal, the rest in networks to patch"
    return [
        ("length of cracks", f"{length:.2f} m", remark),
        ("to patch", f"{patch.split(' ')[0]} m²", f"{patch} m² of networks of cracks"),
    ]


def budget_card(money):
    """Card of the budget, from low to high."""
    low, central, high = (f"{money[level]:,.0f}" for level in LEVELS)
    remark = f"most likely {central}, {money['scope']}"
    if money["minimum_applied"]:
        remark += ", minimum charge applies"
    if money["not_priced"]:
        remark += ", work without a price not included"
    return f"budget, {money['currency']}", low if low == high else f"{low} – {high}", remark


def notices(found):
    """What a reader must know before using a number."""
    warnings = warnings_about(found.rows)
    if not found.scaled:
        return [page.notice(text) for text in [*warnings, NO_SCALE]]
    if not all(result["from_above"] for result in found.results):
        sources = sorted({r["row"]["scale_source"] for r in found.results if not r["from_above"]})
        largest = max(row["scale_plus_minus_percent"] for row in found.rows)
        warnings.append(
            f"Scale: {' and '.join(sources)}, ± {largest:.0f} %. Every length and sum of money on this page rests on "
            "this assumption, and nothing in the photos confirms it: if it is wrong by 10 %, so are all lengths, and "
            "areas by 20 %."
        )
    noted = [row for row in found.rows if row["scale_note"]]
    if noted:
        warnings.append(
            f"The scale of {number_of(len(noted), 'photo')} needs a check, {name_of(noted[0])} for one: "
            f"{noted[0]['scale_note']}"
        )
    if any(row["second"] is not None for row in found.rows):
        warnings.append("Frames of a video overlap, so their lengths and areas are not added up.")
    return [page.notice(text) for text in warnings]


# ---------------------------------------------------------------------------------------------- pictures
def marked(start, result):
    """The picture with the cracks that was written for a photo or a frame of a video; None if there is none."""
    if result["row"]["second"] is not None:
        return frame_at(beside(start, VIDEO), result["frame"])
    return picture_of(beside(start, RESULTS[1]))


def unmarked(file, result):
    """The photo itself, as its overlay shows it; None for frames, for photos shown from above, or if it is gone."""
    row = result["row"]
    if row["second"] is not None or result["from_above"]:
        return None
    large = max(row["photo_width"], row["photo_height"]) >= 2 * GALLERY_PX
    # a JPEG is decoded to half its size in half the time
    return picture_of(file, cv2.IMREAD_REDUCED_COLOR_2 if large else cv2.IMREAD_COLOR)


def picture_of(path, flags=cv2.IMREAD_COLOR):
    """A picture file as the gallery shows it; None if it is gone."""
    try:
        return at_most(read_photo(path, flags), GALLERY_PX)
    except BadInput:
        return None


def frame_at(path, number):
    """The frame of a video with this number, (H, W, 3) uint8 RGB; None if it cannot be read, or the number is None."""
    if number is None:
        return None
    film = video.opened(path)
    film.set(cv2.CAP_PROP_POS_FRAMES, number)
    success, frame = film.read()
    film.release()
    return at_most(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), GALLERY_PX) if success else None


def gallery_section(found, order):
    """The worst photos, to sort, filter, compare and enlarge; order: indices of the results, the worst first."""
    pictures = []
    for index in order[:GALLERY]:
        result, row = found.results[index], found.results[index]["row"]
        picture = marked(found.starts[index], result)
        if picture is not None:
            plain = unmarked(found.files[index], result)
            pictures.append(page.picture(picture, f"{name_of(row)}: {sentence(row)}", plain, values(row)))
    if found.scaled:
        by, chosen = ["length, m", "largest width, mm", "crack, % of photo"], {"severity": SEVERITIES}
    else:
        by, chosen = ["crack, % of photo", "length, px", "largest width, px"], {"crack": ("yes", "no")}
    heading = "Photos" if len(order) <= GALLERY else f"The worst {GALLERY} of {len(order)} photos"
    return page.section(
        heading,
        page.paragraph(colours_say([found.results[index]["row"] for index in order[:GALLERY]])),
        page.gallery(pictures, sort_by=by, filter_by=chosen),
    )


def values(row):
    """Row -> what the gallery sorts and filters by."""
    keys = {heading: key if isinstance(key, str) else key[0] for heading, key in columns_of(row).items()}
    return {heading: row[key] for heading, key in keys.items()} | {"crack": "yes" if row["crack_area_px"] else "no"}


def colour_scale(rows):
    """The widths that the colours of all pictures stand for; None if pictures of different sizes differ in them."""
    scales = {width_ticks(max(row["photo_width"], row["photo_height"]), row) for row in rows}
    return scales.pop() if len(scales) == 1 else None


def colours_say(rows):
    """What the colours of the pictures mean, in words."""
    ticks = colour_scale(rows)
    unit = "mm" if "mm_per_pixel" in rows[0] else "px"
    if ticks is None:
        meaning = "purple for thin, yellow for wide (each picture has its own scale)"
    else:
        meaning = f"purple for {ticks[0]} {unit} and less, yellow for {ticks[-1]} {unit} and more"
    return (
        f"Colour shows the width of the crack: {meaning}. The ring marks the widest place. The worst photo comes first."
    )


# ---------------------------------------------------------------------------------------------- charts
def histogram(results):
    """Results -> matplotlib figure: how much crack is how wide, in the colours of the pictures."""
    scaled = results[0]["quantities"] is not None
    bins, unit = (BINS_MM, "mm") if scaled else (BINS_PX, "px")
    length = np.sum([result["length_by_width"] for result in results], axis=0)
    names = [f"{low:g}–{high:g}" for low, high in zip(bins[:-2], bins[1:-1], strict=True)] + [f"over {bins[-2]:g}"]
    ticks = colour_scale([result["row"] for result in results])
    colours = "#0072b2"
    if ticks:
        middles = np.mean([bins[:-1], [*bins[1:-1], bins[-2]]], axis=0)
        colours = colours_of(middles, ticks) / 255
    fig = Figure(figsize=(page.WIDE, 2.8), layout="constrained")
    axes = fig.subplots()
    axes.bar(names, length, color=colours, edgecolor="#000000", linewidth=0.5)
    axes.set(xlabel=f"width of the crack, {unit}", ylabel="length, m" if scaled else "length, px")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return fig


def scatter(rows):
    """Rows with a place -> matplotlib figure: where the photos were taken, coloured by their share of crack."""
    rows = sorted(rows, key=lambda row: row["crack_percent"])  # so that the worst lie on top
    longitude, latitude, share = ([row[key] for row in rows] for key in ("longitude", "latitude", "crack_percent"))
    fig = Figure(figsize=(page.WIDE, 4), layout="constrained")
    axes = fig.subplots()
    dots = axes.scatter(longitude, latitude, c=share, cmap="plasma_r", edgecolors="#000000", linewidths=0.5)
    axes.set(xlabel="longitude, degrees", ylabel="latitude, degrees")
    axes.set_aspect(1 / math.cos(math.radians(np.mean(latitude))), adjustable="datalim")
    axes.ticklabel_format(useOffset=False)
    fig.colorbar(dots, label="crack, % of the photo")
    return fig


# ---------------------------------------------------------------------------------------------- tables
def quantities_section(found):
    """Totals with their uncertainty, and the budget if there are prices."""
    total = found.quantities
    rows = [(work_name(part), f"{give_or_take(part['length_m'], part['plus_minus_m'])} m") for part in total["seal"]]
    patch = give_or_take(total["patch_m2"], total["patch_plus_minus_m2"])
    rows.append((work_name({"item": "patch"}), f"{patch} m²"))
    photos = [result["row"] for result in found.photos]
    road = sum(row["photographed_m2"] for row in photos)
    unsure = sum(row["photographed_plus_minus_m2"] for row in photos)
    rows.append(("road in the photos", f"{give_or_take(road, unsure)} m²"))
    parts = [page.table(["for the photographed area", "amount"], rows, "quantities", sortable=False)]
    if found.budget:
        return page.section("Budget", *budget_parts(found.budget), *parts, page.paragraph(NOT_IN_IT))
    return page.section("Quantities", *parts, page.paragraph(NOT_IN_IT))


def budget_rows(money):
    """What `estimate` gave -> [[work, amount, low, central, high]] as text: all the work, and the total last."""
    rows = []
    for line in money["lines"]:
        name = f"{work_name(line)} (minimum charge)" if line["minimum_applied"] else work_name(line)
        rows.append([name, amount(line), *(f"{line[f'cost_{level}']:.0f}" for level in LEVELS)])
    rows += [[work_name(need), amount(need), "no price", "no price", "no price"] for need in money["not_priced"]]
    total = "total of what has a price" if money["not_priced"] else "total"
    return [*rows, [f"{total}, {money['currency']}", "", *(f"{money[level]:.0f}" for level in LEVELS)]]


def budget_parts(money):
    """The lines of the budget, its totals and where the prices come from."""
    heads = ["work", "amount", *(f"{level}, {money['currency']}" for level in LEVELS)]
    sources = "; ".join(sorted({line["source"] for line in money["lines"]}))
    parts = [page.table(heads, budget_rows(money), "budget", sortable=False)]
    if money["minimum_applied"]:
        parts.append(page.notice(MINIMUM))
    if money["not_priced"]:
        parts.append(page.notice(f"Not in the total, because the table has no price for it: {not_priced(money)}."))
    how = (
        "Low is the amount minus its ±, at the low price. High is the amount plus its ±, at the high price. Costs are "
        "rounded, so a column may differ from its total by one."
    )
    prices = f"Source of the prices: {sources or 'the table does not say'}."
    return [*parts, page.details("How low and high are calculated", page.paragraph(how), page.paragraph(prices))]


def columns_of(row):
    """The columns of the table of all photos, {heading: key or (key, decimals)}: in mm where there is a scale."""
    return IN_MM if "length_m" in row else IN_PX


def table_section(rows):
    """Every photo in a sortable table."""
    columns = columns_of(rows[0])
    cells = [(name_of(row), *(table_cell(row, key) for key in columns.values())) for row in rows]
    return page.section("All photos", page.table(["photo", *columns], cells, "all photos"))


def table_cell(row, column):
    """The value of a key; with (key, decimals) the value and its uncertainty, sorted by the value."""
    if isinstance(column, str):
        return row[column]
    key, decimals = column
    if row[key] is None or (key == "patch_m2" and row[key] == 0):  # 0.00 ± 0.00 in most rows would hide the others
        return None
    stem, unit = key.rsplit("_", 1)
    text = give_or_take(row[key], row[f"{stem}_plus_minus_{unit}"], decimals)
    return page.Cell(text.replace(" ", NO_BREAK), row[key])


def explanations(found):
    """What the numbers mean, behind a click each."""
    meaning = PIXELS | MILLIMETRES if found.scaled else PIXELS
    blocks = []
    if found.scaled:
        blocks.append(page.details("How severity is judged", page.paragraph(SEVERITY)))
        blocks.append(page.details("What ± covers, and what it does not", page.paragraph(PLUS_MINUS)))
    table = page.table(["column", "meaning"], list(meaning.items()), "columns of cracks.csv", sortable=False)
    blocks.append(page.details("What the columns of cracks.csv mean", table))
    blocks.append(page.details("Which network found the cracks", page.paragraph(f"{found.made_with}.")))
    return page.section("Explanations", *blocks)


def report(found):
    """Findings -> the page as text."""
    order = sorted(range(len(found.results)), key=lambda index: worst_first(found.rows[index]))
    rows = [found.rows[index] for index in order]
    placed = [row for row in rows if row["latitude"] is not None]
    sections = [cards(found), *notices(found), gallery_section(found, order)]
    if found.quantities:
        sections.append(quantities_section(found))
    how_wide = "Length of crack by its width, duplicates left out. A crack counts in each photo that shows it."
    sections.append(page.section("Widths", page.figure(histogram(found.originals), how_wide)))
    if placed:
        sections.append(page.section("Places", page.figure(scatter(placed), "Where the photos were taken, north up")))
    sections += [table_section(rows), explanations(found)]
    if found.failed:
        # only the file's name: the page is handed on, and a path tells about the machine
        lines = [line.replace(str(path), path.name) for path, line in found.failed]
        sections.append(page.section("Files that could not be used", *map(page.paragraph, lines)))
    return page.page(f"Cracks in {number_of(len(found.originals), noun(rows))}", *sections)


def write_report(path, found):
    """Findings -> the page in a file, atomically."""
    page.write(path, report(found))
