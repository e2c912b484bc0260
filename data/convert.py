"""A folder of photos and a folder of mask images become one COCO export, as Roboflow writes it.

    python data/convert.py PHOTOS MASKS OUT

Here lives the one answer to "how does a mask become COCO annotations that give exactly the same mask back?".
"""

import contextlib
import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
from command import PARTS, BadInput, Parser, answer_flags, execute, tally


def arguments(argv):
    parser = Parser(
        prog="data/convert.py",
        description=__doc__,
        epilog="Masks: white (255, or 1) on black, PNG or JPEG; grey edges are split at half. road7.jpg\n"
        "goes with road7.png or road7_mask.png. An undamaged photo has an all-black mask.\n\n"
        "example: python data/convert.py SUT/images SUT/masks data/sut",
    )
    parser.add_argument("photos", help="folder with the photos")
    parser.add_argument("masks", help="folder with one mask image for each photo, of the photo's size")
    parser.add_argument("out", help="folder to write the export to")
    return parser.parse_args(argv)


if __name__ == "__main__":
    answer_flags(arguments)  # --help and wrong flags at once: the imports below take seconds

import cv2
import numpy as np

from formats.coco import JSON_NAME, digest
from formats.photo import SUFFIXES, read_mask, read_photo

MANIFEST = "manifest.csv"  # beside it in an export that data/merge.py wrote
CATEGORIES = [
    {"id": 0, "name": "cracks", "supercategory": "none"},  # Roboflow's parent, never used
    {"id": 1, "name": "crack", "supercategory": "cracks"},
]
MADE_BY = "asphalt crack segmentation: "  # marks an export that this project wrote itself
MASK_SUFFIXES = ("", "_mask", "-mask", "_gt", "_label", "_seg")


# --------------------------------------------------------------------------------------- mask <-> annotations
def outline(mask):
    """(H, W) uint8 mask of one connected crack -> [x, y, x, y, ...] of its outer border, 1/8 pixel inside it.

    Every pixel becomes 4 x 4 sub-pixels, so that the contour runs through sub-pixel centres and never through
    a pixel's own centre, which is where rasterisers disagree.
    """
    fine = np.repeat(np.repeat(mask, 4, axis=0), 4, axis=1)
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return (contours[0].reshape(-1) + 0.5) / 4


def segmentation(part, x, y, shape):
    """(h, w) uint8 mask of one crack with its corner at x, y in a photo of `shape` -> polygon, or RLE.

    A polygon wherever it reads back exactly; a crack around a hole (an alligator's plate) does not.
    """
    from pycocotools import mask as coco_mask

    border = outline(part)
    read_back = coco_mask.decode(coco_mask.frPyObjects([border.tolist()], *part.shape))[..., 0]
    if np.array_equal(read_back, part):
        return [(border + np.tile([x, y], len(border) // 2)).tolist()]
    whole = np.zeros(shape, np.uint8, order="F")
    whole[y : y + part.shape[0], x : x + part.shape[1]] = part
    rle = coco_mask.encode(whole)
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def mask_to_annotations(mask):
    """(H, W) uint8 mask of 0 and 1 -> one annotation, without ids, for each connected crack."""
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise TypeError(f"a mask is (H, W) uint8, got {mask.shape} {mask.dtype}")
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    annotations = []
    for label, (x, y, w, h, _) in enumerate(boxes.tolist()[1:], start=1):
        part = (labels[y : y + h, x : x + w] == label).astype(np.uint8)
        annotations.append(
            {
                "category_id": 1,
                "bbox": [x, y, w, h],
                "area": w * h,  # Roboflow: the box's
                "segmentation": segmentation(part, x, y, mask.shape),
                "iscrowd": 0,
            }
        )
    return annotations


# ------------------------------------------------------------------------------------------ writing an export
def is_ours(folder):
    """Is this an export as this project wrote it, in one folder or split, with nothing else in it?"""
    parts = [folder / part for part in PARTS if (folder / part).is_dir()]
    if parts:
        return len(parts) == len(set(os.listdir(folder)) - {MANIFEST}) and all(map(is_ours, parts))
    try:
        coco = json.loads((folder / JSON_NAME).read_text())
        names = {image["file_name"] for image in coco["images"]} | {JSON_NAME, MANIFEST}
        untouched = coco["info"].get("digest") in (None, digest(coco["annotations"]))  # None: written before 2026-11-26
        return coco["info"]["contributor"].startswith(MADE_BY) and names >= set(os.listdir(folder)) and untouched
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


@contextlib.contextmanager
def export_folder(out):
    """Yields an empty folder that becomes `out` once all is written; an error leaves nothing behind.

    An earlier export of ours at `out` is replaced; anything else there is left alone and named.
    """
    out = Path(out).absolute()
    if out.exists() and not (out.is_dir() and (not os.listdir(out) or is_ours(out))):
        raise BadInput(f"{out}: exists and holds other files; name a new folder or remove it first")
    draft, old = (out.with_name(f".{out.name}.{what}{os.getpid()}") for what in ("new", "old"))
    try:
        draft.mkdir(parents=True)
        yield draft
        if out.exists():
            out.rename(old)
        try:
            draft.rename(out)
        except OSError:  # on Windows, where a file is open
            if old.exists():
                old.rename(out)
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_annotations(folder, photos, script, licence="not stated"):
    """photos: [(file name, height, width, annotations without ids)] -> folder/_annotations.coco.json."""
    images, annotations = [], []
    for image_id, (name, height, width, cracks) in enumerate(photos):
        images.append(
            {"id": image_id, "license": 1, "file_name": name, "height": height, "width": width, "date_captured": ""}
        )
        annotations += [
            {"id": number, "image_id": image_id, **crack} for number, crack in enumerate(cracks, start=len(annotations))
        ]
    coco = {
        "info": {"description": f"written by {script}", "contributor": MADE_BY + script, "digest": digest(annotations)},
        "licenses": [{"id": 1, "url": "", "name": licence}],
        "categories": CATEGORIES,
        "images": images,
        "annotations": annotations,
    }
    (Path(folder) / JSON_NAME).write_text(json.dumps(coco))


# ------------------------------------------------------------------------------------------------ the command
def list_images(folder):
    """Folder -> sorted image paths."""
    if not Path(folder).is_dir():
        raise BadInput(f"{folder}: no such folder; check the name")
    return sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES)


def pair_by_stem(photos, masks):
    """Photo and mask paths -> [(photo, mask)]; `road7.jpg` goes with `road7.png` or `road7_mask.png`."""
    by_stem = {mask.stem: mask for mask in masks}
    pairs = []
    for photo in photos:
        found = [by_stem[photo.stem + suffix] for suffix in MASK_SUFFIXES if photo.stem + suffix in by_stem]
        pairs.append((photo, found[0] if found else None))
    for mask, times in Counter(mask for _, mask in pairs if mask).items():
        if times > 1:
            both = " and ".join(photo.name for photo, own in pairs if own == mask)
            raise BadInput(f"{mask}: would be the mask of {both}; rename one of the photos, and draw its own")
    lonely = [photo.name for photo, mask in pairs if mask is None]
    if lonely:
        shown = ", ".join(lonely[:5]) + (f" and {len(lonely) - 5} more" if len(lonely) > 5 else "")
        raise BadInput(f"{shown}: no mask; draw one of that name, all black for an undamaged photo")
    return pairs


def convert_pair(photo, mask, folder):
    """Copies the photo into the folder; -> (file name, height, width, annotations)."""
    truth = read_mask(mask)
    pixels = read_photo(photo)
    if pixels.shape[:2] != truth.shape:
        raise BadInput(
            f"{mask}: mask is {truth.shape[1]}×{truth.shape[0]}, its photo {photo.name} is "
            f"{pixels.shape[1]}×{pixels.shape[0]}; save it at the photo's size"
        )
    shutil.copyfile(photo, folder / photo.name)
    return photo.name, *truth.shape, mask_to_annotations(truth)


def convert(photos, masks, out):
    """Folder of photos, folder of masks -> COCO export at `out`."""
    from tqdm import tqdm

    pairs = pair_by_stem(list_images(photos), list_images(masks))
    if not pairs:
        raise BadInput(f"{photos}: no photo in this folder; it takes {', '.join(sorted(SUFFIXES))}")
    with export_folder(out) as folder:
        rows = [convert_pair(*pair, folder) for pair in tqdm(pairs, desc="converting", unit="photo")]
        write_annotations(folder, rows, "data/convert.py")
    return rows


def main(argv=None):
    args = arguments(argv)
    rows = convert(args.photos, args.masks, args.out)
    cracked = sum(bool(annotations) for *_, annotations in rows)
    print(f"{args.out}: {tally(len(rows), cracked)}")


if __name__ == "__main__":
    execute(main)
