"""What a segmentation in a COCO file may be: polygons or run lengths (RLE) that can be drawn on their photo."""

import numpy as np
from pycocotools import mask as coco_mask


def usable(shape, photo):
    """A segmentation as it stands in the JSON -> (the part of it that can be drawn or None, problems)."""
    if isinstance(shape, dict):
        problem = rle_problem(shape, photo)
        return (None, [problem]) if problem else (shape, [])
    if not isinstance(shape, list) or not shape:
        return None, ["annotation without an outline (a box? label with polygons)"]
    kept, problems = [], []
    for polygon in shape:
        points = as_points(polygon)
        problem = "polygon that is no list of x, y, x, y" if points is None else polygon_problem(points, photo)
        problems += [problem] if problem else []
        kept += [] if problem else [points.ravel().tolist()]
    return kept or None, list(dict.fromkeys(problems))


def drawn(shapes, height, width):
    """What `usable` kept -> (H, W) uint8, 1 where any of the shapes lies."""
    runs = [one for shape in shapes for one in run_lengths(shape, height, width)]
    while len(runs) > 1:  # ten at a time: one after the other, 10,000 shapes on a large photo would take minutes
        runs = [coco_mask.merge(runs[i : i + 10]) for i in range(0, len(runs), 10)]
    return np.ascontiguousarray(coco_mask.decode(runs[0])) if runs else np.zeros((height, width), np.uint8)


def run_lengths(shape, height, width):
    """A list of polygons, or run lengths -> pycocotools' compressed run lengths of each."""
    if isinstance(shape, list):
        return coco_mask.frPyObjects(shape, height, width)
    return [coco_mask.frPyObjects(shape, height, width) if isinstance(shape["counts"], list) else shape]


def as_points(polygon):
    """[x, y, x, y, ...] of the JSON -> (n, 2) float64, or None: numbers only, neither NaN nor infinite nor bool."""
    if not isinstance(polygon, list) or len(polygon) % 2 or not set(map(type, polygon)) <= {int, float}:
        return None
    try:
        points = np.array(polygon, float).reshape(-1, 2)
    except OverflowError:  # a whole number of 400 digits
        return None
    return points if np.isfinite(points).all() else None


def polygon_problem(points, photo):
    """Why a polygon cannot be drawn on the photo, or None."""
    if len(points) < 3:
        return f"polygon of {len(points)} points"
    size = np.array([photo.width, photo.height])
    low, high = points.min(axis=0), points.max(axis=0)
    if (low >= size).any() or (high <= 0).any():
        return "polygon outside the photo"
    # pycocotools takes time and memory for each pixel of the outline, wherever it runs
    if (low < -size).any() or (high > 2 * size).any():
        return "polygon that reaches far outside the photo"
    if np.abs(points[1:] - points[:-1]).sum() > size.prod() + 12 * size.sum():
        return "polygon whose outline is longer than the photo has pixels"
    if coco_mask.area(coco_mask.frPyObjects([points.ravel()], photo.height, photo.width))[0] == 0:
        return "polygon that covers no pixel"
    return None


def rle_problem(shape, photo):
    """Why run lengths make no mask of the photo, or None. pycocotools leaves a mask that is too short unfilled."""
    counts = shape.get("counts")
    runs = decode_runs(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        return "run lengths (RLE) that cannot be read"
    if shape.get("size") != [photo.height, photo.width] or sum(runs) != photo.height * photo.width:
        size = f"{photo.height}, {photo.width}"
        return f"run lengths (RLE) of size {shape.get('size')!r:.40}, but the photo is listed as [{size}]"
    return "run lengths (RLE) without a pixel" if sum(runs[1::2]) == 0 else None


def decode_runs(text):
    """COCO's compressed run lengths -> list of runs, None where they are cut: 5 bits a character from 48 on, bit 5
    says that more follow; from the fourth run on the difference to the run before last (pycocotools, maskApi.c)."""
    runs, value, shift = [], 0, 0
    for code in (ord(character) - 48 for character in text):
        if not 0 <= code < 64 or shift > 40:
            return None
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (1 << shift) * (code >> 4 & 1)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    return runs if shift == 0 else None
