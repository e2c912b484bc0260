"""Several runs on the same photos: paired differences, and which of them are noise."""

from functools import cache

import numpy as np

import metrics
from command import write_json
from report import evaluation, page
from report.evaluation import in_brackets, span
from report.figure import save_figure

SHARED_KEYS = ["iou_all", "dice_cracked", "precision", "recall", "f1_2px", "cldice", "undamaged_correct"]
MEANING = (
    "A difference is the mean of those of iou_cracked, photo by photo; a negative one is behind. One whose interval "
    f"(95 %, bootstrap over photos) holds 0 is within noise; of fewer than {metrics.FEWEST} photos nobody can tell. "
    "The interval is for other photos, not for other seeds of the training."
)
NOISE, TOO_FEW = "within noise", "too few photos to tell"


@cache
def gain(run, other, seed):
    """(mean difference of IoU from the other's, photo by photo, its 95 % interval, what that says)."""
    each = run.iou() - other.iou()
    low, high = metrics.interval(each, seed)
    verdict = TOO_FEW if np.isnan(low) else "better" if low > 0 else "worse" if high < 0 else NOISE
    return metrics.mean(each), (low, high), "" if run is other else verdict


def compare(runs, out, seed):
    """Runs scored on the same photos -> table on the screen, comparison.json, .png and .html in `out`."""
    content = {}
    print("run, iou_cracked, difference from the first run photo by photo and its 95 % interval")
    for run in runs:
        difference, interval, verdict = gain(run, runs[0], seed)
        found = {"difference": difference, "difference_interval": interval, "verdict": verdict}
        content[run.name] = evaluation.facts(run) | found
        words = f"{in_brackets(interval)} {verdict}  {run.warning}".rstrip()
        print(f"{run.name:32} {run.sheet['iou_cracked']:.4f} {difference:+.4f} {words}")
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
        "remarks",
    ]
    said = page.paragraph(f"Compared with {first.name}. {MEANING}")
    named = [(", ".join([label, *list(images)[2:]]), images) for label, images in items]
    scores = page.section("Scores", said, page.table(columns, rows, "Scores of the runs"))
    photos = page.section("The same photos", evaluation.gallery(named, "every run"))
    keys = evaluation.meaning_section({key: metrics.MEANING[key] for key in ("iou_cracked", *SHARED_KEYS)})
    page.write(path, page.page(f"{len(content)} runs on {first.title}", scores, keys, photos))
