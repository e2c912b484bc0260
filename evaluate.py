"""Score runs, or one folder of masks, on photos they have not seen: score sheet, report, comparison, robustness."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

import metrics
from command import COMMON, PARTS, BadInput, choose_device, execute, flags, number_of, results_folder, write_json
from data.split import same_photos, split, trained_on
from dataset import SAMPLE, open_data
from formats.masks import CHECKPOINTS, MaskFolder, located
from formats.photo import Preprocess
from formats.pictures import save_figure
from inference import crack_mask, open_model
from model import fused, predict
from quantify.skeleton import skeleton
from report import evaluation
from report.comparison import compare
from report.robustness import CHANGES, unchanged
from runs import RUNS, SHIPPED, Run, best_checkpoints, newest_run, own_data, read_facts, run_of, warning_about


# ------------------------------------------------------------------------------------------------- scoring
def score_photo(prediction, truth, probability=None):
    """Two (H, W) masks, and the (H, W) probability behind the first if there is one -> {name: counts} of one photo.

    All scores are made of these counts; see metrics.py for each.
    """
    true_line = skeleton(truth)
    if probability is None:  # a mask alone does not say what another threshold would give
        by_threshold = np.full((len(metrics.THRESHOLDS), 4), np.nan)
    else:
        by_threshold = metrics.counts_by_threshold(probability, truth)
    return {
        "counts": metrics.counts(prediction, truth),
        "near": metrics.tolerant_counts(prediction, truth),
        "line": metrics.centreline_counts(prediction, truth),
        "length": np.count_nonzero(true_line),
        "width": metrics.counts_by_width(prediction, truth, true_line),
        "noise": metrics.label_noise_counts(truth),
        "thresholds": by_threshold,
    }


def score_sheet(rows):
    """What `score_photo` gave for each photo -> ({key of metrics.MEANING: score}, 95 % interval of iou_cracked)."""

    def stacked(name):
        return np.array([row[name] for row in rows])

    c = stacked("counts")
    cracked = metrics.true_pixels(c) > 0
    hits, true = stacked("width").sum(axis=0).T
    noise = metrics.iou(stacked("noise")[cracked]).mean(axis=2)  # (photos, 2): mean of drawn wider and narrower
    sheet = metrics.summary(c) | {
        "f1_2px": float(metrics.f1(stacked("near").sum(axis=0))),
        "cldice": metrics.mean(metrics.f1(stacked("line")[cracked])),
        "label_noise_1px": metrics.mean(noise[:, 0]),
        "label_noise_2px": metrics.mean(noise[:, 1]),
    }
    sheet |= metrics.at_best_threshold(stacked("thresholds"))
    sheet |= dict(zip(metrics.WIDTHS, metrics.divide(hits, true).tolist(), strict=True))
    in_order = {key: sheet[key] for key in metrics.MEANING}
    return in_order, metrics.interval(metrics.iou(c[cracked]), limits=(0, 1))


def score(photos, predictor, name, title, seed=0, change=unchanged):
    """Score a predictor on every photo -> Scored.

    predictor(item, photo) gives ((H, W) uint8 mask 0/1, (H, W) float32 probability or None) for a Photo of the export
    and its pixels. change: one of report.robustness.CHANGES, made to each photo first.
    """
    rows = []
    for i, item in enumerate(tqdm(photos, f"scoring {name}", leave=False, unit="photo")):
        photo, truth = change(*item.read(), np.random.default_rng([seed, i]))
        mask, probability = predictor(item, photo)
        row = score_photo(mask, truth, probability)
        # kept for the pictures, as PNG: which photos they show is known only at the end
        row["mask"] = cv2.imencode(".png", mask)[1]
        row["size"] = mask.shape[::-1]
        rows.append(row)
    sheet, interval = score_sheet(rows)
    return evaluation.Scored(name, title, photos, rows, sheet, interval)


# -------------------------------------------------------------------------------------- what is scored on what
@dataclass(frozen=True)
class Network:
    """A trained network as a predictor. Its masks are those that inference.py writes."""

    model: torch.nn.Module
    preprocess: Preprocess
    threshold: float
    flips: bool = False  # average over the photo and its three mirror images

    def __call__(self, item, photo):
        probability = predict(self.model, self.preprocess, photo, flips=self.flips)
        mask, _ = crack_mask(probability, self.threshold)
        return mask, probability


def open_network(path, device, flips=False):
    """Run folder or checkpoint -> Network. Raises BadInput."""
    model, preprocess, threshold = open_model(path, device)
    return Network(fused(model), preprocess, threshold, flips)


@dataclass(frozen=True)
class PhotoSet:
    """The photos to score on; the folder for their results is named after data set and split."""

    photos: list
    title: str
    folder: str


def choose_photos(run=None, data=None, part=None, splits=None, classes=None):
    """Run and the flags --data, --split, --splits and --classes, any of them None -> PhotoSet. Raises BadInput.

    Without flags a run is scored on the test photos of its own split, and refused if the folder now has other photos.
    """
    facts = read_facts(run) if run else {}
    export = open_data(data or own_data(run, facts), classes or facts.get("classes"))
    if run and not splits:
        if same_photos(run.splits, export):
            splits = run.splits
        elif facts.get("data") and not data:
            raise BadInput(
                f"{export.root}: other photos than {run.folder} was trained with; give --data to score these"
            )
    photos, part = photos_of(export, part, splits)
    if not photos:
        raise BadInput(f"{export.root}: no photo in {part}; choose another --split")
    photos = sorted(photos, key=lambda photo: photo.name)  # runs are compared photo by photo
    name = export.root.resolve().name  # "." has none
    return PhotoSet(photos, f"{name}, {part}, {number_of(len(photos), 'photo')}", f"{name}-{part}")


def photos_of(export, part, splits):
    """Export, --split or None, splits.json or None -> (photos, the name of their part). Raises BadInput.

    An export with a single part, as Roboflow writes one that was not split, counts as one without.
    """
    wanted = part or "test"
    if wanted == "all":
        return export.photos, "all"
    if splits:
        return split(export, file=splits, for_training=False)[wanted], wanted
    own = [photo for photo in export.photos if photo.part == wanted]
    if own or len({photo.part for photo in export.photos}) > 1:
        return own, wanted
    if part:
        raise BadInput(f"{export.root}: has no splits, so no photo is {part}; give --splits FILE or --split all")
    print(f"{export.root} has no splits, so all photos are scored")
    return export.photos, "all"


def known_photos(photos, path, called):
    """Run folder or checkpoint -> (how many of the photos it was trained on, how many it was validated on), or None if
    that is unknown. Prints it; `called` is its name in the message."""
    file = run_of(path).splits
    try:
        trained, chose = trained_on(file, photos, "train"), trained_on(file, photos, "valid")
    except BadInput as error:
        print(f"note: {called}: unknown whether it was trained on these photos: {error}")
        return None
    if trained is None:
        print(f"note: {called}: unknown whether it was trained on these photos: no {file.name} beside it says so")
        return None
    if trained:
        share = f"{len(trained)} of these {len(photos)} photos ({trained[0]} ...)"
        print(f"WARNING: {called} was trained on {share}, so its score is too good")
    if chose:
        print(f"note: {len(chose)} of these {len(photos)} photos were validation photos of {called}")
    return len(trained), len(chose)


@dataclass(frozen=True)
class Job:
    """A run, a checkpoint or a folder of masks, and the photos to score it on."""

    name: str  # on the pages
    heading: str  # printed before it is scored
    folder: Path  # the run folder, or the folder of masks
    out: Path  # where its results go, without --out
    test: PhotoSet
    predictor: Network | MaskFolder
    about: dict  # further fields of Scored


def run_job(path, test, network):
    """Run folder or checkpoint, PhotoSet, Network -> Job. Results of a checkpoint other than best.pt, and results with
    --flips, get a folder of their own."""
    run = run_of(path)
    name, results = run.folder.resolve().name, run.folder
    suffix = ""
    if path.resolve() == SHIPPED.resolve():
        name, results = SHIPPED.stem, RUNS / SHIPPED.stem
    elif path.is_file() and path != run.best:
        suffix = f"-{path.stem}"
    heading = f"{path} at threshold {network.threshold:.2f}"
    if network.flips:
        suffix += "-flips"
        heading += ", mirror images averaged"
    about = {
        "threshold": network.threshold,
        "flips": network.flips,
        "known": known_photos(test.photos, path, path),
        "doubt": warning_about(path),
    }
    out = results / (test.folder + suffix)
    return Job(name + suffix, f"{heading}: {test.title}", run.folder, out, test, network, about)


def masks_job(path, test):
    """Folder or .zip of masks, PhotoSet -> Job. Raises BadInput."""
    masks = MaskFolder(located(path), path)
    name = path.resolve().stem if path.is_file() else path.resolve().name
    return Job(name, f"{path}: {test.title}", path, Path("scores") / name, test, masks, {"note": masks.note()})


def check_jobs(jobs):
    """Raises BadInput for two jobs with the same name, and for jobs on different photos or different ground truth."""
    first = jobs[0]
    for i, job in enumerate(jobs):
        for other in jobs[:i]:
            if job.name == other.name and job.folder.resolve() == other.folder.resolve():
                raise BadInput(f"{job.name}: given twice; name each run once")
            if job.name == other.name:
                raise BadInput(f"{job.name}: two runs of one name; rename a run folder")
    labels = [[(photo.sha1(), photo.annotations) for photo in job.test.photos] for job in jobs]
    for job, found in zip(jobs, labels, strict=True):
        if found != labels[0]:
            raise BadInput(
                f"{job.name}: {job.test.title} are not the labelled photos of {first.name}: {first.test.title}; give "
                "the same --data and --splits for all runs; --split all takes all photos"
            )


# ------------------------------------------------------------------------------------------------- results
def write_results(scored, out, curves=None, harder=None, in_full=True):
    """Write scores.json, photos.csv, pictures and report.html of one Scored to `out`; prints the score sheet.

    curves: picture of the training curves, if there is one. harder: what `robustness` gave. in_full: print the whole
    sheet, not only its first score.
    """
    evaluation.write_photos(out / "photos.csv", scored)
    write_json(out / "scores.json", evaluation.facts(scored))
    evaluation.save_overlays(out, scored)
    evaluation.write_report(out / "report.html", scored, curves, harder)
    for doubt_about_it in scored.doubts:
        print(f"WARNING: {doubt_about_it}")
    if in_full:
        print(evaluation.table(scored))
        print(f"written to {out}; open {out / 'report.html'}", flush=True)
    else:
        said = evaluation.in_brackets(scored.interval)
        print(f"iou_cracked {scored.sheet['iou_cracked']:.4f} {said}; all scores: {out / 'report.html'}", flush=True)


def robustness(scored, predictor, out, seed):
    """Score the photos again under each of CHANGES, write robustness.json and .png -> the section of the report."""
    harder = {}
    for name, change in CHANGES.items():
        if change is unchanged:
            again = scored
        else:
            again = score(scored.photos, predictor, name, scored.title, seed, change)
            again = replace(again, threshold=scored.threshold, flips=scored.flips)
        harder[name] = again
        said = evaluation.in_brackets(again.interval)
        print(f"{name:18} iou_cracked {again.sheet['iou_cracked']:.4f} {said}", flush=True)
    write_json(out / "robustness.json", {name: evaluation.facts(again) for name, again in harder.items()})
    items = evaluation.changed_rows(harder, CHANGES, seed)
    save_figure(out / "robustness.png", evaluation.rows_figure(items, f"{scored.title}: one photo under every change"))
    return evaluation.robustness_section(harder, items)


# ------------------------------------------------------------------------------------------------- command
def add_data_flags(parser):
    """The flags that say which photos to score on, for this command and rank.py."""
    add = parser.add_argument
    add("--split", choices=[*PARTS, "all"], help="photos to score on (default: test; all, if the export has no splits)")
    add("--splits", type=Path, metavar="FILE", help="splits.json: which photo is in which split")
    add("--classes", **COMMON["classes"])


def arguments(argv):
    parser = flags(
        "Score runs on photos they have not seen, at each photo's own size. Writes report.html, scores.json, "
        "photos.csv and pictures into the run folder; for several runs, also comparison.html into a folder of its own. "
        "With --predictions it scores a folder of masks instead. To rank a whole class use rank.py.",
        "python evaluate.py",
        "python evaluate.py runs/first runs/second runs/third",
        "python evaluate.py runs/sample-20260101-120000 --split valid",
        "python evaluate.py runs/first --robustness --flips",
        "python evaluate.py --predictions masks/ --data my-export",
    )
    add = parser.add_argument
    what = "run folders or checkpoints (default: the newest run, else the shipped weights/crack.pt)"
    add("runs", nargs="*", type=Path, metavar="RUN", help=what)
    data = "folder or .zip of a COCO export (default: the one that the run was trained on; for masks data/sample)"
    add("--data", help=data)
    add_data_flags(parser)
    masks = "folder or .zip of masks: NAME_mask.png or NAME.png for photo NAME.jpg, same size, crack 255 on 0"
    add("--predictions", type=Path, metavar="FOLDER", help=masks)
    add("--robustness", action="store_true", help="also score the photos made darker, noisy, blurred, turned ...")
    add("--flips", **COMMON["flips"])
    out = "folder for results (default: inside the run; for the shipped weights runs/crack/, for masks scores/, for a "
    out += "comparison runs/comparison/)"
    add("--out", type=Path, metavar="FOLDER", help=out)
    args = parser.parse_args(argv)
    if args.predictions and args.runs:
        parser.error("give runs or --predictions, not both")
    if args.predictions and (args.robustness or args.flips):
        parser.error("--robustness and --flips need the network itself: give a run, not --predictions")
    return args


def check_run(path):
    """Raises BadInput for a path that is no run, and says where an export, masks or a folder of runs belong."""
    run = run_of(path)
    if path.is_dir() and not run.best.exists() and not run.last.exists():
        checkpoints = best_checkpoints(path)
        hint = f"{checkpoints[-1].parent} is one; " if checkpoints else ""
        raise BadInput(f"{path}: not a run; {hint}an export goes after --data, masks after --predictions")
    if path.suffix.lower() == ".zip":
        raise BadInput(f"{path}: not a run; an export goes after --data, masks after --predictions")


def check_masks(path):
    """Raises BadInput for a path that is not a folder or .zip of masks."""
    if path.suffix.lower() in CHECKPOINTS or Run(path).best.exists():
        raise BadInput(f"{path}: a network, not masks; give it without --predictions")
    if not path.is_dir() and path.suffix.lower() != ".zip":
        raise BadInput(f"{path}: neither a folder nor a .zip of masks; check the name")


def main(argv=None):
    args = arguments(argv)
    photos_for = partial(choose_photos, data=args.data, part=args.split, splits=args.splits, classes=args.classes)
    jobs = []
    if args.predictions:
        check_masks(args.predictions)
        if not args.data:
            print(f"note: no --data, so {args.predictions} is scored against the sample, {SAMPLE}")
        jobs.append(masks_job(args.predictions, photos_for()))
    else:
        device = choose_device(args.device)
        for path in args.runs or [newest_run()]:
            check_run(path)
            network = open_network(path, device, args.flips)
            test = photos_for(run_of(path))
            jobs.append(run_job(path, test, network))
    check_jobs(jobs)

    scored_runs = []
    for job in jobs:
        out = job.out
        if args.out:
            out = args.out if len(jobs) == 1 else args.out / job.name
        results_folder(out)
        print(job.heading, flush=True)
        scored = score(job.test.photos, job.predictor, job.name, job.test.title, args.seed)
        scored_runs.append(replace(scored, **job.about))
        harder = None
        if args.robustness:
            harder = robustness(scored_runs[-1], job.predictor, out, args.seed)
        write_results(scored_runs[-1], out, Run(job.folder).curves, harder, in_full=len(jobs) == 1)
    if len(scored_runs) > 1:
        compare(scored_runs, args.out or RUNS / "comparison" / jobs[0].test.folder)
    return 0


if __name__ == "__main__":
    execute(main)
