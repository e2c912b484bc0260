"""Masks -> COCO polygons that a labelling tool imports, so that a student corrects rather than draws."""

import json
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from command import BadInput, written_whole
from data.convert import CATEGORIES
from formats.coco import digest, read_json, uncorrected

FINE = 4  # sub-pixels a side: the outline runs 1/8 pixel inside the mask's edge, where all rasterisers agree
TOLERANCES = (1.0, 0.7, 0.5, 0.35, 0.25)  # pixels that a simplified outline may leave the mask's edge
FAITHFUL = 0.96  # IoU that a simplified crack must keep; tests ask 0.95 of whole photos
LARGEST = 2048  # a crack in a larger box is cut: its outline at FINE would not fit in memory


def pieces(mask, x=0, y=0):
    """(H, W) uint8 0/1 with its corner at x, y -> (x, y, (h, w) mask) of connected pieces that add up to it.

    None has a hole: COCO polygons cannot, and labelling tools do not edit run lengths. So a crack round a plate of
    asphalt is cut through the plate.
    """
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    for number, (left, upper, w, h, _) in enumerate(boxes.tolist()[1:], start=1):
        part = (labels[upper : upper + h, left : left + w] == number).astype(np.uint8)
        if (where := cut(part)) is None:
            yield x + left, y + upper, part
            continue
        axis, at = where
        first, second = np.split(part, [at], axis)
        yield from pieces(first, x + left, y + upper)
        yield from pieces(second, x + left + at * (axis == 1), y + upper + at * (axis == 0))


def cut(part):
    """Where a connected piece must be cut, (axis, index): the middle of its largest hole, or of what is too large."""
    contours, tree = cv2.findContours(part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    holes = [cv2.boundingRect(c) for c, links in zip(contours, tree[0], strict=True) if links[3] >= 0]
    if holes:
        x, y, w, h = max(holes, key=lambda box: box[2] * box[3])
        return (0, y + h // 2) if h < w else (1, x + w // 2)
    return (int(np.argmax(part.shape)), max(part.shape) // 2) if max(part.shape) > LARGEST else None


def polygon(part):
    """(h, w) uint8 0/1 without holes -> (N, 2) corners: of the coarsest tolerance that still reads back FAITHFUL."""
    fine = np.repeat(np.repeat(part, FINE, axis=0), FINE, axis=1)
    outline = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0][0]
    for tolerance in TOLERANCES:
        corners = cv2.approxPolyDP(outline, tolerance * FINE, True)
        if len(corners) >= 3 and agreement(part, as_pixels(corners)) >= FAITHFUL:
            return as_pixels(corners)
    return as_pixels(outline)


def as_pixels(outline):
    """Sub-pixel indices (N, 1, 2) -> photo coordinates (N, 2): the first pixel spans 0 to 1."""
    return (outline[:, 0] + 0.5) / FINE


def agreement(part, corners):
    """IoU of a mask with what COCO tools read from its polygon."""
    read = coco_mask.decode(coco_mask.frPyObjects([corners.reshape(-1).tolist()], *part.shape))[..., 0]
    return np.count_nonzero(read & part) / np.count_nonzero(read | part)


def mask_to_polygons(mask):
    """(H, W) uint8 0/1 -> one annotation without ids for each piece of crack."""
    annotations = []
    for x, y, part in pieces(mask):
        corners = polygon(part) + (x, y)
        (left, upper), (right, lower) = corners.min(0).tolist(), corners.max(0).tolist()
        annotations.append(
            {
                "category_id": 1,
                "bbox": [left, upper, right - left, lower - upper],
                "area": int(np.count_nonzero(part)),
                "segmentation": [np.round(corners, 3).reshape(-1).tolist()],
                "iscrowd": 0,
            }
        )
    return annotations


def name_in(path, photo):
    """COCO file, path of a photo -> its file_name there: the way from the COCO file's folder to it. Raises BadInput.

    Tools look for photos in that folder and below, so one that lies elsewhere is refused.
    """
    base, photo = Path(path).resolve().parent, photo.resolve()
    if not photo.is_relative_to(base):
        raise BadInput(f"{path}: tools look for photos beside it; write it to the photos' folder, {photo.parent}")
    return photo.relative_to(base).as_posix()


def keep_labels(path):
    """Raises BadInput where the file holds anything but what `write_coco` writes: somebody's labels."""
    if path.exists() and not uncorrected(read_json(path)):
        raise BadInput(f"{path}: holds something else, perhaps labels; name a new file for the masks to correct")


def write_coco(path, masks):
    """(photo's path, mask (H, W) uint8 0/1) pairs -> COCO file in the photos' folder or above. Raises BadInput."""
    images, annotations = [], []
    for number, (photo, mask) in enumerate(masks):
        size = {"height": mask.shape[0], "width": mask.shape[1]}
        images.append({"id": number, "file_name": name_in(path, photo), **size})
        for annotation in mask_to_polygons(mask):
            annotations.append({"id": len(annotations), "image_id": number, **annotation})
    info = {"description": "cracks as inference.py saw them: to be corrected", "uncorrected": digest(annotations)}
    content = {"info": info, "categories": CATEGORIES, "images": images, "annotations": annotations}
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
