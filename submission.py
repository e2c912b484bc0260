"""What is scored, as a function `answer(item, photo) -> (mask, probability)`: a run, a checkpoint or a folder of masks.

The mask is (H, W) uint8 0/1 at the photo's size; the probability (H, W) float32, None where only masks are handed in.
"""

from functools import cache, partial
from pathlib import Path

import numpy as np

from command import BadInput
from inference import crack_mask, open_model, predict
from model import fused
from photo import read_mask


class MissingMask(BadInput):
    """A photo of the split without a mask."""


def checked(mask, photo, path):
    """The mask, if it is of the photo's size. Raises BadInput."""
    if mask.shape != photo.shape[:2]:
        sizes = [f"{image.shape[1]}×{image.shape[0]}" for image in (mask, photo)]
        raise BadInput(f"{path}: mask of {sizes[0]} for a photo of {sizes[1]}; save it at the photo's size")
    return mask


def masks_from(folder):
    """Folder of masks named NAME.png or NAME_mask.png, taken as they are -> `answer`; a missing file is BadInput."""

    def answer(item, photo):
        stem = Path(item.name).stem
        for name in (f"{stem}_mask.png", f"{stem}.png", f"{stem}.jpg", f"{stem}.bmp"):
            if (folder / name).is_file():
                return checked(read_mask(folder / name), photo, folder / name), None
        raise MissingMask(f"{folder}: no {stem}.png or {stem}_mask.png; add it, every photo of the split needs one")

    return answer


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
    """Folder of masks, run folder or checkpoint -> (`answer`, threshold or None). Raises BadInput."""
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
    """{name: path}: the folder's name, or the whole path where two share it. Raises BadInput."""
    if lost := [path for path in paths if not path.exists()]:
        raise BadInput(f"{lost[0]}: no such folder or checkpoint; check the name")
    strays = [path for path in paths if path.is_file() and path.suffix != ".pt"]
    for path in strays:
        print(f"note: {path}: neither a folder nor a checkpoint; left out")
    paths = [path for path in paths if path not in strays]
    if not paths:
        raise BadInput(f"{strays[0]}: neither a folder of masks nor a checkpoint (.pt); give one of these")
    folders = [path.resolve().parent if path.name == "best.pt" else path.resolve() for path in paths]
    names = [folder.name for folder in folders]
    names = names if len(set(names)) == len(names) else map(str, paths)
    return dict(zip(names, paths, strict=True))
