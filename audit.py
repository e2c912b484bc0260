"""What is in an export, in words and as a picture: counts, sizes, widths, and everything that may be a mistake."""

from collections import Counter

import cv2
import numpy as np
from tqdm import tqdm

from command import BadInput
from photo import ORANGE, Preprocess
from skeleton import skeleton
from split import copies


def crack_widths(mask):
    """(H, W) uint8 mask -> width in pixels at each point of its centre line: twice the distance to the road, - 1."""
    return 2 * cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[skeleton(mask) > 0] - 1


def outlined(photo, mask):
    """Copy of the photo with an orange line one pixel outside the mask, so that a thin crack stays visible."""
    outlines, _ = cv2.findContours(cv2.dilate(mask, np.ones((3, 3), np.uint8)), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(photo.copy(), outlines, -1, ORANGE, 1)


def contact_sheet(tiles, columns=4):
    """[(caption, (h, w, 3) uint8)] -> one (H, W, 3) uint8 picture, each tile undistorted under its caption."""
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    width = max(tile.shape[1] for _, tile in tiles) + 8
    strips = []
    for row in rows:
        strip = np.full((max(tile.shape[0] for _, tile in row) + 28, columns * width, 3), 255, np.uint8)
        for left, (caption, tile) in zip(range(0, columns * width, width), row, strict=False):
            cv2.putText(strip, caption, (left, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
            strip[28 : 28 + tile.shape[0], left : left + tile.shape[1]] = tile
        strips.append(strip)
    return np.vstack(strips)


def odd_polygons(photo):
    """Lines about polygons that are kept although they look like a slip of the mouse."""
    lines = []
    for annotation in photo.annotations:
        polygons = annotation["segmentation"] if isinstance(annotation["segmentation"], list) else []
        for polygon in polygons:
            x, y = np.asarray(polygon[0::2]), np.asarray(polygon[1::2])
            if np.ptp(x) < 2 or np.ptp(y) < 2:
                lines.append(f"{photo.name}: polygon under 2 pixels wide or high")
            if min(x.min(), y.min(), photo.width - x.max(), photo.height - y.max()) < -1:
                lines.append(f"{photo.name}: polygon reaches outside the photo, cut at the border")
    return lines


def suspicions(export, copied, broken):
    """Lines about everything in an export that may be a mistake."""
    found = Counter(export.problems + [line for photo in export.photos for line in odd_polygons(photo)])
    lines = [line if n == 1 else f"{line} ({n} times)" for line, n in found.items()] + broken
    empty = [photo.name for photo in export.photos if not photo.cracked]
    if empty:
        names = ", ".join(empty[:12]) + (" ..." if len(empty) > 12 else "")
        lines.append(
            f"{len(empty)} photos ({len(empty) / len(export.photos):.0%}) without a crack annotation count as "
            f"undamaged; a forgotten label teaches the opposite: {names}"
        )
    return lines + [f"copies of one photo, kept in one part: {', '.join(names)}" for names in copied if len(names) > 1]


def audit(export, seed=0, shown=12):
    """(report in words, contact sheet of `shown` photos drawn by the seed) of an export as `read_export` gives it."""
    preprocess, readable, masks, broken = Preprocess(), [], [], []
    for photo in tqdm(export.photos, "reading", leave=False, unit="photo"):
        try:
            masks.append(preprocess.resize(*photo.read())[1])
            readable.append(photo)
        except BadInput as error:
            broken.append(str(error))
    groups = copies(readable)
    copied = [[p.name for p, h in zip(readable, groups, strict=True) if h == g] for g in sorted(set(groups))]
    doubts = suspicions(export, copied, broken)
    lines = describe(export, [mask for mask in masks if mask.any()])
    lines += [f"{len(doubts)} suspicions:" if doubts else "no suspicion", *(f"  - {line}" for line in doubts)]
    chosen = sorted(np.random.default_rng(seed).permutation(len(readable))[:shown])
    return "\n".join(lines), contact_sheet([tile(readable[i], preprocess) for i in chosen])


def tile(photo, preprocess):
    """(caption, processed photo with its mask outlined)."""
    image, mask = preprocess.resize(*photo.read())
    return f"{photo.name[-40:]}  {mask.mean():.1%} crack", outlined(image, mask)


def describe(export, masks):
    """Counts, sizes, fractions, widths and categories, a line each; `masks` are the cracked ones at 512."""
    photos = export.photos
    parts = Counter(photo.part for photo in photos if photo.part)
    sizes = Counter(f"{photo.width}×{photo.height}" for photo in photos).most_common()
    cracked = sum(photo.cracked for photo in photos)
    lines = [f"{export.root}: {len(photos)} photos, {cracked} cracked, {len(photos) - cracked} undamaged"]
    if parts:
        lines.append("comes split: " + ", ".join(f"{part} {count}" for part, count in parts.items()))
    lines.append("sizes: " + ", ".join(f"{size} ({n})" for size, n in sizes[:5]) + (" ..." if len(sizes) > 5 else ""))
    if masks:
        fractions = [mask.mean() for mask in masks]
        low, median, high = np.percentile(np.concatenate([crack_widths(mask) for mask in masks]), [10, 50, 90])
        lines.append(f"crack fraction of a cracked photo: median {np.median(fractions):.2%}, most {max(fractions):.1%}")
        lines.append(f"crack width at 512 pixels: median {median:.0f}, 10th percentile {low:.0f}, 90th {high:.0f}")
    return lines + [f"category {name!r}: {how}" for name, how in export.categories.items()]
