"""Is a folder of photos, not yet labelled, good enough to learn from? `python dataset.py PHOTOS/` asks this file."""

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from command import BadInput, number_of
from data import overlap
from data.split import CRACKED, UNDAMAGED, copies
from formats.categories import says_crack
from formats.coco import NOT_LABELS, Photo, read_json, uncorrected
from formats.photo import ORANGE, SUFFIXES, is_mask, photos_in, read_photo, visible
from quantify.measure import MEASURABLE_PX

SMALL = 512  # pixels of the short side: messengers send less
TOO_THIN = f"the width of cracks under {MEASURABLE_PX} pixels cannot be measured"
BLURRED = 12.0  # `sharpness` below which a photo is doubtful
BRIGHT, DARK = 250, 50  # grey values: at least this is clipped, at most this is dark
CLIPPED_SHARE, DARK_SHARE = 0.05, 0.30  # of the photo; more is doubtful
SAME_ROAD = 0.1  # share of a photo that another one may show too
SHOWN, TILE = 60, 320  # photos on the sheet, pixels of the longer side of each
CAPTION = 34  # letters under one
UNREADABLE = {".heic", ".heif"}  # what phones write and OpenCV cannot read: listed, so that nobody misses it
SECOND = [np.float32(k) for k in ([[0, 0, 0], [1, -2, 1], [0, 0, 0]], [[0, 1, 0], [0, -2, 0], [0, 1, 0]],
                                  [[1, 0, 0], [0, -2, 0], [0, 0, 1]], [[0, 0, 1], [0, -2, 0], [1, 0, 0]])]  # fmt: skip


@dataclass
class Shot:
    """One photo of a collection, measured."""

    name: str  # path inside the folder, with /
    path: Path
    cracked: bool | None = None  # by the name of its sub-folder
    size: tuple = (0, 0)  # height, width
    sharpness: float = np.nan
    clipped: float = np.nan
    dark: float = np.nan
    tile: np.ndarray | None = None  # (h, w, 3) uint8
    features: overlap.Features | None = None
    doubts: list = field(default_factory=list)  # (what is wrong, what to do)


def sharpness(grey):
    """(h, w) uint8, longer side 512 -> the share of detail that a further blur takes: 20 to 50 for a sharp road.

    The variance of the Laplacian tells a smooth road from a rough one rather than a blurred photo from a sharp one. So
    it is taken twice, after blurs of 1 and 2.5 pixels: a sharp photo loses nearly all of it in between, a blurred one
    has little left to lose, whatever the road. Each of the Laplacian's directions is taken alone and the worst counts:
    a shaken phone blurs along one direction only. Measured on real photos at 512 pixels, share below BLURRED:

        as they are:          0 % of CrackForest, SUT-Crack and 82 photos of potholes; 23 % of DeepCrack (soft ones)
        blurred by sigma 1.5: 99 to 100 %; sigma 1: 2, 10 and 79 %; shaken by 9 pixels: 77, 83 and 100 %

    A sharp photo of a smooth wall, where only the crack has edges, lies near 12. Noise looks like detail: a blurred
    photo of under 1 megapixel taken in the dark may pass.
    """
    fine, coarse = (cv2.GaussianBlur(grey.astype(np.float32), (0, 0), sigma) for sigma in (1, 2.5))
    lost = [cv2.filter2D(fine, -1, k).var() / max(cv2.filter2D(coarse, -1, k).var(), 1e-6) for k in SECOND]
    return float(min(lost))


def shots(folder):
    """[Shot], not yet measured, of the photos in a folder and its sub-folders; `cracked` by the sub-folder's name."""
    found = []
    for place in (folder, *(path for path in visible(folder) if path.is_dir())):
        cracked = None if place == folder else says_crack(place.name)
        for path in photos_in(place, SUFFIXES | UNREADABLE):
            found.append(Shot(path.relative_to(folder).as_posix(), path, cracked))
    return found


def unlabelled(folder):
    """Is this a folder of photos without labels? What inference.py writes into it is none."""
    folder = Path(folder)
    if not folder.is_dir() or not shots(folder):
        return False
    return all(file.name.endswith("cracks.json") or uncorrected(read_json(file)) for file in folder.rglob("*.json"))


def not_labels(folder):
    """Lines on the annotations in this folder that nobody has corrected."""
    masks = (file for file in sorted(Path(folder).rglob("*.json")) if uncorrected(read_json(file)))
    return [f"note: {file}: {NOT_LABELS}; until then the photos alone are looked at" for file in masks]


def measure(shot):
    """Fill in what can be said of one photo alone."""
    try:
        photo = read_photo(shot.path)
    except BadInput as error:
        what, _, remedy = str(error).removeprefix(f"{shot.path}: ").partition("; ")
        shot.doubts.append((what, remedy))
        return
    if is_mask(photo):
        shot.doubts.append(("a mask", "all of it is black or white; give the photo itself"))
        return
    if shot.path.suffix.lower() in UNREADABLE:
        shot.doubts.append((f"named {shot.path.suffix}", "name it .jpg: folders leave such names out"))
    grey = overlap.shrunk(photo)
    shot.size, shot.sharpness = photo.shape[:2], sharpness(grey)
    shot.clipped, shot.dark = float((grey >= BRIGHT).mean()), float((grey <= DARK).mean())
    shot.features = overlap.features(grey)
    scale = TILE / max(shot.size)
    shot.tile = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if shot.sharpness < BLURRED:
        shot.doubts.append(("blurred", "take it again, hold still, tap to focus"))
    if shot.clipped > CLIPPED_SHARE:
        shot.doubts.append(("too bright", "take it again with less exposure, out of the glare, unless it is paint"))
    if shot.dark > DARK_SHARE:
        shot.doubts.append(("too dark", "take it again in daylight"))


def all_small(found):
    """Is every photo that can be read small? Then it is how they were taken, and is said once."""
    sizes = [min(shot.size) for shot in found if shot.features]
    return bool(sizes) and max(sizes) < SMALL


def judge_size(found):
    """Add to each Shot that is small the doubt of that, unless all are."""
    if all_small(found):
        return
    for shot in found:
        if shot.features and min(shot.size) < SMALL:
            shot.doubts.append(("small", f"send the original, {SMALL} pixels or more on the short side; {TOO_THIN}"))


def compare(readable):
    """Add to each Shot the doubt that it is a copy, of which the largest stays, or that an earlier one shows the same
    road."""
    groups = copies([Photo(shot.name, shot.path, *shot.size) for shot in readable])
    largest = {}
    for group, shot in sorted(zip(groups, readable, strict=True), key=lambda pair: -math.prod(pair[1].size)):
        largest.setdefault(group, shot)
    kept = []
    for group, shot in zip(groups, tqdm(readable, "comparing places", leave=False), strict=True):
        if shot is not largest[group]:
            shot.doubts.append((f"copy of {largest[group].name}", "remove it"))
            continue
        for earlier in kept:
            share = overlap.overlap(shot.features, earlier.features)
            if share > SAME_ROAD:
                shot.doubts.append((f"same road as {earlier.name} ({share:.0%})", "take another place"))
                break
        kept.append(shot)


def check(folder):
    """Folder -> [Shot] measured and compared."""
    found = shots(Path(folder))
    for shot in tqdm(found, "looking", leave=False, unit="photo"):
        measure(shot)
    judge_size(found)
    compare([shot for shot in found if shot.features])
    return found


def counts(found):
    """Lines on how many photos are good and how many the course still lacks."""
    good = [shot for shot in found if not shot.doubts]
    kinds = Counter(what.partition(" of ")[0].partition(" as ")[0] for shot in found for what, _ in shot.doubts)
    why = ": " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) if kinds else ""
    lines = [f"{number_of(len(found), 'photo')}, {len(good)} good, {len(found) - len(good)} doubtful{why}"]
    if all_small(found):
        lines.append(f"all are small, under {SMALL} pixels on the short side: {TOO_THIN}; send originals, if there are")
    wanted = {"cracked": (True, CRACKED), "undamaged": (False, UNDAMAGED)}
    if all(shot.cracked is None for shot in found):
        wanted = {"good": (None, CRACKED + UNDAMAGED)}
        lines.append(
            "which are cracked cannot be known before labelling; sub-folders cracked/ and undamaged/ would be counted"
        )
    for name, (kind, target) in wanted.items():
        number = sum(shot.cracked is kind for shot in good)
        lines.append(f"{name}: {number} of {target}" + (f", take {target - number} more" if number < target else ""))
    return lines


def table(found):
    """[Shot] -> a line for each photo, and the counts."""
    width = max(len("photo"), *(len(shot.name) for shot in found))
    lines = [f"{'photo':{width}}  {'size':>9}  sharp  clipped  dark  verdict"]
    for shot in found:
        verdict = "; ".join(f"{what}: {remedy}" for what, remedy in shot.doubts) or "good"
        numbers = f"{shot.sharpness:5.1f}  {shot.clipped:7.1%}  {shot.dark:4.0%}" if shot.features else " " * 20
        size = "×".join(map(str, shot.size[::-1])) if shot.features else ""
        lines.append(f"{shot.name:{width}}  {size:>9}  {numbers}  {verdict}")
    return "\n".join(lines + counts(found))


def in_short(what):
    """A doubt for the narrow caption: of the other photo's name the end, which tells photos of one phone apart."""
    found = re.match(r"(copy of|same road as) (.*)\.\w+( \(\d+%\))?$", what)
    if not found:
        return what
    name = Path(found[2]).name
    return f"{found[1]} {name if len(name) <= 12 else '..' + name[-10:]}"


def tiles(found):
    """[Shot] -> [(caption, picture)] for a contact sheet: the doubtful ones first, in an orange frame."""
    chosen = sorted((shot for shot in found if shot.tile is not None), key=lambda shot: not shot.doubts)[:SHOWN]
    pictures = []
    for shot in chosen:
        picture = shot.tile.copy()
        if shot.doubts:
            cv2.rectangle(picture, (0, 0), (picture.shape[1] - 1, picture.shape[0] - 1), ORANGE, 12)
        words = [in_short(what) for what, _ in sorted(shot.doubts, key=lambda doubt: " " not in doubt[0])]
        room = max(14, CAPTION - len(", ".join(["", *words])))
        name = shot.path.stem if len(shot.path.stem) <= room else f"..{shot.path.stem[2 - room :]}"
        pictures.append((", ".join([name, *words])[: CAPTION + 6], picture))
    return pictures
