"""The submissions of a class on the same photos: places, what was counted as empty, one page for the teacher."""

from itertools import groupby

import cv2
import numpy as np

import metrics
from report import evaluation, page
from report.comparison import MEANING, NOISE, SHARED_KEYS, gain
from report.evaluation import span

KINDS = ("missing", "unusable")  # masks counted as empty
FIRST = 5  # names of photos in a row of the page; all stand in the CSV file
SMALL = 420  # pixels of a panel's longer side where a class of 30 is shown: the page stays a few MB
COLUMNS = {
    "place": "1 + how many score higher than the first of the place; see above",
    "submission": "the name of the folder or file, the whole path where two share it",
    "iou_cracked": metrics.MEANING["iou_cracked"],
    "95 % interval": "of iou_cracked for other photos of the kind, by bootstrap over photos",
    "undamaged_correct": f"{metrics.MEANING['undamaged_correct']}; empty where the mask of one is missing or unusable",
    "missing": "masks that are not there, counted as empty",
    "unusable": "masks that cannot be read or are of another size, counted as empty",
    "remarks": "whatever should be known before the place is believed",
    "to the first": "iou_cracked less that of the first row, mean over photos",
    "to the first, 95 %": "the interval of that difference, over photos",
    "to the one above": "iou_cracked less that of the row above, mean over photos",
    "to the one above, 95 %": "the interval of that difference, over photos",
}
SHARED = [key for key in SHARED_KEYS if key not in COLUMNS]


def points(run):
    """What a submission is ranked by; rounded, so that the order in which photos are added up parts no equals."""
    return round(float(run.iou().mean()), 9)


def in_order(submissions, problems):
    """Best first; of equals those that lack no mask, then by name."""
    return sorted(submissions, key=lambda run: (-points(run), bool(problems[run.name]), run.name))


def places(ordered, problems, seed):
    """As `in_order` -> [(place, the first of that place)]; the place is 1 + how many score higher than its first.

    Who is within noise of the first shares its place. Who lacks masks shares only with an equal score, for the zeros
    of these widen the interval, and opens no place that others could share: its own first is that of the place above.
    """
    found, firsts = [], []
    for _, level in groupby(ordered, key=points):
        level = list(level)
        whole = [run for run in level if not problems[run.name]]
        near = [first for first in firsts if any(gain(run, first, seed)[2] == NOISE for run in whole)]
        if whole and not near:
            firsts, opened = whole, 1 + len(found)
        place = opened if whole else 1 + len(found)
        found += [(place, (near or firsts or level)[0])] * len(level)
    return found


def remarks(i, ordered, placed, problems, seed):
    """What a teacher should know of the submission ordered[i] besides its place, in words; `placed` is of `places`."""
    run, (place, first) = ordered[i], placed[i]
    equal = [other.name for other in ordered if other is not run and points(other) == points(run) > 0]
    others = [other for other in (first, ordered[max(0, i - 1)]) if points(other) != points(run)]
    near = next((other for other in others if gain(run, other, seed)[2] == NOISE), None)
    found = [f"equal to {name}" for name in equal[:1]]
    if near:
        lacking = [other.name for other in (run, near) if problems[other.name]]
        apart = lacking and place != placed[ordered.index(near)][0]
        why = f", shares no place with it: {' and '.join(lacking)} without some masks" if apart else ""
        found.append(f"within noise of {near.name}{why}")
    found += [run.warning] * bool(run.warning)
    if len(problems[run.name]) == len(run.photos):
        found.append("nothing in it could be scored")
    if run.counts[:, :2].sum() > run.counts.sum() / 2:
        found.append("more than half of it is crack: inverted?")
    return "; ".join(found)


def standings(ordered, problems, seed):
    """A row of COLUMNS and SHARED for each submission, best first; `problems` as `rank` takes them."""
    rows, placed = [], places(ordered, problems, seed)
    for i, run in enumerate(ordered):
        wrong, differences = problems[run.name], []
        for other in (ordered[0], ordered[max(0, i - 1)]):
            difference, interval, _ = gain(run, other, seed)
            differences += [difference, span(interval)] if i else ["", ""]
        undamaged = run.sheet["undamaged_correct"]  # it does not count for the place: a look at it must come first
        lacking = {photo for photo, *_ in wrong} & {photo.name for photo in run.photos if not photo.cracked}
        words = remarks(i, ordered, placed, problems, seed)
        scores = [run.sheet["iou_cracked"], span(run.interval), "" if lacking else undamaged, *counted(wrong), words]
        rows.append([placed[i][0], run.name, *scores, *differences, *(run.sheet[key] for key in SHARED)])
    return rows


def rank(submissions, problems, out, seed):
    """Submissions scored on the same photos -> places on the screen; ranking.csv, photos.csv, counted_as_empty.csv,
    ranking.html.

    `problems` is {name of a submission: [(photo, one of KINDS, what is wrong)]}, masks counted as empty.
    """
    ordered = in_order(submissions, problems)
    rows = standings(ordered, problems, seed)
    print("place, submission, iou_cracked and its 95 % interval")
    for place, name, iou, interval, _, _, _, words, *_ in rows:
        print(f"{place:3}  {name:32} {iou:.4f} ({interval or 'too few photos for an interval'})  {words}".rstrip())
        first = first_of_each(problems[name])
        for kind, number in zip(KINDS, counted(problems[name]), strict=True):
            if number:
                print(f"     {kind} masks counted as empty: {number}; first: {first[kind]}")
    evaluation.write_csv(out / "ranking.csv", [*COLUMNS, *SHARED], rows)
    evaluation.write_csv(out / "photos.csv", *every_photo(ordered))
    every = [[run.name, *problem] for run in ordered for problem in in_one(problems[run.name])]
    evaluation.write_csv(out / "counted_as_empty.csv", ["submission", "photo", "mask", "what is wrong"], every)
    write_ranking(out / "ranking.html", ordered, problems, rows)
    print(f"ranking written to {out}; open {out / 'ranking.html'}")


def in_one(problems):
    """The problems of one submission; where all of it is wrong for one reason, that once."""
    reasons = {(kind, why) for _, kind, why in problems}
    return [[f"all {len(problems)}", *reasons.pop()]] if len(problems) > 1 == len(reasons) else problems


def first_of_each(problems):
    """{one of KINDS: what is wrong with the first of that kind}."""
    return {kind: why for _, kind, why in reversed(problems)}


def counted(problems):
    """How many masks of one submission are of each of KINDS."""
    kinds = [kind for _, kind, _ in problems]
    return [kinds.count(kind) for kind in KINDS]


def counted_section(ordered, problems):
    """A row for each submission of which masks were counted as empty: how many, the first photos, the first of each
    kind in full; nothing where there is none."""
    rows = []
    for run in ordered:
        found = problems[run.name]
        names = ", ".join(photo for photo, *_ in found[:FIRST])
        names += f" and {len(found) - FIRST} more" if len(found) > FIRST else ""
        rows += [[run.name, *counted(found), names, *map(first_of_each(found).get, KINDS)]] if found else []
    heads = ["submission", *KINDS, "photos", *(f"the first that is {kind}" for kind in KINDS)]
    said = page.paragraph("All of them stand in counted_as_empty.csv.")
    return [page.section("Counted as empty", said, page.table(heads, rows, sortable=False))] if rows else []


def write_ranking(path, ordered, problems, rows):
    """ranking.html: the places, what was counted as empty, best and worst photo of each, every photo of everyone."""
    photos, cracked = ordered[0].photos, ordered[0].cracked
    how = page.paragraph(
        f"Ranked by iou_cracked, the IoU of the crack, mean over the {len(cracked)} of {len(photos)} photos that have "
        "one. Who is within noise of the first of a place shares it, so one more submission can move others. A mask "
        "that is missing or unusable counts as one without any crack; who lacks one shares a place only with an equal "
        "score, and nobody shares on its account. On an undamaged photo such a mask would be right: in iou_all it is, "
        f"undamaged_correct is left empty. Negative is behind: {MEANING} Click a column's name to sort."
    )
    meaning = COLUMNS | {key: metrics.MEANING[key] for key in SHARED}
    columns = page.section("What the columns say", page.table(["column", "what"], meaning.items(), sortable=False))
    sections = [page.section("Places", how, page.table(meaning, rows)), *counted_section(ordered, problems), columns]
    pictures = evaluation.gallery(extremes(ordered), "prediction", 30)
    sections.append(page.section("Best and worst photo of each", pictures))
    said = page.paragraph("As in photos.csv; an undamaged photo is an empty cell where it was left empty, else 0.")
    sections.append(page.section("Every photo", said, page.table(*every_photo(ordered))))
    page.write(path, page.page(f"{len(ordered)} submissions on {ordered[0].title}", *sections))


def extremes(ordered):
    """(label, small panels) of each submission's best and worst photo."""
    for run in ordered:
        best, worst = run.cracked[run.iou().argmax()], run.cracked[run.iou().argmin()]
        for what, i in {"best": best, "worst": worst}.items() if best != worst else [("all alike", best)]:
            label, images = evaluation.labelled(run, i)
            yield f"{run.name}, {what}: {label}", {name: small(image) for name, image in images.items()}


def small(image):
    """(H, W, 3) uint8 -> the same, at most SMALL pixels long."""
    shrink = min(1, SMALL / max(image.shape))
    return cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)


def every_photo(ordered):
    """(column names, a row for each photo: true crack pixels, mean IoU, that of each submission)."""
    each = np.array([metrics.iou(run.counts) for run in ordered])  # (submissions, photos)
    true = ordered[0].counts[:, [0, 2]].sum(axis=1)
    rows = []
    for i, photo in enumerate(ordered[0].photos):
        mean = metrics.mean(each[:, i]) if true[i] else np.nan  # undamaged: no IoU where it was left empty
        rows.append([photo.name, int(true[i]), mean, *each[:, i].tolist()])
    return ["photo", "true_pixels", "mean", *(run.name for run in ordered)], rows
