"""Several runs on the same photos: how they differ, photo by photo, and which differences may be chance."""

import math
from dataclasses import dataclass

import numpy as np

import metrics
from command import write_json
from formats.pictures import save_figure
from report import evaluation, page
from report.evaluation import NAMES, in_brackets, span

SHARED_KEYS = ["iou_all", "dice_cracked", "precision", "recall", "f1_2px", "cldice", "undamaged_correct"]
RULE = (
    "A difference is the mean over the cracked photos of this run's IoU minus the first run's. If its 95 % interval "
    "(Student's t, paired by photo) includes 0, it may be chance. "
    f"Fewer than {metrics.FEWEST} cracked photos give no interval. "
    "The interval is for other photos of the same kind, not for other seeds of the training."
)
NOISE, TOO_FEW = "within noise", "too few photos to tell"
MOST = 6  # photos on the page
PANEL = 800  # pixels of a panel's longer side: a page with many of them stays small


@dataclass(frozen=True)
class Difference:
    """How much more IoU one run has than another on the same cracked photos."""

    mean: float
    interval: tuple  # 95 %, of the mean
    verdict: str  # "better", "worse", NOISE or TOO_FEW


def difference(run, other):
    """Two Scored of the same photos -> Difference."""
    each = run.iou() - other.iou()
    low, high = metrics.interval(each, limits=(-1, 1))
    if math.isnan(low):
        verdict = TOO_FEW
    elif low > 0:
        verdict = "better"
    elif high < 0:
        verdict = "worse"
    else:
        verdict = NOISE
    return Difference(metrics.mean(each), (low, high), verdict)


def bar_limit(differences):
    """The round number to both sides of 0 within which all intervals fit."""
    ends = [abs(end) for found in differences for end in (found.mean, *found.interval) if not math.isnan(end)]
    return next(limit for limit in (0.02, 0.05, 0.1, 0.2, 0.5, 1) if max(ends, default=0) <= limit)


def most_different(runs, count=MOST):
    """Indices of the cracked photos whose IoU differs most between the runs, the largest first."""
    iou = np.array([run.iou() for run in runs])  # (runs, cracked photos)
    order = np.argsort(-np.ptp(iou, axis=0), kind="stable")[:count]
    return runs[0].cracked[order].tolist()


def photo_rows(runs):
    """[(label, panels)]: the photos that differ most, or the first ones if none has a crack, a panel for each run."""
    items = []
    for i in most_different(runs) or range(min(MOST, len(runs[0].photos))):
        photo = runs[0].photos[i]
        predictions = {f"{run.name}: {evaluation.said_of(run, i)}": run.mask(i) for run in runs}
        items.append((photo.name, evaluation.panels(*photo.read(), predictions)))
    return items


def compare(runs, out):
    """[Scored] of the same photos -> a table on the screen; comparison.json, .png and .html in `out`."""
    first = runs[0]
    differences = {run.name: difference(run, first) for run in runs[1:]}
    content = {}
    print("run, iou_cracked, difference from the first run on the same photos with its 95 % interval")
    for run in runs:
        found = differences.get(run.name)
        content[run.name] = evaluation.facts(run)
        words = run.warning
        if found:
            content[run.name]["difference"] = found.mean
            content[run.name]["difference_interval"] = found.interval
            content[run.name]["verdict"] = found.verdict
            words = f"{found.mean:+.4f} {in_brackets(found.interval)} {found.verdict}  {words}"
        print(f"{run.name:32} {run.sheet['iou_cracked']:.4f} {words}".rstrip())
    write_json(out / "comparison.json", content)
    items = photo_rows(runs)
    title = f"{first.title}: the photos on which the runs differ most"
    save_figure(out / "comparison.png", evaluation.rows_figure(items, title))
    write_comparison(out / "comparison.html", runs, differences, items)
    print(f"comparison written to {out}; open {out / 'comparison.html'}")


def forest(differences):
    """{name: Difference from the first} -> the differences with their intervals, drawn around 0."""
    limit = bar_limit(differences.values())
    bars = []
    for name, found in differences.items():
        note = f"{found.mean:+.3f} {in_brackets(found.interval)} {found.verdict}"
        bars.append(page.Bar(name, found.mean, *found.interval, note=note))
    return page.bars(bars, (-limit, limit), marks=(0,))


def write_comparison(path, runs, differences, items):
    """comparison.html: [Scored], {name: Difference from the first}, [(label, panels)] of `photo_rows`."""
    first = runs[0]
    rows = []
    for run in runs:
        found = differences.get(run.name, Difference(math.nan, (math.nan, math.nan), ""))
        scores = [run.sheet[key] for key in SHARED_KEYS]
        ours = [run.sheet["iou_cracked"], span(run.interval)]
        rows.append([run.name, *ours, found.mean, span(found.interval), found.verdict, *scores, run.warning])
    names = [NAMES[key] for key in SHARED_KEYS]
    columns = ["run", NAMES["iou_cracked"], "95 % interval", "difference", "its 95 % interval", "verdict", *names]
    scores = page.table([*columns, "remarks"], rows, "Scores of all runs")
    meaning = [[NAMES[key], key, metrics.MEANING[key]] for key in ("iou_cracked", *SHARED_KEYS)]
    meaning = page.table(["score", "key in scores.json", "what it is"], meaning, "What the scores mean", sortable=False)
    sections = [page.notice(f"{run.name}: {warning}") for run in runs for warning in run.warnings]
    bars = [page.Bar(run.name, run.sheet["iou_cracked"], *run.interval) for run in runs]
    sections += [
        page.section(
            f"Difference from {first.name}",
            forest(differences),
            page.details("What a difference and its interval mean", page.paragraph(RULE)),
        ),
        page.section("IoU of the crack", page.bars(bars)),
        page.section("Photos on which the runs differ most", page.legend(evaluation.COLOURS), *photo_groups(items)),
        page.section("All scores", scores, page.details("What the scores mean", meaning)),
    ]
    page.write(path, page.page(f"{len(runs)} runs on {first.title}", *sections))


def photo_groups(items):
    """[(label, panels)] -> Html of each photo: its panels side by side, wrapping where the window is narrow."""
    groups = []
    for label, images in items:
        pictures = [page.picture(image, f"{label}, {name}", longest=PANEL) for name, image in images.items()]
        groups.append(page.group(label, page.gallery(pictures, 13)))
    return groups
