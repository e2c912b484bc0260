"""Which photos train, validate and test: 70/15/15, stratified by cracked and undamaged, copies kept together."""

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import accumulate
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from command import PARTS, BadInput, number_of, some, write_json
from formats.coco import digest
from formats.photo import read_photo

CRACKED, UNDAMAGED = 40, 10  # photos that the course asks for
SHARES = {"train": 70, "valid": 15, "test": 15}  # percent of the photos, where nothing else is asked for
KEPT = "training keeps these parts"
VALID_FROM_TRAIN = "training keeps test and takes valid from train"
ANEW = "training splits all photos again"
NOT_VALIDATED = (
    "no photo is left for validation (copies of a photo count once); label at least 3 photos, better 50, or give "
    "--splits with some in valid"
)
ALIKE = 40  # two photos are copies if at most this many of the 256 signs of their fingerprints differ


# ------------------------------------------------------------------------------------------------------- copies
@cache  # needed for the split and again when the split is written
def fingerprint(photo):
    """(SHA-1 of the bytes, 256 signs of horizontal brightness steps as ±1). Raises BadInput for a wrong size.

    The signs survive another JPEG quality, size or exposure: on the real data sets, different photos differ in 45 or
    more of the 256, a recompressed, resized and brightened copy in at most 27.
    """
    grey = read_photo(photo.path, cv2.IMREAD_REDUCED_GRAYSCALE_4)
    if any(abs(4 * small - side) > 4 for small, side in zip(grey.shape, (photo.height, photo.width), strict=True)):
        raise BadInput(photo.disagreement(4 * grey.shape[0], 4 * grey.shape[1]))
    steps = np.diff(cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA).astype(np.int16), axis=1)
    return photo.sha1(), np.where(steps > 0, 1, -1).ravel()


def alike(signs, others):
    """Signs of fingerprints (N, 256), and (256,) or (256, M) -> whether they are copies, (N,) or (N, M)."""
    # the product is the number of equal signs minus the number of different ones
    return signs @ others >= 256 - 2 * ALIKE


def fingerprints(photos):
    """[fingerprint] of the photos. Raises BadInput with the first five photos that have none."""
    found, wrong = [], []
    with ThreadPoolExecutor() as pool:  # OpenCV decodes outside Python's lock
        jobs = [pool.submit(fingerprint, photo) for photo in photos]
        for job in tqdm(jobs, "comparing photos", leave=False):
            try:
                found.append(job.result())
            except BadInput as error:
                wrong.append(str(error))
    if len(wrong) > 5:
        wrong = [*wrong[:5], f"and {len(wrong) - 5} more"]
    if wrong:
        raise BadInput(" | ".join(wrong))
    return found


def original_name(photo):
    """The name that Roboflow's versions of one photo have in common: IMG_7_jpg.rf.0a1b.jpg -> IMG_7_jpg; else None."""
    name = PurePosixPath(photo.name).name
    original = re.sub(r"\.rf\.[0-9a-zA-Z]+\.\w+$", "", name)
    return original if original != name else None


def copies(photos):
    """[[Photo]]: the photos in groups that show the same: Roboflow versions, identical bytes, near-identical pictures.

    A photo without a copy is a group of its own.
    """
    if not photos:
        return []
    prints = fingerprints(photos)
    signs = np.stack([signs for _, signs in prints]).astype(np.float32)
    same = []  # (i, j): photo i shows the same as photo j; row by row, because all pairs at once may not fit in memory
    first_with = {}  # SHA-1, or Roboflow's original name -> the first photo that has it
    for i, photo in enumerate(photos):
        same += [(i, j) for j in np.flatnonzero(alike(signs[: i + 1], signs[i]))]
        sha1, _ = prints[i]
        for key in (sha1, original_name(photo)):
            if key is not None:
                same.append((i, first_with.setdefault(key, i)))
    linked = coo_array((np.ones(len(same)), np.transpose(same)), shape=(len(photos), len(photos)))
    _, numbers = connected_components(linked, directed=False)
    groups = {}
    for photo, number in zip(photos, numbers.tolist(), strict=True):
        groups.setdefault(number, []).append(photo)
    return list(groups.values())


# ----------------------------------------------------------------------------------------------------- the split
def stratified(groups, shares, seed):
    """[[Photo]] of copies -> {part: photos}, cracked and undamaged ones each by `shares` {part: percent}.

    A group stays together. 40 + 10 photos at 70/15/15 give exactly 28/6/6 + 7/1/2.
    """
    parts = {part: [] for part in shares}
    for cracked in (True, False):
        stratum = [group for group in groups if any(photo.cracked for photo in group) == cracked]
        order = np.random.default_rng(seed).permutation(len(stratum))
        quota = quotas(sum(map(len, stratum)), shares)
        # large groups first, so that the single photos even out what they leave
        for group in sorted((stratum[i] for i in order), key=len, reverse=True):
            part = max(quota, key=quota.get)
            quota[part] -= len(group)
            parts[part] += group
    return {part: sorted(chosen, key=lambda p: p.name) for part, chosen in parts.items()}


def quotas(count, shares):
    """{part: number of photos} by cumulative percent, at least one photo per part where there are enough."""
    edges = [0, *(count * percent // 100 for percent in accumulate(shares.values()))]
    quota = {part: high - low for part, low, high in zip(shares, edges, edges[1:], strict=False)}
    for part in quota:
        if quota[part] == 0 and count >= len(shares):
            quota[max(quota, key=quota.get)] -= 1
            quota[part] = 1
    return quota


def what_is_kept(names):
    """KEPT, VALID_FROM_TRAIN or ANEW: what training does with an export that comes split into parts of these names."""
    if {"train", "valid"} <= names:
        return KEPT
    if {"train", "test"} <= names:
        return VALID_FROM_TRAIN
    return ANEW


def split(export, seed=0, file=None, for_training=True):
    """{"train": [Photo], "valid": [...], "test": [...]}; copies are never split between parts that are drawn here.

    `file` (splits.json of a run) decides, else the export's own parts (a missing valid is taken from train), else
    70/15/15 stratified by cracked and undamaged. Prints a warning where copies are in different parts. Only
    `for_training` does it print which photos are in no part, and raise BadInput where no train photo has a crack.
    """
    own = {part: [p for p in export.photos if p.part == part] for part in PARTS}
    groups = copies(export.photos)
    kept = what_is_kept({part for part in PARTS if own[part]})
    if file:
        parts = read_splits(file, export)
    elif kept == KEPT:
        parts = own
    elif kept == VALID_FROM_TRAIN:
        # not those of `groups`: a copy in test would change their order, and with it what a seed draws
        parts = own | stratified(copies(own["train"]), {"train": 85, "valid": 15}, seed)
    else:
        parts = stratified(groups, SHARES, seed)
    part_of = {photo: part for part in PARTS for photo in parts[part]}
    unused = [photo.name for photo in export.photos if photo not in part_of]
    if for_training and unused:
        print(f"note: {file}: {number_of(len(unused), 'photo')} of {export.root} in no part, not used: {some(unused)}")
    torn = [group for group in groups if len({part_of[photo] for photo in group if photo in part_of}) > 1]
    if torn:
        count, first = number_of(len(torn), "photo"), some(photo.name for photo in torn[0])
        print(f"WARNING: copies of {count} are in different parts, so scores will be too good: {first}")
    if for_training and not any(photo.cracked for photo in parts["train"]):
        raise no_crack_to_learn(export, file)
    return parts


def no_crack_to_learn(export, file):
    """BadInput for a split without a cracked photo in train."""
    count = len(export.photos)
    if count < 3:
        why = f"of {number_of(count, 'photo')} none with a crack is left for train; label at least 3, better 50"
    else:
        why = "no train photo has a crack; label some or change the split"
    decided_by_file = file and any(photo.cracked for photo in export.photos)
    return BadInput(f"{file if decided_by_file else export.root}: {why}")


# --------------------------------------------------------------------------------------------------- splits.json
def content_of(file):
    """The dict in a splits.json. Raises BadInput."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror}); give a splits.json") from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in PARTS):
        raise BadInput(f'{file}: not a split; it needs {{"train": [file names], "valid": [...], "test": [...]}}')
    return content


def read_splits(file, export):
    """A splits.json ({"train": [names], "valid": [...], "test": [...]}) -> {part: [Photo]}. Raises BadInput."""
    content = content_of(Path(file))
    names = {part: [str(name) for name in content[part]] for part in PARTS}
    photos = {photo.name: photo for photo in export.photos}
    for name, times in Counter(name for part in PARTS for name in names[part]).items():
        if times > 1:
            raise BadInput(f"{file}: {name} is listed {times} times; keep it in one part only")
        if name not in photos:
            raise BadInput(f"{file}: {name} is not in {export.root}; use the split of this export")
    return {part: [photos[name] for name in names[part]] for part in PARTS}


def write_splits(path, parts, start=None):
    """Write what `read_splits` reads, and with the names the SHA-1 and the fingerprint of each photo.

    By these the same photo is recognised later, also in another export. With them is a SHA-1 of each photo's outlines.
    `start` is the splits.json of the run that this one starts from, whose train photos count as seen by this run, too.
    It is noted under "before", None where that file does not say; a file written earlier by the same run keeps its
    "before".
    """
    prints = {photo.name: fingerprint(photo) for part in PARTS for photo in parts[part]}
    content = {part: [photo.name for photo in parts[part]] for part in PARTS}
    content["sha1"] = {name: sha1 for name, (sha1, _) in prints.items()}
    content["fingerprint"] = {name: np.packbits(signs > 0).tobytes().hex() for name, (_, signs) in prints.items()}
    content["labels"] = {photo.name: digest(photo.shapes()) for part in PARTS for photo in parts[part]}
    if path.is_file():  # a run that is continued: the one it started from may be gone
        content["before"] = content_of(path).get("before", {})
    elif start:
        own = {content["sha1"][name] for name in content["train"]}
        content["before"] = without(learnt(start), own)
    else:
        content["before"] = {}
    write_json(path, content)


def learnt(file, part="train"):
    """{SHA-1: fingerprint}, both as hex, of the photos in one part of the run that wrote this splits.json.

    For train, the photos of the run that it started from are included. None where the file does not say. Raises
    BadInput.
    """
    content = content_of(file) if file.is_file() else {}
    before = content.get("before", {})
    if not content.get("sha1") or before is None:
        return None
    try:
        found = {content["sha1"][name]: content["fingerprint"][name] for name in content[part]}
        if part == "train":
            found |= dict(zip(before.get("sha1", []), before.get("fingerprint", []), strict=True))
        if any((len(bytes.fromhex(sha1)), len(bytes.fromhex(look))) != (20, 32) for sha1, look in found.items()):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BadInput(f"{file}: its sha1 and fingerprint are damaged; train again or remove them") from None
    return found


def without(known, own):
    """What `learnt` gave, {SHA-1} -> the same without these, as it is written under "before"; None for None."""
    if known is None:
        return None
    earlier = {sha1: look for sha1, look in known.items() if sha1 not in own}
    return {"sha1": list(earlier), "fingerprint": list(earlier.values())}


def same_photos(file, export):
    """Whether this export holds, under the same names, every photo that the splits.json was written for."""
    known = content_of(file).get("sha1", {}) if file.is_file() else {}
    photos = {photo.name: photo for photo in export.photos}
    if not isinstance(known, dict):
        raise BadInput(
            f"{file}: its sha1 are damaged; give --data, --splits and the run's best.pt instead of its folder"
        )
    return bool(known) and all(name in photos and photos[name].sha1() == sha1 for name, sha1 in known.items())


def relabelled(file, export):
    """Names of the photos whose outlines are not those that this splits.json was written for, as far as it says."""
    known = content_of(file).get("labels")
    if not isinstance(known, dict):  # written by an earlier version
        return []
    return [photo.name for photo in export.photos if known.get(photo.name) not in (None, digest(photo.shapes()))]


def trained_on(file, photos, part="train"):
    """Names of those photos, copies included, that are in one part of the run that wrote this splits.json.

    For train, the run that it started from counts, too. None where the file does not say. Raises BadInput.
    """
    known = learnt(file, part)
    if known is None:
        return None
    bits = np.unpackbits(np.frombuffer(bytes.fromhex("".join(known.values())), np.uint8)).reshape(-1, 256)
    signs = np.where(bits, 1, -1)
    names = []
    for photo in photos:
        sha1, look = fingerprint(photo)
        if sha1 in known or alike(signs, look).any():
            names.append(photo.name)
    return names
