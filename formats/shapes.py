"""What the entries of a COCO file must say, and what a segmentation may be: polygons or run lengths (RLE) to draw."""

import re
from collections import Counter

import numpy as np
from pycocotools import mask as coco_mask

from command import quoted

REQUIRED = {
    "images": {"id": int, "file_name": str, "height": int, "width": int},
    "categories": {"id": int, "name": str},
    "annotations": {"image_id": int, "category_id": int},
}
NO_OUTLINE = "annotation without an outline, perhaps a box"


# ------------------------------------------------------------------------------------------ entries
def whole_number(value):
    """3, 3.0, "3" or "3.0" -> 3; None for anything else. Some tools write ids and sizes as floats or text."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        digits = re.fullmatch(r"\s*([0-9]{1,30})(\.0*)?\s*", value)
        return int(digits[1]) if digits else None
    return None


def check_entries(content):
    """Makes ids and sizes of a COCO file's content whole numbers, in place.

    Raises ValueError, naming the entry, where images, categories and annotations cannot be told apart or put together.
    """
    for kind, keys in REQUIRED.items():
        check_keys(kind, content[kind], keys)
    for kind in ("images", "categories"):
        for number, times in Counter(entry["id"] for entry in content[kind]).items():
            if times > 1:
                raise ValueError(f"id {number} stands for several {kind}")
    images = {entry["id"] for entry in content["images"]}
    categories = {entry["id"] for entry in content["categories"]}
    for number, entry in enumerate(content["annotations"]):
        if entry["image_id"] not in images or entry["category_id"] not in categories:
            raise ValueError(f"entry {number} of annotations belongs to no listed image and category")
    for entry in content["images"]:
        if not (0 < entry["height"] < 10**6 and 0 < entry["width"] < 10**6):
            raise ValueError(f"image {quoted(entry['file_name'])} has size {entry['width']}×{entry['height']}")


def check_keys(kind, entries, keys):
    """Raises ValueError unless each entry has the keys with values of their type; numbers become whole numbers."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{kind} is not a list of entries")
    for number, entry in enumerate(entries):
        for key, wanted in keys.items():
            value = entry.get(key)
            if wanted is int:
                value = whole_number(value)
            if type(value) is not wanted:
                raise ValueError(f"entry {number} of {kind} has {key} {quoted(entry.get(key))}")
            entry[key] = value


# ------------------------------------------------------------------------------------------ segmentations
def usable(shape, photo, normalised=False):
    """A segmentation as it stands in the JSON -> (the part of it that can be drawn or None, problems).

    Polygons may be lists of numbers or of [x, y] pairs, and a lone polygon may stand without the list around it.
    `normalised`: the numbers are shares of the photo's width and height, not pixels.
    """
    if isinstance(shape, dict):
        problem = rle_problem(shape, photo)
        if problem:
            return None, [problem]
        return {**shape, "size": [photo.height, photo.width]}, []
    polygons = polygons_of(shape)
    if not polygons:
        return None, [NO_OUTLINE]
    kept, problems = [], []
    for polygon in polygons:
        points = as_points(polygon)
        if points is None:
            problem = "polygon that is no list of x, y, x, y"
        else:
            if normalised:
                points = points * (photo.width, photo.height)
            points = drawn_once(points)
            problem = polygon_problem(points, photo)
        if problem:
            problems.append(problem)
        else:
            kept.append(points.ravel().tolist())
    return kept or None, list(dict.fromkeys(problems))


def polygons_of(shape):
    """A segmentation of the JSON -> its list of polygons, not checked yet; [] where it is no list."""
    if not isinstance(shape, list):
        return []
    lone = all(is_number(one) for one in shape)
    # a polygon of one point makes no sense, so lists of two numbers are the points of one polygon
    pairs = all(is_pair(one) for one in shape)
    return [shape] if shape and (lone or pairs) else shape


def is_number(value):
    """Whether a value of the JSON is a number; True and False are none."""
    return type(value) in (int, float)


def is_pair(value):
    """Whether a value of the JSON is a point, [x, y]."""
    return isinstance(value, list) and len(value) == 2 and is_number(value[0]) and is_number(value[1])


def as_points(polygon):
    """[x, y, x, y, ...] or [[x, y], ...] of the JSON -> (n, 2) float64, or None if it is anything else.

    Numbers must be finite.
    """
    if not isinstance(polygon, list):
        return None
    if polygon and all(is_pair(one) for one in polygon):
        polygon = [value for pair in polygon for value in pair]
    if len(polygon) % 2 or not set(map(type, polygon)) <= {int, float}:
        return None
    try:
        points = np.array(polygon, float).reshape(-1, 2)
    except OverflowError:  # a whole number of 400 digits
        return None
    return points if np.isfinite(points).all() else None


def drawn_once(points):
    """(n, 2) corners -> the same outline once, where it was drawn twice in a row: filling it would cancel it out."""
    while len(points) >= 6 and len(points) % 2 == 0:
        first, second = np.split(points, 2)
        if not np.array_equal(first, second):
            break
        points = first
    return points


def are_normalised(shapes):
    """Whether all polygons of a file are given as shares of the photo's width and height, from 0 to 1.

    In pixels they would all lie inside the first pixel of their photos.
    """
    within = all(-0.001 <= number <= 1.001 for number in numbers_in(shapes))
    return within and any(number not in (0, 1) for number in numbers_in(shapes))


def are_whole_numbers(shapes):
    """Whether all polygons of a file have whole numbers only, as outlines by cv2.findContours do."""
    there_are = next(numbers_in(shapes), None) is not None
    return there_are and all(number % 1 == 0 for number in numbers_in(shapes))


def numbers_in(value):
    """Every number in nested lists, in any order; anything else is passed over."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif is_number(value):
            yield value


def drawn(shapes, height, width):
    """What `usable` kept -> (H, W) uint8, 1 where any of the shapes lies."""
    union = merged(shapes, height, width)
    if union is None:
        return np.zeros((height, width), np.uint8)
    return np.ascontiguousarray(coco_mask.decode(union))


def covered(shapes, height, width):
    """What `usable` kept -> the number of pixels that any of the shapes covers."""
    union = merged(shapes, height, width)
    return 0 if union is None else int(coco_mask.area(union))


def box_and_area(shape, height, width):
    """One shape that `usable` kept -> ([x, y, width, height], number of pixels), both of the pixels it covers."""
    union = merged([shape], height, width)
    return [int(side) for side in coco_mask.toBbox(union)], int(coco_mask.area(union))


def merged(shapes, height, width):
    """What `usable` kept -> pycocotools' run lengths of the union, None without a shape."""
    runs = [one for shape in shapes for one in run_lengths(shape, height, width)]
    while len(runs) > 1:  # ten at a time: one after the other, 10,000 shapes on a large photo would take minutes
        runs = [coco_mask.merge(runs[i : i + 10]) for i in range(0, len(runs), 10)]
    return runs[0] if runs else None


def run_lengths(shape, height, width):
    """A list of polygons, or run lengths -> pycocotools' compressed run lengths of each."""
    if isinstance(shape, list):
        return coco_mask.frPyObjects(shape, height, width)
    if isinstance(shape["counts"], list):
        return [coco_mask.frPyObjects(shape, height, width)]
    return [shape]


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
        if (low >= 0).all() and (high <= 1).all():
            return "polygon of pixels 0 to 1 only; if they are shares of the photo, all outlines of the file must be"
        return "polygon that covers no pixel"
    return None


def rle_problem(shape, photo):
    """Why run lengths make no mask of the photo, or None. pycocotools leaves a mask that is too short unfilled."""
    counts, size = shape.get("counts"), shape.get("size")
    runs = decode_runs(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        return "run lengths (RLE) that cannot be read"
    sides = [whole_number(side) for side in size] if isinstance(size, list) else None
    if sides != [photo.height, photo.width]:
        return f"run lengths (RLE) of size {quoted(size)}, but the photo is listed as [{photo.height}, {photo.width}]"
    if sum(runs) != photo.height * photo.width:
        return f"run lengths (RLE) of {sum(runs)} pixels, but the photo has {photo.height * photo.width}"
    if sum(runs[1::2]) == 0:
        return "run lengths (RLE) without a pixel"
    return None


def decode_runs(text):
    """COCO's compressed run lengths -> list of runs, or None where the text is cut or damaged.

    Each character holds 5 bits, counted from chr(48); bit 5 says that more follow. From the fourth run on, the
    difference to the run before last is stored (pycocotools, maskApi.c, rleFrString).
    """
    runs, value, shift = [], 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 40:
            return None
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:  # the sign bit of the last five
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        runs.append(value)
        value, shift = 0, 0
    return runs if shift == 0 else None
