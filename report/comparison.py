"""Several runs, or many submissions, on the same photos: paired differences, and which of them are noise."""

import cv2
import numpy as np

import metrics
from command import write_json
from report import evaluation, page
from report.evaluation import span
from report.figure import save_figure

SHARED_KEYS = ["iou_all", "dice_cracked", "precision", "recall", "f1_2px", "cldice", "undamaged_correct"]
KINDS = ("missing", "unusable")  # masks counted as empty
FIRST = 5  # names of photos in a row of the page; all stand in the CSV file
SMALL = 420  # pixels of a panel's longer side where a class of 30 is shown: the page stays a few MB
MEANING = (
    "a difference is that of iou_cracked photo by photo (bootstrap over photos); one whose interval holds 0 is within "
    "noise. It says how sure the difference is for other photos, not for other seeds of the training."
)


def gain(run, other, seed):
    """(mean difference of IoU from the other's, photo by photo, its 95 % interval, what that says)."""
    each = run.iou() - other.iou()
    low, high = metrics.interval(each, seed)
    verdict = "" if run is other else "better" if low > 0 else "worse" if high < 0 else "within noise"
    return metrics.mean(each), (low, high), verdict


def compare(runs, out, seed):
    """Runs scored on the same photos -> table on the screen, comparison.json, .png and .html in `out`."""
    content = {}
    print("run, iou_cracked, difference from the first run photo by photo and its 95 % interval")
    for run in runs:
        difference, (low, high), verdict = gain(run, runs[0], seed)
        found = {"difference": difference, "difference_interval": (low, high), "verdict": verdict}
        content[run.name] = evaluation.facts(run) | found
        print(f"{run.name:32} {run.sheet['iou_cracked']:.4f} {difference:+.4f} ({low:+.3f} to {high:+.3f}) {verdict}")
    write_json(out / "comparison.json", content)
    items = shared_rows(runs)
    title = f"{runs[0].title}: the same photos under every run"
    save_figure(out / "comparison.png", evaluation.rows_figure(items, title))
    write_comparison(out / "comparison.html", runs[0], content, items)
    print(f"comparison written to {out}; open {out / 'comparison.html'}")


def shared_rows(runs, count=6):
    """[(label, panels)] of photos from the hardest to the easiest for all runs together, one panel a run."""
    order = runs[0].cracked[np.argsort(np.mean([run.iou() for run in runs], axis=0), kind="stable")]
    steps = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    items = []
    for i in order[steps] if len(order) else range(min(count, len(runs[0].photos))):
        photo = runs[0].photos[i]
        predictions = {f"{run.name}: IoU {metrics.iou(run.counts[i]):.3f}": run.mask(i) for run in runs}
        items.append((photo.name, evaluation.panels(*photo.read(), predictions)))
    return items


def write_comparison(path, first, content, items):
    """comparison.html: the run compared with, `content` as comparison.json holds it, `items` of `shared_rows`."""
    rows = []
    for name, run in content.items():
        found = [run["difference"], span(run["difference_interval"]), run["verdict"]]
        found = found if name != first.name else [""] * 3
        scores = (run[key] for key in SHARED_KEYS)
        rows.append([name, run["iou_cracked"], span(run["iou_cracked_interval"]), *found, *scores, run["warning"]])
    columns = [
        "run",
        "iou_cracked",
        "95 % interval",
        "difference",
        "its 95 % interval",
        "verdict",
        *SHARED_KEYS,
        "photos it knows",
    ]
    said = page.paragraph(f"Compared with {first.name}: {MEANING}")
    named = [(", ".join([label, *list(images)[2:]]), images) for label, images in items]
    scores = page.section("Scores", said, page.table(columns, rows))
    photos = page.section("The same photos", evaluation.gallery(named, "every run"))
    page.write(path, page.page(f"{len(content)} runs on {first.title}", scores, photos))


# -------------------------------------------------------------------------------------------- a class


def places(ordered, problems, seed):
    """Best first -> [(place, the first of that place)]: who is within noise of it shares the place, unless one of them
    lacks masks, for the zeros of these widen the interval; equal scores share it always."""
    found = []
    for i, run in enumerate(ordered):
        first = found[-1][1] if found else run
        shared = not problems[run.name] and not problems[first.name] and gain(run, first, seed)[2] != "worse"
        shared = i and (shared or run.iou().mean() == ordered[i - 1].iou().mean())
        found.append(found[-1] if shared else (i + 1, run))
    return found


def remarks(run, first, above, problems, seed):
    """What a teacher should know of a submission besides its place, in words."""
    found = []
    equal = [other.name for other in (first, above) if other is not run and run.iou().mean() == other.iou().mean()]
    if equal:
        found.append(f"equal to {equal[0]}")
    elif run is not first:
        found.append(f"within noise of {first.name}")
    elif run is not above and not problems and gain(run, above, seed)[2] == "within noise":
        found.append(f"within noise of {above.name}")
    found += [run.warning] * bool(run.warning)
    if run.counts[:, :2].sum() > run.counts.sum() / 2:
        found.append("more than half of it is crack: inverted?")
    return "; ".join(found)


def standings(ordered, problems, seed):
    """(column names, a row for each submission, best first); `problems` as `rank` takes them."""
    shared = [key for key in SHARED_KEYS if key != "undamaged_correct"]
    columns = ["place", "submission", "iou_cracked", "95 % interval", "undamaged_correct", *KINDS, "remarks"]
    columns += ["to the first", "to the first, 95 %", "to the one above", "to the one above, 95 %", *shared]
    rows = []
    for i, (run, (place, first)) in enumerate(zip(ordered, places(ordered, problems, seed), strict=True)):
        wrong, above, differences = problems[run.name], ordered[max(0, i - 1)], []
        for other in (ordered[0], above):
            difference, interval, _ = gain(run, other, seed)
            differences += [difference, span(interval)] if i else ["", ""]
        undamaged = run.sheet["undamaged_correct"]  # it does not count for the place: a look at it must come first
        lacking = {photo for photo, *_ in wrong} & {photo.name for photo in run.photos if not photo.cracked}
        words = remarks(run, first, above, wrong, seed)
        scores = [run.sheet["iou_cracked"], span(run.interval), "" if lacking else undamaged, *counted(wrong), words]
        rows.append([place, run.name, *scores, *differences, *(run.sheet[key] for key in shared)])
    return columns, rows


def rank(submissions, problems, out, seed):
    """Submissions scored on the same photos -> places on the screen; ranking.csv, counted_as_empty.csv, ranking.html.

    `problems` is {name of a submission: [(photo, one of KINDS, what is wrong)]}, masks counted as empty.
    """
    ordered = sorted(submissions, key=lambda run: (-run.sheet["iou_cracked"], run.name))
    columns, rows = standings(ordered, problems, seed)
    print("place, submission, iou_cracked and its 95 % interval")
    for place, name, iou, interval, _, _, _, verdict, *_ in rows:
        words = [verdict] * bool(verdict) + [
            f"{kind} masks counted as empty: {number}"
            for kind, number in zip(KINDS, counted(problems[name]), strict=True)
            if number
        ]
        print(f"{place:3}  {name:32} {iou:.4f} ({interval})  {'; '.join(words)}".rstrip())
    evaluation.write_csv(out / "ranking.csv", columns, rows)
    every = [[run.name, *problem] for run in ordered for problem in problems[run.name]]
    evaluation.write_csv(out / "counted_as_empty.csv", ["submission", "photo", "mask", "what is wrong"], every)
    write_ranking(out / "ranking.html", ordered, problems, columns, rows)
    print(f"ranking written to {out}; open {out / 'ranking.html'}")


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
        first = {kind: why for _, kind, why in reversed(found)}
        rows += [[run.name, *counted(found), names, *map(first.get, KINDS)]] if found else []
    heads = ["submission", *KINDS, "photos", *(f"the first that is {kind}" for kind in KINDS)]
    said = page.paragraph("All of them stand in counted_as_empty.csv.")
    return [page.section("Counted as empty", said, page.table(heads, rows, sortable=False))] if rows else []


def write_ranking(path, ordered, problems, columns, rows):
    """ranking.html: the places, what was counted as empty, best and worst photo of each, every photo of everyone."""
    photos, cracked = ordered[0].photos, ordered[0].cracked
    how = page.paragraph(
        f"Ranked by iou_cracked, the IoU of the crack, mean over the {len(cracked)} of {len(photos)} photos that have "
        "one. Who is within noise of the first of the place just above shares it (so one more submission can move "
        "others), where no mask of either is missing or unusable: such a mask counts as one without any crack. Equal "
        "scores share a place always. undamaged_correct is empty where the mask of an undamaged photo is missing or "
        "unusable: counted as empty it would be right, and in iou_all it is. Negative is behind: "
        f"{MEANING} Click a column's name to sort."
    )
    sections = [page.section("Places", how, page.table(columns, rows)), *counted_section(ordered, problems)]
    pictures = evaluation.gallery(extremes(ordered), "prediction", 30)
    sections.append(page.section("Best and worst photo of each", pictures))
    said = page.paragraph("IoU of every photo; an undamaged one is an empty cell where it was left empty, else 0.")
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
