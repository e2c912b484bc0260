"""A scored run as tables, pictures and a page: scores.json, photos.csv, report.html, worst.png and the like."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import metrics
from command import number_of, write_csv
from formats.photo import read_photo
from formats.pictures import save_figure
from report import page
from report.curves import charts

COLOURS = {"hit": (0, 114, 178), "missed": (230, 159, 0), "false alarm": (204, 0, 153)}  # blue, orange, magenta
PHOTO_SCORES = ("iou", "dice", "precision", "recall", "f1_2px", "cldice")
MOST_ALARMS = 12  # pictures of false alarms on a page; nobody looks at a hundred
GROUPS = {  # of the score sheet: {heading: {key: name of the score}}
    "Overlap": {
        "iou_cracked": "IoU, cracked photos",
        "iou_all": "IoU, all photos",
        "iou_pooled": "IoU, all pixels",
        "dice_cracked": "Dice, cracked photos",
        "precision": "precision",
        "recall": "recall",
        "miou_with_background": "mIoU with background",
    },
    "Lines": {"f1_2px": "F1 within 2 pixels", "cldice": "centre-line Dice"},
    "By width of the crack": {
        "recall_to_3px": "recall up to 3 pixels",
        "recall_3_to_10px": "recall 3 to 10 pixels",
        "recall_over_10px": "recall over 10 pixels",
    },
    "Undamaged photos": {"undamaged_correct": "left empty", "undamaged_area": "area called crack"},
    "Baseline, and what the labels allow": {
        "all_black": "IoU, all photos, if all black",
        "label_noise_1px": "IoU of labels 1 pixel off",
        "label_noise_2px": "IoU of labels 2 pixels off",
        "ods": "Dice at the best threshold",
        "ois": "Dice at the best threshold of each photo",
        "miou_papers": "mIoU as papers print it",
    },
}
NAMES = {key: name for group in GROUPS.values() for key, name in group.items()}


@dataclass(frozen=True, eq=False)
class Scored:
    """A run, or a folder of masks, scored on photos."""

    name: str
    title: str  # data set, split, number of photos
    photos: list
    rows: list  # one a photo: the counts of `evaluate.score_photo`, the prediction "mask" as PNG, its "size"
    sheet: dict
    interval: tuple  # of iou_cracked
    threshold: float | None = None
    flips: bool = False  # the probability is the mean over the photo and its three mirror images
    note: str = ""  # about the submitted files
    doubt: str = ""  # what `runs.doubt` says about the network
    known: tuple | None = (0, 0)  # how many of the photos it was trained on, validated on; None: unknown

    @property
    def counts(self):
        """(photos, 4) hits, false alarms, misses, background."""
        return np.array([row["counts"] for row in self.rows])

    @property
    def cracked(self):
        """Indices of the photos whose ground truth has a crack."""
        return np.flatnonzero(metrics.true_pixels(self.counts))

    def iou(self):
        """(photos with a crack,) IoU of each."""
        return metrics.iou(self.counts[self.cracked])

    def mask(self, i):
        """(H, W) uint8 0/1, the prediction for photo i."""
        return cv2.imdecode(self.rows[i]["mask"], cv2.IMREAD_UNCHANGED)

    @property
    def warnings(self):
        """[sentence] of what to know before believing the score."""
        found = []
        if self.known is None:
            found.append("unknown whether it was trained on these photos")
        else:
            trained, chose = self.known
            if trained:
                found.append(f"WARNING: trained on {trained} of these photos")
            if chose:
                found.append(f"its epoch and threshold were chosen on {chose} of these photos")
        found += self.doubts
        if self.note:
            found.append(self.note)
        return found

    @property
    def warning(self):
        """The warnings in one text."""
        return "; ".join(self.warnings)

    @property
    def doubts(self):
        """[sentence]: warnings about the masks or about the network that made them."""
        predicted = metrics.predicted_pixels(self.counts).sum()
        found = []
        if predicted > self.counts.sum() / 2:
            found.append("more than half of all pixels are called crack: inverted?")
        if len(self.cracked) and not predicted:
            found.append("no crack in any usable mask")
        if self.doubt:
            found.append(self.doubt)
        return found

    @property
    def sizes(self):
        """Sizes of the scored masks, "smallest to largest"."""
        shapes = sorted({row["size"] for row in self.rows})
        smallest, largest = (f"{width}×{height}" for width, height in (shapes[0], shapes[-1]))
        return smallest if smallest == largest else f"{smallest} to {largest}"


# ------------------------------------------------------------------------------------------- words and tables
def span(interval):
    """An interval in words, "" if there is none."""
    low, high = interval
    return "" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def in_brackets(interval):
    """(low, high) -> "(0.487 to 0.532)"."""
    return f"({span(interval) or 'no interval'})"


def interval_words(scored):
    """The interval of iou_cracked, or why there is none."""
    if span(scored.interval):
        return f"95 % interval {span(scored.interval)}"
    return f"no interval: {number_of(len(scored.cracked), 'photo')} with a crack, it needs {metrics.FEWEST}"


def table(scored):
    """The score sheet as printed."""
    lines = []
    for key, value in scored.sheet.items():
        words = metrics.MEANING[key]
        if key == "iou_cracked" and len(scored.cracked):
            words += f"; {interval_words(scored)}"
        if key == "f1_2px":
            words += f" ({scored.sizes})"
        if not math.isnan(value):
            shown = f"{value:8.4f}"
        elif key in metrics.OPTIMISTIC and len(scored.cracked):
            shown, words = "       -", f"{words}; masks have no probability"
        else:
            shown, words = "       -", f"{words}; no such photo here"
        lines.append(f"{key:22} {shown}  {words}")
    return "\n".join(lines)


def facts(scored):
    """What scores.json holds."""
    about = {
        "title": scored.title,
        "photos": len(scored.photos),
        "cracked": len(scored.cracked),
        "size": scored.sizes,
        "flips": scored.flips,
        "warning": scored.warning,
    }
    return about | scored.sheet | {"iou_cracked_interval": scored.interval}


def photo_table(scored):
    """(column names, a row for each photo with its own scores; nan where undefined)."""
    rows = []
    for photo, row in zip(scored.photos, scored.rows, strict=True):
        c = row["counts"]
        scores = [metrics.iou(c), metrics.dice(c), metrics.precision(c), metrics.recall(c)]
        scores += [metrics.f1(row["near"]), metrics.f1(row["line"])]
        true, predicted = int(metrics.true_pixels(c)), int(metrics.predicted_pixels(c))
        rows.append([photo.name, true, predicted, *(float(score) for score in scores)])
    return ["photo", "true_pixels", "predicted_pixels", *PHOTO_SCORES], rows


def write_photos(path, scored):
    """photos.csv: the table of all photos, scores with four decimals, an empty cell where undefined."""
    columns, rows = photo_table(scored)
    write_csv(path, columns, [[*row[:3], *(round(score, 4) for score in row[3:])] for row in rows])


# --------------------------------------------------------------------------------------------------- pictures
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
    drawn = {name: marked(photo, truth, mask) for name, mask in predictions.items()}
    return {"photo": photo, "ground truth": truth_drawn} | drawn


def strip(images):
    """Panels of one photo side by side, with a grey gap -> (H, W', 3) uint8."""
    height, width = images["photo"].shape[:2]
    gap = np.full((height, max(4, width // 80), 3), 128, np.uint8)
    parts = []
    for image in images.values():
        parts += [image, gap]
    return np.hstack(parts[:-1])


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


def said_of(scored, i):
    """What the page says of one photo: its IoU; of an undamaged one the area called crack."""
    c = scored.counts[i]
    if metrics.true_pixels(c):
        return f"IoU {metrics.iou(c):.3f}"
    return f"undamaged, {c[1] / c.sum():.2%} called crack"


def labelled(scored, i):
    """(label, panels) of one photo."""
    photo = scored.photos[i]
    images = panels(*photo.read(), {"prediction": scored.mask(i)})
    return f"{photo.title}: {said_of(scored, i)}", images


def save_overlays(out, scored):
    """worst.png, median.png, best.png and false_alarms.png; those of an earlier evaluation are removed."""
    for name, chosen in selection(scored).items():
        (out / f"{name}.png").unlink(missing_ok=True)
        if chosen:
            items = [labelled(scored, i) for i in chosen]
            save_figure(out / f"{name}.png", rows_figure(items, f"{scored.title}: {name.replace('_', ' ')}"))


def changed_rows(harder, changes, seed):
    """{name: Scored}, {name: change} -> [(label, panels)] of the median photo under every change."""
    unchanged = next(iter(harder.values()))
    chosen = selection(unchanged)
    candidates = [*chosen["median"], *chosen["worst"], 0]  # with one or two cracked photos there is no median
    middle = candidates[0]
    items = []
    for name, scored in harder.items():
        photo, truth = changes[name](*unchanged.photos[middle].read(), np.random.default_rng([seed, middle]))
        label = f"{name}: {said_of(scored, middle)}, mean IoU {scored.sheet['iou_cracked']:.3f}"
        items.append((label, panels(photo, truth, {"prediction": scored.mask(middle)})))
    return items


# ------------------------------------------------------------------------------------------------------- page
def strips(items, least=48):
    """[(label, panels)] -> gallery of the panels side by side: photo, ground truth, prediction."""
    return page.gallery([page.picture(strip(images), label) for label, images in items], least)


def answer(scored):
    """The result at the top of the page: IoU and its interval beside the baseline and the label noise, then numbers."""
    sheet, cracked = scored.sheet, len(scored.cracked)
    undamaged = len(scored.photos) - cracked
    bars, cards = [], [("photos", len(scored.photos), f"{cracked} with a crack")]
    if cracked:
        bars.append(page.Bar("IoU of the crack, mean of the cracked photos", sheet["iou_cracked"], *scored.interval))
    if undamaged:
        bars.append(page.Bar("IoU, all photos", sheet["iou_all"]))
    bars.append(page.Bar("all-black prediction, all photos: the baseline", sheet["all_black"], reference=True))
    if cracked:
        label_noise = "ground truth drawn 1 pixel wider or narrower: what hand-drawn labels allow"
        bars.append(page.Bar(label_noise, sheet["label_noise_1px"], reference=True))
        cards.append(("IoU of the crack", f"{sheet['iou_cracked']:.3f}", interval_words(scored)))
    if undamaged:
        empty = round(sheet["undamaged_correct"] * undamaged)
        cards.append(("undamaged photos left empty", f"{empty} of {undamaged}", "photos without any predicted crack"))
    if cracked:
        found, right = page.percent(sheet["recall"]), page.percent(sheet["precision"])
        cards.append(("crack found", found, "recall, all photos together"))
        cards.append(("predicted crack that is right", right, "precision, all photos together"))
    return page.Html(page.cards(cards) + page.bars(bars))


def how(scored):
    """The paragraph on how the numbers came about."""
    words = f"Each photo is scored at its own size ({scored.sizes} pixels)."
    if scored.threshold is not None:
        words += f" A pixel is crack if its probability is {scored.threshold:.2f} or more; this threshold was "
        words += "chosen on the validation photos."
    if scored.flips:
        words += " The probability is the mean over the photo and its three mirror images."
    if len(scored.cracked) and not math.isnan(scored.interval[0]):
        words += " The 95 % interval says where the mean would lie for other photos of the same kind."
    return page.paragraph(words)


def first_of_each(scored, chosen):
    """The first photo of each {name: [index of a photo]} side by side, with a button for the photo alone."""
    pictures = []
    for name, photos in chosen.items():
        i = photos[0]
        photo, truth = scored.photos[i].read()
        caption = f"{name}: {scored.photos[i].title}, {said_of(scored, i)}"
        pictures.append(page.picture(marked(photo, truth, scored.mask(i)), caption, plain=photo))
    return page.gallery(pictures, 18)


def photo_sections(scored):
    """[Html]: worst, median and best photo; more of each, and false alarms, behind a click."""
    chosen = selection(scored)
    alarms = chosen.pop("false_alarms")
    chosen = {name: photos for name, photos in chosen.items() if photos}
    sections = []
    if chosen:
        parts = [page.group(name, strips([labelled(scored, i) for i in photos])) for name, photos in chosen.items()]
        summary = "Up to three of each: photo, ground truth and prediction side by side"
        heading = "Worst, median and best photo"
        sections.append(
            page.section(heading, page.legend(COLOURS), first_of_each(scored, chosen), page.details(summary, *parts))
        )
    if alarms:
        pictures = strips([labelled(scored, i) for i in alarms])
        summary = f"{number_of(len(alarms), 'undamaged photo')} with a false alarm, the largest first"
        sections.append(page.section("False alarms", page.details(summary, page.legend(COLOURS), pictures)))
    return sections


def sheet_section(sheet):
    """The score sheet in groups, and what each score means."""
    columns = ["score", "key in scores.json", "what it is"]
    tables, meanings = [], []
    for heading, names in GROUPS.items():
        rows = [[name, sheet[key]] for key, name in names.items()]
        if not all(math.isnan(value) for _, value in rows):
            shown = page.table(["score", "value"], rows, f"Scores: {heading}", sortable=False)
            tables.append(page.group(heading, shown))
        meaning = [[name, key, metrics.MEANING[key]] for key, name in names.items()]
        said = page.table(columns, meaning, f"What the scores mean: {heading}", sortable=False)
        meanings.append(page.group(heading, said))
    return page.section(
        "Score sheet",
        page.gallery(tables, 18),
        page.details("What each score means, and its name in scores.json", *meanings),
    )


def robustness_section(harder, items):
    """{name of a change: Scored}, [(label, panels)] -> the scores under every change, and one photo under each."""
    keys = ["dice_cracked", "precision", "recall", "f1_2px", "cldice", "undamaged_correct"]
    rows = [[name, s.sheet["iou_cracked"], span(s.interval), *(s.sheet[k] for k in keys)] for name, s in harder.items()]
    columns = ["photos", NAMES["iou_cracked"], "95 % interval", *(NAMES[key] for key in keys)]
    bars = [page.Bar(name, scored.sheet["iou_cracked"], *scored.interval) for name, scored in harder.items()]
    return page.section(
        "Robustness",
        page.paragraph("IoU of the crack on the same photos, made harder in different ways."),
        page.bars(bars),
        page.details("More scores under every change", page.table(columns, rows, "Robustness")),
        page.details("One photo of median difficulty under every change", page.legend(COLOURS), strips(items, 30)),
    )


def write_report(path, scored, curves=None, harder=None):
    """report.html; `curves` is the picture of the training curves, `harder` the Html of `robustness_section`."""
    sections = [page.notice(warning[:1].upper() + warning[1:]) for warning in scored.warnings]
    if not len(scored.cracked):
        sections.append(page.notice("No photo has a crack, so there is no IoU of the crack."))
    sections += [answer(scored), how(scored), *photo_sections(scored)]
    drawn = [page.figure(fig, caption) for fig, caption in charts(scored)]
    if drawn:
        sections.append(page.section("Curves", page.gallery(drawn, 25)))
    if curves and curves.is_file():
        picture = page.picture(read_photo(curves), "Losses and validation IoU of the training")
        sections.append(page.section("Training", page.gallery([picture], 40)))
    if harder:
        sections.append(harder)
    sections.append(sheet_section(scored.sheet))
    hint = "Click a column's name to sort. An empty cell is undefined: IoU, for example, if neither ground truth nor "
    hint += "prediction has a crack."
    every = page.table(*photo_table(scored), "Every photo")
    sections.append(page.section("Every photo", page.paragraph(hint), every))
    page.write(path, page.page(f"{scored.name} on {scored.title}", *sections))
