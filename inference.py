"""A photo goes in, its crack probability, mask, numbers and pictures come out; also for folders and videos.

How large a photo is looked at. The network learnt at `preprocess.size` pixels on the longer side, and finds cracks
about as wide as there. So a photo is looked at at that size; one more than LARGE times as long at CLOSER times that
size, for it often shows more road. With a network trained at 512 on CrackForest: wide views put together from SUT-Crack
(2048 px) gave an IoU of 0.41 at 512, 0.48 at 768 and 0.51 at their own size; drawn close-ups of 3000 px 0.44, 0.44 and
0.11. `--scale 1` looks at the photo's own pixels, where the photo shows much more road than those of the training.
"""

import hashlib
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from command import BadInput, choose_device, execute, flags
from formats.labels import write_coco
from formats.onnx_model import export_onnx
from measure import WIDTH_EDGES_MM
from model import autocast, load_checkpoint
from photo import SUFFIXES, Preprocess, read_photo
from quantify.budget import read_prices, width_edges
from quantify.damage import NO_SCALE
from quantify.scale import add_scale_flags
from report.survey import budget_line, write_survey
from segment import FEW, Job, segment_all

RUNS = Path("runs")
LARGE, CLOSER = 2, 1.5
TILE, OVERLAP = 1024, 256  # memory is bounded by the tile; both multiples of 32, as the network's cells


def viewing_size(preprocess, shape):
    """Pixels on the longer side at which a photo of this shape is looked at: the rule at the top of this file."""
    return round(CLOSER * preprocess.size) if max(shape[:2]) > LARGE * preprocess.size else preprocess.size


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


@torch.inference_mode()
def predict(model, preprocess, photo, size=None):
    """(H, W, 3) uint8 RGB -> (H, W) float32 crack probability, looked at at `size` px (default: viewing_size)."""
    model.eval()
    device = next(model.parameters()).device
    view = replace(preprocess, size=size or viewing_size(preprocess, photo.shape))
    seen = view.resize(photo)
    probability = np.zeros(seen.shape[:2], np.float32)
    for rows, down in tiles(seen.shape[0]):
        for columns, across in tiles(seen.shape[1]):
            tile = view.normalise(seen[rows, columns])[None].to(device, memory_format=torch.channels_last)
            with autocast(device):
                logits = model(tile)
            answer = logits.float().sigmoid()[0, 0, : len(down), : len(across)].cpu().numpy()
            probability[rows, columns] += np.outer(down, across) * answer
    return view.to_photo(probability, *photo.shape[:2])


def newest_run():
    """The run folder under runs/ whose best.pt is the newest. Raises BadInput where there is none."""
    checkpoints = sorted(RUNS.glob("*/best.pt"), key=lambda file: file.stat().st_mtime)
    if not checkpoints:
        raise BadInput(f"{RUNS}: no trained run yet; run python train.py first, or give a checkpoint")
    return checkpoints[-1].parent


def weights_file(path):
    """Checkpoint file or run folder -> the file."""
    return path / "best.pt" if path.is_dir() else path


def open_model(path, device):
    """Checkpoint file or run folder -> (model on the device, Preprocess, threshold). Raises BadInput."""
    try:
        model, values, threshold = load_checkpoint(weights_file(path))
        preprocess = Preprocess(**values)
    except (ValueError, TypeError) as error:
        raise BadInput(error) from None
    return model.to(device, memory_format=torch.channels_last), preprocess, threshold


def list_photos(arguments):
    """Files and folders -> {file: the name its results begin with}; a folder gives all photos directly in it.

    That name is the stem, with folder and suffix where two files share it. Raises BadInput.
    """
    files = []
    for path in map(Path, arguments):
        inside = sorted(f for f in path.iterdir() if f.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not inside:
            raise BadInput(f"{path}: no photo in this folder; it takes {', '.join(sorted(SUFFIXES))}")
        if not inside[0].is_file():
            raise BadInput(f"{path}: no such photo, video or folder; check the name")
        files += inside
    files = list(dict.fromkeys(files))
    stems = Counter(file.stem for file in files)
    names = {f: f.stem if stems[f.stem] == 1 else f"{f.resolve().parent.name}_{f.name}" for f in files}
    if len(set(names.values())) < len(files):
        raise BadInput("two photos of the same name in folders of the same name; segment them one after the other")
    return names


def arguments(argv):
    parser = flags(
        "Find and measure the cracks in photos and videos. For each photo: NAME_mask.png (0 and 255, the photo's own "
        "size), NAME_overlay.jpg (the crack coloured by width), NAME_cracks.json; up to "
        f"{FEW} photos: NAME_figure.png. For a video: NAME_cracks.mp4. For more than one: cracks.csv, cracks.json, "
        "report.html. Started again, it goes on with what is missing.",
        "python inference.py road.jpg",
        "python inference.py photos/ --out masks --threshold 0.4 --figures",
        "python inference.py photos/ --find-a4 --prices data/prices.csv",
        "python inference.py photos/ --marker-mm 100",
        "python inference.py photos/ --camera-height-mm 1500",
        "python inference.py road.jpg --reference 100,200,900,210,500",
        "python inference.py road.jpg --mm-per-pixel 0.4 --scale 1 --checkpoint runs/first",
        "python inference.py drive.mp4 --every 0.5",
        "python inference.py photos/ --coco photos/to-correct.json",
        "python inference.py --export crack.onnx",
    )
    add = parser.add_argument
    add("photos", nargs="*", metavar="PHOTO", help="photo or video file, or a folder of photos")
    add("--checkpoint", type=Path, metavar="FILE", help="best.pt or its run folder (default: newest run)")
    add("--out", type=Path, default=Path("predictions"), help="folder for results (default: %(default)s)")
    add("--threshold", type=float, help="probability from which a pixel is crack (default: chosen on validation)")
    add("--scale", type=float, metavar="FACTOR", help="look at the photo at this factor of its size: 1 for its own "
        "pixels, in tiles (default: near the size of the training; see the top of inference.py)")  # fmt: skip
    add("--figures", action="store_true", help=f"a NAME_figure.png also for more than {FEW} photos")
    add("--every", type=float, default=1.0, metavar="SECONDS", help="a frame of a video (default: 1)")
    add("--prices", type=Path, metavar="CSV", help="unit prices: the budget, where there is a scale")
    add("--coco", type=Path, metavar="OUT.json", help="the masks as polygons, to correct by hand")
    add("--export", type=Path, metavar="OUT.onnx", help="the network for OpenCV alone; then stop")
    add_scale_flags(parser)
    return check(parser, parser.parse_args(argv))


def check(parser, args):
    """The arguments, if they make sense together; else the parser's one-line error."""
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        parser.error(f"--threshold {args.threshold}: a probability lies between 0 and 1")
    if args.scale is not None and not 0 < args.scale <= 4:
        parser.error(f"--scale {args.scale}: a factor above 0, up to 4; 1 looks at the photo's own pixels")
    if not args.every > 0:
        parser.error(f"--every {args.every}: seconds between two frames, above 0")
    if bool(args.photos) == bool(args.export):
        parser.error("give photos, a folder or a video; or --export alone")
    return args


def prepare(args):
    """Arguments -> (Job, list of Price or None, words on which network this is)."""
    checkpoint = args.checkpoint or newest_run()
    model, preprocess, threshold = open_model(checkpoint, device := choose_device(args.device))
    threshold = threshold if args.threshold is None else args.threshold
    prices = read_prices(args.prices) if args.prices else None
    edges = width_edges(prices) if prices else WIDTH_EDGES_MM
    scale = (args.mm_per_pixel, args.reference, args.marker_mm, args.find_a4, args.camera_height_mm)
    made_with = {
        "weights": hashlib.sha1(weights_file(checkpoint).read_bytes()).hexdigest(),
        "flags": str((threshold, args.scale, args.every, edges, scale)),
    }
    words = f"{checkpoint} at threshold {threshold:.2f} on {device}"

    def answer(photo):
        size = args.scale and max(32, round(args.scale * max(photo.shape)))
        return predict(model, preprocess, photo, size)

    return Job(answer, threshold, args, edges, made_with), prices, words


def saved_mask(start):
    """What segment_photo wrote -> (H, W) uint8 0/1."""
    return read_photo(start.with_name(f"{start.name}_mask.png"), cv2.IMREAD_GRAYSCALE) // 255


def main(argv=None):
    args = arguments(argv)
    if args.export:
        model, preprocess, threshold = open_model(args.checkpoint or newest_run(), "cpu")
        print(export_onnx(args.export, model, preprocess), f"mask = probability >= {threshold:.2f}", sep="\n")
        return 0
    names = list_photos(args.photos)
    job, prices, words = prepare(args)
    print(f"{len(names)} file(s) with {words}")
    records, failed = segment_all(job, names, args.out, args.every, args.figures or len(names) <= FEW)
    print(f"{len(records)} of {len(names)} done, in {args.out}/")
    results = [result for record in records.values() for result in record["results"]]
    if len(results) > 1:
        starts = {path: args.out / name for path, name in names.items()}
        write_survey(args.out, records, starts, prices, words, failed)
        print(f"all together: {args.out}/cracks.csv, cracks.json, report.html")
    if results:
        print(budget_line(results, prices) if results[0]["quantities"] else NO_SCALE)
    if args.coco:
        stills = [path for path in records if path.suffix.lower() in SUFFIXES]
        write_coco(args.coco, ((path, saved_mask(args.out / names[path])) for path in stills))
        print(f"to correct by hand: {args.coco}")
    for line in failed:
        print("error:", line, file=sys.stderr)
    return 0 if not failed else 2 if len(names) == 1 else 1


if __name__ == "__main__":
    execute(main)
