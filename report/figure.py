"""Pictures of one result: the crack coloured by its width, with a scale bar and the widest place marked."""

import cv2
import numpy as np
from matplotlib.figure import Figure

from formats.pictures import BLACK, WHITE
from quantify.damage import widest
from quantify.measure import full_width_px

# Plasma: its brightness rises evenly, so colour-blind readers and grey printers see the order too; without its dark end
COLOURS = cv2.applyColorMap(np.arange(90, 256, dtype=np.uint8)[:, None], cv2.COLORMAP_PLASMA)[:, 0, ::-1]
OVERLAY_PX = 2048  # of an overlay's longer side; more pixels only cost time
FIGURE_PX = 1600  # of a panel in a figure
LABELLED_PX = 300  # smaller pictures have no room for a legend
TICKS_MM = (1, 3, 10, 30, 75)  # widths at even steps of the colours; 10 and 75 are the limits of ASTM D6433
TICKS_PX = (2, 4, 8, 16, 32)  # the same without a scale, for a photo of TICKS_FOR pixels on the longer side
TICKS_FOR = 512
PANELS = ("photo", "crack probability, 0 black to 1 yellow", "mask", "crack by width; ring: widest place")


# ---------------------------------------------------------------------------------------------- widths and colours
def width_map(mask, measured):
    """(H, W) mask, what `measure` gave -> (H, W) float32: on the crack its width in pixels there, 0 elsewhere.

    Each pixel takes the width of the nearest point of the centre line.
    """
    width = full_width_px(measured)
    if not width.size:
        return np.zeros(mask.shape, np.float32)
    x = np.rint(measured["points"]["x_px"]).astype(int).clip(0, mask.shape[1] - 1)
    y = np.rint(measured["points"]["y_px"]).astype(int).clip(0, mask.shape[0] - 1)
    away = np.ones(mask.shape, np.uint8)
    away[y, x] = 0
    _, nearest = cv2.distanceTransformWithLabels(away, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    width_of = np.zeros(nearest.max() + 1, np.float32)
    width_of[nearest[y, x]] = width
    return width_of[nearest] * mask


def width_ticks(longer, row):
    """Longer side in pixels, row of `damage` -> widths at which the colours are at even steps, in mm or in pixels.

    They do not depend on the crack, so that the pictures of a folder compare. Without a scale they double with the
    photo's size, so photos of about the same size share them.
    """
    if "mm_per_pixel" in row:
        return TICKS_MM
    times = 2 ** max(0, round(np.log2(longer / TICKS_FOR)))
    return tuple(times * width for width in TICKS_PX)


def colours_of(width, ticks):
    """Widths in the unit of the ticks, any shape -> (..., 3) uint8."""
    return COLOURS[np.interp(width, ticks, np.linspace(0, len(COLOURS) - 1, len(ticks))).astype(int)]


def unit_of(row):
    """The unit of a row's widths on a picture."""
    return "mm" if "mm_per_pixel" in row else "px"


# ---------------------------------------------------------------------------------------------- overlay
def overlay(photo, mask, measured, row):
    """Photo with the crack coloured by width, its texture visible underneath -> (h, w, 3) uint8, at most OVERLAY_PX.

    measured: what `measure` gave; row: of `damage`, whose widest place and scale are written into the picture.
    """
    shrink = min(1, OVERLAY_PX / max(mask.shape))
    ticks = width_ticks(max(mask.shape), row)
    if shrink < 1:
        size = round(mask.shape[1] * shrink), round(mask.shape[0] * shrink)
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        mask = (cv2.resize(255 * mask, size, interpolation=cv2.INTER_AREA) > 63).astype(np.uint8)
        measured = moved(measured, shrink)
    # a thin crack is widened a little, because a large picture is shown smaller than it is
    reach = 2 * (max(mask.shape) // 1000) + 1
    width = cv2.dilate(width_map(mask, measured), np.ones((reach, reach), np.uint8))
    crack = width > 0
    colours = colours_of(width[crack] * row.get("mm_per_pixel", 1), ticks)
    solid = np.where(mask[crack], 0.6, 0.9)[:, None]
    drawn = photo.copy()
    drawn[crack] = (solid * colours + (1 - solid) * photo[crack]).astype(np.uint8)
    if max(mask.shape) >= LABELLED_PX:
        label(drawn, measured, row, ticks, shrink)
    return drawn


def moved(measured, factor):
    """What `measure` gave -> the same in the coordinates of a photo resized by the factor; widths stay."""
    points = dict(measured["points"])
    for key in ("x_px", "y_px"):
        points[key] = (points[key] + 0.5) * factor - 0.5  # pixel centres lie at whole numbers
    x, y = measured["width_max_xy"]
    place = ((x + 0.5) * factor - 0.5, (y + 0.5) * factor - 0.5)
    return measured | {"points": points, "width_max_xy": place}


def label(drawn, measured, row, ticks, shrink):
    """Draw into the picture: a ring at the widest place with its width, what the colours mean, and a scale bar.

    shrink: size of the picture over that of the photo.
    """
    gap = round(max(8, 0.016 * max(drawn.shape)))
    if not np.isnan(measured["width_max_px"]):
        wide = round(0.34 * drawn.shape[1])
        tall = 7 * bar_height(drawn)
        left, low = emptier(measured["points"], drawn.shape, wide + gap, gap, tall)
        draw_ring(drawn, measured, row, shrink)
        draw_colours(drawn, (left, low), wide, ticks, unit_of(row))
    draw_bar(drawn, gap, row, shrink)


def draw_ring(drawn, measured, row, shrink):
    """A ring round the widest place, and its width beside it."""
    x, y = np.rint(measured["width_max_xy"]).astype(int).tolist()
    radius = round(max(8, 0.014 * max(drawn.shape), 0.8 * measured["width_max_px"] * shrink))
    thick = max(1, round(0.002 * max(drawn.shape)))
    cv2.circle(drawn, (x, y), radius, BLACK, 3 * thick, cv2.LINE_AA)
    cv2.circle(drawn, (x, y), radius, WHITE, thick, cv2.LINE_AA)
    write_text(drawn, widest(row), x + radius + 3, y - radius)


def emptier(points, shape, wide, gap, tall):
    """x, y of the lower left corner of a legend: at the right border below or above, or at the left above, wherever it
    covers least of the crack. The scale bar stands at the left below."""
    height, width = shape[:2]
    x, y = points["x_px"], points["y_px"]
    at_right, at_left = x >= width - wide, x <= wide
    below, above = y >= height - gap - tall, y <= gap + tall
    covered = {
        (width - wide, height - gap): np.count_nonzero(at_right & below),
        (width - wide, gap + tall): np.count_nonzero(at_right & above),
        (gap, gap + tall): np.count_nonzero(at_left & above),
    }
    return min(covered, key=covered.get)


def bar_height(drawn):
    """Thickness of the colour scale in pixels."""
    return round(max(5, 0.009 * max(drawn.shape)))


def draw_colours(drawn, corner, wide, ticks, unit):
    """The colour scale with its lower left corner there, a number at each tick, and what it means, `wide` in all."""
    x, y = corner
    high = bar_height(drawn)
    numbers = [f"{tick:g}" for tick in ticks]
    numbers[-1] += "+"  # all that is wider has the last colour
    length = wide - text_size(drawn, numbers[-1])[0]  # the last number begins where the scale ends
    drawn[y - high : y, x : x + length] = COLOURS[np.linspace(0, len(COLOURS) - 1, length).astype(int)]
    for place, number in zip(np.linspace(x, x + length, len(ticks)), numbers, strict=True):
        write_text(drawn, number, place, y - 2 * high)
    write_text(drawn, f"crack width, {unit}", x, y - 5 * high)


def draw_bar(drawn, gap, row, shrink):
    """A bar of round length, about a fifth of the picture, with the uncertainty of its length."""
    height, width = drawn.shape[:2]
    per_pixel = row.get("mm_per_pixel", 1) / shrink
    length = nice(width * per_pixel / 5)
    top, bottom, right = height - gap - gap // 2, height - gap, gap + round(length / per_pixel)
    cv2.rectangle(drawn, (gap, top), (right, bottom), BLACK, -1)
    cv2.rectangle(drawn, (gap + 1, top + 1), (right - 1, bottom - 1), WHITE, -1)
    words = f"{round(length, 0 if length >= 10 else 1):g} {unit_of(row)}"
    if "mm_per_pixel" in row:
        words += f" ± {row['scale_plus_minus_percent']:.2g} %"
    write_text(drawn, words, gap, top - gap // 4)


def nice(value):
    """The largest of 1, 2, 5, 10, 20, 50 ... (or 0.1, 0.2 ...) that is not above value."""
    power = 10.0 ** np.floor(np.log10(value))
    return power * max(step for step in (1, 2, 5) if step * power <= value * (1 + 1e-9))


def text_style(drawn):
    """(font, size, thickness) of the text in a picture, as OpenCV takes them."""
    return cv2.FONT_HERSHEY_SIMPLEX, max(0.5, 0.001 * max(drawn.shape)), max(1, round(0.002 * max(drawn.shape)))


def text_size(drawn, text):
    """Width and height of a text in the picture, pixels."""
    return cv2.getTextSize(text, *text_style(drawn))[0]


def write_text(drawn, text, x, y):
    """White text with a black rim, its lower left corner at x, y, moved to stay inside the picture; ± becomes +-."""
    text = text.replace("±", "+-")  # OpenCV's font has only ASCII
    font, size, thick = text_style(drawn)
    width, height = text_size(drawn, text)
    x = int(np.clip(x, 2, max(2, drawn.shape[1] - width - 4)))
    y = int(np.clip(y, height + 2, drawn.shape[0] - 4))
    for right, down in ((-1, -1), (-1, 1), (1, -1), (1, 1)):  # a thicker black text would be wider than the white one
        corner = x + right * thick, y + down * thick
        cv2.putText(drawn, text, corner, font, size, BLACK, thick, cv2.LINE_AA)
    cv2.putText(drawn, text, (x, y), font, size, WHITE, thick, cv2.LINE_AA)


# ---------------------------------------------------------------------------------------------- figures
def figure(photo, probability, mask, marked, title):
    """Matplotlib figure of photo, probability, mask and overlay: side by side for a tall photo, else 2 by 2.

    marked: what `overlay` gave.
    """
    height, width = mask.shape
    rows, columns = (1, 4) if height > width else (2, 2)
    panel = 12 / columns
    fig = Figure(figsize=(12, rows * (panel * height / width + 0.35) + 0.6), layout="constrained")
    fig.suptitle(title)
    images = [photo, probability, mask, marked]
    for axes, name, image in zip(fig.subplots(rows, columns).flat, PANELS, images, strict=True):
        step = 1 + max(image.shape) // FIGURE_PX
        axes.imshow(image[::step, ::step], cmap="gray" if name == "mask" else "inferno", vmin=0, vmax=1)
        axes.set_title(name, fontsize=10)
        axes.set(xticks=[], yticks=[])  # the frame stays: a white mask has an edge too
    return fig
