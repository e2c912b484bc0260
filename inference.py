"""A photo goes in, its crack probability, mask, numbers and pictures come out; also for folders and videos.

How large a photo is looked at. The network learnt at `preprocess.size` pixels on the longer side, and finds cracks
about as wide as there. So a photo is looked at at that size; one more than LARGE times as long, which may be a close-up
or show much more road, at that size and at twice that, and the two answers are averaged. IoU of the weights that ship,
on photos of SUT-Crack and of DeepCrack's training part, at 512, at 1024 and averaged: wide views put together from 16
photos (2048 px) 0.47, 0.57, 0.57; close-ups, enlarged 4 times (2048 px) 0.65, 0.54, 0.62. At their own pixels they gave
0.59 and 0.40. `--scale 1` does that, for photos that show much more road than those of the training.

A crack that is wider than those of the training comes out hollow. So the photo is also looked at at half that size, and
where that view finds a crack at least WIDE of its own pixels wide, the larger of the two probabilities counts. A photo
smaller than `preprocess.size` is enlarged to it only where `preprocess.enlarges` says that the training did so.
"""

import csv
import hashlib
import math
import sys
from dataclasses import replace
from pathlib import Path

from command import BadInput, answer_flags, choose_device, execute, flags, number_of, results_folder
from quantify.scale import SCALE_FLAGS, add_scale_flags


def arguments(argv):
    parser = flags(
        "Find and measure the cracks in photos and videos. For each photo: NAME_mask.png (0 and 255, the photo's own "
        "size), NAME_overlay.jpg (the crack coloured by width), NAME_cracks.json; for only a few photos: "
        "NAME_figure.png. For a video: NAME_cracks.mp4. For more than one, and with --prices: cracks.csv, cracks.json, "
        "report.html. Started again, it goes on with what is missing.",
        "python inference.py road.jpg",
        "python inference.py photos/ --out masks --threshold 0.4 --figures --flips",
        "python inference.py photos/ --find-a4 --prices data/prices.csv",
        "python inference.py photos/ --marker-mm 100",
        "python inference.py photos/ --camera-height-mm 1500",
        "python inference.py road.jpg --reference 100,200,900,210,500",
        "python inference.py road.jpg --mm-per-pixel 0.4 --scale 1 --checkpoint runs/first --device cpu",
        "python inference.py drive.mp4 --every 0.5",
        "python inference.py photos/ --coco photos/to-correct.json",
        "python inference.py --export crack.onnx",
        "torchrun --nproc-per-node 4 inference.py photos/",
    )
    add = parser.add_argument
    add("photos", nargs="*", metavar="PHOTO", help="photo or video file, or a folder of photos")
    add("--checkpoint", type=Path, metavar="FILE", help="best.pt or run folder (default: newest run, else "
        "weights/crack.pt)")  # fmt: skip
    add("--out", type=Path, default=Path("predictions"), help="folder for results (default: %(default)s)")
    add("--threshold", type=float, help="probability from which a pixel is crack (default: chosen on validation)")
    add("--scale", type=float, metavar="FACTOR", help="look at the photo at this factor of its size: 1 for its own "
        "pixels, in tiles (default: the training's size, and twice that where large: top of inference.py)")  # fmt: skip
    add("--flips", action="store_true", help="average the answers to a photo and its three mirror images, in 4 times "
        "the time")  # fmt: skip
    add("--figures", action="store_true", help="a NAME_figure.png also for many photos")
    add("--every", type=float, default=1.0, metavar="SECONDS", help="a frame of a video (default: 1)")
    add("--prices", type=Path, metavar="CSV", help="unit prices: the budget, where there is a scale; "
        "added to a folder done before, all its photos are done again")  # fmt: skip
    add("--coco", type=Path, metavar="OUT.json", help="the masks as polygons, to correct by hand; give it in the "
        "photos' own folder: its file_name entries lead from there to the photos")  # fmt: skip
    add("--export", type=Path, metavar="OUT.onnx", help="the network for OpenCV alone; then stop")
    add_scale_flags(parser)
    return check(parser, parser.parse_args(argv))


def check(parser, args):
    """The arguments, if they make sense together; else the parser's one-line error."""
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        parser.error(f"--threshold {args.threshold}: a probability lies between 0 and 1")
    if args.scale is not None and not 0 < args.scale <= 4:
        parser.error(f"--scale {args.scale}: a factor above 0, up to 4; 1 looks at the photo's own pixels")
    if not 0 < args.every < math.inf:
        parser.error(f"--every {args.every}: seconds between two frames, above 0")
    if bool(args.photos) == bool(args.export):
        parser.error("give photos, a folder or a video; or --export alone")
    if args.prices and not any(getattr(args, flag) for flag in SCALE_FLAGS):
        flags = ", ".join(f"--{flag.replace('_', '-')}" for flag in SCALE_FLAGS)
        parser.error(f"--prices {args.prices}: no budget without a scale; give one of {flags}")
    return args


if __name__ == "__main__":
    answer_flags(arguments)  # --help and wrong flags at once: the imports below take seconds

import cv2
import numpy as np
import torch

import distributed
from formats.labels import keep_labels, name_in, write_coco
from formats.onnx_model import export_onnx
from measure import WIDTH_EDGES_MM
from model import autocast, fused, load_checkpoint, weights_file
from photo import Preprocess, read_photo
from quantify.budget import read_prices, width_edges
from quantify.damage import NO_SCALE
from quantify.specks import without_specks
from report.survey import budget_line, record_file, too_much, write_survey
from segment import FEW, VIDEOS, Job, done_before, list_photos, missing, repeated, segment_all

RUNS = Path("runs")
SHIPPED = Path(__file__).parent / "weights" / "crack.pt"
LARGE = 2
SMALLEST = 32  # pixels of the longer side
WIDE = 10  # pixels of the half-size view
NOTHING_LEARNT = 0.1  # IoU of the crack: where all is called crack it is the crack's share of the photo, a few percent
TILE, OVERLAP = 1024, 256  # memory is bounded by the tile; both multiples of 32, to which inputs are padded


def viewing_sizes(preprocess, shape):
    """Pixels on the longer side at which a photo of this shape is looked at: the rule at the top of this file."""
    size = max(preprocess.shape(*shape[:2]))
    return (size, 2 * size) if max(shape[:2]) > LARGE * size else (size,)


def wide_cracks(probability):
    """(h, w) float32 -> the same where a crack is at least WIDE pixels wide, 0 elsewhere."""
    crack = (probability >= 0.5).astype(np.uint8)
    middle = (2 * cv2.distanceTransform(crack, cv2.DIST_L2, 5) >= WIDE).astype(np.uint8)
    around = cv2.dilate(middle, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (WIDE + 1, WIDE + 1)))
    return probability * (around & crack)


def tiles(length):
    """Slices of at most TILE that cover `length`, each with its weights (n,), which add up to 1 everywhere.

    A tile's outermost quarter of the overlap has no weight: there the network sees too little around.
    """
    starts = range(0, max(1, length - OVERLAP), TILE - OVERLAP)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip((np.arange(OVERLAP) + 0.5) / OVERLAP * 2 - 0.5, 0, 1))
    for start in starts:
        weight = np.ones(min(TILE, length - start), np.float32)
        if start > 0:
            weight[:OVERLAP] = rise
        if start + TILE < length:
            weight[-OVERLAP:] = rise[::-1]
        yield slice(start, start + len(weight)), weight


def predict(model, preprocess, photo, size=None, flips=False):
    """(H, W, 3) uint8 RGB -> (H, W) float32 crack probability, looked at at `size` px (default: viewing_sizes).

    With `flips` the mean of the answers to the photo and its three mirror images, each turned back.
    """
    if flips:
        mirrored = (np.s_[::down, ::across] for down in (1, -1) for across in (1, -1))
        return sum(predict(model, preprocess, np.ascontiguousarray(photo[turn]), size)[turn] for turn in mirrored) / 4
    model.eval()
    if size:
        return look(model, replace(preprocess, size=size, enlarges=True), photo)
    sizes = viewing_sizes(preprocess, photo.shape)
    views = [look(model, replace(preprocess, size=size, enlarges=True), photo) for size in sizes]
    half = replace(preprocess, size=max(SMALLEST, sizes[0] // 2), enlarges=True)
    wide = half.to_photo(wide_cracks(answer_at(model, half, photo)), *photo.shape[:2])
    return np.maximum(sum(views) / len(views), wide)


def look(model, view, photo):
    """`predict` at one size, that of `view`."""
    return view.to_photo(answer_at(model, view, photo), *photo.shape[:2])


@torch.inference_mode()
def answer_at(model, view, photo):
    """Crack probability (h, w) at the size of `view`; in tiles where that is large."""
    device = next(model.parameters()).device
    seen = view.resize(photo)
    probability = np.zeros(seen.shape[:2], np.float32)
    for rows, down in tiles(seen.shape[0]):
        for columns, across in tiles(seen.shape[1]):
            tile = view.normalise(seen[rows, columns])[None].to(device, memory_format=torch.channels_last)
            with autocast(device):
                logits = model(tile)
            answer = logits.float().sigmoid()[0, 0, : len(down), : len(across)].cpu().numpy()
            probability[rows, columns] += np.outer(down, across) * answer
    return probability


def crack_mask(probability, threshold):
    """(H, W) float32 -> ((H, W) uint8 0/1 without specks, number of specks left out): the mask that ships."""
    return without_specks((probability >= threshold).astype(np.uint8))


def newest_run():
    """The run folder under runs/ whose best.pt is the newest; before the first training, the weights that ship."""
    checkpoints = sorted(RUNS.glob("*/best.pt"), key=lambda file: file.stat().st_mtime)
    newest = checkpoints[-1].parent if checkpoints else SHIPPED
    for begun in sorted(RUNS.glob("*/last.pt")):
        if not begun.with_name("best.pt").exists() and begun.stat().st_mtime > weights_file(newest).stat().st_mtime:
            print(f"note: {begun.parent} has finished no epoch, so {newest} is taken")
    if not checkpoints:
        print(f"note: no run in {RUNS}/, so the weights that ship are taken")
    return newest


def doubt(checkpoint):
    """In words, that the run of this checkpoint has learnt nothing, by its history.csv; nothing where nobody knows."""
    try:
        with open(weights_file(checkpoint).with_name("history.csv"), newline="", encoding="utf-8") as file:
            iou = max(float(row["iou_at_threshold"]) for row in csv.DictReader(file))
    except (OSError, KeyError, TypeError, ValueError):
        return ""
    nothing = f"this network reached an IoU of {iou:.3f} on validation: its masks mean nothing"
    return nothing if iou < NOTHING_LEARNT else ""


def open_model(path, device):
    """Checkpoint file or run folder -> (model on the device, Preprocess, threshold). Raises BadInput."""
    try:
        model, values, threshold = load_checkpoint(weights_file(path))
        preprocess = Preprocess(**values)
    except (ValueError, TypeError) as error:
        raise BadInput(error) from None
    return model.to(device, memory_format=torch.channels_last), preprocess, threshold


def prepare(args):
    """Arguments -> (Job, list of Price or None, words on which network this is)."""
    checkpoint = args.checkpoint = args.checkpoint or newest_run()
    model, preprocess, threshold = open_model(checkpoint, device := choose_device(args.device))
    model, threshold = fused(model), threshold if args.threshold is None else args.threshold
    prices = read_prices(args.prices) if args.prices else None
    edges = width_edges(prices) if prices else WIDTH_EDGES_MM
    scale = tuple(getattr(args, flag) for flag in SCALE_FLAGS)
    made_with = {
        "weights": hashlib.sha1(weights_file(checkpoint).read_bytes()).hexdigest(),
        "flags": str((threshold, args.scale, args.flips, args.every, edges, scale)),
    }
    words = f"{checkpoint} at threshold {threshold:.2f} on {device}"

    def answer(photo):
        size = args.scale and max(32, round(args.scale * max(photo.shape)))
        probability = predict(model, preprocess, photo, size, args.flips)
        return probability, *crack_mask(probability, threshold)

    return Job(answer, args, edges, made_with), prices, words


def stills(paths):
    """Those that are no videos."""
    return [path for path in paths if path.suffix.lower() not in VIDEOS]


def saved_mask(start):
    """What segment_photo wrote -> (H, W) uint8 0/1."""
    return read_photo(start.with_name(f"{start.name}_mask.png"), cv2.IMREAD_GRAYSCALE) // 255


def main(argv=None):
    args = arguments(argv)
    if args.export:
        model, preprocess, threshold = open_model(args.checkpoint or newest_run(), "cpu")
        print(export_onnx(args.export, model, preprocess), f"mask = probability >= {threshold:.2f}", sep="\n")
        return 0
    names = list_photos(args.photos, args.out)
    if args.coco:  # refused now, not after the last photo
        keep_labels(args.coco)
        for path in stills(names):
            name_in(args.coco, path)
    try:
        with distributed.joined(choose_device(args.device)):
            return segment_together(args, names)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on with what is missing") from None


def segment_together(args, names):
    """Segment the photos, in the processes of torchrun each its share; process 0 merges and says what failed."""
    job, prices, words = prepare(args)
    results_folder(args.out)
    print(f"{number_of(len(names), 'file')} with {words}")
    if doubted := doubt(args.checkpoint):
        print(f"WARNING: {doubted}")
    figures = args.figures or len(names) <= FEW
    mine = missing(job, distributed.share(list(names)), names, args.out, figures)
    if replaced := sum(record_file(args.out / names[path]).exists() for path in mine):
        print(f"note: results of {replaced} of them in {args.out}, of another network or other flags, are replaced; "
              "with another --out they would stay")  # fmt: skip
    todo = distributed.gathered(mine)  # all begin with the same list, before any of it is done
    if len(todo) < len(names):
        print(f"{len(names) - len(todo)} of {len(names)} were done before, with the same flags; kept")
    failed = segment_all(job, distributed.share(todo), names, args.out, args.every, figures)
    failed = sorted(distributed.gathered(failed))
    if distributed.rank():
        return 0
    merge(args, job, names, prices, words, failed)
    for line in failed:
        print("error:", line, file=sys.stderr)
    return 0 if not failed else 2 if len(failed) == len(names) else 1


def merge(args, job, names, prices, words, failed):
    """The results of all files, read back from their records, so that they did not stand in memory -> tables, report.

    Prints what was found and where it lies.
    """
    records = {path: done_before(job, path, args.out / name) for path, name in names.items()}
    records = {path: record for path, record in records.items() if record}
    for copy, original in repeated(list(records)).items():
        print(f"note: {copy} is {original} once more: in the sums it counts once")
        for result in records[copy]["results"]:
            result["row"]["copy_of"] = records[original]["results"][0]["row"]["photo"]
    print(f"{len(records)} of {len(names)} done, in {args.out}/")
    results = [result for record in records.values() for result in record["results"]]
    if warning := too_much([result["row"] for result in results]):
        print(f"WARNING: {warning}")
    if results and (len(names) > 1 or len(results) > 1 or prices):
        starts = {path: args.out / name for path, name in names.items()}
        write_survey(args.out, records, starts, prices, words, failed)
        print(f"all together: {args.out}/cracks.csv, cracks.json, report.html")
    if results:
        print(budget_line(results, prices) if results[0]["quantities"] else NO_SCALE)
    if args.coco:
        write_coco(args.coco, ((path, saved_mask(args.out / names[path])) for path in stills(records)))
        print(f"to correct by hand: {args.coco}; keep it there, its file_name entries lead from there to the photos")


if __name__ == "__main__":
    execute(main)
