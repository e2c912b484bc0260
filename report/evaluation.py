"""What a person looks at after scoring: report.html, comparison.html, overlays, figures, photos.csv."""

import csv
import math
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import metrics
from command import plain, written_whole
from formats.photo import read_photo
from report import page
from report.curves import figures
from report.figure import save_figure

COLOURS = {"hit": (0, 114, 178), "missed": (230, 159, 0), "false alarm": (204, 0, 153)}  # blue, orange, magenta
PHOTO_SCORES = ("iou", "dice", "precision", "recall", "f1_2px", "cldice")
MOST_ALARMS = 12  # a picture of a hundred false alarms is not looked at


@dataclass(frozen=True, eq=False)
class Scored:
    """A run, or a folder of masks, scored on photos."""

    name: str
    title: str  # data set, split, photo count
    photos: list
    rows: list  # one a photo: the counts of `evaluate.score_photo`, the prediction "mask" as PNG, its "size"
    sheet: dict
    interval: tuple  # of iou_cracked
    threshold: float | None = None
    flips: bool = False  # each answer is the mean of those to the photo and its three mirror images
    note: str = ""  # what a teacher should know of the files
    useless: str = ""  # of a network that has learnt nothing, in words
    known: tuple | None = (0, 0)  # of the photos: taught the network, chose its epoch and threshold; None: nobody knows

    @property
    def counts(self):
        """(photos, 4) hits, false alarms, misses, background."""
        return np.array([row["counts"] for row in self.rows])

    @property
    def cracked(self):
        """Indices of the photos whose ground truth has a crack."""
        return np.flatnonzero(self.counts[:, [0, 2]].sum(axis=1))

    def iou(self):
        """(photos with a crack,) IoU of each."""
        return metrics.iou(self.counts[self.cracked])

    def mask(self, i):
        return cv2.imdecode(self.rows[i]["mask"], cv2.IMREAD_UNCHANGED)

    @property
    def warning(self):
        """What must be known before the score is believed, in words."""
        words = ["WARNING: trained on {} of these photos", "its epoch and threshold were chosen on {} of these photos"]
        known = zip(words, self.known or (0, 0), strict=True)
        found = ["unknown whether these photos trained it"] * (self.known is None)
        found += [word.format(number) for word, number in known if number] + self.doubts
        return "; ".join(found + [self.note] * bool(self.note))

    @property
    def doubts(self):
        """[in words] what is odd about the masks themselves, or the network behind them."""
        called = self.counts[:, :2].sum()
        found = ["more than half of all pixels are called crack: inverted?"] * bool(called > self.counts.sum() / 2)
        found += ["no crack in any usable mask"] * bool(len(self.cracked) and not called)
        return found + [self.useless] * bool(self.useless)

    @property
    def sizes(self):
        """Of the masks scored, "smallest to largest"."""
        shapes = sorted({row["size"] for row in self.rows})
        return " to ".join(dict.fromkeys(f"{w}×{h}" for w, h in (shapes[0], shapes[-1])))


def table(scored):
    """The score sheet as printed."""
    lines = []
    for key, value in scored.sheet.items():
        why = (
            "; masks have no probability" if key in ("ods", "ois") and len(scored.cracked) else "; no photo here tells"
        )
        shown = "       -" if math.isnan(value) else f"{value:8.4f}"
        lines.append(f"{key:22} {shown}  {metrics.MEANING[key]}" + why * math.isnan(value))
    lines[0] += f"; {interval_words(scored)}" * bool(len(scored.cracked))
    lines[list(scored.sheet).index("f1_2px")] += f" ({scored.sizes})"
    return "\n".join(lines)


def facts(scored):
    """What scores.json holds."""
    about = {"title": scored.title, "photos": len(scored.photos), "cracked": len(scored.cracked), "size": scored.sizes}
    about |= {"flips": scored.flips, "warning": scored.warning}
    return about | scored.sheet | {"iou_cracked_interval": scored.interval}


def write_csv(path, columns, rows):
    with written_whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *plain(rows)])


def photo_table(scored):
    """(column names, one row a photo with its own scores; nan where undefined)."""
    rows = []
    for photo, row, c in zip(scored.photos, scored.rows, scored.counts, strict=True):
        scores = metrics.iou(c), metrics.dice(c), metrics.precision(c), metrics.recall(c)
        scores += metrics.f1(row["near"]), metrics.f1(row["line"])
        rows.append([photo.name, int(c[0] + c[2]), int(c[0] + c[1]), *map(float, scores)])
    return ["photo", "true_pixels", "predicted_pixels", *PHOTO_SCORES], rows


def write_photos(path, scored):
    """photos.csv: the table with an empty cell where a score is undefined."""
    columns, rows = photo_table(scored)
    rounded = [[*row[:3], *("" if math.isnan(score) else f"{score:.4f}" for score in row[3:])] for row in rows]
    write_csv(path, columns, rounded)


def marked(photo, truth, prediction):
    """Grey photo with hits blue, misses orange and false alarms magenta, the texture visible underneath."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    drawn = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB).astype(np.float32)
    p, t = prediction > 0, truth > 0
    for name, where in {"hit": p & t, "missed": t & ~p, "false alarm": p & ~t}.items():
        drawn[where] = 0.3 * drawn[where] + 0.7 * np.array(COLOURS[name])
    return drawn.astype(np.uint8)


def panels(photo, truth, predictions):
    """{name: (H, W, 3) uint8}: photo, ground truth, then {name: mask} of each prediction marked on the photo."""
    truth_drawn = cv2.cvtColor(255 * truth, cv2.COLOR_GRAY2RGB)
    answers = {name: marked(photo, truth, mask) for name, mask in predictions.items()}
    return {"photo": photo, "ground truth": truth_drawn} | answers


def strip(images):
    """Panels of one photo side by side, with a grey gap -> (H, W', 3) uint8."""
    gap = np.full((images["photo"].shape[0], max(4, images["photo"].shape[1] // 80), 3), 128, np.uint8)
    return np.hstack([part for image in images.values() for part in (image, gap)][:-1])


def rows_figure(items, title):
    """Figure: a row of panels for each (label, panels), hits, misses and false alarms explained below."""
    count = len(items[0][1])
    shapes = [images["photo"].shape for _, images in items]
    heights = [12 / count * height / width + 0.3 for height, width, _ in shapes]
    fig = Figure(figsize=(12, 0.9 + sum(heights)), layout="constrained")
    fig.suptitle(title)
    grid = fig.subplots(len(items), count, squeeze=False, height_ratios=heights)
    for row, (label, images) in zip(grid, items, strict=True):
        step = 1 + max(images["photo"].shape) // 1600
        for axes, (name, image) in zip(row, images.items(), strict=True):
            axes.imshow(image[::step, ::step])
            axes.set_title(label if name == "photo" else name, fontsize=9)
            axes.axis("off")
    handles = [Patch(color=np.array(colour) / 255, label=name) for name, colour in COLOURS.items()]
    fig.legend(handles=handles, loc="outside lower center", ncols=3)
    return fig


def selection(scored):
    """{"worst", "median", "best": up to three photos each, "false_alarms": the largest}: indices of photos."""
    ranked = scored.cracked[np.argsort(scored.iou(), kind="stable")].tolist()
    most = min(3, max(1, len(ranked) // 3))  # no photo stands in two of them
    rest = ranked[most : max(most, len(ranked) - most)]
    middle = max(0, len(rest) - most + 1) // 2
    area = metrics.divide(scored.counts[:, 1], scored.counts.sum(axis=1))
    area[scored.cracked] = 0
    return {
        "worst": ranked[:most],
        "median": rest[middle : middle + most],
        "best": ranked[most:][::-1][:most],
        "false_alarms": [i for i in np.argsort(-area, kind="stable").tolist() if area[i]][:MOST_ALARMS],
    }


def labelled(scored, i):
    """(label, panels) of one photo."""
    photo, c = scored.photos[i], scored.counts[i]
    said = f"IoU {metrics.iou(c):.3f}" if i in scored.cracked else f"undamaged, {c[1] / c.sum():.2%} called crack"
    return f"{photo.title}: {said}", panels(*photo.read(), {"prediction": scored.mask(i)})


def save_overlays(out, scored):
    """worst.png, median.png, best.png and false_alarms.png."""
    for name, chosen in selection(scored).items():
        (out / f"{name}.png").unlink(missing_ok=True)  # no picture of an earlier evaluation stays
        if chosen:
            items = [labelled(scored, i) for i in chosen]
            save_figure(out / f"{name}.png", rows_figure(items, f"{scored.title}: {name.replace('_', ' ')}"))


def changed_rows(harder, changes, seed):
    """[(label, panels)] of the median photo under every change: {name: Scored}, {name: change}."""
    plain = next(iter(harder.values()))
    chosen = selection(plain)
    middle = (chosen["median"] + chosen["worst"] + [0])[0]
    items = []
    for name, scored in harder.items():
        photo, truth = changes[name](*plain.photos[middle].read(), np.random.default_rng([seed, middle]))
        label = f"{name}: IoU {metrics.iou(scored.counts[middle]):.3f}, mean {scored.sheet['iou_cracked']:.3f}"
        items.append((label, panels(photo, truth, {"prediction": scored.mask(middle)})))
    return items


def headline(scored):
    """The result in words."""
    cracked, sheet = len(scored.cracked), scored.sheet
    sound = len(scored.photos) - cracked
    left = f" Undamaged photos left empty: {sheet['undamaged_correct'] * sound:.0f} of {sound}." if sound else ""
    warned = f" {scored.warning[:1].upper()}{scored.warning[1:]}." if scored.warning else ""
    if not cracked:
        return page.paragraph(f"No photo has a crack.{left}{warned}")
    at = "" if scored.threshold is None else f" Crack is what has a probability of {scored.threshold:.2f} or more."
    at += " The probability is the mean of those for the photo and its three mirror images." if scored.flips else ""
    return page.paragraph(
        f"IoU of the crack is {sheet['iou_cracked']:.3f}, {interval_words(scored)}: the mean over the "
        f"{cracked} of {len(scored.photos)} photos that have a crack, each at its own size ({scored.sizes} pixels). "
        f"An answer without any crack would get 0, the ground truth itself drawn one pixel wider or narrower "
        f"{sheet['label_noise_1px']:.3f}.{left}{at}{warned}"
    )


def span(interval):
    """In words; empty where the photos are too few for one."""
    return "" if math.isnan(interval[0]) else "{:.3f} to {:.3f}".format(*interval)


def in_brackets(interval):
    return f"({span(interval) or 'no interval'})"


def interval_words(scored):
    """The interval of the headline, or why there is none."""
    few = f"too few photos with a crack ({len(scored.cracked)}) for an interval, it takes {metrics.FEWEST}"
    return f"95 % interval {span(scored.interval)}" if span(scored.interval) else few


def gallery(items, what, least=48):
    """(label, panels) pairs under a legend of the three colours; `what` stands right of photo and ground truth."""
    block = '<span style="background: rgb{}" aria-hidden="true">&emsp;</span> {}'
    colours = " &ensp; ".join(block.format(colour, name) for name, colour in COLOURS.items())
    legend = f"<p>{colours}. Photo, ground truth, {what}; a click enlarges.</p>"
    return page.Html(legend + page.gallery([page.picture(strip(images), label) for label, images in items], least))


def meaning_section(columns):
    """{column: what it says} -> the section that explains a page's table."""
    return page.section(
        "What the columns say", page.table(["column", "what"], columns.items(), "What the columns say", sortable=False)
    )


def robustness_section(harder, items):
    """The score sheets under every change, and one photo under each."""
    keys = ["dice_cracked", "precision", "recall", "f1_2px", "cldice", "undamaged_correct"]
    rows = [[name, s.sheet["iou_cracked"], span(s.interval), *(s.sheet[k] for k in keys)] for name, s in harder.items()]
    said = page.paragraph("The same photos made harder, and below them one of median difficulty.")
    table = page.table(["photos", "iou_cracked", "95 % interval", *keys], rows, "Robustness")
    return page.section("Robustness", said, table, gallery(items, "prediction", 30))


def write_report(path, scored, curves=None, harder=None):
    """report.html; `curves` is the picture of the training curves, `harder` the Html of `robustness_section`."""
    sheet = [[key, value, metrics.MEANING[key]] for key, value in scored.sheet.items()]
    sections = [
        page.section("Score sheet", page.table(["score", "value", "what it is"], sheet, "Score sheet", sortable=False))
    ]
    sections.append(page.section("Curves", page.gallery(figures(scored), least=24)))
    if curves and curves.is_file():
        sections.append(page.section("Training", page.picture(read_photo(curves), "Losses and validation IoU")))
    sections += [harder] if harder else []
    for name, chosen in selection(scored).items():
        if chosen:
            pictures = gallery((labelled(scored, i) for i in chosen), "prediction")
            sections.append(page.section(name.replace("_", " ").capitalize(), pictures))
    hint = page.paragraph(
        "Click a column's name to sort. An empty cell is undefined, as IoU where neither truth nor mask has a crack."
    )
    sections.append(page.section("Every photo", hint, page.table(*photo_table(scored), "Every photo")))
    page.write(path, page.page(f"{scored.name} on {scored.title}", headline(scored), *sections))
