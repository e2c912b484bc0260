"""The check of photos that are not labelled yet, for `python dataset.py PHOTOS/`."""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from command import BadInput, last_letters, number_of, some
from data.overlap import Features, features, overlap, shrunk
from data.split import CRACKED, UNDAMAGED, copies
from formats.categories import says_crack
from formats.coco import NOT_LABELS, Photo, coco_files, read_json, uncorrected
from formats.photo import ORANGE, SUFFIXES, at_most, is_mask, photos_in, read_photo, visible
from quantify.skeleton import MEASURABLE_PX

SMALL = 512  # pixels of the short side; messengers send less
BLURRED = 12.0  # `sharpness` below which a photo is doubtful
BRIGHT, DARK = 250, 50  # grey values: from here on clipped, up to here dark
CLIPPED_SHARE, DARK_SHARE = 0.05, 0.30  # of the photo; more is doubtful
SAME_ROAD = 0.1  # share of a photo that another one may show too
SHOWN, TILE = 60, 320  # photos on the contact sheet, pixels of the longer side of each
CAPTION, NAME = 34, 14  # letters that fit under a picture; letters at least kept for the photo's name
HEIC_SUFFIXES = {".heic", ".heif"}  # from phones, not readable by OpenCV: listed, so that they are not missed
TOO_THIN = f"the width of cracks under {MEASURABLE_PX} pixels cannot be measured"
COPY = "copy"  # kind of Doubt
SECOND_DERIVATIVES = (  # along the two axes and the two diagonals
    np.float32([[0, 0, 0], [1, -2, 1], [0, 0, 0]]),
    np.float32([[0, 1, 0], [0, -2, 0], [0, 1, 0]]),
    np.float32([[1, 0, 0], [0, -2, 0], [0, 0, 1]]),
    np.float32([[0, 0, 1], [0, -2, 0], [1, 0, 0]]),
)


@dataclass(frozen=True)
class Doubt:
    """Why a photo may not be usable."""

    kind: str  # the same words for every photo, to be counted
    what: str  # for the table: what is wrong, and what to do
    caption: str  # for the narrow space under a picture


def plain_doubt(kind, remedy):
    """The Doubt of one photo that needs no more words than its kind."""
    return Doubt(kind, f"{kind}: {remedy}", kind)


def twin_doubt(kind, words, twin, remedy):
    """The Doubt that a photo shows the same as another one: "copy", "copy of", the other Shot, what to do."""
    return Doubt(kind, f"{words} {twin.name}: {remedy}", f"{words} {last_letters(twin.path.stem, 12)}")


@dataclass
class Shot:
    """One photo of a collection, measured."""

    name: str  # path inside the folder, with /
    path: Path
    cracked: bool | None = None  # by the names of its folders
    size: tuple = (0, 0)  # height, width
    sharpness: float = np.nan
    clipped: float = np.nan
    dark: float = np.nan
    tile: np.ndarray | None = None  # (h, w, 3) uint8, small
    features: Features | None = None  # None where the photo cannot be used
    doubts: list = field(default_factory=list)


# ------------------------------------------------------------------------------------------- which photos
def shots(folder):
    """[Shot], not yet measured, of the photos in a folder and all folders below it; `cracked` by the folders' names."""
    found = []
    for place in (folder, *folders_below(folder)):
        cracked = cracked_by_name(place.relative_to(folder).parts)
        for path in photos_in(place, SUFFIXES | HEIC_SUFFIXES):
            found.append(Shot(path.relative_to(folder).as_posix(), path, cracked))
    return found


def cracked_by_name(folders):
    """Names of folders, each in the one before -> what the innermost that says so says: cracked or not; else None."""
    for name in reversed(folders):
        cracked = says_crack(name)
        if cracked is not None:
            return cracked
    return None


def folders_below(folder):
    """Every folder below a folder, without hidden ones and links, which may lead back."""
    for path in visible(folder):
        if path.is_dir() and not path.is_symlink():
            yield path
            yield from folders_below(path)


def unlabelled(folder):
    """Does this folder hold photos and no labels? Uncorrected COCO files of inference.py do not count as labels."""
    folder = Path(folder)
    if not folder.is_dir() or not shots(folder):
        return False
    return all(uncorrected(read_json(file)) for file in label_files(folder))


def label_files(folder):
    """The COCO files in a folder and in all folders below it."""
    return [file for place in (folder, *folders_below(folder)) for file in coco_files(place)]


def not_labels(folder):
    """Lines about JSON files of a folder without labels: uncorrected masks of inference.py, and other files."""
    folder = Path(folder)
    lines = [f"note: {file}: {NOT_LABELS}; until then only the photos are checked" for file in label_files(folder)]
    others = other_json(folder)
    if others:
        lines.append(f"note: {some(others, 3)}: no COCO export, so only the photos are checked")
    return lines


def other_json(folder):
    """Names of the JSON files in a folder and the folders below that are no COCO files, no records of survey.py and no
    side files of a photo, such as IMG_1.jpg.supplemental-metadata.json."""
    names = []
    for place in (folder, *folders_below(folder)):
        photos = tuple(path.name for path in photos_in(place, SUFFIXES | HEIC_SUFFIXES))
        known = coco_files(place)
        for file in visible(place):
            is_json = file.suffix.lower() == ".json" and file not in known
            if is_json and not file.name.startswith(photos) and not file.name.endswith("cracks.json"):
                names.append(file.relative_to(folder).as_posix())
    return names


# ------------------------------------------------------------------------------------------- one photo
def sharpness(grey):
    """(h, w) uint8, longer side 512 -> the share of detail that a further blur takes: 20 to 50 for a sharp road.

    The variance of the Laplacian tells a smooth road from a rough one rather than a blurred photo from a sharp one. So
    it is taken twice, after blurs of 1 and 2.5 pixels: a sharp photo loses nearly all of it in between, a blurred one
    has little left to lose, whatever the road. Each direction of the Laplacian is taken alone and the worst counts,
    because a shaken phone blurs along one direction only. Measured on real photos at 512 pixels, share below BLURRED:

        as they are:          0 % of CrackForest, SUT-Crack and 82 photos of potholes; 23 % of DeepCrack (soft ones)
        blurred by sigma 1.5: 99 to 100 %; sigma 1: 2, 10 and 79 %; shaken by 9 pixels: 77, 83 and 100 %

    A sharp photo of a smooth wall, where only the crack has edges, lies near 12. Noise looks like detail: a blurred
    photo of under 1 megapixel taken in the dark may pass.
    """
    fine = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1)
    coarse = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 2.5)
    lost = []
    for kernel in SECOND_DERIVATIVES:
        before, after = cv2.filter2D(fine, -1, kernel).var(), cv2.filter2D(coarse, -1, kernel).var()
        lost.append(before / max(after, 1e-6))
    return float(min(lost))


def measure(shot):
    """Fill in what can be said of one photo alone."""
    try:
        photo = read_photo(shot.path)
    except BadInput as error:
        what = str(error).removeprefix(f"{shot.path}: ")
        shot.doubts.append(Doubt("unreadable", what, "unreadable"))
        return
    if is_mask(photo):
        shot.doubts.append(plain_doubt("a mask", "all of it is black or white; give the photo itself"))
        return
    if shot.path.suffix.lower() in HEIC_SUFFIXES:
        remedy = "name it .jpg: other commands leave such names out"
        shot.doubts.append(plain_doubt(f"named {shot.path.suffix.lower()}", remedy))
        return
    grey = shrunk(photo)
    shot.size = photo.shape[:2]
    shot.sharpness = sharpness(grey)
    shot.clipped = float((grey >= BRIGHT).mean())
    shot.dark = float((grey <= DARK).mean())
    shot.features = features(grey)
    shot.tile = at_most(photo, TILE)
    if shot.sharpness < BLURRED:
        shot.doubts.append(plain_doubt("blurred", "take it again, hold still, tap to focus"))
    if shot.clipped > CLIPPED_SHARE:
        shot.doubts.append(
            plain_doubt("too bright", "take it again with less exposure and without glare, unless it is paint")
        )
    if shot.dark > DARK_SHARE:
        shot.doubts.append(plain_doubt("too dark", "take it again in daylight"))


# ------------------------------------------------------------------------------------------- all of them
def check(folder):
    """Folder -> [Shot] measured and compared."""
    found = shots(Path(folder))
    for shot in tqdm(found, "checking photos", leave=False, unit="photo"):
        measure(shot)
    readable = [shot for shot in found if shot.features]
    judge_size(readable)
    judge_copies(readable)
    judge_places(readable)
    return found


def are_small(readable):
    """Is every photo that can be read small? Then that is how they were taken, and it is said once."""
    return bool(readable) and all(min(shot.size) < SMALL for shot in readable)


def judge_size(readable):
    """Give each small photo a doubt, unless all are small."""
    if are_small(readable):
        return
    for shot in readable:
        if min(shot.size) < SMALL:
            remedy = f"send the original, {SMALL} pixels or more on the short side; {TOO_THIN}"
            shot.doubts.append(plain_doubt("small", remedy))


def judge_copies(readable):
    """Give a doubt to each copy of a photo; the largest stays."""
    shot_of = {Photo(shot.name, shot.path, *shot.size): shot for shot in readable}
    for group in copies(list(shot_of)):
        members = [shot_of[photo] for photo in group]
        largest = max(members, key=lambda shot: math.prod(shot.size))
        for shot in members:
            if shot is not largest:
                shot.doubts.append(twin_doubt(COPY, "copy of", largest, "remove it"))


def judge_places(readable):
    """Give a doubt to each photo that shows the same road as an earlier one; copies have one already."""
    earlier = []
    for shot in tqdm(readable, "comparing places", leave=False, unit="photo"):
        if any(doubt.kind == COPY for doubt in shot.doubts):
            continue
        for other in earlier:
            share = overlap(shot.features, other.features)
            if share > SAME_ROAD:
                remedy = f"{share:.0%} of it; take another place"
                shot.doubts.append(twin_doubt("same road", "same road as", other, remedy))
                break
        earlier.append(shot)


# ------------------------------------------------------------------------------------------- what is printed
def counts(found):
    """Lines on how many photos are good and how many the course still asks for."""
    good = [shot for shot in found if not shot.doubts]
    kinds = Counter(doubt.kind for shot in found for doubt in shot.doubts)
    line = f"{number_of(len(found), 'photo')}, {len(good)} good, {len(found) - len(good)} doubtful"
    if kinds:
        line += ": " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    lines = [line]
    if are_small([shot for shot in found if shot.features]):
        lines.append(
            f"but all are small, under {SMALL} pixels on the shorter side: {TOO_THIN}; use the originals if you can"
        )
    if all(shot.cracked is None for shot in found):
        lines.append("put them into sub-folders cracked/ and undamaged/ to count the two kinds separately")
        return [*lines, progress("good", len(good), CRACKED + UNDAMAGED)]
    cracked = [shot for shot in good if shot.cracked is True]
    undamaged = [shot for shot in good if shot.cracked is False]
    return [
        *lines,
        progress("cracked", len(cracked), CRACKED),
        progress("undamaged", len(undamaged), UNDAMAGED),
    ]


def progress(name, number, target):
    """How many photos there are and how many are still to be taken, in words."""
    if number >= target:
        return f"{name}: {number} of {target}"
    return f"{name}: {number} of {target}, take {target - number} more"


def table(found):
    """[Shot] -> a line for each photo, what the columns mean, and the counts."""
    width = max(len("photo"), *(len(shot.name) for shot in found))
    lines = [f"{'photo':{width}}  {'size':>9}  sharp  clipped  dark  verdict"]
    for shot in found:
        verdict = "; ".join(doubt.what for doubt in shot.doubts) or "good"
        size, numbers = "", " " * 20
        if shot.features:
            size = f"{shot.size[1]}×{shot.size[0]}"
            numbers = f"{shot.sharpness:5.1f}  {shot.clipped:7.1%}  {shot.dark:4.0%}"
        lines.append(f"{shot.name:{width}}  {size:>9}  {numbers}  {verdict}")
    lines.append(
        f"sharp: under {BLURRED:.0f} is blurred; clipped: nearly white pixels, over {CLIPPED_SHARE:.0%} is too bright; "
        f"dark: dark pixels, over {DARK_SHARE:.0%} is too dark"
    )
    return "\n".join(lines + counts(found))


def tiles(found):
    """[Shot] -> [(caption, picture)] for a contact sheet: the doubtful ones first, in an orange frame."""
    pictured = [shot for shot in found if shot.tile is not None]
    doubtful = [shot for shot in pictured if shot.doubts]
    good = [shot for shot in pictured if not shot.doubts]
    pictures = []
    for shot in (doubtful + good)[:SHOWN]:
        picture = shot.tile.copy()
        if shot.doubts:
            cv2.rectangle(picture, (0, 0), (picture.shape[1] - 1, picture.shape[0] - 1), ORANGE, 12)
        words = "".join(f", {doubt.caption}" for doubt in shot.doubts)
        name = last_letters(shot.path.stem, max(NAME, CAPTION - len(words)))
        pictures.append(((name + words)[: CAPTION + 6], picture))
    return pictures
