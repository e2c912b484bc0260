"""The submissions of a class on the same photos: ranking.csv, photos.csv, counted_as_empty.csv and one page."""

import math
from dataclasses import dataclass

import numpy as np

import metrics
from command import number_of, some, write_csv
from formats.pictures import outlined
from report import evaluation, page
from report.comparison import NOISE, PANEL, SHARED_KEYS, TOO_FEW, difference
from report.evaluation import NAMES, Scored, span

MISSING, UNUSABLE = "missing", "unusable"  # why a mask counts as empty
VERDICTS = {NOISE: "cannot be told from the first", "worse": "behind the first", TOO_FEW: TOO_FEW}
SHOWN = 6  # photos in the row of those with the largest differences
SHARED = [key for key in SHARED_KEYS if key != "undamaged_correct"]
COLUMNS = {  # of ranking.csv: what each says
    "place": "1 + the number of submissions with a higher iou_cracked",
    "submission": "name of the folder or file",
    "iou_cracked": metrics.MEANING["iou_cracked"],
    "low": "lower end of its 95 % interval",
    "high": "upper end of its 95 % interval",
    "difference": "iou_cracked minus that of the first, mean over the cracked photos",
    "difference_low": "lower end of its 95 % interval",
    "difference_high": "upper end of its 95 % interval",
    "verdict": "whether this difference may be chance",
    "missing": "masks that were not handed in, counted as empty",
    "unusable": "masks that cannot be read, have the wrong size or are not black and white, counted as empty",
    "undamaged_correct": f"{metrics.MEANING['undamaged_correct']}; empty if one of these masks is missing or unusable",
    "remarks": "what to know before believing the place",
}
RULE = "Ranked by IoU of the crack, mean over the cracked photos; a missing or unusable mask counts as empty."
VERDICT = (
    "The drawn intervals are 95 % intervals of the mean IoU for other photos of the same kind. A submission cannot be "
    "told from the first if the 95 % interval of their difference, photo by photo, includes 0: it may be chance."
)


@dataclass(frozen=True)
class Problem:
    """A mask that counts as empty."""

    photo: str
    kind: str  # MISSING or UNUSABLE
    reason: str


@dataclass(frozen=True, eq=False)
class Entry:
    """One submission, scored."""

    scored: Scored
    problems: list  # of Problem

    @property
    def name(self):
        """Name of the submission."""
        return self.scored.name

    @property
    def points(self):
        """What it is ranked by. Rounded, because the order in which photos are added up changes the last digits."""
        return round(float(self.scored.iou().mean()), 9)

    @property
    def nothing_usable(self):
        """Is no photo of it scored?"""
        return len(self.problems) == len(self.scored.photos)

    def count(self, kind):
        """Number of its problems of this kind, MISSING or UNUSABLE."""
        return sum(problem.kind == kind for problem in self.problems)

    def undamaged_correct(self):
        """nan if the mask of an undamaged photo is missing: an absent mask is no right answer."""
        cracked = {self.scored.photos[i].name for i in self.scored.cracked}
        if any(problem.photo not in cracked for problem in self.problems):
            return math.nan
        return self.scored.sheet["undamaged_correct"]


# ------------------------------------------------------------------------------------------------- the table
def place(entry, entries):
    """1 + the number of submissions with a higher score."""
    return 1 + sum(other.points > entry.points for other in entries)


def same_masks(entry, other):
    """Are all masks of two submissions equal pixel by pixel, and the same ones missing or unusable?"""
    missing, others = ({problem.photo for problem in one.problems} for one in (entry, other))
    pairs = zip(entry.scored.rows, other.scored.rows, strict=True)
    return missing == others and all(np.array_equal(a["mask"], b["mask"]) for a, b in pairs)


def remarks(entry, entries):
    """[sentence] of what to know about a submission besides its place."""
    if entry.nothing_usable:
        return ["nothing in it could be scored"]
    found = []
    equal = [other for other in entries if other is not entry and other.points == entry.points > 0]
    copies = [other.name for other in equal if same_masks(entry, other)]
    if copies:
        found.append(f"the same masks as {some(copies, 3)}")
    elif equal:
        found.append(f"the same score as {some([other.name for other in equal], 3)}")
    return found + entry.scored.warnings


def too_few(entries):
    """A warning, if there are too few cracked photos for an interval; else ""."""
    cracked = len(entries[0].scored.cracked)
    if cracked >= metrics.FEWEST:
        return ""
    return (
        f"WARNING: only {number_of(cracked, 'photo')} with a crack; {metrics.FEWEST} are needed to tell a difference "
        "from chance"
    )


def standings(entries):
    """[Entry], best first -> [{column of COLUMNS or key of SHARED: value}]."""
    first, rows = entries[0], []
    for entry in entries:
        scored = entry.scored
        row = {"place": place(entry, entries), "submission": entry.name, "iou_cracked": scored.sheet["iou_cracked"]}
        row["low"], row["high"] = scored.interval
        row |= {"difference": math.nan, "difference_low": math.nan, "difference_high": math.nan, "verdict": "first"}
        if entry is not first:
            found = difference(scored, first.scored)
            row["difference"], row["verdict"] = found.mean, VERDICTS[found.verdict]
            row["difference_low"], row["difference_high"] = found.interval
        row["missing"], row["unusable"] = entry.count(MISSING), entry.count(UNUSABLE)
        row["undamaged_correct"] = entry.undamaged_correct()
        row["remarks"] = "; ".join(remarks(entry, entries))
        rows.append(row | {key: scored.sheet[key] for key in SHARED})
    return rows


def every_photo(entries):
    """(column names, a row for each photo: true crack pixels, mean IoU, IoU of each submission).

    On an undamaged photo a submission has 0 for a false alarm, nothing if left empty, MISSING or UNUSABLE.
    """
    each = np.array([metrics.iou(entry.scored.counts) for entry in entries])  # (submissions, photos)
    true = metrics.true_pixels(entries[0].scored.counts)
    rows = []
    for i, photo in enumerate(entries[0].scored.photos):
        values = each[:, i].tolist()
        mean = metrics.mean(each[:, i]) if true[i] else math.nan
        if not true[i]:
            for k, entry in enumerate(entries):
                kinds = [problem.kind for problem in entry.problems if problem.photo == photo.name]
                values[k] = kinds[0] if kinds else values[k]
        rows.append([photo.name, int(true[i]), mean, *values])
    return ["photo", "true_pixels", "mean", *(entry.name for entry in entries)], rows


def problem_rows(entry):
    """[submission, photo, mask, reason] of each problem; one row for all photos, if all have the same."""
    reasons = {(problem.kind, problem.reason) for problem in entry.problems}
    if len(entry.problems) > 1 and len(reasons) == 1:
        return [[entry.name, f"all {len(entry.problems)}", *reasons.pop()]]
    return [[entry.name, problem.photo, problem.kind, problem.reason] for problem in entry.problems]


def rounded(value):
    """A float to 6 digits; anything else as it is."""
    return round(value, 6) if isinstance(value, float) else value


def rank(entries, left_out, out):
    """[Entry] of the same photos, [name of a file that is no submission] -> places on the screen; ranking.csv,
    photos.csv, counted_as_empty.csv and ranking.html in `out`."""
    entries = sorted(entries, key=lambda entry: (-entry.points, len(entry.problems), entry.name))
    rows = standings(entries)
    if too_few(entries):
        print(too_few(entries))
    print("place, submission, iou_cracked with its 95 % interval, compared with the first")
    for row, entry in zip(rows, entries, strict=True):
        interval = evaluation.in_brackets((row["low"], row["high"]))
        words = f"{row['verdict']}  {row['remarks']}".strip()
        print(f"{row['place']:3}  {entry.name:32} {row['iou_cracked']:.4f} {interval}  {words}")
        for kind in (MISSING, UNUSABLE):
            found = [problem.reason for problem in entry.problems if problem.kind == kind]
            if found:
                print(f"     {kind} masks counted as empty: {len(found)}; first: {found[0]}")
    columns = [*COLUMNS, *SHARED]
    write_csv(out / "ranking.csv", columns, [[rounded(row[key]) for key in columns] for row in rows])
    write_csv(out / "photos.csv", *every_photo(entries))
    every = [row for entry in entries for row in problem_rows(entry)]
    write_csv(out / "counted_as_empty.csv", ["submission", "photo", "mask", "reason"], every)
    write_ranking(out / "ranking.html", entries, rows, left_out)
    print(f"ranking written to {out}; open {out / 'ranking.html'}")


# -------------------------------------------------------------------------------------------------- the page
def places_table(entries, rows):
    """The ranking itself: place, name, drawn interval, missing masks, verdict, remarks."""
    columns = ["place", "submission", "IoU", "95 % interval", "masks counted as empty", "verdict"]
    with_undamaged = len(entries[0].scored.cracked) < len(entries[0].scored.photos)
    if with_undamaged:
        columns.append("undamaged photos left empty")
    cells = []
    for row, entry in zip(rows, entries, strict=True):
        interval = row["low"], row["high"]
        bar = page.line(page.Bar(entry.name, row["iou_cracked"], *interval), (0, 1))
        drawn = page.Cell(page.Html(bar + span(interval)), row["iou_cracked"])
        empty = row["missing"] + row["unusable"]
        line = [row["place"], entry.name, row["iou_cracked"], drawn, empty, row["verdict"]]
        if with_undamaged:
            line.append(row["undamaged_correct"])
        cells.append([*line, row["remarks"]])
    return page.table([*columns, "remarks"], cells, "Places")


def separating_photos(entries):
    """Gallery of the cracked photos whose IoU differs most between the submissions, ground truth outlined."""
    first = entries[0].scored
    iou = np.array([entry.scored.iou() for entry in entries])  # (submissions, cracked photos)
    pictures = []
    for k in np.argsort(-iou.std(axis=0), kind="stable")[:SHOWN]:
        item = first.photos[first.cracked[k]]
        photo, truth = item.read()
        low, high = iou[:, k].argmin(), iou[:, k].argmax()
        said = f"IoU {iou[low, k]:.2f} ({entries[low].name}) to {iou[high, k]:.2f} ({entries[high].name})"
        pictures.append(page.picture(outlined(photo, truth), f"{item.title}: {said}", plain=photo, longest=PANEL))
    return page.gallery(pictures, 11)


def best_and_worst(entries):
    """Gallery of each submission's best and worst photo: photo, ground truth, prediction."""
    pictures = []
    for entry in entries:
        scored = entry.scored
        best, worst = scored.cracked[scored.iou().argmax()], scored.cracked[scored.iou().argmin()]
        chosen = {"all alike": best} if best == worst else {"best": best, "worst": worst}
        for what, i in chosen.items():
            label, images = evaluation.labelled(scored, i)
            image = evaluation.strip(images)
            pictures.append(page.picture(image, f"{entry.name}, {what}: {label}", longest=2 * PANEL))
    return page.gallery(pictures, 30)


def write_ranking(path, entries, rows, left_out):
    """ranking.html: [Entry] best first, what `standings` gave, [name of a file that is no submission]."""
    first = entries[0].scored
    sections = []
    if too_few(entries):
        sections.append(page.notice(too_few(entries)))
    sections += [places_table(entries, rows), page.paragraph(RULE)]
    if left_out:
        sections.append(page.paragraph(f"Left out, because they are no submissions: {', '.join(left_out)}."))

    usable = [entry for entry in entries if not entry.nothing_usable]
    sections.append(page.section("Photos with the largest differences", separating_photos(usable)))
    summary = "The best and the worst photo of each submission: photo, ground truth, prediction"
    sections.append(page.details(summary, page.legend(evaluation.COLOURS), best_and_worst(usable)))
    empty = [row for entry in entries for row in problem_rows(entry)]
    if empty:
        columns = ["submission", "photo", "mask", "reason"]
        summary = f"Masks counted as empty: {sum(len(entry.problems) for entry in entries)}, with the reason of each"
        sections.append(page.details(summary, page.table(columns, empty, "Masks counted as empty")))
    sections.append(page.details("IoU of every submission on every photo", photos_block(entries)))
    cells = [[row["submission"], *(row[key] for key in SHARED)] for row in rows]
    scores = page.table(["submission", *(NAMES[key] for key in SHARED)], cells, "More scores")
    sections.append(page.details("More scores: overlap and lines", scores))
    meaning = COLUMNS | {key: metrics.MEANING[key] for key in SHARED}
    table = page.table(["column", "what it says"], meaning.items(), "Columns of ranking.csv", sortable=False)
    label_noise = "The ground truth itself, drawn one pixel wider or narrower, would score "
    label_noise += f"{first.sheet['label_noise_1px']:.3f}."
    said = page.paragraph(VERDICT), page.paragraph(label_noise)
    summary = "What the columns and verdicts mean, and IoU of labels drawn 1 pixel wider or narrower"
    sections.append(page.details(summary, *said, table))
    page.write(path, page.page(f"{number_of(len(entries), 'submission')} on {first.title}", *sections))


def photos_block(entries):
    """The table of `every_photo`, and what its cells mean."""
    said = "The same as photos.csv. On an undamaged photo, a false alarm is 0 and an empty mask an empty cell. The "
    said += "mean is over all submissions, with 0 for a missing or unusable mask."
    return page.Html(page.paragraph(said) + page.table(*every_photo(entries), "Every photo"))
