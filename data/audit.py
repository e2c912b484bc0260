"""The audit of an export: what is in it, what may be a mistake, and why training could not start with it."""

import contextlib
import io
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
from tqdm import tqdm

from command import BadInput, last_letters, number_of, some, tally
from data.align import contrast, find_shift
from data.split import CRACKED, NOT_VALIDATED, UNDAMAGED, copies, split, what_is_kept
from formats.coco import TURNED, Problem, each_once
from formats.exif import orientation_of
from formats.photo import Preprocess, upright
from formats.pictures import outlined
from quantify.skeleton import skeleton, widths

DRAWN_UNTURNED = (
    "turned by EXIF, and the label fits the photo better as it was before turning; export again with Auto-Orient, or "
    "label it again"
)
# what the report says about a category
MEANINGS = {
    "crack": "counts as crack",
    "not crack": "does not count as crack",
    "unused": "no annotation uses it; Roboflow adds one such category to every export",
}


BESIDE_PX = 2  # on a photo of 512 pixels; of the labels of drawn photos none is, of SUT-Crack's every twelfth
BESIDE = f"label more than {BESIDE_PX} pixels beside the crack (at 512 pixels); python data/align.py EXPORT moves it"


# ------------------------------------------------------------------------------------------------ the whole audit
def audit(export, seed=0, shown=12):
    """(report in words, tiles for the contact sheet of `shown` photos drawn by the seed, whether the export would stop
    training) of an export."""
    preprocess = Preprocess()
    readable, masks, broken, doubts = read_all(export, preprocess)
    usable = replace(export, photos=readable, problems=merged(export.problems, doubts))
    lines, refused = [f"{export.root}: no photo can be used"], ""
    if readable:
        lines = describe(usable, [mask for mask in masks if mask.any()])
        refused = why_refused(usable, seed)
    if refused:
        lines.append(f"would stop training: {refused}")
    if broken:
        lines.append(f"{number_of(len(broken), 'photo')} would stop training; fix or remove:")
        lines += [f"  - {line}" for line in broken]
    stops = bool(refused or broken)
    found = suspicions(usable)
    if found:
        lines.append("to check:")
        lines += [f"  - {line}" for line in found]
    elif not stops:
        lines.append("no problem found")
    chosen = sorted(np.random.default_rng(seed).permutation(len(readable))[:shown])
    return "\n".join(lines), [tile(readable[i], preprocess) for i in chosen], stops


def read_all(export, preprocess):
    """([Photo] that can be read, their masks at the network's size, lines about the others, [Problem] of the labels).

    What a photo and its mask say together is checked here, because only one photo is in memory at a time.
    """
    readable, masks, broken, doubts = [], [], [], []
    turned = {problem.name for problem in export.problems if problem.kind == TURNED}
    for photo in tqdm(export.photos, "reading", leave=False, unit="photo"):
        try:
            pixels, mask = preprocess.resize(*photo.read())
        except BadInput as error:
            broken.append(str(error))
            continue
        readable.append(photo)
        masks.append(mask)
        if photo.name in turned and drawn_unturned(pixels, mask, orientation_of(photo.path)):
            doubts.append(Problem(DRAWN_UNTURNED, photo.name))
        elif mask.any() and lies_beside(photo, pixels, mask):
            doubts.append(Problem(BESIDE, photo.name))
    return readable, masks, broken, doubts


def lies_beside(photo, pixels, mask):
    """Whether the label of a photo, here with its pixels at the network's size, lies beside its crack."""
    shift = find_shift(pixels, mask)
    own = max(photo.height, photo.width) / max(mask.shape)  # a small photo was enlarged, and its shift with it
    return min(1, own) * shift.length > BESIDE_PX and not shift.doubtful


def merged(problems, doubts):
    """The problems with those doubts of the audit that say more than they do about a photo in their place."""
    known = {doubt.name for doubt in doubts if doubt.kind == DRAWN_UNTURNED}
    return [one for one in problems if one.kind != TURNED or one.name not in known] + doubts


def why_refused(export, seed):
    """Why no training can start with these photos, in words; "" where it can."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the audit itself lists the copies
            parts = split(export, seed)
    except BadInput as error:
        return str(error).removeprefix(f"{export.root}: ")
    return "" if parts["valid"] else NOT_VALIDATED


def tile(photo, preprocess):
    """(caption, processed photo with its mask outlined)."""
    image, mask = preprocess.resize(*photo.read())
    return f"{last_letters(photo.title, 40)}  {mask.mean():.1%} crack", outlined(image, mask)


# -------------------------------------------------------------------------------------------------- what is in it
def describe(export, masks):
    """Counts, sizes, fractions, widths and categories, a line each; `masks` are the cracked ones at 512."""
    photos = export.photos
    parts = Counter(photo.part for photo in photos if photo.part)
    cracked = sum(photo.cracked for photo in photos)
    lines = [f"{export.root}: {tally(len(photos), cracked)}"]
    lines += lacking("cracked", cracked, CRACKED) + lacking("undamaged", len(photos) - cracked, UNDAMAGED)
    if parts:
        counted = ", ".join(f"{part} {count}" for part, count in parts.items())
        lines.append(f"parts of the export: {counted}; {what_is_kept(set(parts))}")
    sizes = Counter(f"{photo.width}×{photo.height}" for photo in photos).most_common()
    lines.append(f"sizes: {some([f'{size} ({count})' for size, count in sizes], 5)}")
    if masks:
        lines += describe_cracks(masks)
    for name, meaning in export.categories.items():
        lines.append(f"category {name!r}: {MEANINGS[meaning]}")
    return lines


def lacking(kind, count, asked):
    """A line, if there are fewer photos of this kind than the course asks for."""
    if count >= asked:
        return []
    return [f"{number_of(count, f'{kind} photo')}, fewer than the {asked} that are recommended"]


def describe_cracks(masks):
    """Two lines on how much of the photos is crack and how wide the cracks are."""
    fractions = [mask.mean() for mask in masks]
    every = np.concatenate([widths(mask, skeleton(mask)) for mask in masks])
    low, median, high = np.percentile(every, [10, 50, 90])
    return [
        f"crack fraction of a cracked photo: median {np.median(fractions):.2%}, maximum {max(fractions):.2%}",
        f"crack width at 512 pixels on the longer side: median {median:.0f} px, 10th percentile {low:.0f}, "
        f"90th {high:.0f}",
    ]


# ---------------------------------------------------------------------------------------- what may be a mistake
def suspicions(export):
    """Lines about everything in an export that may be a mistake."""
    lines = each_once(export.problems)
    if not export.from_masks:  # in masks, small specks are no slips, and an undamaged photo has an empty mask
        lines += odd_polygons(export.photos) + without_cracks(export.photos)
    return lines + copied(export.photos)


def odd_polygons(photos):
    """A line for each kind of polygon that is kept although it looks like a slip of the mouse."""
    odd = [(kind, photo.name) for photo in photos for kind in odd_kinds(photo)]
    lines = []
    for kind, count in Counter(kind for kind, _ in odd).items():
        names = dict.fromkeys(name for other, name in odd if other == kind)
        lines.append(f"{number_of(count, 'polygon')} {kind}, kept: {some(names)}")
    return lines


def odd_kinds(photo):
    """What is odd about the polygons of a photo, for each of them."""
    kinds = []
    for shape in photo.shapes():
        polygons = shape if isinstance(shape, list) else []
        for polygon in polygons:
            x, y = np.asarray(polygon[0::2]), np.asarray(polygon[1::2])
            if np.ptp(x) < 2 or np.ptp(y) < 2:
                kinds.append("under 2 pixels wide or high")
            if min(x.min(), y.min(), photo.width - x.max(), photo.height - y.max()) < -1:
                kinds.append("reaching outside the photo, cut at its border")
    return kinds


def without_cracks(photos):
    """A line on the photos that have no annotation of a crack."""
    empty = [photo.name for photo in photos if not photo.cracked]
    if not empty:
        return []
    share = len(empty) / len(photos)
    return [
        f"no crack annotation, so counted as undamaged: {number_of(len(empty), 'photo')} ({share:.0%}); "
        f"check that none was forgotten: {some(empty)}"
    ]


def copied(photos):
    """A line on photos that come in several copies in one part, and one on those in different parts."""
    apart, together = [], []
    for members in copies(photos):
        if len(members) == 1:
            continue
        words = f"({some([photo.name for photo in members], 3)})"
        if len({photo.part for photo in members}) > 1:
            apart.append(words)
        else:
            together.append(words)
    lines = []
    if apart:
        count = number_of(len(apart), "photo")
        lines.append(f"copies of {count} are in DIFFERENT parts, so scores will be too good: {some(apart, 5)}")
    if together:
        lines.append(f"copies of {number_of(len(together), 'photo')}, kept in one part: {some(together, 5)}")
    return lines


def drawn_unturned(photo, mask, way):
    """Whether a label was probably drawn before EXIF turned the photo: it is not on the crack, which is darker.

    (h, w, 3) uint8 upright photo, (h, w) uint8 mask, EXIF orientation 2 to 8. On 346 cracked photos of five real data
    sets, 343 labels are recognised that were turned by 180 degrees, and 6 right ones are taken for such.
    """
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    here, before = contrast(grey, mask), contrast(grey, upright(mask, way))
    return here < 0 or here < before
