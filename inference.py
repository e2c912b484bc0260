"""A photo goes in; its crack probability, its mask and pictures of both come out.

The network works best when cracks are about as wide as in training, so a photo is resized to the training size; a
smaller one is enlarged only if the training did so. A photo more than LARGE times that size is also processed at double
size and the two are averaged. At these sizes wide cracks come out hollow, so a half-size pass adds cracks at least WIDE
pixels wide (not with --scale)."""

from dataclasses import replace
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
import torch
from tqdm import tqdm

from command import FEW, add_network_flags, choose_device, execute, flags, number_of, results_folder
from formats.annotate import keep_labels, name_in, write_coco
from formats.batch import FAULTS, beside, exit_code, in_threads, list_photos, result_names, why
from formats.photo import RESULTS, read_mask, read_one, tiles, write_image
from model import autocast, fused, load_checkpoint, weights_file
from quantify.damage import damage, sentence, too_much
from quantify.measure import measure
from quantify.specks import without_specks
from report.figure import figure, overlay, save_figure
from runs import doubt, newest_run

LARGE = 2
SMALLEST, WIDE = 32, 10  # pixels: longer side of a resized photo; width of a crack that the half-size pass may add
MASK, OVERLAY, FIGURE = RESULTS  # how the names of the results end
ONE_THREAD = Lock()  # PyTorch on Apple's GPUs crashes where two threads use it


def default_sizes(preprocess, shape):
    """Pixels on the longer side to which a photo of this shape is resized: the rule at the top of this file."""
    size = max(preprocess.shape(*shape[:2]))
    return (size, 2 * size) if max(shape[:2]) > LARGE * size else (size,)


@torch.inference_mode()
def answer_at(model, preprocess, photo):
    """Photo -> (h, w) float32 crack probability at the size of the network's input, in tiles if that is large."""
    device = next(model.parameters()).device
    seen = preprocess.resize(photo)
    probability = np.zeros(seen.shape[:2], np.float32)
    for rows, down in tiles(seen.shape[0]):
        for columns, across in tiles(seen.shape[1]):
            tile = torch.from_numpy(preprocess.normalise(seen[rows, columns]))[None]
            with ONE_THREAD, autocast(device):
                logits = model(tile.to(device, memory_format=torch.channels_last))
                answer = logits.float().sigmoid()[0, 0].cpu().numpy()
            # the network's input was padded on the right and below: cut that off
            probability[rows, columns] += np.outer(down, across) * answer[: len(down), : len(across)]
    return probability


def look(model, preprocess, photo, size):
    """Photo -> (H, W) float32 crack probability, looked at once, with `size` pixels on the longer side."""
    view = replace(preprocess, size=size, enlarges=True)
    return view.to_photo(answer_at(model, view, photo), *photo.shape[:2])


def look_for_wide_cracks(model, preprocess, photo, size):
    """The same, but 0 where no crack is at least WIDE pixels wide at this size."""
    view = replace(preprocess, size=size, enlarges=True)
    answer = answer_at(model, view, photo)
    crack = (answer >= 0.5).astype(np.uint8)
    # pixels whose distance to the edge is at least WIDE / 2 lie in the middle of a wide crack
    # (not doubled: where all is crack, the distance is the largest float)
    middle = (cv2.distanceTransform(crack, cv2.DIST_L2, 5) >= WIDE / 2).astype(np.uint8)
    # grow them back to the crack's edge, and never beyond the crack
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (WIDE + 1, WIDE + 1))
    return view.to_photo(answer * (cv2.dilate(middle, disk) & crack), *photo.shape[:2])


def predict(model, preprocess, photo, size=None, flips=False):
    """(H, W, 3) uint8 RGB -> (H, W) float32 crack probability.

    size: pixels on the longer side to which to resize the photo; default: the rule at the top of this file.
    flips: average over the photo and its three mirror images, each mirrored back.
    """
    model.eval()
    mirrors = [(), (1,), (0,), (0, 1)] if flips else [()]  # the axes along which the photo is mirrored
    total = np.zeros(photo.shape[:2], np.float32)
    for axes in mirrors:
        mirrored = np.ascontiguousarray(np.flip(photo, axes))
        if size:
            answer = look(model, preprocess, mirrored, size)
        else:
            sizes = default_sizes(preprocess, photo.shape)
            answer = look(model, preprocess, mirrored, sizes[0])
            for each in sizes[1:]:
                answer += look(model, preprocess, mirrored, each)
            answer /= len(sizes)  # in place, here and below, because copies of a large photo take time
            wide = look_for_wide_cracks(model, preprocess, mirrored, max(SMALLEST, sizes[0] // 2))
            np.maximum(answer, wide, out=answer)
        total += np.flip(answer, axes)
    return np.divide(total, len(mirrors), out=total)


def size_from_factor(photo, factor):
    """--scale FACTOR -> pixels on the longer side to which to resize this photo; None without the flag."""
    if factor is None:
        return None
    return max(SMALLEST, round(factor * max(photo.shape[:2])))


def crack_mask(probability, threshold):
    """(H, W) float32 -> ((H, W) uint8 0/1 without specks, number of specks removed): the mask that is written."""
    return without_specks((probability >= threshold).astype(np.uint8))


def open_model(path, device):
    """Checkpoint file or run folder -> (model on the device, Preprocess, threshold). Raises BadInput."""
    model, preprocess, threshold = load_checkpoint(weights_file(path))
    return model.to(device, memory_format=torch.channels_last), preprocess, threshold


def write_results(start, photo, probability, threshold, with_figure):
    """Write START_mask.png (0 and 255), START_overlay.jpg and perhaps START_figure.png -> dict: row of `damage`."""
    mask, specks = crack_mask(probability, threshold)
    measured = measure(mask)
    row = damage(measured, mask.size, None, specks=specks)["row"] | {"photo": start.name}
    write_image(beside(start, MASK), 255 * mask)
    marked = overlay(photo, mask, measured, row)
    write_image(beside(start, OVERLAY), marked)
    if with_figure:
        save_figure(beside(start, FIGURE), figure(photo, probability, mask, marked, row))
    return row


def arguments(argv):
    parser = flags(
        "Find the cracks in photos. For each photo this writes NAME_mask.png (0 and 255, same size as the photo), "
        "NAME_overlay.jpg (cracks coloured by width) and, for up to 20 photos, NAME_figure.png. "
        "For lengths in metres, a budget or videos use survey.py.",
        "python inference.py road.jpg",
        "python inference.py photos/ --out masks --threshold 0.4 --flips --figures",
        "python inference.py photos/ --coco photos/to-correct.json",
        "python inference.py road.jpg --checkpoint runs/first --scale 1 --device cpu",
        common=["device"],
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="photo, or folder of photos")
    add_network_flags(parser, "predictions")
    coco = "also write the masks as outlines, to correct in a labelling tool; write it into the photos' folder"
    parser.add_argument("--coco", type=Path, metavar="OUT.json", help=coco)
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    names = result_names(list_photos(args.photos, args.out))
    if args.coco:  # a file that cannot be written is refused now, not after the last photo
        keep_labels(args.coco)
        for path in names:
            name_in(args.coco, path)
    checkpoint = args.checkpoint or newest_run()
    model, preprocess, chosen = open_model(checkpoint, choose_device(args.device))
    model = fused(model)  # the same answers, faster
    threshold = chosen if args.threshold is None else args.threshold
    results_folder(args.out)
    print(f"{number_of(len(names), 'photo')} with {checkpoint} at threshold {threshold:.2f}")
    doubtful = doubt(checkpoint)
    if doubtful:
        print(f"WARNING: {doubtful}")

    with_figures = args.figures or len(names) <= FEW

    def segment(path):
        photo = read_one(path)
        answer = predict(model, preprocess, photo, size_from_factor(photo, args.scale), args.flips)
        return write_results(args.out / names[path], photo, answer, threshold, with_figures)

    rows, failed = {}, []
    for path, row in tqdm(in_threads(segment, names), total=len(names), unit="photo", disable=len(names) == 1 or None):
        try:
            rows[path] = row.result()
            if len(names) <= FEW:
                tqdm.write(f"{path}: {sentence(rows[path])}")
        except FAULTS as error:
            failed.append(why(path, error))

    cracked = sum(row["crack_area_px"] > 0 for row in rows.values())
    if rows:
        print(f"cracks in {cracked} of {number_of(len(rows), 'photo')}; masks and overlays are in {args.out}/")
    else:
        print(f"no photo could be used; nothing new in {args.out}/")
    warning = too_much(rows.values())
    if warning:
        print(f"WARNING: {warning}")
    if args.coco and rows:
        write_coco(args.coco, ((path, read_mask(beside(args.out / names[path], MASK))) for path in rows))
        print(f"outlines to correct: {args.coco}")
    elif args.coco:
        print(f"{args.coco}: not written, because no photo could be used")
    return exit_code(failed, len(names))


if __name__ == "__main__":
    execute(main)
