"""Which photo trains, validates, tests: 70/15/15, stratified, copies of one photo kept together."""

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import accumulate
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from tqdm import tqdm

from command import PARTS, BadInput, number_of, written_whole
from formats.photo import read_photo

CRACKED, UNDAMAGED = 40, 10  # photos that the course asks for
SHARES = {"train": 70, "valid": 15, "test": 15}  # percent of the photos, where nothing else is asked for
KEPT = "training keeps these parts"
VALID_FROM_TRAIN = "training keeps test and takes valid from train"
ANEW = "training deals all photos anew"
NOT_VALIDATED = "no photo is left for validation; label 3, better 50, or give --splits"
ALIKE = 40  # of the 256 signs of a fingerprint, copies differ in at most so many


@cache  # dealing needs it and writing what was dealt
def fingerprint(photo):
    """(SHA-1 of the bytes, 256 signs of horizontal brightness steps as ±1). Raises BadInput for a wrong size.

    The signs survive another JPEG quality, size or exposure: on the real sets different photos differ in 45 or more
    of 256, a recompressed, resized and brightened copy in at most 27.
    """
    grey = read_photo(photo.path, cv2.IMREAD_REDUCED_GRAYSCALE_4)
    if any(abs(4 * small - side) > 4 for small, side in zip(grey.shape, (photo.height, photo.width), strict=True)):
        raise BadInput(photo.disagreement(4 * grey.shape[0], 4 * grey.shape[1]))
    steps = np.diff(cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA).astype(np.int16), axis=1)
    return photo.sha1(), np.where(steps > 0, 1, -1).ravel()


def alike(signs, others):
    """Signs of fingerprints (N, 256), and (256,) or (256, M) -> is it a copy, (N,) or (N, M)."""
    return signs @ others >= 256 - 2 * ALIKE


def tried(photo):
    """Its fingerprint, or why it has none."""
    try:
        return fingerprint(photo)
    except BadInput as error:
        return error


def usable(found):
    """What `tried` gave of each photo, if it is a fingerprint. Raises BadInput with the first five that are none."""
    found = list(found)
    if wrong := [str(one) for one in found if isinstance(one, BadInput)]:
        raise BadInput(" | ".join(wrong[:5]) + f" | and {len(wrong) - 5} more" * (len(wrong) > 5))
    return found


def copies(photos):
    """Group number of every photo, equal for copies: Roboflow versions, identical bytes, near-identical pictures."""
    if not photos:
        return []
    with ThreadPoolExecutor() as pool:  # OpenCV decodes outside Python's lock
        scan = tqdm(pool.map(tried, photos), "comparing photos", len(photos), leave=False)
        prints, signs = zip(*usable(scan), strict=True)
    group = np.arange(len(photos))
    signs = np.stack(signs).astype(np.float32)
    first = {}
    for i, photo in enumerate(photos):
        name = PurePosixPath(photo.name).name
        original = re.sub(r"\.rf\.[0-9a-zA-Z]+\.\w+$", "", name)
        same = [first.setdefault(key, i) for key in {prints[i], original if original != name else prints[i]}]
        same += np.flatnonzero(alike(signs[:i], signs[i])).tolist()
        group[np.isin(group, group[same])] = group[i]
    return group.tolist()


def shared(parts, groups):
    """[[names]] of copies that stand in more than one part; `groups` is {photo: group number}."""
    where = {}
    for part, photos in parts.items():
        for photo in photos:
            where.setdefault(groups[photo], []).append((part, photo.name))
    return [[name for _, name in members] for members in where.values() if len({part for part, _ in members}) > 1]


def deal(photos, groups, shares, seed):
    """`stratified` with groups as {photo: group number}."""
    return stratified(photos, [groups[photo] for photo in photos], shares, seed)


def stratified(photos, groups, shares, seed):
    """Photos dealt to parts, cracked and undamaged each by `shares` {part: percent}; a group stays together.

    40 + 10 photos at 70/15/15 give exactly 28/6/6 + 7/1/2.
    """
    parts = {part: [] for part in shares}
    members = {}
    for photo, group in zip(photos, groups, strict=True):
        members.setdefault(group, []).append(photo)
    for cracked in (True, False):
        stratum = [m for m in members.values() if any(p.cracked for p in m) == cracked]
        order = np.random.default_rng(seed).permutation(len(stratum))
        quota = quotas(sum(map(len, stratum)), shares)
        for group in sorted((stratum[i] for i in order), key=len, reverse=True):
            part = max(quota, key=quota.get)
            quota[part] -= len(group)
            parts[part] += group
    return {part: sorted(chosen, key=lambda p: p.name) for part, chosen in parts.items()}


def quotas(count, shares):
    """{part: photos} by cumulative percent, at least one photo a part where there are enough."""
    edges = [0, *(count * percent // 100 for percent in accumulate(shares.values()))]
    quota = {part: high - low for part, low, high in zip(shares, edges, edges[1:], strict=False)}
    for part in quota:
        if quota[part] == 0 and count >= len(shares):
            quota[max(quota, key=quota.get)] -= 1
            quota[part] = 1
    return quota


def what_is_kept(names):
    """KEPT, VALID_FROM_TRAIN or ANEW: what becomes of an export whose photos stand in parts of these names."""
    if {"train", "valid"} <= names:
        return KEPT
    return VALID_FROM_TRAIN if {"train", "test"} <= names else ANEW


def split(export, seed=0, file=None):
    """{"train": [Photo], "valid": [...], "test": [...]}; copies never stand in two parts that are dealt here.

    `file` (splits.json of a run) decides, else the export's own parts (a missing valid is taken from train), else
    70/15/15 stratified by cracked and undamaged.
    """
    own = {part: [p for p in export.photos if p.part == part] for part in PARTS}
    groups = dict(zip(export.photos, copies(export.photos), strict=True))
    kept = what_is_kept({part for part in PARTS if own[part]})
    if file:
        parts = read_splits(file, export)
    elif kept == KEPT:
        parts = own
    elif kept == VALID_FROM_TRAIN:
        parts = own | deal(own["train"], groups, {"train": 85, "valid": 15}, seed)
    else:
        parts = deal(export.photos, groups, SHARES, seed)
    if together := shared(parts, groups):
        copied, names = number_of(len(together), "photo"), ", ".join(together[0]) + " ..." * (len(together) > 1)
        print(f"WARNING: copies of {copied} in different parts, so scores will be too good: {names}")
    if not any(photo.cracked for photo in parts["train"]):
        few = f"of {number_of(len(export.photos), 'photo')} none with a crack is left for train; label 3, better 50"
        why = few if len(export.photos) < 3 else "no train photo has a crack; label some or change the split"
        raise BadInput(f"{file if file and any(photo.cracked for photo in export.photos) else export.root}: {why}")
    return parts


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
            raise BadInput(f"{file}: {name} stands {times} times; leave it in one part only")
        if name not in photos:
            raise BadInput(f"{file}: {name} is not in {export.root}; use the split of this export")
    return {part: [photos[name] for name in names[part]] for part in PARTS}


def write_splits(path, parts, start=None):
    """The inverse of `read_splits`; beside the names, what tells the same photos apart later: the SHA-1 of each file,
    and its fingerprint, which the same photo has in another export, too. `start` is the splits.json of the run that
    this one begins with: its train photos are known to this one, too, None where it does not say; where a split was
    written before, what that says of them stays."""
    prints = {photo.name: fingerprint(photo) for part in PARTS for photo in parts[part]}
    content = {part: [photo.name for photo in parts[part]] for part in PARTS}
    content["sha1"] = {name: sha1 for name, (sha1, _) in prints.items()}
    content["fingerprint"] = {name: np.packbits(signs > 0).tobytes().hex() for name, (_, signs) in prints.items()}
    if path.is_file():  # resumed: what it began with may be gone
        content["before"] = content_of(path).get("before", {})
    else:
        content["before"] = (learnt(start) or None) if start else {}
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def learnt(file, part="train"):
    """{"sha1": [...], "fingerprint": [...]} of all photos that taught the run which wrote this splits.json, and the run
    that it began with; or of another part of its own; {} where it does not say. Raises BadInput."""
    content = content_of(file) if file.is_file() else {}
    before = content.get("before", {})
    if not content.get("sha1") or before is None:
        return {}
    found = {}
    try:
        for key, length in {"sha1": 20, "fingerprint": 32}.items():
            known = content.get(key, {})
            found[key] = [known[name] for name in content[part] if name in known]
            found[key] += before.get(key, []) if part == "train" else []
            if any(len(bytes.fromhex(digits)) != length for digits in found[key]):
                raise ValueError
    except (AttributeError, TypeError, ValueError):
        raise BadInput(f"{file}: its sha1 and fingerprint are damaged; train again or take them out") from None
    return found


def same_photos(file, export):
    """Does this export hold, under the same names, every photo that the splits.json was written for?"""
    known = content_of(file).get("sha1", {}) if file.is_file() else {}
    photos = {photo.name: photo for photo in export.photos}
    return bool(known) and all(name in photos and photos[name].sha1() == sha1 for name, sha1 in known.items())


def trained_on(file, photos, part="train"):
    """Names of those photos that taught the run which wrote this splits.json, or were in another part of its own,
    copies of them among them; None where it does not say. Raises BadInput."""
    if not (known := learnt(file, part)):
        return None
    bits = np.unpackbits(np.frombuffer(bytes.fromhex("".join(known["fingerprint"])), np.uint8)).reshape(-1, 256)
    sha1s, signs = set(known["sha1"]), np.where(bits, 1, -1)
    prints = ((photo.name, *fingerprint(photo)) for photo in photos)
    return [name for name, sha1, look in prints if sha1 in sha1s or alike(signs, look).any()]
