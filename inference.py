"""A photo goes in; its mask and pictures of the result come out. How the network looks at a photo is in model.py."""

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from command import FEW, add_network_flags, choose_device, execute, flags, number_of, results_folder
from formats.annotate import check_coco_file, write_coco
from formats.batch import PHOTO_ERRORS, beside, error_line, exit_code, in_threads, list_photos, result_names, shown_name
from formats.photo import RESULTS, read_mask, read_one, write_image
from formats.pictures import save_figure
from model import SMALLEST, fused, load_checkpoint, predict
from quantify.damage import damage, sentence, too_much
from quantify.measure import measure
from quantify.specks import without_specks
from report.figure import figure, overlay
from runs import newest_run, warning_about, weights_file

MASK, OVERLAY, FIGURE = RESULTS  # how the names of the results end


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


def write_results(path, prefix, photo, probability, threshold, with_figure):
    """Write PREFIX_mask.png (0 and 255), PREFIX_overlay.jpg and perhaps PREFIX_figure.png -> row of `damage`."""
    mask, specks = crack_mask(probability, threshold)
    measured = measure(mask)
    row = damage(measured, mask.size, None, specks=specks)["row"] | {"photo": shown_name(path, prefix)}
    write_image(beside(prefix, MASK), 255 * mask)
    marked = overlay(photo, mask, measured, row)
    write_image(beside(prefix, OVERLAY), marked)
    if with_figure:
        title = f"{row['photo']}: {sentence(row)}"
        save_figure(beside(prefix, FIGURE), figure(photo, probability, mask, marked, title))
    else:
        beside(prefix, FIGURE).unlink(missing_ok=True)  # an earlier one would show another mask
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
    names = result_names(list_photos(args.photos, args.out))  # {photo: prefix of the names of its results}
    if args.coco:  # before the work, so that a wrong path costs nothing
        check_coco_file(args.coco, names)
    checkpoint = args.checkpoint or newest_run()
    model, preprocess, own_threshold = open_model(checkpoint, choose_device(args.device))
    model = fused(model)  # the same answers, faster
    threshold = own_threshold if args.threshold is None else args.threshold
    results_folder(args.out)
    print(f"{number_of(len(names), 'photo')} with {checkpoint} at threshold {threshold:.2f}")
    warning = warning_about(checkpoint)
    if warning:
        print(f"WARNING: {warning}")
    old = sum(beside(args.out / name, MASK).exists() for name in names.values())
    if old:
        print(f"note: {number_of(old, 'earlier mask')} in {args.out} will be overwritten; another --out would keep it")

    with_figures = args.figures or len(names) <= FEW

    def segment(path):
        photo = read_one(path)
        probability = predict(model, preprocess, photo, size_from_factor(photo, args.scale), args.flips)
        return write_results(path, args.out / names[path], photo, probability, threshold, with_figures)

    # reading, measuring and writing overlap in threads; the network itself takes one photo at a time (model.ONE_THREAD)
    rows, failed = {}, []
    # tqdm: True hides the bar, None hides it outside a terminal
    hidden = True if len(names) == 1 else None
    for path, future in tqdm(in_threads(segment, names), total=len(names), unit="photo", disable=hidden):
        try:
            rows[path] = future.result()
            if len(names) <= FEW:
                tqdm.write(f"{path}: {sentence(rows[path])}")
        except PHOTO_ERRORS as error:
            failed.append(error_line(path, error))

    cracked = sum(row["crack_area_px"] > 0 for row in rows.values())
    if rows:
        print(f"cracks in {cracked} of {number_of(len(rows), 'photo')}; masks and overlays are in {args.out}/")
    elif len(names) > 1:  # for a single photo, its error is enough
        print(f"no photo could be used; nothing new in {args.out}/")
    warning = too_much(rows.values())
    if warning:
        print(f"WARNING: {warning}")
    if args.coco and rows:  # masks are read back, because those of a thousand photos would fill the memory
        write_coco(args.coco, ((path, read_mask(beside(args.out / names[path], MASK))) for path in rows))
        print(f"outlines to correct: {args.coco}")
    elif args.coco and len(names) > 1:
        print(f"{args.coco}: not written, because no photo could be used")
    return exit_code(failed, len(names))


if __name__ == "__main__":
    execute(main)
