"""Scores of trained runs, or of any masks, on a split: score sheet, report, comparison of runs, robustness."""

from dataclasses import replace
from pathlib import Path

from command import PARTS, BadInput, answer_flags, choose_device, execute, flags, number_of, results_folder, write_json


def arguments(argv):
    parser = flags(
        "Score runs on photos they have not seen, at each photo's own size. Writes report.html, scores.json, "
        "photos.csv, pictures of the worst, median and best photos and of false alarms into the run folder; with "
        "several runs comparison.html too. With several --predictions instead: ranking.html, ranking.csv, photos.csv, "
        "counted_as_empty.csv.",
        "python evaluate.py",
        "python evaluate.py runs/first runs/second runs/third",
        "python evaluate.py runs/sample-20260101-120000 --split valid",
        "python evaluate.py --predictions masks/ --data my-export",
        "python evaluate.py --predictions submissions/* --data hidden-export",
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="run folder or checkpoint "
        "(default: the newest, before any training the weights that ship)")  # fmt: skip
    parser.add_argument("--data", help="folder or .zip of a COCO export (default: the one that the run was trained on, "
        "for one folder of masks data/sample)")  # fmt: skip
    parser.add_argument("--split", choices=[*PARTS, "all"], help="which photos (default: test, of an export without "
        "parts all)")  # fmt: skip
    parser.add_argument("--splits", type=Path, metavar="FILE", help="splits.json: which photo is in which part")
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="names that mean crack, all of them (default: any spelling)"
    )
    parser.add_argument("--predictions", nargs="+", type=Path, metavar="DIR", help="instead of runs, folders or .zip "
        "of masks NAME_mask.png or else NAME.png for photo NAME.jpg, as large as it, crack 255 on 0; several, runs and "
        "checkpoints too, are ranked")  # fmt: skip
    parser.add_argument("--robustness", action="store_true", help="score darker, noisy, turned ... photos as well")
    parser.add_argument("--flips", action="store_true", help="average the answers to a photo and its three mirror "
        "images: takes 4 times as long")  # fmt: skip
    parser.add_argument("--out", type=Path, help="folder for results (default: inside the run, or ranking)")
    return check(parser, parser.parse_args(argv))


def check(parser, args):
    """The arguments, if they make sense together; else the parser's one-line error."""
    if args.predictions and args.runs:
        parser.error("give runs, or --predictions, which takes runs too")
    if len(args.predictions or ()) > 1 and not args.data:
        parser.error("several --predictions are ranked on photos that only you have; give --data")
    if args.predictions and (asked := [flag for flag in ("robustness", "flips") if getattr(args, flag)]):
        parser.error(f"--{asked[0]} needs the network itself: give runs, without --predictions")
    for path in args.runs:
        if path.suffix.lower() == ".zip" or path.is_dir() and not [*path.glob("best.pt"), *path.glob("last.pt")]:
            runs = [f"; {file.parent} is one" for file in sorted(path.glob("*/best.pt"))[-1:]]
            parser.error(f"{path}: no run{''.join(runs)}; an export goes after --data, masks after --predictions")
    return args


if __name__ == "__main__":
    answer_flags(arguments)  # --help and wrong flags at once: the imports below take seconds

import cv2
import numpy as np
from tqdm import tqdm

import metrics
from data.split import same_photos, split
from dataset import open_data
from quantify.skeleton import skeleton
from report import evaluation
from report.comparison import compare
from report.figure import save_figure
from report.ranking import rank
from report.robustness import CHANGES, unchanged
from runs import RUNS, SHIPPED, newest_run, own_data, read_facts
from submission import (
    facts_of,
    forgiving,
    masks_of,
    open_submission,
    strays,
    submission_names,
)


def score_photo(prediction, truth, probability=None):
    """Two (H, W) masks and the probability behind the first -> counts that all scores are made of, for one photo."""
    lines = skeleton(prediction), skeleton(truth)
    unknown = np.full((len(metrics.THRESHOLDS), 4), np.nan)  # a mask does not say what another threshold would give
    return {
        "counts": metrics.counts(prediction, truth),
        "near": metrics.tolerant_counts(prediction, truth),
        "line": metrics.centreline_counts(prediction, truth, *lines),
        "width": metrics.counts_by_width(prediction, truth, lines[1]),
        "noise": metrics.label_noise_counts(truth),
        "thresholds": unknown if probability is None else metrics.counts_by_threshold(probability, truth),
    }


def score_sheet(rows, seed=0):
    """Rows of `score_photo` -> {key of MEANING: score}, with the interval of the headline."""
    stack = {key: np.array([row[key] for row in rows]) for key in rows[0] if key not in ("mask", "size")}
    c, cracked = stack["counts"], stack["counts"][:, [0, 2]].sum(axis=1) > 0
    sheet = metrics.summary(c)
    sheet["f1_2px"] = float(metrics.f1(stack["near"].sum(axis=0)))
    sheet["cldice"] = metrics.mean(metrics.f1(stack["line"][cracked]))
    hits, true = stack["width"].sum(axis=0).T
    sheet |= dict(zip(metrics.WIDTHS, metrics.divide(hits, true).tolist(), strict=True))
    sheet["ods"], sheet["ois"] = metrics.at_best_threshold(stack["thresholds"])
    for i, key in enumerate(("label_noise_1px", "label_noise_2px")):
        sheet[key] = metrics.mean(metrics.iou(stack["noise"][cracked, i]).mean(axis=1))
    return {key: sheet[key] for key in metrics.MEANING}, metrics.interval(metrics.iou(c[cracked]), seed)


def score(photos, answer, name, title, threshold=None, seed=0, change=unchanged, flips=False):
    """`answer` (see submission.py) on every photo, each first changed -> Scored; `threshold` and `flips` are the run's.

    The counts for other thresholds, of which curves, `ods` and `ois` are made, are those of masks with their specks.
    """
    rows = []
    for i, item in enumerate(tqdm(photos, f"scoring {name}", leave=False, unit="photo")):
        photo, truth = change(*item.read(), np.random.default_rng([seed, i]))
        mask, probability = answer(item, photo)
        # as PNG: the pictures need the masks of few photos, and which ones is known only at the end
        kept = {"mask": cv2.imencode(".png", mask)[1], "size": mask.shape[::-1]}
        rows.append(score_photo(mask, truth, probability) | kept)
    sheet, interval = score_sheet(rows, seed)
    return evaluation.Scored(name, title, photos, rows, sheet, interval, threshold, flips)


def evaluate(scored, out, curves=None, harder=None):
    """Write scores.json, photos.csv, overlays and report.html of one `Scored` to `out`; prints the sheet."""
    evaluation.write_photos(out / "photos.csv", scored)
    write_json(out / "scores.json", evaluation.facts(scored))
    evaluation.save_overlays(out, scored)
    evaluation.write_report(out / "report.html", scored, curves, harder)
    if scored.doubts:
        print(f"WARNING: {'; '.join(scored.doubts)}")
    print(evaluation.table(scored), f"written to {out}; open {out / 'report.html'}", sep="\n", flush=True)


def robustness(scored, answer, out, seed):
    """The score sheet under each of CHANGES, in robustness.json and .png -> its section of the report."""
    harder = {}
    for name, change in CHANGES.items():
        what = scored.photos, answer, name, scored.title, scored.threshold, seed, change, scored.flips
        harder[name] = again = scored if change is unchanged else score(*what)
        print(
            f"{name:18} iou_cracked {again.sheet['iou_cracked']:.4f} {evaluation.in_brackets(again.interval)}",
            flush=True,
        )
    write_json(out / "robustness.json", {name: evaluation.facts(again) for name, again in harder.items()})
    items = evaluation.changed_rows(harder, CHANGES, seed)
    save_figure(out / "robustness.png", evaluation.rows_figure(items, f"{scored.title}: one photo under every change"))
    return evaluation.robustness_section(harder, items)


def choose_photos(args, folder):
    """(photos to score, title, name of the result folder) for a run folder, or for masks where it is None."""
    facts, splits = read_facts(folder / "arguments.json") if folder else {}, args.splits
    export = open_data(args.data or own_data(folder, facts), args.classes or facts.get("classes"))
    if not splits and folder and same_photos(folder / "splits.json", export):
        splits = folder / "splits.json"
    elif not args.data and not splits and facts.get("data"):
        raise BadInput(f"{export.root}: other photos than {folder} was trained with; give --data to score these")
    part = args.split or "test"
    if part == "all":
        photos = export.photos
    elif not splits and (own := [photo for photo in export.photos if photo.part == part]):
        photos = own  # the export's own part, also where it brings no other
    elif splits or any(photo.part for photo in export.photos):
        photos = split(export, facts.get("seed", 0), splits)[part]
    elif args.split:
        raise BadInput(f"{export.root}: comes in no parts, so no photo is {part}; give --splits FILE or --split all")
    else:
        photos, part = export.photos, "all"
        print(f"{export.root}: not split: all its photos are scored")
    if not photos:
        raise BadInput(f"{export.root}: no photo in {part}; choose another --split")
    photos = sorted(photos, key=lambda photo: photo.name)  # runs are compared photo by photo
    return photos, f"{export.root.name}, {part}, {number_of(len(photos), 'photo')}", f"{export.root.name}-{part}"


def same_test(jobs):
    """Raises BadInput unless all runs would be scored on the very same photos and ground truth."""
    first, *others = [[(photo.sha1(), photo.annotations) for photo in job["photos"]] for job in jobs]
    for job, photos in zip(jobs[1:], others, strict=True):
        if photos != first:
            raise BadInput(
                f"{job['name']}: {job['title']} are not the labelled photos of {jobs[0]['name']}: "
                f"{jobs[0]['title']}; give the same --data and --splits for all runs; --split all takes all its photos"
            )


def open_job(path, args):
    """A run on the command line -> what `score` needs, and the folder for its results."""
    answer, threshold = masks_of(path, choose_device(args.device), args.flips)
    folder = path if path.is_dir() else path.parent
    photos, title, results = choose_photos(args, folder)
    ships = path.resolve() == SHIPPED.resolve()
    other = "" if ships or path.is_dir() or path.name == "best.pt" else f"-{path.stem}"  # last.pt has its own results
    other += "-flips" if args.flips else ""
    heading = f"{path} at threshold {threshold:.2f}{', mirror images averaged' * args.flips}: {title}"
    name = (SHIPPED.stem if ships else folder.resolve().name) + other
    out = args.out or (RUNS / SHIPPED.stem if ships else folder) / (results + other)
    if args.out and len(args.runs) > 1:
        out = args.out / name
    return {"heading": heading, "name": name, "folder": folder, "out": out, "photos": photos, "title": title,
            "answer": answer, "threshold": threshold, "facts": facts_of(photos, path)}  # fmt: skip


def score_predictions(args):
    """--predictions: the sheet and report of masks that any program made; several are ranked on one page instead."""
    stray, device = strays(args.predictions), choose_device(args.device)
    named = submission_names([path for path in args.predictions if path not in stray])
    photos, title, _ = choose_photos(args, None)
    print(f"{number_of(len(named), 'submission')} on {title}{', so none is ranked' * (len(named) == 1)}", flush=True)
    if len(named) == 1:
        ((name, path),) = named.items()
        answer, threshold = open_submission(path, device)
        scored = replace(score(photos, answer, name, title, threshold, args.seed), **facts_of(photos, path))
        return evaluate(scored, args.out or Path("ranking") / Path(name).name)
    if not any(photo.cracked for photo in photos):
        raise BadInput(f"{title}: no photo has a crack, so nothing can be ranked; choose another --split")
    scored, problems, out = [], {name: [] for name in named}, results_folder(args.out or Path("ranking"))
    for name, path in named.items():
        scored.append(score(photos, forgiving(path, device, problems[name]), name, title, seed=args.seed))
        if len(problems[name]) < len(photos):
            scored[-1] = replace(scored[-1], **facts_of(photos, path))
    if all(len(found) == len(photos) for found in problems.values()):
        first = problems[scored[0].name][0][-1]
        raise BadInput(f"{title}: nobody has a mask that fits one of these photos; check --data, then this: {first}")
    rank(scored, problems, stray, out, args.seed)


def score_runs(args):
    """Runs on the command line, or the newest: sheet and report of each; several are compared."""
    jobs = [open_job(path, args) for path in args.runs or [newest_run()]]
    for i, job in enumerate(jobs):
        if same := [other for other in jobs[:i] if other["name"] == job["name"]]:
            twice = same[0]["folder"].resolve() == job["folder"].resolve()
            what = "given twice; name each run once" if twice else "two runs of one name; rename a run folder"
            raise BadInput(f"{job['name']}: {what}")
    same_test(jobs)
    runs = []
    for job in jobs:
        print(job["heading"], flush=True)
        what = job["photos"], job["answer"], job["name"], job["title"], job["threshold"], args.seed
        runs.append(replace(score(*what, flips=args.flips), **job["facts"]))
        harder = robustness(runs[-1], job["answer"], job["out"], args.seed) if args.robustness else None
        evaluate(runs[-1], job["out"], job["folder"] / "curves.png", harder)
    if len(runs) > 1:
        compare(runs, args.out or jobs[0]["out"], args.seed)


def main(argv=None):
    args = arguments(argv)
    (score_predictions if args.predictions else score_runs)(args)
    return 0


if __name__ == "__main__":
    execute(main)
