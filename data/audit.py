"""The audit of an export: what is in it, what may be a mistake, and why training would refuse it."""

import contextlib
import io
from collections import Counter
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from command import BadInput, number_of, tally
from data.split import CRACKED, NOT_VALIDATED, UNDAMAGED, copies, split, what_is_kept
from formats.coco import each_once
from formats.photo import Preprocess
from quantify.skeleton import skeleton, widths
from report.figure import outlined


def odd_polygons(photo):
    """What is odd about each polygon that is kept although it looks like a slip of the mouse."""
    kinds = []
    for annotation in photo.annotations:
        polygons = annotation["segmentation"] if isinstance(annotation["segmentation"], list) else []
        for polygon in polygons:
            x, y = np.asarray(polygon[0::2]), np.asarray(polygon[1::2])
            if np.ptp(x) < 2 or np.ptp(y) < 2:
                kinds.append("under 2 pixels wide or high")
            if min(x.min(), y.min(), photo.width - x.max(), photo.height - y.max()) < -1:
                kinds.append("reaching outside the photo, cut at its border")
    return kinds


def some(names, most=12):
    """The first of many names, as words."""
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")


def suspicions(export, copied):
    """Lines about everything in an export that may be a mistake."""
    lines = each_once(export.problems)
    odd = [(kind, photo.name) for photo in export.photos for kind in odd_polygons(photo)]
    for kind, count in Counter(kind for kind, _ in odd).items():
        names = list(dict.fromkeys(name for other, name in odd if other == kind))
        lines.append(f"{number_of(count, 'polygon')} {kind}, kept: {some(names)}")
    empty = [photo.name for photo in export.photos if not photo.cracked]
    if empty:
        lines.append(
            f"without a crack annotation and so taken for undamaged: {number_of(len(empty), 'photo')} "
            f"({len(empty) / len(export.photos):.0%}); a forgotten label teaches the opposite: {some(empty)}"
        )
    parts = {photo.name: photo.part for photo in export.photos}
    for names in copied:
        apart = len({parts[name] for name in names}) > 1
        what = "stand in DIFFERENT parts, so scores will be too good" if apart else "are kept in one part"
        lines += [f"copies of one photo {what}: {', '.join(names)}"] if len(names) > 1 else []
    return lines


def audit(export, seed=0, shown=12):
    """(report in words, tiles for the contact sheet of `shown` photos drawn by the seed) of an export."""
    preprocess, readable, masks, broken = Preprocess(), [], [], []
    for photo in tqdm(export.photos, "reading", leave=False, unit="photo"):
        try:
            masks.append(preprocess.resize(*photo.read())[1])
            readable.append(photo)
        except BadInput as error:
            broken.append(str(error))
    groups = copies(readable)
    copied = [[p.name for p, h in zip(readable, groups, strict=True) if h == g] for g in sorted(set(groups))]
    usable = replace(export, photos=readable)
    doubts, lines = suspicions(usable, copied), describe(usable, [mask for mask in masks if mask.any()])
    if refused := why_refused(usable, seed):
        lines.append(f"training refuses it: {refused}")
    if broken:
        count = number_of(len(broken), "photo")
        lines.append(f"not usable, and training refuses such: {count}; mend what is wrong or take it out:")
        lines += [f"  - {line}" for line in broken]
    lines += ["to check by eye:" if doubts else "nothing to check", *(f"  - {line}" for line in doubts)]
    chosen = sorted(np.random.default_rng(seed).permutation(len(readable))[:shown])
    return "\n".join(lines), [tile(readable[i], preprocess) for i in chosen]


def why_refused(export, seed):
    """Why no training can begin with these photos, in words; nothing where one can."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # of copies the audit speaks itself
            return "" if split(export, seed)["valid"] else NOT_VALIDATED
    except BadInput as error:
        return str(error).removeprefix(f"{export.root}: ")


def tile(photo, preprocess):
    """(caption, processed photo with its mask outlined)."""
    image, mask = preprocess.resize(*photo.read())
    return f"{photo.title[-40:]}  {mask.mean():.1%} crack", outlined(image, mask)


def describe(export, masks):
    """Counts, sizes, fractions, widths and categories, a line each; `masks` are the cracked ones at 512."""
    photos = export.photos
    parts = Counter(photo.part for photo in photos if photo.part)
    sizes = Counter(f"{photo.width}×{photo.height}" for photo in photos).most_common()
    cracked = sum(photo.cracked for photo in photos)
    lines = [f"{export.root}: {tally(len(photos), cracked)}"]
    if cracked < CRACKED or len(photos) - cracked < UNDAMAGED:
        lines.append(f"fewer than the {CRACKED} cracked and {UNDAMAGED} undamaged that the course asks for")
    if parts:
        counted = ", ".join(f"{part} {count}" for part, count in parts.items())
        lines.append(f"comes split: {counted}; {what_is_kept(set(parts))}")
    lines.append("sizes: " + ", ".join(f"{size} ({n})" for size, n in sizes[:5]) + (" ..." if len(sizes) > 5 else ""))
    if masks:
        fractions = [mask.mean() for mask in masks]
        low, median, high = np.percentile(
            np.concatenate([widths(mask, skeleton(mask)) for mask in masks]), [10, 50, 90]
        )
        lines.append(f"crack fraction of a cracked photo: median {np.median(fractions):.2%}, most {max(fractions):.2%}")
        lines.append(
            f"crack width, the longer side made 512 pixels: median {median:.0f} px, 10th percentile {low:.0f}, "
            f"90th {high:.0f}"
        )
    kinds = {"unused": "no annotation has it, so it does not matter"}
    return lines + [f"category {name!r}: {kinds.get(how, how)}" for name, how in export.categories.items()]
