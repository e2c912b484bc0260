"""Scores of a trained run, or of any masks, on a split: table, scores.json, photos.csv, overlays."""

import csv
import json
import math
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from tqdm import tqdm

import metrics
from command import BadInput, choose_device, execute, flags, written_whole
from dataset import open_data
from inference import newest_run, open_model, predict, save_figure
from photo import read_photo
from skeleton import skeleton
from split import PARTS, same_photos, split, trained_on

MEANING = {
    "iou_cracked": "IoU of the crack, mean over photos that have one (headline)",
    "iou_all": "mean over all photos; an undamaged photo counts 1 left empty, else 0",
    "iou_pooled": "IoU of all pixels of the split together",
    "dice_cracked": "Dice of the crack, mean over photos that have one",
    "precision": "share of predicted crack pixels that are right",
    "recall": "share of true crack pixels that were found",
    "f1_2px": "F1 with 2 pixels of tolerance at the photo's own size",
    "cldice": "centre-line Dice, mean over photos with a crack",
    "recall_to_3px": "recall where the true crack is up to 3 pixels wide",
    "recall_3_to_10px": "recall where it is 3 to 10 pixels wide",
    "recall_over_10px": "recall where it is over 10 pixels wide",
    "miou_with_background": "only to compare with papers that average the background in",
    "undamaged_correct": "share of undamaged photos left empty",
    "undamaged_area": "mean predicted area on undamaged photos",
    "all_black": "iou_all of an answer without any crack: the number to beat",
}
COLOURS = {"hit": (0, 114, 178), "missed": (230, 159, 0), "false alarm": (204, 0, 153)}  # blue, orange, magenta


def threshold_counts(model, preprocess, photos):
    """(photos, thresholds, 4) counts at each photo's own size for `metrics.THRESHOLDS`."""
    result = []
    for item in tqdm(photos, "validating", leave=False, unit="photo"):
        photo, truth = item.read()
        result.append(metrics.counts_by_threshold(predict(model, preprocess, photo), truth))
    return np.array(result)


def best_threshold(c):
    """(photos, thresholds, 4) counts -> threshold with the highest mean IoU over photos with a crack; 0.5 if none."""
    cracked = c[c[:, 0, 0] + c[:, 0, 2] > 0]
    return float(metrics.THRESHOLDS[metrics.iou(cracked).mean(axis=0).argmax()]) if len(cracked) else 0.5


def score_photo(prediction, truth):
    """Two (H, W) masks -> counts that all scores are made of, for one photo."""
    lines = skeleton(prediction), skeleton(truth)
    return {
        "counts": metrics.counts(prediction, truth),
        "near": metrics.tolerant_counts(prediction, truth),
        "line": metrics.centreline_counts(prediction, truth, *lines),
        "width": metrics.counts_by_width(prediction, truth, lines[1]),
    }


def score_sheet(rows, seed=0):
    """Rows of `score_photo` -> {key of MEANING: score}, with the interval of the headline."""
    stack = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    c, cracked = stack["counts"], stack["counts"][:, [0, 2]].sum(axis=1) > 0
    sheet = metrics.summary(c)
    sheet["f1_2px"] = float(metrics.f1(stack["near"].sum(axis=0)))
    sheet["cldice"] = metrics.mean(np.nan_to_num(metrics.f1(stack["line"][cracked])))
    hits, true = stack["width"].sum(axis=0).T
    by_width = metrics.divide(hits, true).tolist()
    sheet |= dict(zip(("recall_to_3px", "recall_3_to_10px", "recall_over_10px"), by_width, strict=True))
    return {key: sheet[key] for key in MEANING}, metrics.interval(metrics.iou(c[cracked]), seed)


def marked(photo, truth, prediction):
    """Grey photo with hits blue, misses orange and false alarms magenta, the texture visible underneath."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    drawn = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB).astype(np.float32)
    p, t = prediction > 0, truth > 0
    for name, where in {"hit": p & t, "missed": t & ~p, "false alarm": p & ~t}.items():
        drawn[where] = 0.3 * drawn[where] + 0.7 * np.array(COLOURS[name])
    return drawn.astype(np.uint8)


def comparison(items, title):
    """Figure: photo, ground truth, prediction (hits, misses, false alarms) in a row for each (label, photo, truth,
    prediction)."""
    height, width = items[0][2].shape
    fig = Figure(figsize=(12, 0.9 + len(items) * (12 / 3 * height / width + 0.3)), layout="constrained")
    fig.suptitle(title)
    for row, (label, photo, truth, prediction) in zip(fig.subplots(len(items), 3, squeeze=False), items, strict=True):
        panels = {f"{label}": photo, "ground truth": 255 * truth, "prediction": marked(photo, truth, prediction)}
        step = 1 + max(truth.shape) // 1600
        for axes, (name, image) in zip(row, panels.items(), strict=True):
            axes.imshow(image[::step, ::step], cmap="gray", vmin=0, vmax=255)
            axes.set_title(name, fontsize=9)
            axes.axis("off")
    handles = [Patch(color=np.array(colour) / 255, label=name) for name, colour in COLOURS.items()]
    fig.legend(handles=handles, loc="outside lower center", ncols=3)
    return fig


def read_mask(path, shape):
    """A mask image of any program -> (H, W) uint8 0/1, at half of the format's range. Raises BadInput."""
    grey = read_photo(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if grey.shape != shape:
        size = f"{grey.shape[1]}×{grey.shape[0]}"
        raise BadInput(f"{path}: mask of {size} for a photo of {shape[1]}×{shape[0]}; save it at the photo's size")
    return (grey >= (128 if grey.max() > 1 else 1)).astype(np.uint8)  # 0/1 masks are common, so the values decide


def masks_from(folder):
    """Folder of masks named NAME.png or NAME_mask.png -> a function photo -> mask; a missing file is BadInput."""

    def answer(item, photo):
        stem = Path(item.name).stem
        for name in (f"{stem}_mask.png", f"{stem}.png", f"{stem}.jpg", f"{stem}.bmp"):
            if (folder / name).is_file():
                return read_mask(folder / name, photo.shape[:2])
        raise BadInput(f"{folder}: no {stem}.png or {stem}_mask.png; every photo of the split needs a mask")

    return answer


def masks_of(path, device):
    """Checkpoint or run folder -> (function photo -> mask at the stored threshold, that threshold)."""
    model, preprocess, threshold = open_model(path, device)
    return lambda item, photo: (predict(model, preprocess, photo) >= threshold).astype(np.uint8), threshold


def table(sheet, interval, sizes):
    """The score sheet as printed."""
    lines = [f"{key:22} {value:8.4f}  {MEANING[key]}" for key, value in sheet.items()]
    lines[0] += f"; 95 % interval {interval[0]:.3f} to {interval[1]:.3f}"
    at = next(i for i, line in enumerate(lines) if line.startswith("f1_2px"))
    lines[at] += f" ({sizes})"
    return "\n".join(lines)


def write_photos(path, names, rows):
    """photos.csv: one row a photo with its own scores; empty where undefined."""
    with written_whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        keys = ("iou", "dice", "precision", "recall", "f1_2px", "cldice")
        writer.writerow(["photo", "true_pixels", "predicted_pixels", *keys])
        for name, row in zip(names, rows, strict=True):
            c = row["counts"]
            scores = [metrics.iou(c), metrics.dice(c), metrics.precision(c), metrics.recall(c)]
            scores += [metrics.f1(row["near"]), metrics.f1(row["line"])]
            cells = ["" if math.isnan(s) else f"{float(s):.4f}" for s in scores]
            writer.writerow([name, c[0] + c[2], c[0] + c[1], *cells])


def save_overlays(out, photos, rows, answer, title):
    """worst.png, median.png, best.png (three photos each) and false_alarms.png with every false alarm."""
    scores = metrics.iou(np.array([row["counts"] for row in rows]))
    cracked = [i for i in range(len(rows)) if photos[i].cracked]
    ranked, middle = sorted(cracked, key=lambda i: scores[i]), max(0, len(cracked) // 2 - 1)
    alarms = [i for i in range(len(rows)) if not photos[i].cracked and rows[i]["counts"][1]]
    sheets = {
        "worst": ranked[:3],
        "median": ranked[middle : middle + 3],
        "best": ranked[::-1][:3],
        "false_alarms": alarms,
    }
    for name, chosen in sheets.items():
        items = []
        for i in chosen:
            photo, truth = photos[i].read()
            label = f"{photos[i].name}: IoU {scores[i]:.3f}" if photos[i].cracked else f"{photos[i].name}: undamaged"
            items.append((label, photo, truth, answer(photos[i], photo)))
        (out / f"{name}.png").unlink(missing_ok=True)  # no picture of an earlier evaluation stays
        if items:
            save_figure(out / f"{name}.png", comparison(items, f"{title}: {name.replace('_', ' ')}"))


def evaluate(photos, answer, out, title, seed=0):
    """Score `answer(item, photo) -> mask` on photos; writes all files to `out`, returns the printed sheet."""
    rows = []
    for item in tqdm(photos, "scoring", leave=False, unit="photo"):
        photo, truth = item.read()
        rows.append(score_photo(answer(item, photo), truth))
    sheet, interval = score_sheet(rows, seed)
    shapes = sorted({(p.width, p.height) for p in photos})
    sizes = " to ".join(dict.fromkeys(f"{w}×{h}" for w, h in (shapes[0], shapes[-1])))
    write_photos(out / "photos.csv", [p.name for p in photos], rows)
    facts = {"title": title, "photos": len(photos), "cracked": sum(p.cracked for p in photos), "size": sizes}
    with written_whole(out / "scores.json") as temporary:
        scores = {key: None if math.isnan(value) else value for key, value in sheet.items()}
        temporary.write_text(json.dumps(facts | scores | {"iou_cracked_interval": interval}, indent=1))
    save_overlays(out, photos, rows, answer, title)
    return table(sheet, interval, sizes)


def choose_photos(args, folder):
    """(photos to score, title, name of the result folder) for a run folder, or for masks where it is None."""
    facts, splits = {}, args.splits
    if folder and (folder / "arguments.json").is_file():
        facts = json.loads((folder / "arguments.json").read_text(encoding="utf-8"))
    export = open_data(args.data or facts.get("data"), args.classes or facts.get("classes"))
    hashes = trained_on(folder / "splits.json") if folder else set()
    if not splits and folder and same_photos(folder / "splits.json", export):
        splits = folder / "splits.json"
    part = args.split
    if part == "all":
        photos = export.photos
    elif splits or any(photo.part for photo in export.photos):
        photos = split(export, facts.get("seed", 0), splits)[part]
    else:
        photos, part = export.photos, "all"
        print(f"{export.root}: not split and not what this run was trained on: all its photos are scored")
    if not photos:
        raise BadInput(f"{export.root}: no photo in {part}; choose another --split")
    if leaked := [photo.name for photo in photos if photo.sha1() in hashes]:
        print(f"WARNING: {len(leaked)} of {len(photos)} photos trained this run ({leaked[0]} ...): not an honest score")
    return photos, f"{export.root.name}, {part}, {len(photos)} photos", f"{export.root.name}-{part}"


def arguments(argv):
    parser = flags(
        "Score runs on photos they have not seen, at each photo's own size. Writes scores.json, photos.csv, pictures "
        "of the worst, median and best photos and of false alarms into the run folder.",
        "python evaluate.py",
        "python evaluate.py runs/sample-20260101-120000 --split valid",
        "python evaluate.py --predictions masks/ --data my-export",
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="run folder or checkpoint (default: newest)")
    parser.add_argument("--data", help="folder of a COCO export (default: the one that the run was trained on)")
    parser.add_argument("--split", choices=[*PARTS, "all"], default="test", help="which photos (default: %(default)s)")
    parser.add_argument("--splits", type=Path, metavar="FILE", help="splits.json: which photo is in which part")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="category names that mean crack, where unclear")
    parser.add_argument(
        "--predictions", type=Path, metavar="DIR", help="score mask images NAME.png or NAME_mask.png instead of a run"
    )
    parser.add_argument("--out", type=Path, help="folder for the results (default: inside the run, or DIR/scores)")
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    if args.predictions:
        if not args.predictions.is_dir():
            raise BadInput(f"{args.predictions}: no such folder; give the folder of the mask images")
        photos, title, _ = choose_photos(args, None)
        out = args.out or args.predictions / "scores"
        print(f"{args.predictions}: {title}")
        print(evaluate(photos, masks_from(args.predictions), out, title, args.seed), f"written to {out}", sep="\n")
        return 0
    for path in args.runs or [newest_run()]:
        answer, threshold = masks_of(path, choose_device(args.device))
        folder = path if path.is_dir() else path.parent
        photos, title, name = choose_photos(args, folder)
        out = args.out or folder / name
        print(f"{path} at threshold {threshold:.2f}: {title}", flush=True)
        print(evaluate(photos, answer, out, title, args.seed), f"written to {out}", sep="\n")
    return 0


if __name__ == "__main__":
    execute(main)
