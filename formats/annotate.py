"""Crack masks -> COCO annotations and files. Every COCO file that this project writes is written here.

Ground truth gets exact outlines: what COCO tools read from them is the mask, pixel by pixel. The network's masks, which
somebody will correct in a labelling tool, get simplified outlines with few corners.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from command import PARTS, BadInput, written_whole
from formats.coco import JSON_NAME, digest, read_json, uncorrected, untouched

CATEGORIES = [
    {"id": 0, "name": "cracks", "supercategory": "none"},  # Roboflow's parent, never used
    {"id": 1, "name": "crack", "supercategory": "cracks"},
]
MANIFEST = "manifest.csv"  # beside the annotations in an export that data/merge.py wrote
MADE_BY = "asphalt crack segmentation: "  # marks an export that this project wrote
FINE = 4  # sub-pixels per side of a pixel: the outline runs 1/8 pixel inside the mask's edge
TOLERANCES = (1.0, 0.7, 0.5, 0.35, 0.25)  # pixels by which a simplified outline may leave the mask's edge
FAITHFUL = 0.96  # IoU that a simplified crack must keep; tests ask for 0.95 on whole photos
LARGEST = 2048  # pixels; a longer piece is cut, because FINE times its size would not fit in memory


# ------------------------------------------------------------------------------------------ mask -> annotations
def pieces(mask, x=0, y=0):
    """(H, W) uint8 0/1 with its corner at x, y -> (x, y, (h, w) mask) of connected pieces that add up to it.

    No piece has a hole, because a COCO polygon cannot have one, and run lengths (RLE), which can, are misread by
    several tools. A crack around a plate of asphalt is therefore cut in two through the middle of the plate.
    """
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    for number, (left, top, width, height, _) in enumerate(boxes.tolist()[1:], start=1):
        part = (labels[top : top + height, left : left + width] == number).astype(np.uint8)
        where = cut(part)
        if where is None:
            yield x + left, y + top, part
            continue
        axis, at = where
        first, second = np.split(part, [at], axis)
        yield from pieces(first, x + left, y + top)
        if axis == 0:
            yield from pieces(second, x + left, y + top + at)
        else:
            yield from pieces(second, x + left + at, y + top)


def cut(part):
    """Where a connected piece must be cut in two, as (axis, index); None if it need not be.

    It is cut through the middle of its largest hole, or through its own middle where it is longer than LARGEST.
    """
    contours, tree = cv2.findContours(part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    holes = [cv2.boundingRect(contour) for contour, links in zip(contours, tree[0], strict=True) if links[3] >= 0]
    if holes:
        x, y, width, height = max(holes, key=lambda box: box[2] * box[3])
        return (0, y + height // 2) if height < width else (1, x + width // 2)
    if max(part.shape) > LARGEST:
        return int(np.argmax(part.shape)), max(part.shape) // 2
    return None


def fine_outline(part):
    """(h, w) uint8 0/1 without holes -> (N, 1, 2) its border in sub-pixels, as OpenCV gives it.

    Every pixel becomes FINE x FINE sub-pixels, so that the border runs through sub-pixel centres and never through a
    pixel's own centre, which is where programs that fill polygons disagree.
    """
    fine = np.repeat(np.repeat(part, FINE, axis=0), FINE, axis=1)
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return contours[0]


def as_pixels(outline):
    """Sub-pixel indices (N, 1, 2) -> photo coordinates (N, 2): the first pixel spans 0 to 1."""
    return (outline[:, 0] + 0.5) / FINE


def exact_outline(part):
    """(h, w) uint8 0/1 without holes -> (N, 2) corners from which pycocotools reads the same mask."""
    return as_pixels(fine_outline(part))


def simple_outline(part):
    """(h, w) uint8 0/1 without holes -> (N, 2) few corners: the coarsest tolerance that still reads back FAITHFUL."""
    outline = fine_outline(part)
    for tolerance in TOLERANCES:
        corners = cv2.approxPolyDP(outline, tolerance * FINE, True)
        if len(corners) >= 3 and agreement(part, as_pixels(corners)) >= FAITHFUL:
            return as_pixels(corners)
    return as_pixels(outline)


def agreement(part, corners):
    """IoU of a mask with what COCO tools read from its polygon."""
    read = coco_mask.decode(coco_mask.frPyObjects([corners.reshape(-1).tolist()], *part.shape))[..., 0]
    return np.count_nonzero(read & part) / np.count_nonzero(read | part)


def mask_to_annotations(mask, outline=exact_outline):
    """(H, W) uint8 0/1 -> one annotation, without ids, for each piece of crack.

    `bbox` and `area` are those of the piece's pixels. Raises TypeError for anything that is no mask.
    """
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise TypeError(f"a mask is (H, W) uint8, got {mask.shape} {mask.dtype}")
    annotations = []
    for x, y, part in pieces(mask):
        corners = outline(part) + (x, y)
        annotations.append(
            {
                "category_id": 1,
                "bbox": [x, y, part.shape[1], part.shape[0]],
                "area": int(np.count_nonzero(part)),
                "segmentation": [np.round(corners, 3).reshape(-1).tolist()],
                "iscrowd": 0,
            }
        )
    return annotations


def coco_content(photos, info, licence="not stated"):
    """[(file name, height, width, annotations without ids)] -> the content of a COCO file.

    Ids start at 1: COCOeval takes an annotation of id 0 for no annotation at all.
    """
    images, annotations = [], []
    for image_id, (name, height, width, cracks) in enumerate(photos, start=1):
        images.append(
            {"id": image_id, "license": 1, "file_name": name, "height": height, "width": width, "date_captured": ""}
        )
        for crack in cracks:
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **crack})
    return {
        "info": info,
        "licenses": [{"id": 1, "url": "", "name": licence}],
        "categories": CATEGORIES,
        "images": images,
        "annotations": annotations,
    }


# -------------------------------------------------------------------------------------------- a folder of labels
def write_annotations(folder, photos, script, licence="not stated", from_masks=True):
    """[(file name, height, width, annotations without ids)] -> folder/_annotations.coco.json.

    `script` is the command that writes it. `from_masks`: the labels come from masks, so that a photo without a crack
    has an empty mask, and no slip of the mouse is in them; the audit does not ask about those.
    """
    info = {"description": f"written by {script}", "contributor": MADE_BY + script, "from_masks": from_masks}
    content = coco_content(photos, info, licence)
    info["digest"] = digest(content["annotations"])
    (Path(folder) / JSON_NAME).write_text(json.dumps(content), encoding="utf-8")


def is_ours(folder):
    """Whether this is an export as this project wrote it, in one folder or split, with nothing else in it."""
    names = set(os.listdir(folder))
    parts = [folder / part for part in PARTS if (folder / part).is_dir()]
    if parts:
        return len(parts) == len(names - {MANIFEST}) and all(is_ours(part) for part in parts)
    content = read_json(folder / JSON_NAME)
    if isinstance(content, str) or not untouched(content):
        return False
    try:
        listed = {image["file_name"] for image in content["images"]}
        written_here = content["info"]["contributor"].startswith(MADE_BY)
    except (KeyError, TypeError, AttributeError):
        return False
    return written_here and names <= listed | {JSON_NAME, MANIFEST}


@contextlib.contextmanager
def export_folder(out):
    """Yields an empty folder that becomes `out` once everything is written; after an error nothing is left behind.

    An earlier export of this project at `out` is replaced. Raises BadInput if anything else is there.
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


def check_other_folder(out, root):
    """Raises BadInput if an export would be written over the one that its photos are copied from."""
    if Path(out).resolve() == Path(root).resolve():
        raise BadInput(f"--out {out}: the photos to copy are there; name a new folder")


def write_copies(out, photos, mask_of, script):
    """Export at `out` with copies of these photos, split as before, each with the mask that mask_of(photo) gives.

    Raises BadInput where two names are the same.
    """
    parts = {}
    for photo in photos:
        parts.setdefault(photo.part, []).append(photo)
    for part, members in parts.items():
        names = [Path(photo.name).name for photo in members]
        if len(set(names)) < len(names):
            raise BadInput(f"{part or out}: two photos are called {max(names, key=names.count)}; rename one")
    with export_folder(out) as folder:
        for part, members in parts.items():
            place = folder / part if part else folder
            place.mkdir(exist_ok=True)
            rows = []
            for photo in members:
                name, mask = Path(photo.name).name, mask_of(photo)
                shutil.copyfile(photo.path, place / name)
                rows.append((name, *mask.shape, mask_to_annotations(mask)))
            write_annotations(place, rows, script)


# --------------------------------------------------------------------------------- masks to correct in a tool
def name_in(path, photo):
    """COCO file, path of a photo -> its file_name there, relative to the COCO file's folder. Raises BadInput.

    Tools look for photos in that folder and below, so a photo that lies elsewhere is refused.
    """
    base, photo = Path(path).resolve().parent, photo.resolve()
    if not photo.is_relative_to(base):
        raise BadInput(f"{path}: tools look for photos beside it; write it to the photos' folder, {photo.parent}")
    return photo.relative_to(base).as_posix()


def check_coco_file(path, photos):
    """Raises BadInput where `write_coco` could not write masks of these photos: for a name without .json, which no tool
    would read, a photo that lies elsewhere, or a file that holds anything but uncorrected masks: somebody's labels."""
    if path.suffix.lower() != ".json":
        raise BadInput(f"{path}: not the name of a COCO file; end it with .json")
    if path.exists() and not uncorrected(read_json(path)):
        raise BadInput(f"{path}: holds something else, perhaps labels; name a new file for the masks to correct")
    for photo in photos:
        name_in(path, photo)


def write_coco(path, masks):
    """(photo's path, mask (H, W) uint8 0/1) pairs -> COCO file in the photos' folder or above; returns how many photos.

    Without a photo nothing is written, and 0 is returned: an empty file would look like an export. Raises BadInput.
    """
    photos = [(name_in(path, photo), *mask.shape, mask_to_annotations(mask, simple_outline)) for photo, mask in masks]
    if not photos:
        return 0
    content = coco_content(photos, {"description": "cracks found by the network, to be corrected"})
    content["info"]["uncorrected"] = digest(content["annotations"])
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
    return len(photos)
