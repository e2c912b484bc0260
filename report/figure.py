"""Pictures of one result: the crack coloured by its width, a scale bar, the widest point marked."""

import cv2
import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure

from command import written_whole
from formats.photo import ORANGE
from quantify.damage import scale_words, sentence, widest
from quantify.measure import full_width_px

rcParams["text.parse_math"] = False  # a $ in the name of a photo is a $
COLOURS = cv2.applyColorMap(np.arange(90, 256, dtype=np.uint8)[:, None], cv2.COLORMAP_PLASMA)[:, 0, ::-1]  # no dark end
LABELLED_PX = 300  # smaller pictures have no room for a legend
TICKS_MM = (1, 3, 10, 30, 75)  # widths at even steps of the colours; 10 and 75 are the limits of ASTM D6433
TICKS_PX = (1, 2, 4, 8, 16)  # the same without a scale, for a photo of TICKS_FOR pixels on the longer side
TICKS_FOR = 512


def width_map(mask, measured):
    """(H, W) mask, what `measure` gave -> (H, W) float32: on the crack its width in pixels there, 0 elsewhere."""
    points, width = measured["points"], full_width_px(measured)
    if not width.size:
        return np.zeros(mask.shape, np.float32)
    x, y = np.rint([points["x_px"], points["y_px"]]).astype(int).clip(0, np.array(mask.shape[::-1])[:, None] - 1)
    away = np.ones(mask.shape, np.uint8)
    away[y, x] = 0
    _, nearest = cv2.distanceTransformWithLabels(away, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    of_label = np.zeros(nearest.max() + 1, np.float32)
    of_label[nearest[y, x]] = width
    return of_label[nearest] * mask


def nice(value):
    """The largest of 1, 2, 5, 10, 20, 50 ... (or 0.1, 0.2 ...) that is not above value."""
    power = 10.0 ** np.floor(np.log10(value))
    return power * max(step for step in (1, 2, 5) if step * power <= value * (1 + 1e-9))


def width_ticks(longer, row):
    """Longer side in pixels, row of `damage` -> widths at which the colours are at even steps, in mm or in pixels.

    They do not depend on the crack, so pictures of one folder compare. Without a scale they double with the photo's
    size, so photos of about the same size share them.
    """
    if "mm_per_pixel" in row:
        return TICKS_MM
    times = 2 ** max(0, round(np.log2(longer / TICKS_FOR)))
    return tuple(times * width for width in TICKS_PX)


def colours_of(width, ticks):
    """Widths in the unit of the ticks, any shape -> (..., 3) uint8."""
    return COLOURS[np.interp(width, ticks, np.linspace(0, len(COLOURS) - 1, len(ticks))).astype(int)]


def in_unit(pixels, row):
    """Pixels as text, in mm where there is a scale."""
    value = pixels * row.get("mm_per_pixel", 1)
    return f"{round(value, 0 if value >= 10 else 1):g} {'mm' if 'mm_per_pixel' in row else 'px'}"


def overlay(photo, mask, measured, row):
    """Photo with the crack coloured by width, its texture visible underneath; outlined so that thin cracks show.

    row: of `damage`, its widest place and scale are written into the picture.
    """
    width, unit = width_map(mask, measured), max(mask.shape) / 1000
    reach = 2 * int(unit) + 1  # a photo of several thousand pixels is seen shrunk
    spread = cv2.dilate(width, np.ones((reach, reach), np.uint8))
    where = spread > 0
    ticks = width_ticks(max(mask.shape), row)
    drawn, colour = photo.copy(), colours_of(spread[where] * row.get("mm_per_pixel", 1), ticks)
    solid = np.where(mask[where], 0.6, 0.9)[:, None]
    drawn[where] = (solid * colour + (1 - solid) * photo[where]).astype(np.uint8)
    return label(drawn, measured, row, unit, ticks) if max(mask.shape) >= LABELLED_PX else drawn


def write_text(drawn, text, x, y, unit):
    """White text with a black rim, its lower left corner at x, y, moved to stay inside the picture; ± becomes +-."""
    text = text.replace("±", "+-")  # OpenCV's font has only ASCII
    font, size, thick = cv2.FONT_HERSHEY_SIMPLEX, max(0.5, 0.9 * unit), max(1, round(2 * unit))
    (width, height), _ = cv2.getTextSize(text, font, size, thick)
    x, y = int(np.clip(x, 2, max(2, drawn.shape[1] - width - 4))), int(np.clip(y, height + 2, drawn.shape[0] - 4))
    for dx, dy in ((-1, -1), (-1, 1), (1, -1), (1, 1)):  # a thicker black text would be set wider than the white one
        cv2.putText(drawn, text, (x + dx * thick, y + dy * thick), font, size, (0, 0, 0), thick, cv2.LINE_AA)
    cv2.putText(drawn, text, (x, y), font, size, (255, 255, 255), thick, cv2.LINE_AA)


def label(drawn, measured, row, unit, ticks):
    """Adds, in place: a ring round the widest point with its width, a scale bar, the colours and what they mean."""
    height, width = drawn.shape[:2]
    gap = max(8, round(16 * unit))
    if not np.isnan(measured["width_max_px"]):
        x, y = np.rint(measured["width_max_xy"]).astype(int).tolist()
        radius = round(max(8, 14 * unit, 0.8 * measured["width_max_px"]))
        for colour, thick in (((0, 0, 0), max(3, round(5 * unit))), ((255, 255, 255), max(1, round(2 * unit)))):
            cv2.circle(drawn, (x, y), radius, colour, thick, cv2.LINE_AA)
        tall, letters = 6 * max(4, round(8 * unit)), round(30 * max(0.5, 0.9 * unit))
        wide = width * 3 // 10
        left, low = emptier(measured["points"], drawn.shape, wide + 3 * gap, gap, tall + letters)
        above = low if low < height // 2 else 0
        y = np.clip(y - radius, above + letters, height - gap - tall - letters)  # on neither the colours nor the bar
        write_text(drawn, widest(row), x + radius + 3, y, unit)
        draw_colours(drawn, left, low, wide, ticks, row, unit)
    draw_bar(drawn, gap, row, unit)
    return drawn


def emptier(points, shape, wide, gap, tall):
    """x, y of the lower left corner of a box: at the right border below, or above, or at the left above, where least of
    the crack lies; at the left below stands the scale bar."""
    height, width = shape[:2]
    x, y = points["x_px"], points["y_px"]
    right, low, high = x >= width - wide, y >= height - gap - tall, y <= gap + tall
    corners = (width - wide, height - gap), (width - wide, gap + tall), (gap, gap + tall)
    crack = [np.count_nonzero(part) for part in (right & low, right & high, (x <= wide) & high)]
    return corners[int(np.argmin(crack))]


def draw_bar(drawn, gap, row, unit):
    """A bar of round length, about a fifth of the picture, with how sure its length is."""
    height, width = drawn.shape[:2]
    mm = row.get("mm_per_pixel", 1)
    bar = nice(width * mm / 5) / mm
    low, high, right = height - gap, height - gap - gap // 2, gap + round(bar)
    cv2.rectangle(drawn, (gap, high), (right, low), (0, 0, 0), -1)
    cv2.rectangle(drawn, (gap + 1, high + 1), (right - 1, low - 1), (255,) * 3, -1)
    unsure = f" ± {row['scale_plus_minus_percent']:.2g} %" if "mm_per_pixel" in row else ""
    write_text(drawn, in_unit(bar, row) + unsure, gap, high - gap // 4, unit)


def draw_colours(drawn, x, y, length, ticks, row, unit):
    """The colour scale with its lower left corner at x, y, a number at each tick."""
    high = max(4, round(8 * unit))
    drawn[y - high : y, x : x + length] = COLOURS[np.linspace(0, len(COLOURS) - 1, length).astype(int)]
    for place, tick in zip(np.linspace(x, x + length, len(ticks)), ticks, strict=True):
        more = "+" * (tick == ticks[-1])  # all that is wider has the last colour
        write_text(drawn, f"{tick:g}{more}", place, y - 2 * high, unit)
    write_text(drawn, f"crack width, {'mm' if 'mm_per_pixel' in row else 'px'}", x, y - 6 * high, unit)


def figure(photo, probability, mask, measured, row):
    """Matplotlib figure of photo, probability, mask, crack by width: side by side for a tall photo, else 2 by 2."""
    height, width = mask.shape
    rows, columns = (1, 4) if height > width else (2, 2)
    panel = 12 / columns
    fig = Figure(figsize=(12, rows * (panel * height / width + 0.35) + 0.6), layout="constrained")
    fig.suptitle(f"{row['photo']}: {sentence(row)}\n{scale_words(row)}")
    panels = {"photo": photo, "crack probability, 0 black to 1 yellow": probability, "mask": mask}
    last = "crack by width; ring: the widest point clear of junctions and ends" if mask.any() else "no crack found"
    panels[last] = overlay(photo, mask, measured, row)
    step = 1 + max(height, width) // 1600  # more pixels than the figure shows only cost time
    for axes, (name, image) in zip(fig.subplots(rows, columns).flat, panels.items(), strict=True):
        axes.imshow(image[::step, ::step], cmap="gray" if name.startswith("mask") else "inferno", vmin=0, vmax=1)
        axes.set_title(name, fontsize=10)
        axes.set(xticks=[], yticks=[])  # the frame stays: a white mask has an edge too
    return fig


def save_figure(path, fig):
    """A matplotlib figure as PNG or JPEG, as the path says, whole or not at all."""
    with written_whole(path) as temporary:
        fig.savefig(temporary, dpi=110)


def outlined(photo, mask):
    """Copy of the photo with an orange line one pixel outside the mask, so that a thin crack stays visible."""
    outlines, _ = cv2.findContours(cv2.dilate(mask, np.ones((3, 3), np.uint8)), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(photo.copy(), outlines, -1, ORANGE, 1)


def contact_sheet(tiles, columns=4):
    """[(caption, (h, w, 3) uint8)] -> one (H, W, 3) uint8 picture, each tile undistorted above its caption."""
    columns = min(columns, len(tiles))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    width = max(tile.shape[1] for _, tile in tiles) + 8
    strips = []
    for row in rows:
        strip = np.full((max(tile.shape[0] for _, tile in row) + 28, columns * width, 3), 255, np.uint8)
        for left, (caption, tile) in zip(range(0, columns * width, width), row, strict=False):
            cv2.putText(
                strip, caption, (left, tile.shape[0] + 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA
            )
            strip[: tile.shape[0], left : left + tile.shape[1]] = tile
        strips.append(strip)
    return np.vstack(strips)
