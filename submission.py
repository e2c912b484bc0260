"""What is scored, as a function `answer(item, photo) -> (mask, probability)`: a run, a checkpoint or a folder of masks.

The mask is (H, W) uint8 0/1 at the photo's size; the probability (H, W) float32, None where only masks are handed in.
"""

from functools import cache, partial
from pathlib import Path

import numpy as np

from command import BadInput
from formats.archive import unpacked
from inference import crack_mask, open_model, predict
from model import fused
from photo import SUFFIXES, read_mask


class MissingMask(BadInput):
    """A photo of the split without a mask."""


def checked(mask, photo, path):
    """The mask, if it is of the photo's size. Raises BadInput."""
    if mask.shape != photo.shape[:2]:
        sizes = [f"{image.shape[1]}×{image.shape[0]}" for image in (mask, photo)]
        raise BadInput(f"{path}: mask of {sizes[0]} for a photo of {sizes[1]}; save it at the photo's size")
    return mask


def masks_from(folder):
    """Folder of masks named NAME_mask or NAME with the suffix of any picture, taken as they are -> `answer`; a missing
    file is BadInput."""
    files = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}

    def answer(item, photo):
        stem = Path(item.name).stem
        for end in (f"{end}{suffix}" for end in ("_mask", "") for suffix in (".png", *sorted(SUFFIXES))):
            if path := files.get((stem + end).lower()):
                if used.setdefault(path, item.name) != item.name:
                    raise BadInput(f"{path}: would be the mask of {used[path]} and of {item.name}; score one --split")
                return checked(read_mask(path), photo, path), None
        raise MissingMask(f"{folder}: no {stem}.png or {stem}_mask.png{deeper}; every photo of the split needs one")

    used = {}
    deeper = f" among its {len(files)} pictures" if files else f", nor any other picture{inside(folder)}"
    return answer


def inside(folder):
    """In words, the folder in this one that holds pictures."""
    found = (path.parent for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES)
    return next((f", but {path.name}/ in it holds some: give that one" for path in found), "")


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
    if path.suffix.lower() == ".zip":
        return masks_from(unpacked(path, keep=())), None
    return masks_of(path, device) if path.is_file() or (path / "best.pt").is_file() else (masks_from(path), None)


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


def submission_names(paths):
    """{name: path}: the folder's name, with those above it where two share it. Raises BadInput."""
    if lost := [path for path in paths if not path.exists()]:
        raise BadInput(f"{lost[0]}: no such folder or checkpoint; check the name")
    # a zip that was unpacked beside itself is one submission, not two
    strays = [
        p for p in paths if p.is_file() and (p.suffix.lower() not in (".pt", ".zip") or p.with_suffix("") in paths)
    ]
    for path in strays:
        print(f"note: {path}: neither a folder nor a checkpoint, or unpacked beside itself; left out")
    paths = [path for path in paths if path not in strays]
    if not paths:
        raise BadInput(f"{strays[0]}: neither a folder of masks nor a checkpoint (.pt); give one of these")
    folders = [path.resolve().parent if path.name == "best.pt" else path.resolve() for path in paths]
    names = [folder.stem if folder.is_file() else folder.name for folder in folders]
    longer = [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]
    return dict(zip(longer, paths, strict=True))
