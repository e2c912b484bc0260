"""What is scored, as a function `answer(item, photo) -> (mask, probability)`: a run, a checkpoint or a folder of masks.

The mask is (H, W) uint8 0/1 at the photo's size; the probability (H, W) float32, None where only masks are handed in.
"""

import atexit
import tempfile
from functools import cache, partial
from itertools import combinations
from pathlib import Path

import numpy as np

from command import BadInput, number_of
from data.split import trained_on
from formats.archive import JUNK, unpacked
from formats.photo import SUFFIXES, read_mask
from inference import crack_mask, open_model, predict
from model import fused
from runs import doubt

CHECKPOINTS = (".pt", ".pth")
PACKED = (".zip", ".rar", ".7z", ".tar", ".gz")  # handed in by somebody, if only .zip can be opened
NEITHER = "neither a folder or .zip of masks, nor a run folder, nor a checkpoint (.pt)"


class MissingMask(BadInput):
    """A photo of the split without a mask."""


def checked(mask, photo, path):
    """The mask, if it is of the photo's size. Raises BadInput."""
    if mask.shape != photo.shape[:2]:
        sizes = [f"{image.shape[1]}×{image.shape[0]}" for image in (mask, photo)]
        raise BadInput(f"{path}: mask of {sizes[0]} for a photo of {sizes[1]}; save it at the photo's size")
    return mask


@cache
def located(path):
    """Where a submission lies: of a zip in a folder that goes when this command ends, so that no older one is scored;
    of a folder with nothing but a folder in that one, as in a zip. Raises BadInput."""
    if path.suffix.lower() == ".zip" and path.is_file():
        folder = tempfile.TemporaryDirectory()
        atexit.register(folder.cleanup)
        path = unpacked(path, keep=(), into=Path(folder.name) / path.stem)
    held = [path]
    while len(held) == 1 and held[0].is_dir():
        path = held[0]
        held = [one for one in path.iterdir() if one.name not in JUNK]
    return path


def masks_from(folder, called=None):
    """Folder of masks named NAME_mask or NAME with the suffix of any picture, taken as they are -> `answer`; a missing
    file is BadInput, with the name under which the folder was handed in."""
    files = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}
    called, used = called or folder, {}

    def mask_of(item, photo):
        stem = Path(item.name).stem
        starts = f"{stem}_mask", stem, Path(item.name).name  # the last as in IMG_1.jpg.png
        for name in (start + suffix for start in starts for suffix in (".png", *sorted(SUFFIXES))):
            if path := files.get(name.lower()):
                if used.setdefault(path, item.name) != item.name:
                    raise BadInput(f"{path}: would be the mask of {used[path]} and of {item.name}; score one --split")
                return checked(read_mask(path), photo, path)
        raise MissingMask(f"{called}: no {stem}.png or {stem}_mask.png{instead}; a mask is wanted for each photo")

    def answer(item, photo):
        try:
            return mask_of(item, photo), None
        except BadInput as error:
            raise type(error)(str(error).replace(str(folder), str(called))) from None

    instead = (
        f" among its {len(files)} pictures, {next(iter(files.values())).name} ..."
        if files
        else f", nor any other picture{inside(folder, called)}"
    )
    return answer


def inside(folder, called):
    """In words, what lies in this folder or deeper and could be meant."""
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if not {*path.parts} & {*JUNK}]
    handed_in = {path.parts[0] for path in files if path.suffix.lower() in {*SUFFIXES, *CHECKPOINTS, *PACKED}}
    if len(handed_in) > 3 and called.is_dir():  # more than one student's masks, pictures and checkpoint
        return f" in it, but {len(handed_in)} folders or files hold masks or networks: to rank them give {called}/*"
    found = [f"{path.parent}/ holds a run: give that one" for path in files if path.name == "best.pt"]
    found += [f"{path} is a checkpoint: give that one" for path in files if path.suffix.lower() in CHECKPOINTS]
    masks = list(dict.fromkeys(f"{path.parent}/" for path in files if path.suffix.lower() in SUFFIXES))
    if len(masks) > 1:
        found.append(f"{', '.join(masks)} hold some: put all masks into one folder")
    found += [f"{path} holds some: give that one" for path in masks]
    return f" in it, but {found[0]}" if found else ""


def note_on(place):
    """What in this folder is not scored although it might be meant, in words."""
    if not place.is_dir():
        return ""
    pictures = {file.stem.lower() for file in place.iterdir() if file.suffix.lower() in SUFFIXES}
    if (place / "best.pt").is_file():
        count = len(pictures - {"curves"})
        return (
            f"a run folder with {number_of(count, 'picture')} in it; the network is scored, no masks" if count else ""
        )
    both = sum(f"{stem}_mask" in pictures for stem in pictures)
    return f"NAME_mask.png beside NAME.png of {number_of(both, 'photo')}; the former is the mask" if both else ""


def masks_of(path, device, flips=False):
    """Checkpoint or run folder -> (`answer` at the stored threshold, that threshold).

    The mask is the one that inference.py writes, so without specks: what is scored is what ships.
    """
    model, preprocess, threshold = open_model(path, device)
    model = fused(model)

    def answer(item, photo):
        probability = predict(model, preprocess, photo, flips=flips)
        return crack_mask(probability, threshold)[0], probability

    return answer, threshold


def open_submission(path, device):
    """Folder or .zip of masks, run folder or checkpoint -> (`answer`, threshold or None). Raises BadInput."""
    place = located(path)
    if place.is_file() and place.suffix.lower() not in CHECKPOINTS:
        raise BadInput(f"{path}: {NEITHER}")
    if (place / "last.pt").is_file() and not (place / "best.pt").is_file():
        raise BadInput(f"{path}: a run folder without best.pt, so no epoch was finished; ask for that file")
    if words := note_on(place):
        print(f"note: {path}: {words}")
    if place.is_file() or (place / "best.pt").is_file():
        return masks_of(place, device)
    return masks_from(place, path if path.is_file() else None), None


def forgiving(path, device, problems):
    """`answer` to which a mask that is missing or unusable is empty; each is noted in the list `problems`.

    One student's slip must not stop the scoring of a class.
    """
    opened = cache(partial(open_submission, path, device))

    def answer(item, photo):
        try:
            return opened()[0](item, photo)
        except BadInput as error:
            kind = "missing" if isinstance(error, MissingMask) else "unusable"
            problems.append((item.name, kind, str(error)))
            return np.zeros(photo.shape[:2], np.uint8), None

    return answer


def strays(paths):
    """Files among several that nobody hands in, like a list of names: they get no place. Says so."""
    if all(map(is_stray, paths)):
        return []
    found = [path for path in paths if is_stray(path)]
    for path in found:
        print(f"note: {path}: left out, {NEITHER}")
    return found


def is_stray(path):
    return path.is_file() and path.suffix.lower() not in (*CHECKPOINTS, *PACKED)


def submission_names(paths):
    """{name: path}: the folder's name, the file's own or the whole path where two share it. Raises BadInput."""
    if lost := [path for path in paths if not path.exists()]:
        raise BadInput(f"{lost[0]}: no such folder or checkpoint; check the name")
    if twice := [path for path in paths if sum(path.resolve() == other.resolve() for other in paths) > 1]:
        raise BadInput(f"{twice[-1]}: given twice; name each submission once")
    folders = [path.resolve().parent if path.name == "best.pt" else path.resolve() for path in paths]
    names = [folder.stem if folder.is_file() else folder.name for folder in folders]
    for (path, *one), (again, *other) in combinations(zip(paths, names, (f.parent for f in folders), strict=True), 2):
        if one == other:
            print(f"note: {path} and {again}: if one student handed in both, leave one out")
    for longer in (lambda path: path.name, str):  # a folder and a .zip, then folders of one name
        names = [name if names.count(name) == 1 else longer(path) for name, path in zip(names, paths, strict=True)]
    return dict(zip(names, paths, strict=True))


def known_photos(photos, path, called):
    """(how many of the photos the run or checkpoint at this path learnt from, how many chose its epoch and threshold);
    None where nobody can know; (0, 0) for masks. Says so."""
    folder = path if path.is_dir() else path.parent
    taught, chose = (trained_on(folder / "splits.json", photos, part) for part in ("train", "valid"))
    if taught is None:
        if path.suffix.lower() not in CHECKPOINTS and not (folder / "best.pt").is_file():
            return 0, 0
        print(
            f"note: {called}: nobody can tell whether these photos trained it: no splits.json beside it says so; "
            "ask for the run folder"
        )
        return None
    if taught:
        print(f"WARNING: {len(taught)} of {len(photos)} photos trained {called} ({taught[0]} ...): not an honest score")
    if chose:
        print(f"note: on {len(chose)} of {len(photos)} photos the epoch and threshold of {called} were chosen")
    return len(taught), len(chose)


def facts_of(photos, submission):
    """{"known": `known_photos`, "note": `note_on`, "useless": `doubt`} of what somebody handed in; {} if it cannot be
    opened."""
    try:
        place = located(submission)
    except BadInput:
        return {}
    try:
        known = known_photos(photos, place, submission)
    except BadInput as error:
        print(f"note: {error}; so nobody can tell whether these photos trained it")
        known = None
    return {"known": known, "note": note_on(place), "useless": doubt(place)}
