"""What a segmentation in a COCO file may be: polygons or run lengths (RLE) that can be drawn on their photo."""

from pycocotools import mask as coco_mask


def usable(shape, photo):
    """A segmentation as it stands in the JSON -> (the part of it that can be drawn or None, problems)."""
    if isinstance(shape, dict):
        problem = rle_problem(shape, photo)
        return (None, [problem]) if problem else (shape, [])
    if not isinstance(shape, list) or not shape:
        return None, ["annotation without an outline (a box only?)"]
    kept, problems = [], []
    for polygon in shape:
        problem = polygon_problem(polygon, photo)
        problems += [problem] if problem else []
        kept += [] if problem else [[float(number) for number in polygon]]
    return kept or None, list(dict.fromkeys(problems))


def is_coordinate(number):
    return type(number) in (int, float) and abs(number) < 1e9  # so neither NaN nor infinite, nor a bool


def polygon_problem(polygon, photo):
    """Why [x, y, x, y, ...] cannot be drawn on the photo, or None."""
    if not isinstance(polygon, list) or len(polygon) % 2 or not all(map(is_coordinate, polygon)):
        return "polygon that is no list of x, y, x, y"
    if len(polygon) < 6:
        return f"polygon of {len(polygon) // 2} points"
    x, y = polygon[0::2], polygon[1::2]
    if min(x) >= photo.width or min(y) >= photo.height or max(x) <= 0 or max(y) <= 0:
        return "polygon outside the photo"
    # pycocotools takes memory for each pixel of the outline, wherever it runs
    if min(x) < -photo.width or max(x) > 2 * photo.width or min(y) < -photo.height or max(y) > 2 * photo.height:
        return "polygon that reaches far outside the photo"
    if coco_mask.area(coco_mask.frPyObjects([polygon], photo.height, photo.width))[0] == 0:
        return "polygon that covers no pixel"
    return None


def rle_problem(shape, photo):
    """Why run lengths make no mask of the photo, or None. pycocotools leaves a mask that is too short unfilled."""
    counts = shape.get("counts")
    runs = decode_runs(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        return "run lengths (RLE) that cannot be read"
    if shape.get("size") != [photo.height, photo.width] or sum(runs) != photo.height * photo.width:
        return f"run lengths (RLE) of size {shape.get('size')!r:.40}, not the photo's"
    return "run lengths (RLE) without a pixel" if sum(runs[1::2]) == 0 else None


def decode_runs(text):
    """COCO's compressed run lengths -> list of runs, None where they are cut: 5 bits a character from 48 on, bit 5
    says that more follow; from the third run on the difference to the run before last (pycocotools, maskApi.c)."""
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
