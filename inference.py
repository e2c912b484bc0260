"""A photo goes in, its crack probability, mask and overlay at the photo's own size come out."""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from command import BadInput, choose_device, execute, flags, written_whole
from model import autocast, load_checkpoint
from photo import ORANGE, SUFFIXES, Preprocess, read_photo, write_image

RUNS = Path("runs")


@torch.inference_mode()
def predict(model, preprocess, photo):
    """(H, W, 3) uint8 RGB -> (H, W) float32 crack probability."""
    model.eval()
    device = next(model.parameters()).device
    network_input = preprocess.to_input(photo)[None].to(device, memory_format=torch.channels_last)
    with autocast(device):
        logits = model(network_input)
    probability = logits.float().sigmoid()[0, 0].cpu().numpy()
    return preprocess.to_photo(probability, *photo.shape[:2])


def newest_run():
    """The run folder under runs/ whose best.pt is the newest. Raises BadInput where there is none."""
    checkpoints = sorted(RUNS.glob("*/best.pt"), key=lambda file: file.stat().st_mtime)
    if not checkpoints:
        raise BadInput(f"{RUNS}: no trained run yet; run python train.py first, or give a checkpoint")
    return checkpoints[-1].parent


def open_model(path, device):
    """Checkpoint file or run folder -> (model on the device, Preprocess, threshold). Raises BadInput."""
    try:
        model, values, threshold = load_checkpoint(path / "best.pt" if path.is_dir() else path)
    except ValueError as error:
        raise BadInput(error) from None
    return model.to(device, memory_format=torch.channels_last), Preprocess(**values), threshold


def overlay(photo, mask):
    """Photo with the crack in orange, its texture visible underneath; outlined so that thin cracks show."""
    drawn = photo.copy()
    crack = mask.astype(bool)
    drawn[crack] = (0.45 * photo[crack] + 0.55 * np.array(ORANGE)).astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(drawn, outlines, -1, ORANGE, max(1, round(max(mask.shape) / 1000)))


def figure(photo, probability, mask, title):
    """Matplotlib figure of photo, probability, mask and overlay: side by side for a tall photo, else 2 by 2."""
    height, width = mask.shape
    rows, columns = (1, 4) if height > width else (2, 2)
    panel = 12 / columns
    fig = Figure(figsize=(12, rows * (panel * height / width + 0.35) + 0.6), layout="constrained")
    fig.suptitle(title)
    panels = {"photo": photo, "crack probability, 0 black to 1 yellow": probability, "mask": mask}
    panels["overlay"] = overlay(photo, mask)
    step = 1 + max(height, width) // 1600  # more pixels than the figure shows only cost time
    for axes, (name, image) in zip(fig.subplots(rows, columns).flat, panels.items(), strict=True):
        axes.imshow(image[::step, ::step], cmap="gray" if name == "mask" else "inferno", vmin=0, vmax=1)
        axes.set_title(name, fontsize=10)
        axes.set(xticks=[], yticks=[])  # the frame stays: a white mask has an edge too
    return fig


def save_figure(path, fig):
    """PNG of a matplotlib figure, whole or not at all."""
    with written_whole(path) as temporary:
        fig.savefig(temporary, dpi=110)


def list_photos(arguments):
    """Files and folders -> photo files; a folder gives all image files directly in it. Raises BadInput."""
    files = []
    for path in map(Path, arguments):
        inside = sorted(f for f in path.iterdir() if f.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not inside:
            raise BadInput(f"{path}: no photo in this folder; it takes {', '.join(sorted(SUFFIXES))}")
        if not inside[0].is_file():
            raise BadInput(f"{path}: no such photo or folder; check the name")
        files += inside
    return files


def segment_file(model, preprocess, threshold, path, out):
    """One photo -> NAME_mask.png (0 and 255), NAME_overlay.jpg, NAME_figure.png; returns the crack's share."""
    photo = read_photo(path)
    probability = predict(model, preprocess, photo)
    mask = (probability >= threshold).astype(np.uint8)
    write_image(out / f"{path.stem}_mask.png", 255 * mask)
    write_image(out / f"{path.stem}_overlay.jpg", overlay(photo, mask))
    title = f"{path.name}: {mask.mean():.2%} of the photo is crack (threshold {threshold:.2f})"
    save_figure(out / f"{path.stem}_figure.png", figure(photo, probability, mask, title))
    return float(mask.mean())


def arguments(argv):
    parser = flags(
        "Find the cracks in photos. For each photo: NAME_mask.png (0 and 255, the photo's own size), NAME_overlay.jpg "
        "and NAME_figure.png (photo, probability, mask, overlay).",
        "python inference.py road.jpg",
        "python inference.py photos/ --out masks --threshold 0.4",
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="photo file, or a folder of photos")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="best.pt or its run folder (default: newest run)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("predictions"), help="folder for results (default: %(default)s)"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        help="probability from which a pixel is crack (default: the one chosen on validation)",
    )
    args = parser.parse_args(argv)
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        parser.error(f"--threshold {args.threshold}: a probability lies between 0 and 1")
    return args


def main(argv=None):
    args = arguments(argv)
    files = list_photos(args.photos)
    checkpoint = args.checkpoint or newest_run()
    model, preprocess, threshold = open_model(checkpoint, device := choose_device(args.device))
    threshold = threshold if args.threshold is None else args.threshold
    print(f"{len(files)} photo(s) with {checkpoint} at threshold {threshold:.2f} on {device}")
    failed = []
    for path in tqdm(files, disable=len(files) == 1, unit="photo"):
        try:
            share = segment_file(model, preprocess, threshold, path, args.out)
            tqdm.write(f"{path}: {share:.2%} crack")
        except BadInput as error:
            failed.append(str(error))
    print(f"{len(files) - len(failed)} of {len(files)} done: {args.out}/NAME_mask.png, _overlay.jpg, _figure.png")
    for line in failed:
        print("error:", line, file=sys.stderr)
    return 0 if not failed else 2 if len(files) == 1 else 1


if __name__ == "__main__":
    execute(main)
