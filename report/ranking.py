"""The submissions of a class on the same photos: places, what was counted as empty, one page for the teacher."""

from itertools import groupby

import cv2
import numpy as np

import metrics
from command import number_of
from report import evaluation, page
from report.comparison import MEANING, NOISE, SHARED_KEYS, gain
from report.evaluation import span

KINDS = ("missing", "unusable")  # masks counted as empty
FIRST = 5  # names of photos in a row of the page; all stand in the CSV file
SMALL = 420  # pixels of a panel's longer side where a class of 30 is shown: the page stays a few MB
COLUMNS = {
    "place": "1 + how many score higher than the first of the place; see above",
    "submission": "the name of the folder or file; with its suffix, or as the whole path, where two share it",
    "iou_cracked": metrics.MEANING["iou_cracked"],
    "95 % interval": "of iou_cracked for other photos of the kind, by bootstrap over photos",
    "undamaged_correct": f"{metrics.MEANING['undamaged_correct']}; empty where the mask of one is missing or unusable",
    "missing": "masks that are not there, counted as empty",
    "unusable": "masks that cannot be read, are of another size or not black and white, counted as empty",
    "remarks": "whatever should be known before the place is believed",
    "to the first": "iou_cracked less that of the first row, mean over photos",
    "to the first, 95 %": "the interval of that difference, over photos",
    "measured by": "the first of the place that was open: within noise of it, its place is shared, else the next is "
    "opened; it decides nothing for who lacks masks",
    "to that one": "iou_cracked less that of the submission it is measured by, mean over photos",
    "to that one, 95 %": "the interval of that difference, over photos",
}
SHARED = [key for key in SHARED_KEYS if key not in COLUMNS]


def points(run):
    """What a submission is ranked by; rounded, so that the order in which photos are added up parts no equals."""
    return round(float(run.iou().mean()), 9)


def in_order(submissions, problems):
    """Best first; of equals those that lack no mask, then by name."""
    return sorted(submissions, key=lambda run: (-points(run), bool(problems[run.name]), run.name))


def places(ordered, problems, seed):
    """As `in_order` -> {name: (place, its first, the first that it is measured by or None)}.

    Down the list, who is within noise of the first of the place that is open shares it; who is not opens the next, 1 +
    how many score higher. Earlier places stay closed, so nobody who lacks nothing stands behind a lower score. Who
    lacks masks shares and opens none, for the zeros of these widen the interval: the place is 1 + how many score
    higher, shared by an equal score alone. `problems` are those that count here, of photos with a crack: see `rank`.
    """
    found, firsts = {}, []
    for _, equal in groupby(ordered, key=points):
        level, start = list(equal), 1 + len(found)
        whole = [run for run in level if not problems[run.name]]
        near = [first for first in firsts if any(gain(run, first, seed)[2] == NOISE for run in whole)]
        measure = (near or firsts or [None])[0]
        if whole and not near:
            firsts, opened = whole, start
        first = (near or firsts or level)[0]
        found |= {run.name: (start if problems[run.name] else opened, first, measure) for run in level}
    return found


def remarks(i, ordered, placed, problems, lacking, seed):
    """What a teacher should know of the submission ordered[i] besides its place, in words; `placed` is of `places`,
    `lacking` the problems of photos with a crack."""
    run = ordered[i]
    equal = [other for other in ordered if other is not run and points(other) == points(run) > 0]
    if len(problems[run.name]) == len(run.photos):
        return "nothing in it could be scored"
    copies = [other.name for other in equal if same_masks(run, other, problems)]
    found = [f"the same masks as {some(copies)}"] if copies else []
    found += [f"the same score as {some([other.name for other in equal])}"] if equal and not copies else []
    above = [other for other in ordered[:i] if points(other) != points(run) and gain(run, other, seed)[2] == NOISE]
    mine = [other for other in above if placed[other.name][0] == placed[run.name][0]]
    higher = [other for other in above if other not in mine and not (mine and lacking[other.name])]
    higher.sort(key=lambda other: bool(lacking[other.name]))
    found += [f"within noise of {other.name}" for other in mine[:1]]
    found += [f"within noise of {other.name}, but {apart(run, other, ordered, placed, lacking, seed)}"
              for other in higher[:1]]  # fmt: skip
    return "; ".join(found + [run.warning] * bool(run.warning))


def same_masks(run, other, problems):
    """Are all their masks alike to the pixel, and the same ones missing or unusable?"""
    lacking, others = ({photo for photo, *_ in problems[one.name]} for one in (run, other))
    pairs = zip(run.rows, other.rows, strict=True)
    return lacking == others and all(np.array_equal(a["mask"], b["mask"]) for a, b in pairs)


def some(names, most=3):
    """The first of them, and how many more."""
    return ", ".join(names[:most]) + f" and {len(names) - most} more" * (len(names) > most)


def apart(run, other, ordered, placed, problems, seed):
    """Why two that are within noise of each other have different places, in words."""
    first = placed[other.name][1]
    if problems[other.name] and not problems[run.name]:
        first = placed[run.name][2]  # what was open, whatever the other lacks
    if problems[run.name] or first is None:
        lacking = run if problems[run.name] else other
        return f"masks of {lacking.name} are missing or unusable, so they share no place"
    place = placed[first.name][0]
    if gain(run, first, seed)[2] != NOISE:
        return f"not of {first.name}, the first of place {place}"
    closed_by = next(one.name for one in ordered if placed[one.name][0] > place and not problems[one.name])
    return f"{closed_by}, who scores higher, is not within noise of {first.name} and closed place {place}"


def standings(ordered, problems, lacking, seed):
    """A row of COLUMNS and SHARED for each submission, best first; `problems` and `lacking` as in `rank`."""
    rows, placed = [], places(ordered, lacking, seed)
    for i, run in enumerate(ordered):
        wrong, differences = problems[run.name], []
        measure = placed[run.name][2]
        for other, named in ((ordered[0], []), (measure, [measure.name if measure else ""])):
            difference, interval, _ = gain(run, other or run, seed)
            differences += [*named, difference, span(interval)] if i and other else [*named, "", ""]
        undamaged = run.sheet["undamaged_correct"]  # it does not count for the place: a look at it must come first
        unknown = len(wrong) > len(lacking[run.name])  # a mask of an undamaged photo is not there
        words = remarks(i, ordered, placed, problems, lacking, seed)
        scores = [run.sheet["iou_cracked"], span(run.interval), "" if unknown else undamaged, *counted(wrong), words]
        rows.append([placed[run.name][0], run.name, *scores, *differences, *(run.sheet[key] for key in SHARED)])
    return rows


def rank(submissions, problems, left_out, out, seed):
    """Submissions scored on the same photos -> places on the screen; ranking.csv, photos.csv, counted_as_empty.csv,
    ranking.html.

    `problems` is {name of a submission: [(photo, one of KINDS, what is wrong)]}, masks counted as empty; `left_out`
    are files that are no submissions.
    """
    cracked = {submissions[0].photos[i].name for i in submissions[0].cracked}  # what iou_cracked is made of
    lacking = {name: [one for one in found if one[0] in cracked] for name, found in problems.items()}
    ordered = in_order(submissions, lacking)
    rows = standings(ordered, problems, lacking, seed)
    if few := too_few(ordered[0].cracked):
        print(f"WARNING: {few}")
    print("place, submission, iou_cracked and its 95 % interval")
    for place, name, iou, interval, _, _, _, words, *_ in rows:
        print(f"{place:3}  {name:32} {iou:.4f} ({interval or 'too few photos for an interval'})  {words}".rstrip())
        first = first_of_each(problems[name])
        for kind, number in zip(KINDS, counted(problems[name]), strict=True):
            if number:
                print(f"     {kind} masks counted as empty: {number}; first: {first[kind]}")
    evaluation.write_csv(out / "ranking.csv", [*COLUMNS, *SHARED], rows)
    evaluation.write_csv(out / "photos.csv", *every_photo(ordered, problems))
    every = [[run.name, *problem] for run in ordered for problem in in_one(problems[run.name])]
    evaluation.write_csv(out / "counted_as_empty.csv", ["submission", "photo", "mask", "what is wrong"], every)
    write_ranking(out / "ranking.html", ordered, problems, left_out, rows)
    print(f"ranking written to {out}; open {out / 'ranking.html'}")


def too_few(cracked):
    """What the places of so few photos are worth, in words; nothing where they are enough."""
    few = f"{number_of(len(cracked), 'photo')} with a crack, {metrics.FEWEST} are needed to tell noise from merit"
    return f"{few}: the places are those of the scores alone" if len(cracked) < metrics.FEWEST else ""


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
        names = some([photo for photo, *_ in found], FIRST)
        rows += [[run.name, *counted(found), names, *map(first_of_each(found).get, KINDS)]] if found else []
    heads = ["submission", *KINDS, "photos", *(f"the first that is {kind}" for kind in KINDS)]
    said = page.paragraph("All of them stand in counted_as_empty.csv.")
    return (
        [page.section("Counted as empty", said, page.table(heads, rows, "Masks counted as empty", sortable=False))]
        if rows
        else []
    )


def write_ranking(path, ordered, problems, left_out, rows):
    """ranking.html: the places, what was counted as empty, best and worst photo of each, every photo of everyone."""
    photos, cracked = ordered[0].photos, ordered[0].cracked
    how = [
        f"Ranked by iou_cracked, the IoU of the crack, mean over the {len(cracked)} of {len(photos)} photos that have "
        "one. Down the list, who is within noise of the first of a place shares that place; the next who is not closes "
        "it and opens another, 1 + how many score higher. So who is within noise of somebody may yet stand behind: the "
        "remarks name one such submission, the highest, rather a complete one. One more submission can move others.",
        "A mask that is missing or unusable counts as one without any crack. The place of who lacks that of a cracked "
        "photo is 1 + how many score higher, whatever is noise, and only an equal score shares it: so lower scores "
        "may share a place before it. On an undamaged photo such a mask would be right: in iou_all it is, "
        "undamaged_correct is left empty, and the place is as if it were there.",
        f"{MEANING} Click a column's name to sort.",
        "The same score: that of iou_cracked, whatever is on undamaged photos; the same masks: alike to the pixel.",
        "The ground truth itself drawn one pixel wider or narrower scores "
        f"{ordered[0].sheet['label_noise_1px']:.2f} (label_noise_1px).",
    ]
    if few := too_few(cracked):
        how.insert(0, f"WARNING: {few}")
    if left_out:
        how.append(f"Left out, for they are no submissions: {', '.join(map(str, left_out))}.")
    meaning = COLUMNS | {key: metrics.MEANING[key] for key in SHARED}
    sections = [
        page.section("Places", *map(page.paragraph, how), page.table(meaning, rows, "Places")),
        *counted_section(ordered, problems),
        evaluation.meaning_section(meaning),
    ]
    scored = [run for run in ordered if len(problems[run.name]) < len(photos)]
    pictures = evaluation.gallery(extremes(scored), "prediction", 30)
    sections.append(page.section("Best and worst photo of each", pictures))
    said = (
        "As in photos.csv; an undamaged photo is an empty cell where it was left empty, else 0. The mean is over all "
    )
    said = page.paragraph(f"{said}submissions, with 0 where a mask is missing or unusable.")
    sections.append(page.section("Every photo", said, page.table(*every_photo(ordered, problems), "Every photo")))
    page.write(path, page.page(f"{number_of(len(ordered), 'submission')} on {ordered[0].title}", *sections))


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


def every_photo(ordered, problems):
    """(column names, a row for each photo: true crack pixels, mean IoU, that of each submission; on an undamaged photo
    one of KINDS where there is no mask to score)."""
    gone = {(run.name, photo): kind for run in ordered for photo, kind, _ in problems[run.name]}
    each = np.array([metrics.iou(run.counts) for run in ordered])  # (submissions, photos)
    true = ordered[0].counts[:, [0, 2]].sum(axis=1)
    rows = []
    for i, photo in enumerate(ordered[0].photos):
        mean = metrics.mean(each[:, i]) if true[i] else np.nan  # undamaged: no IoU where it was left empty
        ious = each[:, i].tolist()
        if not true[i]:
            ious = [gone.get((run.name, photo.name), value) for run, value in zip(ordered, ious, strict=True)]
        rows.append([photo.name, int(true[i]), mean, *ious])
    return ["photo", "true_pixels", "mean", *(run.name for run in ordered)], rows
