"""Moves the labels of each photo to where its cracks are: labels are often a pixel or three off, all in one direction.

    python data/align.py my-export                     # only the report: how far each photo's labels are off
    python data/align.py my-export --out my-export-aligned

Cracks are darker than the road, so for each photo the shift is searched for which the labelled area is darkest against
a ring around it, and the photo's edges lie under the label's outline. A label is moved as a whole, never reshaped.
Photos whose two clues disagree are reported as doubtful and keep their labels. `shifts.csv` lists every photo.
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
import cv2
import numpy as np
from tqdm import tqdm

from command import COMMON, BadInput, Parser, execute, number_of, some, write_csv
from formats.annotate import check_other_folder, write_copies
from formats.coco import each_once, read_export, refuse_masks

VIEW = 512  # pixels of the longer side at which shifts are searched for; smaller photos stay as they are
FARTHEST = 5  # pixels of that view, in each direction
RING = 9  # pixels: how wide the road beside the crack is that it is compared with
GAP = 3  # pixels between the crack and that ring: labels are not exact
DISAGREE = 2.0  # pixels between the best shifts of the two clues, from which a photo is doubtful
NOTABLE = 1.0  # pixels at the photo's own size: the audit mentions labels that are farther off


@dataclass
class Shift:
    """How far a photo's labels should move, in pixels of the photo; `doubtful` labels are better left alone."""

    down: float
    right: float
    disagreement: float  # pixels between what darkness and what edges say
    doubtful: bool

    @property
    def length(self):
        """How far the label was moved, pixels."""
        return float(np.hypot(self.down, self.right))


def disk(radius):
    """Round kernel of this radius, for OpenCV's morphology."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def scores_of_shifts(image, weights):
    """Sum of image × weights for each shift of the weights by -FARTHEST..FARTHEST rows and columns -> square matrix."""
    padded = cv2.copyMakeBorder(image, *[FARTHEST] * 4, cv2.BORDER_REPLICATE)
    return cv2.matchTemplate(padded, np.float32(weights), cv2.TM_CCORR)


def share_of(area):
    """(H, W) of 0 and 1 -> weights that add up to 1."""
    return area / max(1, np.count_nonzero(area))


def ring_around(mask):
    """(H, W) uint8 0/1 -> the same of the road beside the crack that it is compared with."""
    return cv2.dilate(mask, disk(GAP + RING)) - cv2.dilate(mask, disk(GAP))


def contrast(grey, mask):
    """How many grey levels the crack is darker than the road beside it; nan without a crack or without road."""
    beside = ring_around(mask) > 0
    if not mask.any() or not beside.any():
        return np.nan
    return float(grey[beside].mean() - grey[mask > 0].mean())


def darkness(grey, mask):
    """How much darker the shifted mask is than the ring around it, for each shift."""
    weights = share_of(ring_around(mask)) - share_of(mask)
    return scores_of_shifts(cv2.GaussianBlur(grey, (0, 0), 0.7), weights)


def edges(grey, mask):
    """How fast the photo darkens across the shifted mask's outline, inwards, for each shift."""
    soft = cv2.GaussianBlur(grey, (0, 0), 1)
    inwards = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1)
    across, down = cv2.Sobel(inwards, cv2.CV_32F, 1, 0), cv2.Sobel(inwards, cv2.CV_32F, 0, 1)
    scale = np.sum(np.square(across) + np.square(down))
    darker_right, darker_down = -cv2.Sobel(soft, cv2.CV_32F, 1, 0), -cv2.Sobel(soft, cv2.CV_32F, 0, 1)
    return (scores_of_shifts(darker_right, across) + scores_of_shifts(darker_down, down)) / scale


def peak(matrix):
    """(rows, columns) from the middle to the highest value, to a fraction of a pixel by a parabola through it."""
    row, column = np.unravel_index(np.argmax(matrix), matrix.shape)
    place = np.array([row, column], float)
    for axis, at in enumerate((row, column)):
        line = matrix[:, column] if axis == 0 else matrix[row]
        if 0 < at < len(line) - 1:
            before, here, after = line[at - 1 : at + 2]
            place[axis] += 0.5 * (before - after) / min(before - 2 * here + after, -1e-9)
    return place - FARTHEST


def standardised(matrix):
    """Shifted and scaled to a mean of 0 and a deviation of 1, so that both clues count alike."""
    return (matrix - matrix.mean()) / (matrix.std() + 1e-9)


def find_shift(photo, mask):
    """(H, W, 3) uint8 photo and (H, W) uint8 mask with a crack -> Shift."""
    scale = min(1.0, VIEW / max(mask.shape))
    size = tuple(max(1, round(side * scale)) for side in mask.shape[::-1])
    grey = cv2.resize(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
    if not small.any():
        return Shift(0.0, 0.0, 0.0, True)
    dark, edge = darkness(grey, small), edges(grey, small)
    best = peak(standardised(dark) + standardised(edge))
    disagreement = float(np.hypot(*(peak(dark) - peak(edge))))
    at_the_border = np.abs(best).max() > FARTHEST - 0.5
    down, right = best / scale
    return Shift(float(down), float(right), disagreement / scale, bool(at_the_border or disagreement > DISAGREE))


def moved(mask, shift):
    """The mask, shifted; what comes in from outside is no crack."""
    matrix = np.float32([[1, 0, shift.right], [0, 1, shift.down]])
    height, width = mask.shape
    return (cv2.warpAffine(mask.astype(np.float32), matrix, (width, height)) >= 0.5).astype(np.uint8)


# ------------------------------------------------------------------------------------------------- the command
def survey(photos):
    """[Photo] -> {Photo: Shift} of those with a crack."""
    return {item: find_shift(*item.read()) for item in tqdm(photos, "comparing", unit="photo") if item.cracked}


def aligned_mask(item, shifts):
    """Photo, {Photo: Shift} -> (H, W) uint8 0/1: its mask, moved unless that is doubtful."""
    shift = shifts.get(item)
    if shift and not shift.doubtful:
        return moved(item.mask(), shift)
    return item.mask()


def write_table(path, shifts):
    """shifts.csv: one row per cracked photo."""
    rows = []
    for item, shift in shifts.items():
        numbers = [f"{value:.2f}" for value in (shift.down, shift.right, shift.disagreement)]
        rows.append([item.name, *numbers, "yes" if shift.doubtful else "no"])
    write_csv(path, ["photo", "down_px", "right_px", "disagreement_px", "doubtful"], rows)


def report(shifts):
    """Lines on how far the labels are off."""
    sure = [shift for shift in shifts.values() if not shift.doubtful]
    lines = []
    if sure:
        lengths = [shift.length for shift in sure]
        far = sum(length > NOTABLE for length in lengths)
        lines.append(
            f"labels are off by {np.median(lengths):.1f} pixels (median), at most {max(lengths):.1f}; "
            f"{number_of(far, 'photo')} of {len(shifts)} by more than {NOTABLE:.0f}"
        )
    doubtful = [item.name for item, shift in shifts.items() if shift.doubtful]
    if doubtful:
        lines.append(f"doubtful, labels kept as they are: {some(doubtful)}")
    return lines


def arguments(argv=None):
    parser = Parser("data/align.py", description=__doc__)
    parser.add_argument("export", help="folder or .zip of a COCO export")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the export with aligned labels here")
    parser.add_argument("--table", type=Path, default=Path("shifts.csv"), help="table to write (default: shifts.csv)")
    parser.add_argument("--classes", **COMMON["classes"])
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    export = read_export(args.export, args.classes)
    refuse_masks(export)
    for note in each_once(export.problems):
        print("note:", note)
    if args.out:
        check_other_folder(args.out, export.root)
    shifts = survey(export.photos)
    if not shifts:
        raise BadInput(f"{args.export}: no photo has a crack, so there is nothing to align")
    print(*report(shifts), sep="\n")
    write_table(args.table, shifts)
    print(f"table: {args.table}")
    if args.out:
        write_copies(args.out, export.photos, partial(aligned_mask, shifts=shifts), "data/align.py")
        print(f"{args.out}: {number_of(len(export.photos), 'photo')}")
    return 0


if __name__ == "__main__":
    execute(main)
